//! Response heads: each case names its section of RFC 9112 or RFC 9110.

use ringway_wire::h1::{ErrorKind, Limits, Relaxations, Status, parse_response, write};
use ringway_wire::http::{FieldName, Framing, Method, ResponseHead, Version};

fn parse_for(method: Method, bytes: &[u8], relax: Relaxations) -> Result<ResponseHead, ErrorKind> {
    let mut head = ResponseHead::new();
    match parse_response(bytes, &mut 0, &Limits::DEFAULT, relax, method, &mut head) {
        Ok(Status::Complete(len)) => {
            assert_eq!(len, head.len as usize);
            Ok(head)
        }
        Ok(Status::Partial) => panic!("{:?} is partial", String::from_utf8_lossy(bytes)),
        Err(error) => Err(error.kind),
    }
}

fn head_for(method: Method, text: &str) -> ResponseHead {
    parse_for(method, text.as_bytes(), Relaxations::NONE).unwrap_or_else(|kind| panic!("{text:?}: {kind:?}"))
}

/// The head of this status line and these lines in answer to a GET.
fn head(text: &str) -> ResponseHead {
    head_for(Method::Get, text)
}

fn refused(text: &str) -> ErrorKind {
    match parse_for(Method::Get, text.as_bytes(), Relaxations::NONE) {
        Err(kind) => kind,
        Ok(_) => panic!("{text:?} is accepted"),
    }
}

#[test]
fn an_nginx_response() {
    let text = "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\nabc";
    let head = head(text);
    assert_eq!((head.version, head.status), (Version::Http11, 200));
    assert_eq!(head.reason.of(text.as_bytes()), b"OK");
    assert_eq!(head.framing, Framing::Length(3));
    assert!(head.keep_alive && !head.is_interim() && !head.tunnel);
    assert_eq!(head.fields.get(text.as_bytes(), FieldName::Server), Some(&b"nginx"[..]));
    assert_eq!(head.len as usize, text.len() - 3);
}

#[test]
fn rfc9112_4_status_line() {
    for line in [
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200\tOK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\x1bK",
        "HTTP/1.1",
        "HTTP/1.1 ",
        "HTTP/1.12 200 OK",
    ] {
        assert_eq!(refused(&format!("{line}\r\n\r\n")), ErrorKind::StatusLineInvalid, "{line:?}");
    }
    for line in
        ["", " HTTP/1.1 200 OK", "http/1.1 200 OK", "HTTP 200 OK", "ICY 200 OK", "<html>", "HTTP/11 200 OK"]
    {
        assert_eq!(refused(&format!("{line}\r\n\r\n")), ErrorKind::VersionInvalid, "{line:?}");
    }
    assert_eq!(refused("HTTP/2.0 200 OK\r\n\r\n"), ErrorKind::VersionUnsupported);
    assert_eq!(refused("HTTP/0.9 200 OK\r\n\r\n"), ErrorKind::VersionUnsupported);
    assert_eq!(refused("HTTP/1.1 200 OK\n\n"), ErrorKind::BareLf);
    assert_eq!(refused("HTTP/1.1 200 O\rK\r\n\r\n"), ErrorKind::BareCr);
    for status in ["000", "099", "600", "999"] {
        assert_eq!(refused(&format!("HTTP/1.1 {status} X\r\n\r\n")), ErrorKind::StatusInvalid);
    }
    let linkedin = parse_for(Method::Get, b"HTTP/1.1 999 Denied\r\n\r\n", Relaxations::STATUS_RANGE);
    assert_eq!(linkedin.map(|head| (head.status, head.tolerated)), Ok((999, Relaxations::STATUS_RANGE)));
    // The reason may be absent, with or without the space in front of it, and is opaque.
    for line in ["HTTP/1.1 200", "HTTP/1.1 200 "] {
        assert!(head(&format!("{line}\r\n\r\n")).reason.is_empty());
    }
    assert_eq!(head("HTTP/1.1 200 \u{e9}\t x\r\n\r\n").status, 200);
    assert_eq!(head("HTTP/1.7 200 OK\r\n\r\n").version, Version::Http11);
}

#[test]
fn rfc9112_5_field_lines_are_as_strict_as_in_requests() {
    let cases = [
        ("A : b", ErrorKind::WhitespaceBeforeColon),
        ("Content-Length : 5", ErrorKind::WhitespaceBeforeColon),
        ("Transfer-Encoding : chunked", ErrorKind::WhitespaceBeforeColon),
        ("A: b\r\n c", ErrorKind::ObsFold),
        (" A: b", ErrorKind::WhitespaceBeforeField),
        (": b", ErrorKind::FieldNameInvalid),
        ("A b: c", ErrorKind::WhitespaceBeforeColon),
        ("A: b\0", ErrorKind::FieldValueInvalid),
        ("A: b\rSet-Cookie: c", ErrorKind::BareCr),
        ("A: b\nSet-Cookie: c", ErrorKind::BareLf),
        ("no colon", ErrorKind::WhitespaceBeforeColon),
        ("nocolon", ErrorKind::FieldNameInvalid),
    ];
    for (line, expected) in cases {
        let kind = refused(&format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"));
        // "A b:" has whitespace, but no colon behind it: both words are true.
        assert_eq!(kind, expected, "{line:?}");
    }
}

#[test]
fn rfc9112_6_3_message_body_length() {
    let with = |status: u16, lines: &str| format!("HTTP/1.1 {status} X\r\n{lines}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = "Content-Length: 7\r\n";
    assert_eq!(head(&with(200, chunked)).framing, Framing::Chunked);
    assert_eq!(head(&with(200, length)).framing, Framing::Length(7));
    let until_close = head(&with(200, ""));
    assert_eq!((until_close.framing, until_close.keep_alive), (Framing::UntilClose, false));
    assert_eq!(head(&with(404, "")).framing, Framing::UntilClose);

    // 1: HEAD, 1xx, 204, 304 end with the head, whatever it says.
    for lines in ["", length, chunked] {
        for text in [with(204, lines), with(304, lines), with(100, lines), with(103, lines)] {
            assert_eq!(head(&text).framing, Framing::Empty, "{text:?}");
        }
        let answer = head_for(Method::Head, &with(200, lines));
        assert_eq!((answer.framing, answer.keep_alive), (Framing::Empty, true));
    }
    // What a 204 must not carry is dropped, and a connection on which bytes may follow is not kept.
    let dropped = head(&with(204, length));
    assert!(!dropped.keep_alive && dropped.fields.iter().all(|field| field.hop));
    let zero = head(&with(204, "Content-Length: 0\r\n"));
    assert!(zero.keep_alive && zero.fields.iter().all(|field| field.hop));
    assert!(!head(&with(204, chunked)).keep_alive);
    // It is kept where it describes what GET would have got.
    assert!(head(&with(304, length)).fields.iter().all(|field| !field.hop));
    assert!(head_for(Method::Head, &with(200, length)).fields.iter().all(|field| !field.hop));

    // 2: a tunnel behind 2xx to CONNECT.
    let tunnel = head_for(Method::Connect, &with(200, length));
    assert!(tunnel.tunnel && tunnel.framing == Framing::Empty && tunnel.fields.iter().all(|field| field.hop));
    let refusal = head_for(Method::Connect, &with(403, length));
    assert!(!refusal.tunnel && refusal.framing == Framing::Length(7));
}

#[test]
fn ambiguous_framing_is_refused_even_without_a_body() {
    let cases = [
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", ErrorKind::LengthAndEncoding),
        ("Content-Length: 5\r\nContent-Length: 6", ErrorKind::ContentLengthConflict),
        ("Content-Length: 5\r\nContent-Length: 5", ErrorKind::ContentLengthDuplicate),
        ("Content-Length: 5, 6", ErrorKind::ContentLengthConflict),
        ("Content-Length: -1", ErrorKind::ContentLengthInvalid),
        ("Content-Length:", ErrorKind::ContentLengthInvalid),
        ("Transfer-Encoding: gzip", ErrorKind::TransferEncodingNotFinal),
        ("Transfer-Encoding: identity", ErrorKind::TransferEncodingNotFinal),
        ("Transfer-Encoding: gzip, chunked", ErrorKind::TransferEncodingUnknown),
        ("Transfer-Encoding: chunked, chunked", ErrorKind::TransferEncodingInvalid),
    ];
    for (lines, expected) in cases {
        for status in [200, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\n{lines}\r\n\r\n");
            assert_eq!(refused(&text), expected, "{text:?}");
        }
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), ErrorKind::TransferEncodingVersion);
    let repeated = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
    let tolerated = parse_for(Method::Get, repeated, Relaxations::ALL);
    let tolerated = tolerated.unwrap_or_else(|kind| panic!("{kind:?}"));
    let mut out = Vec::new();
    write::fields_kept(&mut out, repeated, &tolerated.fields, |_| false);
    assert_eq!(out, b"Content-Length: 5\r\n");
}

#[test]
fn rfc9112_9_3_persistence() {
    let with = |version: &str, lines: &str| format!("{version} 200 OK\r\nContent-Length: 0\r\n{lines}\r\n");
    assert!(head(&with("HTTP/1.1", "")).keep_alive);
    assert!(!head(&with("HTTP/1.1", "Connection: close\r\n")).keep_alive);
    assert!(!head(&with("HTTP/1.0", "")).keep_alive);
    assert!(head(&with("HTTP/1.0", "Connection: keep-alive\r\n")).keep_alive);
}

#[test]
fn rfc9110_15_2_interim_and_101() {
    for status in [100, 102, 103, 199] {
        assert!(head(&format!("HTTP/1.1 {status} X\r\n\r\n")).is_interim());
    }
    let switched = head("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert!(switched.tunnel && !switched.is_interim() && switched.upgrade.is_some());
    for lines in ["", "Upgrade: websocket\r\n", "Connection: upgrade\r\n"] {
        assert_eq!(refused(&format!("HTTP/1.1 101 X\r\n{lines}\r\n")), ErrorKind::UpgradeInvalid);
    }
    let two = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let first = head(two);
    assert!(first.is_interim());
    assert_eq!(head(&two[first.len as usize..]).status, 200);
}

#[test]
fn request_fields_mean_nothing_here() {
    let text = "HTTP/1.1 200 OK\r\nHost: a\r\nHost: b c\r\nExpect: x\r\nMax-Forwards: x\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(head(text).fields.len(), 5);
}

#[test]
fn limits() {
    let text = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    assert_eq!(refused(&text), ErrorKind::TooManyFields);
    let text = format!("HTTP/1.1 200 {}", "x".repeat(60 * 1024));
    assert_eq!(refused(&text), ErrorKind::HeadTooLarge);
}

#[test]
fn local_replies_are_read_as_written() {
    let reply = write::LocalReply {
        status: 503,
        content_type: "text/plain",
        body: b"no healthy upstream",
        fields: b"retry-after: 1\r\n",
        close: true,
        head_only: false,
    };
    let mut out = Vec::new();
    write::local_reply(&mut out, &reply);
    let text = String::from_utf8(out).unwrap_or_default();
    let parsed = head(&text);
    assert_eq!(parsed.status, 503);
    assert_eq!(parsed.reason.of(text.as_bytes()), b"Service Unavailable");
    assert_eq!(parsed.framing, Framing::Length(19));
    assert!(!parsed.keep_alive && text.ends_with("\r\n\r\nno healthy upstream"));

    let mut out = Vec::new();
    write::local_reply(&mut out, &write::LocalReply { head_only: true, close: false, ..reply });
    let text = String::from_utf8(out).unwrap_or_default();
    assert!(text.contains("content-length: 19\r\n") && text.ends_with("\r\n\r\n") && !text.contains("close"));

    let mut out = Vec::new();
    write::local_reply(&mut out, &write::LocalReply { status: 204, fields: b"", close: false, ..reply });
    assert_eq!(out, b"HTTP/1.1 204 No Content\r\n\r\n");
}
