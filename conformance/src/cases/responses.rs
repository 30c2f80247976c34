//! Hostile and odd responses.

use super::{Fate, ResponseCase};
use Fate::{BadGateway, CutOff, Passed};

/// All of them.
pub fn responses() -> Vec<ResponseCase> {
    let mut cases = Vec::new();
    heads(&mut cases);
    lengths(&mut cases);
    chunks(&mut cases);
    bodies(&mut cases);
    interim(&mut cases);
    cases
}

type Cases = Vec<ResponseCase>;

fn case(cases: &mut Cases, name: &'static str, rfc: &'static str, bytes: impl Into<Vec<u8>>, fate: Fate) {
    cases.push(ResponseCase { name, rfc, method: "GET", bytes: bytes.into(), fate });
}

fn with(lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    with("Transfer-Encoding: chunked\r\n", body)
}

fn heads(c: &mut Cases) {
    let s = "RFC 9112 4";
    for (name, bytes) in [
        ("nothing at all", ""),
        ("garbage", "\x00\x01\x02garbage\r\n\r\n"),
        ("HTTP/0.9", "<html>hello</html>"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
        ("version 2.0", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("status of two digits", "HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n"),
        ("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("status is no number", "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n"),
        ("status 600", "HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
        ("CR in the reason", "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n"),
        ("LF alone", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
        ("space in front of the first field", "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n"),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("CR in a value", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n"),
        ("empty field name", "HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 0\r\n\r\n"),
    ] {
        case(c, name, s, bytes, BadGateway);
    }
    case(c, "folded field", "RFC 9112 5.2", with("X: a\r\n b\r\nContent-Length: 0\r\n", ""), BadGateway);
    case(
        c,
        "head of 70 KB",
        "RFC 9110 15.6.3",
        with(&format!("X: {}\r\n", "y".repeat(70_000)), ""),
        BadGateway,
    );
    let many: String = (0..120).map(|i| format!("X-{i}: y\r\n")).collect();
    case(c, "more than 100 fields", "RFC 9110 15.6.3", with(&many, ""), BadGateway);
    case(
        c,
        "no reason phrase",
        s,
        "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        Passed(200, &["\r\n\r\nok"], &[]),
    );
    case(
        c,
        "nominated fields go no further",
        "RFC 9110 7.6.1",
        with("Connection: X-Secret\r\nX-Secret: 1\r\nContent-Length: 2\r\n", "ok"),
        Passed(200, &["\r\n\r\nok"], &["X-Secret"]),
    );
}

fn lengths(c: &mut Cases) {
    let s = "RFC 9112 6.3";
    for (name, lines) in [
        ("negative length", "Content-Length: -1\r\n"),
        ("length is no number", "Content-Length: two\r\n"),
        ("lengths that disagree", "Content-Length: 2\r\nContent-Length: 3\r\n"),
        ("length list that disagrees", "Content-Length: 2, 3\r\n"),
        ("length and encoding", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
    ] {
        case(c, name, s, with(lines, "ok"), BadGateway);
    }
    case(
        c,
        "chunked in HTTP/1.0",
        "RFC 9112 6.1",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        BadGateway,
    );
}

fn chunks(c: &mut Cases) {
    let s = "RFC 9112 7.1";
    // The first chunk is good: the head is on its way to the client when the fault shows.
    for (name, body) in [
        ("size is no number", "2\r\nok\r\nxyz\r\n"),
        ("size beyond 64 bits", "2\r\nok\r\nfffffffffffffffff\r\n"),
        ("data longer than its size", "2\r\nok!!!\r\n0\r\n\r\n"),
        ("end without the last chunk", "2\r\nok\r\n"),
        ("end inside a chunk", "9\r\nok"),
        ("end inside the trailer", "2\r\nok\r\n0\r\nX: y\r\n"),
    ] {
        c.push(ResponseCase { name, rfc: s, method: "GET", bytes: chunked(body), fate: CutOff });
    }
    case(
        c,
        "trailers are passed on",
        "RFC 9112 7.1.2",
        chunked("2\r\nok\r\n0\r\nX-T: y\r\n\r\n"),
        Passed(200, &["2\r\nok\r\n0\r\nX-T: y\r\n\r\n"], &[]),
    );
}

fn bodies(c: &mut Cases) {
    let s = "RFC 9112 6.3";
    case(c, "body shorter than its length", "RFC 9112 8", with("Content-Length: 9\r\n", "ok"), CutOff);
    case(
        c,
        "bytes behind the body",
        s,
        with("Content-Length: 2\r\n", "okHTTP/1.1 200 OK\r\n\r\n"),
        Passed(200, &["\r\n\r\nok"], &["okHTTP"]),
    );
    case(
        c,
        "body up to the close",
        s,
        with("", "until the end"),
        Passed(200, &["d\r\nuntil the end\r\n0\r\n\r\n"], &[]),
    );
    case(
        c,
        "204 with a body",
        "RFC 9110 15.3.5",
        "HTTP/1.1 204 No Content\r\nX: y\r\n\r\nhello",
        Passed(204, &["X: y"], &["hello"]),
    );
    case(
        c,
        "304 with a length",
        "RFC 9110 15.4.5",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        Passed(304, &[], &[]),
    );
    c.push(ResponseCase {
        name: "HEAD with a length",
        rfc: "RFC 9110 9.3.2",
        method: "HEAD",
        bytes: with("Content-Length: 9\r\n", ""),
        fate: Passed(200, &["Content-Length: 9"], &[]),
    });
    c.push(ResponseCase {
        name: "HEAD with a body",
        rfc: "RFC 9110 9.3.2",
        method: "HEAD",
        bytes: with("Content-Length: 5\r\n", "hello"),
        fate: Passed(200, &["Content-Length: 5"], &["hello"]),
    });
}

fn interim(c: &mut Cases) {
    let s = "RFC 9110 15.2";
    case(
        c,
        "103 is passed on",
        "RFC 8297 2",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Passed(200, &["HTTP/1.1 103", "Link: </a>", "\r\n\r\nok"], &[]),
    );
    case(
        c,
        "100 nobody asked for",
        s,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Passed(200, &["\r\n\r\nok"], &[]),
    );
    case(c, "end behind an interim answer", s, "HTTP/1.1 103 Early Hints\r\n\r\n", BadGateway);
    case(
        c,
        "101 nobody asked for",
        "RFC 9110 15.2.2",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        BadGateway,
    );
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(64);
    case(
        c,
        "64 interim answers",
        s,
        format!("{many}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        BadGateway,
    );
}
