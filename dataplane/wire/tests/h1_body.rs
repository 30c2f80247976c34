//! Chunked bodies by RFC 9112 section 7.1, and what is written.

use ringway_wire::h1::{Body, BodyEvent, ChunkedDecoder, ErrorKind, Limits, write};
use ringway_wire::http::Framing;

/// Data and trailers of a whole chunked body.
fn decode(bytes: &[u8]) -> Result<(Vec<u8>, String, usize), ErrorKind> {
    let mut decoder = ChunkedDecoder::new(&Limits::DEFAULT);
    let mut buf = bytes.to_vec();
    let progress = decoder.decode_in_place(&mut buf).map_err(|error| error.kind)?;
    assert!(progress.done, "{:?} is not whole", String::from_utf8_lossy(bytes));
    let trailers = String::from_utf8_lossy(decoder.trailers()).into_owned();
    Ok((buf[progress.data].to_vec(), trailers, progress.consumed))
}

fn refused(text: &str) -> ErrorKind {
    let mut decoder = ChunkedDecoder::new(&Limits::DEFAULT);
    let mut buf = text.as_bytes().to_vec();
    match decoder.decode_in_place(&mut buf) {
        Err(error) => error.kind,
        Ok(progress) => panic!("{text:?}: {progress:?}"),
    }
}

#[test]
fn rfc9112_7_1_chunks() {
    assert_eq!(decode(b"0\r\n\r\n"), Ok((vec![], String::new(), 5)));
    assert_eq!(decode(b"000\r\n\r\nnext"), Ok((vec![], String::new(), 7)));
    let bytes = b"4\r\nWiki\r\n5\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\n\r\n";
    assert_eq!(decode(bytes).map(|body| body.0), Ok(b"Wikipedia in\r\n\r\nchunks.".to_vec()));
    let upper_and_padded = b"00000A\r\n0123456789\r\n0\r\n\r\n";
    assert_eq!(decode(upper_and_padded).map(|body| body.0), Ok(b"0123456789".to_vec()));
}

#[test]
fn sizes() {
    for size in ["", "0x5", "-5", "+5", "g", "5g", " 5", "\u{665}", "_1", "1_0"] {
        assert_eq!(refused(&format!("{size}\r\nabcde\r\n")), ErrorKind::ChunkSizeInvalid, "{size:?}");
    }
    for size in ["8000000000000000", "FFFFFFFFFFFFFFFF", "10000000000000000", "00000000000000005"] {
        assert_eq!(refused(&format!("{size}\r\n")), ErrorKind::ChunkSizeTooLarge, "{size}");
    }
    let mut largest = ChunkedDecoder::new(&Limits::DEFAULT);
    let event = largest.decode(b"7fffffffffffffff\r\nab");
    assert_eq!(event, Ok(BodyEvent::Data { start: 18, end: 20 }));
}

#[test]
fn line_endings_are_exact() {
    assert_eq!(refused("5\nabcde\r\n"), ErrorKind::BareLf);
    assert_eq!(refused("5\r\rabcde\r\n"), ErrorKind::BareCr);
    assert_eq!(refused("5 \r\nabcde\r\n"), ErrorKind::ChunkExtensionInvalid);
    assert_eq!(refused("5;a\nabcde\r\n"), ErrorKind::ChunkExtensionInvalid);
    assert_eq!(refused("0\r\n\rX"), ErrorKind::BareCr);
    assert_eq!(refused("0\r\n\nGET /"), ErrorKind::BareLf);
    // Data longer or shorter than its size.
    for text in
        ["5\r\nabcdef\r\n0\r\n\r\n", "5\r\nabcd\r\n0\r\n\r\n", "5\r\nabcde\n0\r\n\r\n", "5\r\nabcde0\r\n\r\n"]
    {
        assert_eq!(refused(text), ErrorKind::ChunkDataInvalid, "{text:?}");
    }
}

#[test]
fn rfc9112_7_1_1_extensions() {
    for extension in [";a", ";a=b", " ; a = b\t;c", ";a=\"b;\\\"\r\"", ";a=\"\";b"] {
        let text = format!("1{extension}\r\nx\r\n0{extension}\r\n\r\n");
        if extension.contains('\r') {
            assert_eq!(refused(&text), ErrorKind::ChunkExtensionInvalid, "a line break in quotes");
        } else {
            assert_eq!(decode(text.as_bytes()).map(|body| body.0), Ok(b"x".to_vec()), "{extension}");
        }
    }
    for extension in [
        ";",
        ";;",
        ";a=",
        ";=b",
        "; ",
        ";a b",
        ";a=b c",
        ";a=\"b",
        ";a=\"b\"c",
        ";a\0",
        ";a ",
        " a",
        ";\u{e9}",
    ] {
        assert_eq!(
            refused(&format!("1{extension}\r\nx\r\n")),
            ErrorKind::ChunkExtensionInvalid,
            "{extension:?}"
        );
    }
    // Bounded each, and all together unless there is data to show for them.
    let kind = refused(&format!("1;{}", "a".repeat(5_000)));
    assert_eq!(kind, ErrorKind::ChunkExtensionTooLarge);
    let flood = format!("1;{}\r\nx\r\n", "a".repeat(100)).repeat(50);
    assert_eq!(refused(&flood), ErrorKind::ChunkExtensionTooLarge);
    let signed = format!("400;sig={}\r\n{}\r\n", "a".repeat(100), "x".repeat(1024)).repeat(500);
    assert_eq!(decode(format!("{signed}0\r\n\r\n").as_bytes()).map(|body| body.0.len()), Ok(512_000));
}

#[test]
fn rfc9112_7_1_2_trailers() {
    let text = "1\r\nx\r\n0\r\nGrpc-Status:  0 \r\nX-Sum:abc\r\n\r\nnext";
    let (data, trailers, end) = decode(text.as_bytes()).unwrap_or_default();
    assert_eq!((data.as_slice(), end), (&b"x"[..], text.len() - 4));
    assert_eq!(trailers, "Grpc-Status: 0\r\nX-Sum: abc\r\n");
    let mut out = Vec::new();
    write::last_chunk(&mut out, trailers.as_bytes());
    assert_eq!(out, b"0\r\nGrpc-Status: 0\r\nX-Sum: abc\r\n\r\n");
}

#[test]
fn rfc9110_6_5_1_forbidden_trailers_are_dropped() {
    for name in [
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "Content-Type",
        "Content-Encoding",
        "Trailer",
        "Cache-Control",
        "Expect",
        "X-Forwarded-For",
        "Upgrade",
        "TE",
        "Max-Forwards",
        "Range",
        "Location",
        "Proxy-Authorization",
    ] {
        let text = format!("0\r\n{name}: 5\r\nX: y\r\n\r\n");
        assert_eq!(decode(text.as_bytes()).map(|body| body.1), Ok("X: y\r\n".to_owned()), "{name}");
    }
}

#[test]
fn trailers_are_as_strict_as_fields() {
    let cases = [
        ("A : b\r\n\r\n", ErrorKind::WhitespaceBeforeColon),
        ("A: b\r\n c\r\n\r\n", ErrorKind::ObsFold),
        (" A: b\r\n\r\n", ErrorKind::ObsFold),
        ("A: b\n\r\n", ErrorKind::BareLf),
        ("A: b\r\n\n", ErrorKind::BareLf),
        ("A: b\rc\r\n\r\n", ErrorKind::BareCr),
        ("A: b\0\r\n\r\n", ErrorKind::FieldValueInvalid),
        ("GET / HTTP/1.1\r\n\r\n", ErrorKind::WhitespaceBeforeColon),
        ("nocolon\r\n\r\n", ErrorKind::FieldNameInvalid),
    ];
    for (section, expected) in cases {
        assert_eq!(refused(&format!("0\r\n{section}")), expected, "{section:?}");
    }
    let many = "A: b\r\n".repeat(33);
    assert_eq!(refused(&format!("0\r\n{many}\r\n")), ErrorKind::TooManyFields);
    let large = "x".repeat(9_000);
    assert_eq!(refused(&format!("0\r\nA: {large}")), ErrorKind::TrailerTooLarge);
}

#[test]
fn in_place_leaves_room_and_the_next_message_alone() {
    let mut decoder = ChunkedDecoder::new(&Limits::DEFAULT);
    let mut buf = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nHTTP/1.1 ".to_vec();
    let progress = decoder.decode_in_place(&mut buf).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(progress.data, 3..8);
    assert_eq!((progress.consumed, progress.done), (20, true));
    assert_eq!(&buf[20..], b"HTTP/1.1 ");
    buf[8..15].copy_from_slice(b"\r\n0\r\n\r\n");
    assert_eq!(&buf[3..15], b"abcde\r\n0\r\n\r\n");
    assert_eq!(write::chunk_prefix(5).as_bytes(), b"5\r\n");
}

#[test]
fn other_framings() {
    let mut until_close = Body::from_framing(Framing::UntilClose, &Limits::DEFAULT);
    assert_eq!(until_close.decode(b"abc"), Ok(BodyEvent::Data { start: 0, end: 3 }));
    assert!(!until_close.is_done() && until_close.is_whole_at_close());
    let mut length = Body::from_framing(Framing::Length(4), &Limits::DEFAULT);
    assert_eq!(length.decode(b"abc"), Ok(BodyEvent::Data { start: 0, end: 3 }));
    assert!(!length.is_done() && !length.is_whole_at_close());
    assert_eq!(length.decode(b"dGET"), Ok(BodyEvent::Data { start: 0, end: 1 }));
    assert_eq!(length.decode(b"GET"), Ok(BodyEvent::End { consumed: 0 }));
    let mut empty = Body::from_framing(Framing::Empty, &Limits::DEFAULT);
    assert_eq!(empty.decode(b"GET"), Ok(BodyEvent::End { consumed: 0 }));
    assert!(empty.is_done() && empty.trailers().is_empty());
}

#[test]
fn numbers() {
    for (number, text) in
        [(0, "0"), (7, "7"), (10, "10"), (1234567890, "1234567890"), (u64::MAX, "18446744073709551615")]
    {
        let mut out = Vec::new();
        write::decimal(&mut out, number);
        assert_eq!(out, text.as_bytes());
    }
    for len in [1usize, 9, 10, 15, 16, 255, 4096, 0xdead_beef, usize::MAX] {
        assert_eq!(write::chunk_prefix(len).as_bytes(), format!("{len:x}\r\n").as_bytes());
    }
    assert_eq!(write::reason_phrase(404), "Not Found");
    assert_eq!(write::reason_phrase(599), "");
}
