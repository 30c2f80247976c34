//! ClientHellos built by hand from RFC 8446 section 4.1.2.

use super::*;

fn v8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

fn v16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &v16(body)].concat()
}

fn sni(name: &[u8]) -> Vec<u8> {
    extension(0, &v16(&[&[0], &v16(name)[..]].concat()))
}

fn alpn(names: &[&[u8]]) -> Vec<u8> {
    extension(16, &v16(&names.iter().flat_map(|name| v8(name)).collect::<Vec<_>>()))
}

fn versions(list: &[u16]) -> Vec<u8> {
    extension(43, &v8(&list.iter().flat_map(|version| version.to_be_bytes()).collect::<Vec<_>>()))
}

/// The message with these extension bytes; `None` leaves the whole extension vector out.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(v8(&[9; 32]));
    body.extend(v16(&[0x13, 0x01, 0x13, 0x02]));
    body.extend(v8(&[0]));
    if let Some(extensions) = extensions {
        body.extend(v16(extensions));
    }
    let len = (body.len() as u32).to_be_bytes();
    [&[1, len[1], len[2], len[3]], &body[..]].concat()
}

fn records(message: &[u8], fragment: usize) -> Vec<u8> {
    message.chunks(fragment).flat_map(|part| [&[22, 3, 1], &v16(part)[..]].concat()).collect()
}

fn outcome(bytes: &[u8]) -> Result<Status<usize>, HelloError> {
    parse(bytes, &HelloLimits::DEFAULT, &mut ClientHello::new())
}

fn usual() -> Vec<u8> {
    let parts = [
        extension(0x0a0a, &[]),
        sni(b"Example.com"),
        alpn(&[b"h2", b"http/1.1"]),
        versions(&[0x0304, 0x0303]),
    ];
    message(Some(&parts.concat()))
}

#[test]
fn any_fragmentation_and_any_split_give_the_same() {
    let message = usual();
    for fragment in [1, 2, 3, 5, 40, 100, 16_384] {
        let bytes = records(&message, fragment);
        let mut hello = ClientHello::new();
        for split in 0..bytes.len() {
            assert_eq!(parse(&bytes[..split], &HelloLimits::DEFAULT, &mut hello), Ok(Status::Partial));
        }
        let followed = [&bytes[..], &[20, 3, 3, 0, 1, 1]].concat();
        assert_eq!(parse(&followed, &HelloLimits::DEFAULT, &mut hello), Ok(Status::Complete(bytes.len())));
        assert_eq!(hello.server_name(), Some("Example.com"));
        assert_eq!(hello.alpn().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
        assert_eq!(hello.versions().collect::<Vec<_>>(), [0x0304, 0x0303]);
    }
}

#[test]
fn an_old_hello_without_extensions() {
    let bytes = records(&message(None), 16_384);
    let mut hello = ClientHello::new();
    assert!(matches!(parse(&bytes, &HelloLimits::DEFAULT, &mut hello), Ok(Status::Complete(_))));
    assert_eq!(hello.server_name(), None);
    assert_eq!(hello.alpn().count(), 0);
    assert_eq!(hello.versions().collect::<Vec<_>>(), [0x0303]);
}

#[test]
fn plain_text_is_told_apart_at_once() {
    let not_tls: [&[u8]; 5] = [b"G", b"SSH-2.0", &[0x80, 0x2e, 1], &[22, 2], &[22, 3, 1, 0xff, 0xff]];
    for bytes in not_tls {
        assert_eq!(outcome(bytes), Err(HelloError::NotTls), "{bytes:?}");
    }
    assert_eq!(outcome(&[22, 3, 1, 0, 1, 2]), Err(HelloError::Malformed), "a ServerHello");
    assert_eq!(outcome(b""), Ok(Status::Partial));
}

#[test]
fn malformed_extensions() {
    let broken = [
        [sni(b"a"), sni(b"a")].concat(),
        [alpn(&[b"h2"]), alpn(&[b"h2"])].concat(),
        sni(b""),
        sni(b"a b"),
        sni(b"a\0b"),
        sni(&[b'a'; 256]),
        extension(0, &[]),
        extension(0, &v16(&[&[1], &v16(b"a")[..]].concat())),
        extension(0, &v16(&[[&[0], &v16(b"a")[..]].concat(), [&[0], &v16(b"b")[..]].concat()].concat())),
        extension(0, &[v16(&[&[0], &v16(b"a")[..]].concat()), vec![0]].concat()),
        alpn(&[]),
        alpn(&[b""]),
        extension(16, &[0, 3, 2, b'h', b'2', 0]),
        versions(&[]),
        extension(43, &[3, 3, 4, 3]),
        vec![0, 16, 0, 9, 1],
        vec![0],
    ];
    for extensions in broken {
        let bytes = records(&message(Some(&extensions)), 16_384);
        assert_eq!(outcome(&bytes), Err(HelloError::Malformed), "{extensions:?}");
    }
}

#[test]
fn bytes_behind_the_hello_or_missing_in_it() {
    let mut longer = usual();
    longer.push(0);
    assert_eq!(outcome(&records(&longer, 16_384)), Err(HelloError::Malformed), "a byte behind the message");
    let mut padded = usual();
    padded.push(0);
    let len = (padded.len() as u32 - 4).to_be_bytes();
    padded[1..4].copy_from_slice(&len[1..]);
    assert_eq!(
        outcome(&records(&padded, 16_384)),
        Err(HelloError::Malformed),
        "a byte behind the extensions"
    );
    assert_eq!(outcome(&records(&[1, 0, 0, 4, 3, 3, 0, 0], 16_384)), Err(HelloError::Malformed));
    let alert_between = [records(&usual()[..10], 10), vec![21, 3, 3, 0, 2, 1, 0]].concat();
    assert_eq!(outcome(&alert_between), Err(HelloError::Malformed));
    let empty_record = [records(&usual()[..10], 10), vec![22, 3, 3, 0, 0]].concat();
    assert_eq!(outcome(&empty_record), Err(HelloError::Malformed));
}

#[test]
fn limits_hold_before_the_bytes_arrive() {
    assert_eq!(outcome(&[22, 3, 1, 0, 200, 1, 0, 0x80, 1]), Err(HelloError::TooLarge));
    let padding = message(Some(&extension(21, &vec![0; 20_000])));
    assert!(matches!(outcome(&records(&padding, 16_384)), Ok(Status::Complete(_))), "over one record");
    assert_eq!(outcome(&records(&padding, 1)), Err(HelloError::TooLarge), "six bytes on the wire for each");
}
