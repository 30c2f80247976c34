//! Hostile and odd requests.

use super::{Outcome, RequestCase};
use Outcome::{Answered, Passed, Refused};

const R400: Outcome = Refused(&[400]);
/// Two rules apply and each names a status: an unknown coding (501), or a length that cannot be found (400).
const R400_501: Outcome = Refused(&[400, 501]);

/// All of them.
pub fn requests() -> Vec<RequestCase> {
    let mut cases = Vec::new();
    line_endings(&mut cases);
    request_lines(&mut cases);
    targets(&mut cases);
    paths(&mut cases);
    hosts(&mut cases);
    fields(&mut cases);
    lengths(&mut cases);
    encodings(&mut cases);
    chunks(&mut cases);
    connections(&mut cases);
    limits(&mut cases);
    cases
}

type Cases = Vec<RequestCase>;

fn case(
    cases: &mut Cases,
    name: &'static str,
    rfc: &'static str,
    bytes: impl Into<Vec<u8>>,
    outcome: Outcome,
) {
    cases.push(RequestCase { name, rfc, bytes: bytes.into(), outcome });
}

/// A GET with further field lines.
fn get(lines: &str) -> Vec<u8> {
    format!("GET /p HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n").into_bytes()
}

/// A POST with further field lines and a body.
fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /p HTTP/1.1\r\nHost: example.com\r\n{lines}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn line_endings(c: &mut Cases) {
    let s = "RFC 9112 2.2";
    case(c, "head with LF alone", s, "GET / HTTP/1.1\nHost: example.com\n\n", R400);
    case(c, "one field line with LF alone", s, "GET / HTTP/1.1\r\nHost: example.com\nX: y\r\n\r\n", R400);
    case(c, "CR inside a field value", s, get("X: a\rb\r\n"), R400);
    case(c, "CR inside the request line", s, "GET /a\rb HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "CR CR LF", s, get("X: a\r\r\n"), R400);
    case(
        c,
        "an empty line in front",
        s,
        "\r\nGET /p HTTP/1.1\r\nHost: example.com\r\n\r\n",
        Passed(&["GET /p HTTP/1.1\r\n"], &[]),
    );
    case(c, "space in front of the first field", s, "GET / HTTP/1.1\r\n Host: example.com\r\n\r\n", R400);
    case(c, "NUL in a field value", "RFC 9110 5.5", get("X: a\0b\r\n"), R400);
    case(c, "NUL in the target", "RFC 9112 3.2", "GET /a\0b HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "DEL in a field value", "RFC 9110 5.5", get("X: a\x7fb\r\n"), R400);
    case(
        c,
        "bytes above 127 in a field value",
        "RFC 9110 5.5",
        get("X: gr\u{fc}n\r\n"),
        Passed(&["X: gr\u{fc}n\r\n"], &[]),
    );
}

fn request_lines(c: &mut Cases) {
    let s = "RFC 9112 3";
    case(c, "two spaces in the request line", s, "GET  / HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "tab in the request line", s, "GET\t/ HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "space behind the version", s, "GET / HTTP/1.1 \r\nHost: example.com\r\n\r\n", R400);
    case(c, "no version (HTTP/0.9)", "RFC 9112 2.3", "GET /\r\n\r\n", R400);
    case(c, "version 2.0", "RFC 9110 15.6.6", "GET / HTTP/2.0\r\nHost: example.com\r\n\r\n", Refused(&[505]));
    case(c, "version 1.10", "RFC 9112 2.3", "GET / HTTP/1.10\r\nHost: example.com\r\n\r\n", R400);
    case(c, "version in lower case", "RFC 9112 2.3", "GET / http/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(
        c,
        "version 1.2 is processed as 1.1",
        "RFC 9110 2.5",
        "GET /p HTTP/1.2\r\nHost: example.com\r\n\r\n",
        Passed(&["GET /p HTTP/1.1\r\n"], &[]),
    );
    case(c, "method is no token", "RFC 9110 9.1", "G@T / HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(
        c,
        "methods are case-sensitive",
        "RFC 9110 9.1",
        "get /p HTTP/1.1\r\nHost: example.com\r\n\r\n",
        Passed(&["get /p HTTP/1.1\r\n"], &[]),
    );
    case(
        c,
        "method of 100 letters",
        s,
        format!("{} / HTTP/1.1\r\nHost: example.com\r\n\r\n", "A".repeat(100)),
        Refused(&[501]),
    );
    case(c, "a TLS ClientHello", s, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), R400);
    case(c, "an HTTP/2 preface", "RFC 9113 3.4", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Refused(&[400, 505]));
}

fn targets(c: &mut Cases) {
    let s = "RFC 9112 3.2";
    case(c, "space in the target", s, "GET /a b HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "fragment in the target", s, "GET /a#b HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "target without slash", s, "GET index.html HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(c, "asterisk with GET", "RFC 9112 3.2.4", "GET * HTTP/1.1\r\nHost: example.com\r\n\r\n", R400);
    case(
        c,
        "asterisk with OPTIONS",
        "RFC 9112 3.2.4",
        "OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n",
        Passed(&["OPTIONS * HTTP/1.1\r\n"], &[]),
    );
    case(
        c,
        "authority-form with GET",
        "RFC 9112 3.2.3",
        "GET example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n",
        R400,
    );
    case(
        c,
        "CONNECT by default",
        "RFC 9110 9.3.6",
        "CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n",
        Refused(&[405]),
    );
    case(
        c,
        "CONNECT with an origin-form target",
        "RFC 9112 3.2.3",
        "CONNECT / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        R400,
    );
    case(c, "TRACE", "RFC 9110 9.3.8", "TRACE / HTTP/1.1\r\nHost: example.com\r\n\r\n", Refused(&[405]));
    case(
        c,
        "user information in the target",
        "RFC 9110 4.2.4",
        "GET http://user@example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
        R400,
    );
    case(
        c,
        "absolute-form overrides Host",
        "RFC 9112 3.2.2",
        "GET http://real.example/p HTTP/1.1\r\nHost: false.example\r\n\r\n",
        Passed(&["GET /p HTTP/1.1\r\n", "host: real.example\r\n"], &["false.example"]),
    );
    case(
        c,
        "absolute-form without path",
        "RFC 9112 3.2.1",
        "GET http://example.com HTTP/1.1\r\nHost: example.com\r\n\r\n",
        Passed(&["GET / HTTP/1.1\r\n"], &[]),
    );
}

fn paths(c: &mut Cases) {
    case(
        c,
        "dot segments do not leave the root",
        "RFC 3986 5.2.4",
        "GET /a/../../etc HTTP/1.1\r\nHost: example.com\r\n\r\n",
        Passed(&["GET /etc HTTP/1.1\r\n"], &[".."]),
    );
    case(
        c,
        "percent-encoded dot segments",
        "RFC 3986 6.2.2",
        "GET /a/%2e%2e/b HTTP/1.1\r\nHost: example.com\r\n\r\n",
        Passed(&["GET /b HTTP/1.1\r\n"], &["%2e"]),
    );
}

fn hosts(c: &mut Cases) {
    let s = "RFC 9112 3.2";
    case(c, "no Host", s, "GET / HTTP/1.1\r\n\r\n", R400);
    case(c, "two Host lines", s, "GET / HTTP/1.1\r\nHost: example.com\r\nHost: example.com\r\n\r\n", R400);
    for (name, host) in [
        ("Host with a space", "exa mple.com"),
        ("Host with a path", "example.com/x"),
        ("Host with user information", "user@example.com"),
        ("Host is a list", "example.com, example.org"),
        ("Host with a port that is no number", "example.com:8o"),
        ("Host with an open bracket", "[::1"),
    ] {
        case(c, name, s, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), R400);
    }
    case(c, "HTTP/1.0 without Host", s, "GET /p HTTP/1.0\r\n\r\n", Passed(&["GET /p HTTP/1.1\r\n"], &[]));
}

fn fields(c: &mut Cases) {
    let s = "RFC 9112 5.1";
    case(c, "space in front of the colon", s, get("X : y\r\n"), R400);
    case(c, "tab in front of the colon", s, get("X\t: y\r\n"), R400);
    case(c, "empty field name", s, get(": y\r\n"), R400);
    case(c, "field name is no token", s, get("X(): y\r\n"), R400);
    case(c, "line without colon", s, get("XY\r\n"), R400);
    case(c, "folded field", "RFC 9112 5.2", get("X: a\r\n b\r\n"), R400);
    case(
        c,
        "field names keep case and order",
        "RFC 9110 5.3",
        get("X-b: 1\r\nx-A: 2\r\n"),
        Passed(&["X-b: 1\r\nx-A: 2\r\n"], &[]),
    );
    case(c, "unknown expectation", "RFC 9110 10.1.1", get("Expect: 200-ok\r\n"), Refused(&[417]));
}

fn lengths(c: &mut Cases) {
    let s = "RFC 9112 6.3";
    for (name, value) in [
        ("negative length", "-1"),
        ("length with a sign", "+5"),
        ("length in hexadecimal", "0x5"),
        ("empty length", ""),
        ("length with a space", "5 5"),
        ("length beyond 64 bits", "99999999999999999999"),
        ("length list that disagrees", "5, 6"),
    ] {
        case(c, name, s, post(&format!("Content-Length: {value}\r\n"), "hello"), R400);
    }
    case(
        c,
        "two lengths that disagree",
        s,
        post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        R400,
    );
    case(c, "the same length twice", s, post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), R400);
    case(
        c,
        "length and encoding",
        "RFC 9112 6.1",
        post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        R400,
    );
    case(
        c,
        "encoding and length",
        "RFC 9112 6.1",
        post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        R400,
    );
    case(
        c,
        "a request hidden behind a length of 0",
        s,
        post(
            "Content-Length: 0\r\nContent-Length : 44\r\n",
            "GET /hidden HTTP/1.1\r\nHost: example.com\r\n\r\n",
        ),
        R400,
    );
    case(
        c,
        "GET with a body",
        "RFC 9110 9.3.1",
        get("Content-Length: 5\r\n").into_iter().chain(*b"hello").collect::<Vec<u8>>(),
        Passed(&["\r\n\r\nhello"], &[]),
    );
}

fn encodings(c: &mut Cases) {
    let s = "RFC 9112 6.1";
    for (name, lines) in [
        ("unknown coding", "Transfer-Encoding: gzip\r\n"),
        ("identity", "Transfer-Encoding: identity\r\n"),
        ("chunked is not last", "Transfer-Encoding: chunked, gzip\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked, chunked\r\n"),
        ("chunked on two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n"),
        ("a coding that looks like chunked", "Transfer-Encoding: xchunked\r\n"),
        ("quoted chunked", "Transfer-Encoding: \"chunked\"\r\n"),
        ("chunked with a parameter", "Transfer-Encoding: chunked;a=b\r\n"),
        ("vertical tab in front of chunked", "Transfer-Encoding: \x0bchunked\r\n"),
        ("empty coding", "Transfer-Encoding:\r\n"),
    ] {
        case(c, name, s, post(lines, "0\r\n\r\n"), R400_501);
    }
    case(
        c,
        "chunked in HTTP/1.0",
        s,
        "POST /p HTTP/1.0\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        R400,
    );
    case(
        c,
        "chunked in upper case",
        "RFC 9112 7",
        post("Transfer-Encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        Passed(&["5\r\nhello\r\n0\r\n\r\n"], &[]),
    );
}

fn chunks(c: &mut Cases) {
    let s = "RFC 9112 7.1";
    for (name, body) in [
        ("size is no number", "xyz\r\nhello\r\n0\r\n\r\n"),
        ("size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("size beyond 64 bits", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("empty size", "\r\nhello\r\n0\r\n\r\n"),
        ("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
        ("data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
        ("size line with LF alone", "5\nhello\r\n0\r\n\r\n"),
        ("no line end behind the data", "5\r\nhello0\r\n\r\n"),
        ("LF alone behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("extension with LF alone", "5;a\nhello\r\n0\r\n\r\n"),
        ("trailer with LF alone", "5\r\nhello\r\n0\r\nX: y\n\r\n"),
        ("trailer without colon", "5\r\nhello\r\n0\r\nXY\r\n\r\n"),
    ] {
        case(c, name, s, chunked(body), R400);
    }
    case(
        c,
        "extensions are dropped",
        "RFC 9112 7.1.1",
        chunked("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"),
        Passed(&["5\r\nhello\r\n0\r\n\r\n"], &[";a="]),
    );
    case(
        c,
        "extensions of 20 KB",
        "RFC 9112 7.1.1",
        chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000))),
        R400,
    );
    case(
        c,
        "many small chunks become few",
        s,
        chunked(&format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(200))),
        Passed(&["c8\r\nxxxxxxxx"], &["1\r\nx\r\n1\r\nx"]),
    );
    case(
        c,
        "a length in the trailer",
        "RFC 9110 6.5.1",
        chunked("5\r\nhello\r\n0\r\nContent-Length: 3\r\nX-T: y\r\n\r\n"),
        Passed(&["0\r\nX-T: y\r\n\r\n"], &["Content-Length: 3"]),
    );
}

fn connections(c: &mut Cases) {
    let s = "RFC 9110 7.6.1";
    case(
        c,
        "nominated fields go no further",
        s,
        get("Connection: X-Secret\r\nX-Secret: 1\r\nX-Other: 2\r\n"),
        Passed(&["X-Other: 2"], &["X-Secret", "Connection"]),
    );
    case(
        c,
        "connection fields go no further",
        s,
        get("Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: gzip\r\nX-Other: 2\r\n"),
        Passed(&["X-Other: 2"], &["Proxy-Connection", "Keep-Alive", "TE:"]),
    );
    case(c, "Connection nominates Host", s, get("Connection: host\r\n"), R400);
    case(
        c,
        "Connection nominates the length",
        s,
        post("Connection: content-length\r\nContent-Length: 5\r\n", "hello"),
        R400,
    );
    case(
        c,
        "h2c upgrade goes no further",
        "RFC 9113 3.1",
        get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n"),
        Passed(&["GET /p"], &["h2c", "HTTP2-Settings"]),
    );
    case(
        c,
        "Upgrade that Connection does not nominate",
        "RFC 9110 7.8",
        get("Upgrade: websocket\r\n"),
        Passed(&["GET /p"], &["websocket"]),
    );
    case(c, "two requests at once", "RFC 9112 9.3.2", [get(""), get("X: 2\r\n")].concat(), Answered(2));
    case(
        c,
        "a body with a request behind it",
        "RFC 9112 9.3.2",
        [post("Content-Length: 5\r\n", "hello"), chunked("5\r\nhello\r\n0\r\n\r\n"), get("")].concat(),
        Answered(3),
    );
}

fn limits(c: &mut Cases) {
    let fields: String = (0..120).map(|i| format!("X-{i}: y\r\n")).collect();
    case(c, "more than 100 fields", "RFC 6585 5", get(&fields), Refused(&[431]));
    case(
        c,
        "a field of 70 KB",
        "RFC 6585 5",
        get(&format!("X: {}\r\n", "y".repeat(70_000))),
        Refused(&[431]),
    );
    case(
        c,
        "a target of 20 KB",
        "RFC 9110 15.5.15",
        format!("GET /{} HTTP/1.1\r\nHost: example.com\r\n\r\n", "a".repeat(20_000)),
        Refused(&[414]),
    );
    case(
        c,
        "a target of 7 KB",
        "RFC 9112 3",
        format!("GET /{} HTTP/1.1\r\nHost: example.com\r\n\r\n", "a".repeat(7_000)),
        Passed(&["aaaa HTTP/1.1\r\n"], &[]),
    );
}
