//! Request heads: each case names its section of RFC 9112 or RFC 9110.

use ringway_wire::h1::{ErrorKind, Limits, Relaxations, Status, parse_request, write};
use ringway_wire::http::{FieldName, Framing, Method, RequestHead, TargetForm, Version};

fn parse_with(bytes: &[u8], relax: Relaxations) -> Result<Status<RequestHead>, ErrorKind> {
    let mut head = RequestHead::new();
    match parse_request(bytes, &mut 0, &Limits::DEFAULT, relax, &mut head) {
        Ok(Status::Complete(len)) => {
            assert_eq!(len, head.len as usize);
            Ok(Status::Complete(head))
        }
        Ok(Status::Partial) => Ok(Status::Partial),
        Err(error) => Err(error.kind),
    }
}

fn relaxed(bytes: &[u8], relax: Relaxations) -> RequestHead {
    match parse_with(bytes, relax) {
        Ok(Status::Complete(head)) => head,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn head(bytes: &[u8]) -> RequestHead {
    relaxed(bytes, Relaxations::NONE)
}

/// The error of a request made of this request line and these lines, each without its CRLF.
fn refused(bytes: &[u8]) -> ErrorKind {
    match parse_with(bytes, Relaxations::NONE) {
        Err(kind) => kind,
        Ok(Status::Partial) => panic!("{:?} is partial", String::from_utf8_lossy(bytes)),
        Ok(Status::Complete(_)) => panic!("{:?} is accepted", String::from_utf8_lossy(bytes)),
    }
}

/// A GET with `Host: h` and these further lines.
fn get_with(lines: &str) -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

fn post_with(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes()
}

#[test]
fn a_curl_request() {
    let bytes =
        b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent:curl/8\r\nAccept: \t*/* \r\n\r\nbody";
    let head = head(bytes);
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.method_span.of(bytes), b"GET");
    assert_eq!(head.target.form, TargetForm::Origin);
    assert_eq!(head.target.path.of(bytes), b"/a/b");
    assert_eq!(head.target.query.of(bytes), b"c=d");
    assert!(head.target.has_query);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.host.of(bytes), b"example.com:8080");
    assert_eq!(head.framing, Framing::Empty);
    assert!(head.keep_alive && !head.expect_continue && !head.websocket && head.upgrade.is_none());
    assert_eq!(head.len as usize, bytes.len() - 4);
    assert_eq!(head.fields.get(bytes, FieldName::Accept), Some(&b"*/*"[..]));
    assert_eq!(head.fields.find_value(bytes, b"USER-agent"), Some(&b"curl/8"[..]));
    assert!(head.tolerated.is_empty());
}

#[test]
fn rfc9112_2_2_lines() {
    // One empty line in front is ignored, a second is not.
    assert_eq!(head(b"\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n").len, 29);
    assert_eq!(refused(b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"), ErrorKind::MethodInvalid);
    assert_eq!(refused(b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n"), ErrorKind::BareCr);
    // Bare CR and bare LF.
    assert_eq!(refused(b"GET / HTTP/1.1\nHost: h\n\n"), ErrorKind::BareLf);
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: h\n\r\n"), ErrorKind::BareLf);
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: h\r\n\n"), ErrorKind::BareLf);
    assert_eq!(refused(b"GET / HTTP/1.1\rHost: h\r\n\r\n"), ErrorKind::BareCr);
    assert_eq!(refused(&get_with("A: b\rc\r\n")), ErrorKind::BareCr);
    assert_eq!(refused(&get_with("A: b\r\r\n")), ErrorKind::BareCr);
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: h\r\n\rX"), ErrorKind::BareCr);
    // Whitespace between the start line and the first field.
    assert_eq!(refused(b"GET / HTTP/1.1\r\n Host: h\r\n\r\n"), ErrorKind::WhitespaceBeforeField);
}

#[test]
fn rfc9112_3_request_line() {
    for line in ["GET  / HTTP/1.1", "GET /  HTTP/1.1", "GET / HTTP/1.1 ", "GET /", "GET", "GET / "] {
        let bytes = format!("{line}\r\nHost: h\r\n\r\n");
        let kind = refused(bytes.as_bytes());
        let expected =
            if line == "GET / " { ErrorKind::VersionInvalid } else { ErrorKind::RequestLineInvalid };
        assert_eq!(kind, expected, "{line}");
    }
    for line in [" GET / HTTP/1.1", "G@T / HTTP/1.1", "GET\t/ HTTP/1.1", "G\u{e9}T / HTTP/1.1", "\0"] {
        assert_eq!(refused(format!("{line}\r\n").as_bytes()), ErrorKind::MethodInvalid, "{line}");
    }
    let long = format!("{} / HTTP/1.1\r\n", "M".repeat(33));
    assert_eq!(refused(long.as_bytes()), ErrorKind::MethodTooLong);
    assert_eq!(ErrorKind::MethodTooLong.status(), 501);
    let own = head(b"PURGE / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(own.method, Method::Extension);
    assert_eq!(head(b"get / HTTP/1.1\r\nHost: h\r\n\r\n").method, Method::Extension, "methods have a case");
}

#[test]
fn rfc9112_2_3_version() {
    for version in
        ["http/1.1", "HTTP/1.", "HTTP/1.10", "HTTP/11", "HTTP/1,1", "HTTP /1.1", "HTTP/A.1", "XTTP/1.1"]
    {
        let kind = refused(format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes());
        assert_eq!(kind, ErrorKind::VersionInvalid, "{version}");
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/3.0", "HTTP/9.9"] {
        let kind = refused(format!("GET / {version}\r\nHost: h\r\n\r\n").as_bytes());
        assert_eq!((kind, kind.status()), (ErrorKind::VersionUnsupported, 505), "{version}");
    }
    // RFC 9110 section 6.2: a higher minor version is processed as ours.
    assert_eq!(head(b"GET / HTTP/1.9\r\nHost: h\r\n\r\n").version, Version::Http11);
    // The HTTP/2 preface is another protocol.
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ErrorKind::TargetFormInvalid);
}

#[test]
fn rfc9112_3_2_target_forms() {
    let bytes = b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(head(bytes).target.form, TargetForm::Asterisk);
    assert_eq!(refused(b"GET * HTTP/1.1\r\nHost: h\r\n\r\n"), ErrorKind::TargetFormInvalid);

    let bytes = b"CONNECT example.com:443 HTTP/1.1\r\nHost: other\r\n\r\n";
    let connect = head(bytes);
    assert_eq!(connect.target.form, TargetForm::Authority);
    assert_eq!(connect.host.of(bytes), b"example.com:443");
    assert!(connect.host_overridden);
    for target in ["/", "example.com", "example.com:", "http://example.com:443/", ":443", "a@b:1"] {
        let bytes = format!("CONNECT {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()), ErrorKind::TargetFormInvalid, "{target}");
    }
    assert_eq!(refused(b"GET example.com:80 HTTP/1.1\r\nHost: h\r\n\r\n"), ErrorKind::TargetFormInvalid);
    for target in ["ftp://h/", "http:/h/", "http:h", "a", "//", "mailto:a@b", "://h"] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        let result = parse_with(bytes.as_bytes(), Relaxations::NONE);
        if target == "//" {
            assert!(matches!(result, Ok(Status::Complete(_))), "an origin-form path of two slashes");
        } else {
            assert_eq!(result.map(|_| ()), Err(ErrorKind::TargetFormInvalid), "{target}");
        }
    }
}

#[test]
fn rfc9112_3_2_2_absolute_form_overrides_host() {
    let bytes = b"GET HTTP://a.example:81/p/q?r=/? HTTP/1.1\r\nHost: b.example\r\n\r\n";
    let head = head(bytes);
    assert_eq!(head.target.form, TargetForm::Absolute);
    assert_eq!(head.target.scheme.of(bytes), b"HTTP");
    assert_eq!(head.target.path.of(bytes), b"/p/q");
    assert_eq!(head.target.query.of(bytes), b"r=/?");
    assert_eq!(head.host.of(bytes), b"a.example:81");
    assert!(head.host_overridden);
    let mut out = Vec::new();
    write::request_line_of(&mut out, bytes, &head);
    assert_eq!(out, b"GET /p/q?r=/? HTTP/1.1\r\n");

    let cases = [
        ("GET http://a", "GET /"),
        ("GET http://a?", "GET /?"),
        ("GET http://a?b", "GET /?b"),
        ("OPTIONS http://a", "OPTIONS *"),
        ("OPTIONS http://a/", "OPTIONS /"),
        ("OPTIONS *", "OPTIONS *"),
        ("GET /a?b", "GET /a?b"),
        ("CONNECT a:1", "CONNECT a:1"),
    ];
    for (line, expected) in cases {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = self::head(bytes.as_bytes());
        assert_eq!(head.host_overridden, line.starts_with("CONNECT"), "{line}");
        let mut out = Vec::new();
        write::request_line_of(&mut out, bytes.as_bytes(), &head);
        assert_eq!(out, format!("{expected} HTTP/1.1\r\n").as_bytes());
    }
    assert_eq!(refused(b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n"), ErrorKind::TargetUserinfo);
    assert_eq!(refused(b"GET http:///p HTTP/1.1\r\nHost: a\r\n\r\n"), ErrorKind::TargetInvalid);
    assert_eq!(refused(b"GET http://a:x/p HTTP/1.1\r\nHost: a\r\n\r\n"), ErrorKind::TargetInvalid);
    // The Host field is required all the same.
    assert_eq!(refused(b"GET http://a/ HTTP/1.1\r\n\r\n"), ErrorKind::HostMissing);
}

#[test]
fn rfc3986_target_characters() {
    for target in ["/a#b", "/a\"b", "/a<b", "/a\\b", "/a\u{e9}", "/a\tb", "/a\0b", "/\x7f", "#"] {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()), ErrorKind::TargetInvalid, "{target:?}");
    }
    // What browsers send unencoded.
    head(b"GET /a|b[1]{x}^y`z?filter[name]=|;%zz HTTP/1.1\r\nHost: h\r\n\r\n");
}

#[test]
fn rfc9112_3_2_host() {
    assert_eq!(refused(b"GET / HTTP/1.1\r\n\r\n"), ErrorKind::HostMissing);
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), ErrorKind::HostMissing);
    assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n"), ErrorKind::HostDuplicate);
    for host in
        ["a b", "a,b", "a/b", "a@b", "a:b", "a:1:2", "http://a", "[::1", "a\u{e9}", "a?b", "a#b", "a%2eb"]
    {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()), ErrorKind::HostInvalid, "{host}");
    }
    assert!(head(b"GET / HTTP/1.0\r\n\r\n").host.is_empty(), "HTTP/1.0 has none");
}

#[test]
fn rfc9112_5_field_lines() {
    assert_eq!(refused(&get_with("A : b\r\n")), ErrorKind::WhitespaceBeforeColon);
    assert_eq!(refused(&get_with("A\t: b\r\n")), ErrorKind::WhitespaceBeforeColon);
    assert_eq!(refused(&get_with(": b\r\n")), ErrorKind::FieldNameInvalid);
    assert_eq!(refused(&get_with("A\r\n")), ErrorKind::FieldNameInvalid);
    assert_eq!(refused(&get_with("A(b): c\r\n")), ErrorKind::FieldNameInvalid);
    assert_eq!(refused(&get_with("A\0: c\r\n")), ErrorKind::FieldNameInvalid);
    assert_eq!(refused(&get_with("\u{e9}: c\r\n")), ErrorKind::FieldNameInvalid);
    assert_eq!(refused(&get_with("A: b\r\n c\r\n")), ErrorKind::ObsFold);
    assert_eq!(refused(&get_with("A: b\r\n\tc\r\n")), ErrorKind::ObsFold);
    assert_eq!(refused(&get_with("A: b\r\n \r\n")), ErrorKind::ObsFold);
    for control in ["\0", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x7f"] {
        assert_eq!(refused(&get_with(&format!("A: b{control}c\r\n"))), ErrorKind::FieldValueInvalid);
    }
    // RFC 9110 section 5.5: obs-text is opaque, HTAB is whitespace, empty is a value.
    let bytes = get_with("A: \u{e9}\tb\r\nB:\r\nC: \t \r\n");
    let head = head(&bytes);
    assert_eq!(head.fields.find_value(&bytes, b"a"), Some("\u{e9}\tb".as_bytes()));
    assert_eq!(head.fields.find_value(&bytes, b"b"), Some(&b""[..]));
    assert_eq!(head.fields.find_value(&bytes, b"c"), Some(&b""[..]));
}

#[test]
fn rfc9112_6_content_length() {
    assert_eq!(head(&post_with("Content-Length: 5\r\n")).framing, Framing::Length(5));
    assert_eq!(head(&post_with("Content-Length: 0\r\n")).framing, Framing::Length(0));
    assert_eq!(
        head(&post_with("Content-Length: 9223372036854775807\r\n")).framing,
        Framing::Length(i64::MAX as u64)
    );
    assert_eq!(head(&post_with("")).framing, Framing::Empty);
    for value in
        ["", "+5", "-5", "5a", "0x5", "5 5", "5,", ",5", "5.0", "1e1", "9223372036854775808", "\u{665}"]
    {
        let kind = refused(&post_with(&format!("Content-Length: {value}\r\n")));
        assert_eq!(kind, ErrorKind::ContentLengthInvalid, "{value}");
    }
    assert_eq!(
        refused(&post_with("Content-Length: 99999999999999999999\r\n")),
        ErrorKind::ContentLengthInvalid
    );
    assert_eq!(refused(&post_with("Content-Length: 5, 5\r\n")), ErrorKind::ContentLengthDuplicate);
    assert_eq!(refused(&post_with("Content-Length: 5, 6\r\n")), ErrorKind::ContentLengthConflict);
    let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
    assert_eq!(refused(&post_with(twice)), ErrorKind::ContentLengthDuplicate);
    let differing = "Content-Length: 5\r\ncontent-length: 6\r\n";
    assert_eq!(refused(&post_with(differing)), ErrorKind::ContentLengthConflict);
}

#[test]
fn rfc9112_6_1_transfer_encoding() {
    assert_eq!(head(&post_with("Transfer-Encoding: chunked\r\n")).framing, Framing::Chunked);
    assert_eq!(head(&post_with("transfer-encoding:\tCHUNKED \r\n")).framing, Framing::Chunked);
    let cases = [
        ("chunked\r\nContent-Length: 5", ErrorKind::LengthAndEncoding),
        ("chunked\r\nContent-Length: 0", ErrorKind::LengthAndEncoding),
        ("gzip", ErrorKind::TransferEncodingNotFinal),
        ("identity", ErrorKind::TransferEncodingNotFinal),
        ("xchunked", ErrorKind::TransferEncodingNotFinal),
        ("chunked, gzip", ErrorKind::TransferEncodingNotFinal),
        ("chunked, identity", ErrorKind::TransferEncodingNotFinal),
        ("gzip, chunked", ErrorKind::TransferEncodingUnknown),
        ("identity, chunked", ErrorKind::TransferEncodingUnknown),
        ("gzip\r\nTransfer-Encoding: chunked", ErrorKind::TransferEncodingUnknown),
        ("chunked, chunked", ErrorKind::TransferEncodingInvalid),
        ("chunked\r\nTransfer-Encoding: chunked", ErrorKind::TransferEncodingInvalid),
        ("", ErrorKind::TransferEncodingInvalid),
        (",chunked", ErrorKind::TransferEncodingInvalid),
        ("chunked,", ErrorKind::TransferEncodingInvalid),
        ("chunked;a=b", ErrorKind::TransferEncodingInvalid),
        ("\"chunked\"", ErrorKind::TransferEncodingInvalid),
        ("chun ked", ErrorKind::TransferEncodingInvalid),
        ("\u{b}chunked", ErrorKind::FieldValueInvalid),
        ("\r\n chunked", ErrorKind::TransferEncodingInvalid),
    ];
    for (value, expected) in cases {
        assert_eq!(refused(&post_with(&format!("Transfer-Encoding: {value}\r\n"))), expected, "{value}");
    }
    assert_eq!(ErrorKind::TransferEncodingUnknown.status(), 501);
    assert_eq!(
        refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ErrorKind::TransferEncodingVersion
    );
    // Content-Length first, Transfer-Encoding behind it.
    let reversed = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(refused(&post_with(reversed)), ErrorKind::LengthAndEncoding);
}

#[test]
fn rfc9112_9_3_persistence() {
    assert!(head(&get_with("")).keep_alive);
    assert!(!head(&get_with("Connection: Close\r\n")).keep_alive);
    assert!(!head(&get_with("Connection: keep-alive, close\r\n")).keep_alive);
    assert!(!head(b"GET / HTTP/1.0\r\n\r\n").keep_alive);
    assert!(head(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive);
    assert!(!head(b"GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n").keep_alive);
}

#[test]
fn rfc9110_7_6_1_hop_by_hop() {
    let lines = "Connection: x-a, ,X-B\r\nX-A: 1\r\nKeep: 2\r\nx-b: 3\r\nTE: trailers\r\nKeep-Alive: 5\r\n\
                 Proxy-Connection: close\r\nUpgrade: h2c\r\nProxy-Authorization: Basic x\r\nAlso: 4\r\nLast: 5\r\n";
    let bytes = get_with(lines);
    let head = head(&bytes);
    assert!(head.te_trailers);
    let mut out = Vec::new();
    write::fields_kept(&mut out, &bytes, &head.fields, |field| field.id == FieldName::Host);
    assert_eq!(String::from_utf8(out).unwrap(), "Keep: 2\r\nAlso: 4\r\nLast: 5\r\n");

    assert_eq!(refused(&get_with("Connection: host\r\n")), ErrorKind::ConnectionProtected);
    let nominated = "Content-Length: 5\r\nConnection: content-length\r\n";
    assert_eq!(refused(&post_with(nominated)), ErrorKind::ConnectionProtected);
    assert_eq!(refused(&get_with("Connection: a b\r\n")), ErrorKind::ConnectionInvalid);
    assert_eq!(refused(&get_with("Connection: close;q\r\n")), ErrorKind::ConnectionInvalid);
    let many = format!("Connection: {}\r\n", "a,".repeat(33));
    assert_eq!(refused(&get_with(&many)), ErrorKind::ConnectionInvalid);
}

#[test]
fn names_that_shadow_ours_behind_an_underscore_are_dropped() {
    let lines = "X_Forwarded_For: 1\r\nContent_Length: 5\r\ntransfer-encoding_: x\r\nMy_Field: 2\r\nX_Y: 3\r\n\
                 X-Forwarded_Proto: https\r\nTransfer_Encoding: chunked\r\n";
    let bytes = get_with(lines);
    let head = head(&bytes);
    assert_eq!(head.framing, Framing::Empty);
    let mut out = Vec::new();
    write::fields_kept(&mut out, &bytes, &head.fields, |field| field.id == FieldName::Host);
    let expected = "transfer-encoding_: x\r\nMy_Field: 2\r\nX_Y: 3\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn rfc9110_7_8_upgrade() {
    let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: a\r\n";
    let bytes = get_with(websocket);
    let upgraded = head(&bytes);
    assert_eq!(upgraded.upgrade.unwrap().of(&bytes), b"WebSocket");
    assert!(upgraded.websocket);
    assert!(
        head(&get_with("Upgrade: websocket\r\nSec-WebSocket-Key: a\r\n")).upgrade.is_none(),
        "not nominated"
    );
    assert!(head(&get_with("Connection: upgrade\r\n")).upgrade.is_none());
    let h2c =
        head(&get_with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"));
    assert!(h2c.upgrade.is_some() && !h2c.websocket);
    assert!(h2c.fields.iter().filter(|field| !field.hop).count() == 1, "only Host goes on");
    let old = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n";
    assert!(head(old).upgrade.is_none(), "ignored in HTTP/1.0");
    assert!(!head(&post_with(websocket)).websocket, "GET only");
    assert!(!head(&get_with(&format!("{websocket}Content-Length: 3\r\n"))).websocket, "no body");
    assert!(head(&get_with(&format!("{websocket}Upgrade: h2c\r\n"))).upgrade.is_none(), "two lines");
}

#[test]
fn rfc9110_10_1_1_expect() {
    assert!(head(&post_with("Expect: 100-Continue\r\nContent-Length: 1\r\n")).expect_continue);
    assert!(head(&post_with("Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n")).expect_continue);
    assert!(!head(&post_with("Expect: 100-continue\r\n")).expect_continue, "no content");
    assert!(!head(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").expect_continue);
    for value in ["", "100", "100-continue, x", "continue", "200-ok"] {
        let kind = refused(&post_with(&format!("Expect: {value}\r\n")));
        assert_eq!((kind, kind.status()), (ErrorKind::ExpectationUnknown, 417), "{value}");
    }
}

#[test]
fn rfc9110_methods_with_rules_of_their_own() {
    let trace = |lines: &str| format!("TRACE / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes();
    assert_eq!(refused(&trace("Content-Length: 1\r\n")), ErrorKind::TraceWithContent);
    assert_eq!(head(&trace("Max-Forwards: 0\r\n")).max_forwards, Some(0));
    assert_eq!(head(&trace("Max-Forwards: 99999999999\r\n")).max_forwards, Some(u32::MAX));
    assert_eq!(refused(&trace("Max-Forwards: -1\r\n")), ErrorKind::MaxForwardsInvalid);
    assert_eq!(refused(&trace("Max-Forwards: 1\r\nMax-Forwards: 1\r\n")), ErrorKind::MaxForwardsInvalid);
    assert_eq!(head(&trace("")).max_forwards, None);
}

#[test]
fn limits_have_their_statuses() {
    let target = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 1));
    head(target(16 * 1024).as_bytes());
    let kind = refused(target(16 * 1024 + 1).as_bytes());
    assert_eq!((kind, kind.status()), (ErrorKind::TargetTooLong, 414));
    // Also while the end of the line is not here yet.
    assert_eq!(refused(format!("GET /{}", "a".repeat(17_000)).as_bytes()), ErrorKind::TargetTooLong);

    head(&get_with(&"A: b\r\n".repeat(99)));
    let kind = refused(&get_with(&"A: b\r\n".repeat(100)));
    assert_eq!((kind, kind.status()), (ErrorKind::TooManyFields, 431));

    let kind = refused(&get_with(&format!("A: {}\r\n", "b".repeat(32 * 1024))));
    assert_eq!((kind, kind.status()), (ErrorKind::FieldTooLarge, 431));
    assert_eq!(refused(&get_with(&format!("A: {}", "b".repeat(33 * 1024)))), ErrorKind::FieldTooLarge);

    let large = format!("A: {}\r\n", "b".repeat(6_000)).repeat(10);
    let fits = get_with(&large);
    assert!(fits.len() < 60 * 1024);
    head(&fits);
    let kind = refused(&get_with(&format!("{large}A: {}\r\n", "b".repeat(2_000))));
    assert_eq!((kind, kind.status()), (ErrorKind::HeadTooLarge, 431));
}

#[test]
fn relaxations_tolerate_name_and_normalise() {
    let cases: &[(Relaxations, &[u8], &str)] = &[
        (Relaxations::BARE_LF, b"GET / HTTP/1.1\nHost: h\nA: b\nB: c\r\n\n", "A: b\r\nB: c\r\n"),
        (
            Relaxations::OBS_FOLD,
            b"GET / HTTP/1.1\r\nHost: h\r\nA:\r\n b\r\n\tc \r\nB: c\r\n\r\n",
            "A: b   c\r\nB: c\r\n",
        ),
        (Relaxations::WHITESPACE_BEFORE_COLON, b"GET / HTTP/1.1\r\nHost : h\r\nA \t: b\r\n\r\n", "A: b\r\n"),
        (Relaxations::HOST_MISSING, b"GET / HTTP/1.1\r\nA: b\r\n\r\n", "A: b\r\n"),
        (Relaxations::HOST_MISSING, b"GET / HTTP/1.1\r\nHost:\r\n\r\n", ""),
        (Relaxations::TARGET_CHARACTERS, b"GET /\xe9?\"<>\\ HTTP/1.1\r\nHost: h\r\n\r\n", ""),
        (
            Relaxations::DUPLICATE_CONTENT_LENGTH,
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5 , 5\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\n",
        ),
        (Relaxations::REQUEST_LINE_WHITESPACE, b"GET   /  HTTP/1.1 \r\nHost: h\r\n\r\n", ""),
        (
            Relaxations::CONTROL_IN_VALUE,
            b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x01c\x7fd\te\r\n\r\n",
            "A: b c d e\r\n",
        ),
    ];
    for (relaxation, bytes, expected) in cases {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            parse_with(bytes, Relaxations::ALL.without(*relaxation)).is_err(),
            "{text} needs {relaxation:?}"
        );
        for allowed in [*relaxation, Relaxations::ALL] {
            let head = relaxed(bytes, allowed);
            assert_eq!(head.tolerated, *relaxation, "{text}");
            let mut out = Vec::new();
            write::fields_kept(&mut out, bytes, &head.fields, |field| field.id == FieldName::Host);
            assert_eq!(String::from_utf8(out).unwrap(), *expected, "{text}");
        }
    }
}

#[test]
fn no_relaxation_opens_framing() {
    let bytes = [
        post_with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
        post_with("Content-Length: 5\r\nContent-Length: 6\r\n"),
        post_with("Content-Length: 5,6\r\n"),
        post_with("Content-Length:\r\n 5\r\n"),
        post_with("Transfer-Encoding:\r\n chunked\r\n"),
        post_with("Transfer-Encoding: chunked\r\n \r\n"),
        post_with("Transfer-Encoding: \x0bchunked\r\n"),
        get_with("Connection: upgrade\r\nUpgrade: a\x01b\r\n"),
        get_with("Connection: close\x01\r\n"),
        post_with("A: b\0c\r\n"),
        post_with("A: b\rTransfer-Encoding: chunked\r\n"),
        b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_vec(),
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
    ];
    for bytes in bytes {
        let result = parse_with(&bytes, Relaxations::ALL);
        assert!(result.is_err(), "{:?} is tolerated", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn pipelining_falls_out_of_lengths() {
    let bytes = b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let first = head(bytes);
    let rest = &bytes[first.len as usize..];
    let second = head(rest);
    assert_eq!(first.target.path.of(bytes), b"/1");
    assert_eq!(second.target.path.of(rest), b"/2");
    assert_eq!(second.len as usize, rest.len());
}

#[test]
fn every_error_has_its_own_word_and_a_client_status() {
    let mut words: Vec<_> = ErrorKind::ALL.iter().map(|kind| kind.reason()).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), ErrorKind::ALL.len());
    for kind in ErrorKind::ALL {
        assert!((400..600).contains(&kind.status()) && kind.rfc().starts_with("RFC "));
    }
}
