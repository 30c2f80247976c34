//! Request heads: each case names its section of RFC 9112 or RFC 9110.

use ringway_wire::h1::{ErrorKind, Limits, Relaxations, Status, parse_request};
use ringway_wire::http::{FieldName, Framing, Method, RequestHead, TargetForm, Version};

fn parse(bytes: &[u8]) -> Result<Status<RequestHead>, ErrorKind> {
    parse_with(bytes, Relaxations::NONE)
}

fn parse_with(bytes: &[u8], relax: Relaxations) -> Result<Status<RequestHead>, ErrorKind> {
    let mut head = RequestHead::new();
    let mut scanned = 0;
    match parse_request(bytes, &mut scanned, &Limits::DEFAULT, relax, &mut head) {
        Ok(Status::Complete(_)) => Ok(Status::Complete(head)),
        Ok(Status::Partial) => Ok(Status::Partial),
        Err(error) => Err(error.kind),
    }
}

fn head(bytes: &[u8]) -> RequestHead {
    match parse(bytes) {
        Ok(Status::Complete(head)) => head,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
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
