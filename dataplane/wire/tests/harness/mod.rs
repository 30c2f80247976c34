//! What must hold for every input of each codec, as functions of bytes: shared by the fuzz targets, the replay of their
//! corpora and the property tests. A violated invariant panics.

#![allow(dead_code, unreachable_pub)] // Each user takes the targets it needs; the fuzz targets include this file.

use ringway_wire::client_hello::{self, ClientHello, HelloLimits};
use ringway_wire::h1::{
    Body, BodyEvent, ChunkedDecoder, ErrorKind, Limits, ParseError, Relaxations, Status, parse_request,
    parse_response, write,
};
use ringway_wire::http::{FieldName, Fields, Framing, Method, RequestHead, ResponseHead};
use ringway_wire::proxy_protocol::{self, Addresses, HeaderV2, HeaderVersion, write_v1, write_v2};

/// A target's name and function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets; each has a corpus of its name.
pub const TARGETS: &[Target] = &[
    ("h1_request", h1_request),
    ("h1_response", h1_response),
    ("chunked", chunked),
    ("proxy_protocol", proxy_protocol),
    ("client_hello", client_hello),
];

/// Small limits, so that short inputs reach them.
const LIMITS: Limits = Limits {
    head_bytes_max: 2048,
    method_bytes_max: 16,
    target_bytes_max: 256,
    fields_max: 24,
    field_bytes_max: 512,
    connection_options_max: 8,
    chunk_extension_bytes_max: 32,
    trailer_bytes_max: 256,
    trailer_fields_max: 8,
};

/// Relaxations whose result is forwarded in a form that strictness refuses.
const NOT_NORMALISED: Relaxations =
    Relaxations::TARGET_CHARACTERS.union(Relaxations::HOST_MISSING).union(Relaxations::STATUS_RANGE);

/// Request heads: same answer for any split; a head that is forwarded is strict and means the same.
pub fn h1_request(data: &[u8]) {
    for relax in [Relaxations::NONE, Relaxations::ALL] {
        let mut head = RequestHead::new();
        let whole = parse_request(data, &mut 0, &LIMITS, relax, &mut head);
        let mut split_head = RequestHead::new();
        check_splits(data, &whole, |prefix, scanned| {
            parse_request(prefix, scanned, &LIMITS, relax, &mut split_head)
        });
        let Ok(Status::Complete(len)) = whole else { continue };
        assert!(len == head.len as usize && len <= data.len());
        assert!(relax.contains(head.tolerated));
        check_spans(data, &head.fields, len);
        let forwarded = forward_request(data, &head);
        let mut again = RequestHead::new();
        let allowed = head.tolerated.without(head.tolerated.without(NOT_NORMALISED));
        let result = parse_request(&forwarded, &mut 0, &Limits::DEFAULT, allowed, &mut again);
        assert_eq!(result, Ok(Status::Complete(forwarded.len())), "{}", String::from_utf8_lossy(&forwarded));
        assert_eq!(again.framing, head.framing);
        assert!(head.host.is_empty() || again.host.of(&forwarded) == head.host.of(data));
        assert_eq!(forward_request(&forwarded, &again), forwarded, "a second proxy changes nothing");
    }
}

fn forward_request(data: &[u8], head: &RequestHead) -> Vec<u8> {
    let mut out = Vec::new();
    write::request_line_of(&mut out, data, head);
    // An overridden one is written anew. HTTP/1.0 may come without: what to send then is the engine's choice.
    let own_host = head.host_overridden || head.host.is_empty();
    if own_host {
        let host = if head.host.is_empty() { b"default" } else { head.host.of(data) };
        write::field(&mut out, b"Host", host);
    }
    write::fields_kept(&mut out, data, &head.fields, |field| own_host && field.id == FieldName::Host);
    if head.framing == Framing::Chunked {
        write::transfer_encoding_chunked(&mut out);
    }
    write::end_of_head(&mut out);
    out
}

/// Response heads, as requests.
pub fn h1_response(data: &[u8]) {
    let methods = [Method::Get, Method::Head, Method::Connect];
    for (relax, method) in [Relaxations::NONE, Relaxations::ALL].into_iter().zip(methods.into_iter().cycle())
    {
        let mut head = ResponseHead::new();
        let whole = parse_response(data, &mut 0, &LIMITS, relax, method, &mut head);
        let mut split_head = ResponseHead::new();
        check_splits(data, &whole, |prefix, scanned| {
            parse_response(prefix, scanned, &LIMITS, relax, method, &mut split_head)
        });
        let Ok(Status::Complete(len)) = whole else { continue };
        assert!(len == head.len as usize && len <= data.len());
        check_spans(data, &head.fields, len);
        let bodyless = method == Method::Head || head.tunnel || matches!(head.status, 100..=199 | 204 | 304);
        assert!(!bodyless || head.framing == Framing::Empty);
        assert!(head.framing != Framing::UntilClose || !head.keep_alive);
        let forwarded = forward_response(data, &head);
        let mut again = ResponseHead::new();
        let allowed = head.tolerated.without(head.tolerated.without(NOT_NORMALISED));
        let result = parse_response(&forwarded, &mut 0, &Limits::DEFAULT, allowed, method, &mut again);
        assert_eq!(result, Ok(Status::Complete(forwarded.len())), "{}", String::from_utf8_lossy(&forwarded));
        assert_eq!((again.framing, again.status), (head.framing, head.status));
        assert_eq!(forward_response(&forwarded, &again), forwarded, "a second proxy changes nothing");
    }
}

fn forward_response(data: &[u8], head: &ResponseHead) -> Vec<u8> {
    let mut out = Vec::new();
    write::status_line(&mut out, head.status, head.reason.of(data));
    write::fields_kept(&mut out, data, &head.fields, |_| false);
    if head.framing == Framing::Chunked {
        write::transfer_encoding_chunked(&mut out);
    }
    if head.status == 101 {
        let upgrade = head.upgrade.map_or(&b""[..], |span| span.of(data));
        write::field(&mut out, b"connection", b"upgrade");
        write::field(&mut out, b"upgrade", upgrade);
    }
    write::end_of_head(&mut out);
    out
}

/// Feeds growing prefixes and holds each answer against the one for the whole.
fn check_splits(
    data: &[u8],
    whole: &Result<Status<usize>, ParseError>,
    mut parse: impl FnMut(&[u8], &mut usize) -> Result<Status<usize>, ParseError>,
) {
    for step in [1, 7, 61] {
        let mut scanned = 0;
        let mut end = 0;
        let last = loop {
            end = (end + step).min(data.len());
            let result = parse(&data[..end], &mut scanned);
            if result != Ok(Status::Partial) || end == data.len() {
                break result;
            }
        };
        let line_open = data.last().is_some_and(|&byte| byte != b'\n');
        let told_later = last == Ok(Status::Partial) && whole.is_err() && line_open;
        assert!(last == *whole || told_later, "{whole:?} whole, {last:?} in steps of {step}");
    }
}

/// Every range lies in the head, lines follow each other, and values hold nothing that ends a line unless marked.
fn check_spans(data: &[u8], fields: &Fields, len: usize) {
    let mut end = 0;
    for field in fields {
        assert!(field.line.start >= end && field.line.end as usize <= len);
        end = field.line.end;
        let name = field.name.of(data);
        assert!(!name.is_empty() && field.name.start == field.line.start);
        assert!(field.value.start > field.name.end && field.value.end < field.line.end);
        let unclean = field.value.of(data).iter().any(|&byte| byte < b' ' && byte != b'\t');
        assert!(!unclean || field.rewrite);
        assert_eq!(FieldName::lookup(name), field.id);
    }
}

/// Chunked bodies: same data, end and error for any split and in place; encoding the data again decodes to it.
pub fn chunked(data: &[u8]) {
    let whole = decode_in_steps(data, data.len().max(1));
    for step in [1, 3, 64] {
        assert_eq!(decode_in_steps(data, step), whole, "steps of {step}");
        assert_eq!(decode_in_place(data, step), whole, "in place, steps of {step}");
    }
    assert_eq!(decode_in_place(data, data.len().max(1)), whole);
    if let Ok(Decoded { body, trailers, end: Some(_) }) = &whole {
        let mut encoded = Vec::new();
        for piece in body.chunks(11) {
            encoded.extend_from_slice(write::chunk_prefix(piece.len()).as_bytes());
            encoded.extend_from_slice(piece);
            encoded.extend_from_slice(write::chunk_suffix());
        }
        write::last_chunk(&mut encoded, trailers);
        // Normal form adds a space to each trailer line.
        let limits = Limits { trailer_bytes_max: 2 * LIMITS.trailer_bytes_max, ..LIMITS };
        let again = decode_with(&encoded, 5, &limits).expect("what we write is strict");
        assert_eq!((&again.body, &again.trailers, again.end), (body, trailers, Some(encoded.len())));
    }
}

/// A body as decoded.
#[derive(PartialEq, Eq, Debug)]
struct Decoded {
    body: Vec<u8>,
    trailers: Vec<u8>,
    /// Bytes up to the end of the body, if it came.
    end: Option<usize>,
}

fn decode_in_steps(data: &[u8], step: usize) -> Result<Decoded, ErrorKind> {
    decode_with(data, step, &LIMITS)
}

fn decode_with(data: &[u8], step: usize, limits: &Limits) -> Result<Decoded, ErrorKind> {
    let mut decoder = Body::from_framing(Framing::Chunked, limits);
    let mut body = Vec::new();
    let mut offset = 0;
    for piece in data.chunks(step) {
        let mut used = 0;
        while !decoder.is_done() {
            match decoder.decode(&piece[used..]).map_err(|error| error.kind)? {
                BodyEvent::Data { start, end } => {
                    assert!(start < end);
                    body.extend_from_slice(&piece[used..][start..end]);
                    used += end;
                }
                BodyEvent::End { consumed } => used += consumed,
                BodyEvent::NeedMore { consumed } => {
                    assert_eq!(used + consumed, piece.len());
                    break;
                }
            }
        }
        if decoder.is_done() {
            return Ok(Decoded { body, trailers: decoder.trailers().to_vec(), end: Some(offset + used) });
        }
        offset += piece.len();
    }
    Ok(Decoded { body, trailers: Vec::new(), end: None })
}

fn decode_in_place(data: &[u8], step: usize) -> Result<Decoded, ErrorKind> {
    let mut decoder = ChunkedDecoder::new(&LIMITS);
    let mut body = Vec::new();
    let mut offset = 0;
    for piece in data.chunks(step) {
        let mut buf = piece.to_vec();
        let progress = decoder.decode_in_place(&mut buf).map_err(|error| error.kind)?;
        assert_eq!(
            buf[progress.consumed..],
            piece[progress.consumed..],
            "what follows the body is untouched"
        );
        assert!(progress.data.end <= progress.consumed);
        body.extend_from_slice(&buf[progress.data.clone()]);
        if progress.done {
            assert!(progress.data.is_empty() || progress.consumed - progress.data.end >= 7);
            let end = Some(offset + progress.consumed);
            return Ok(Decoded { body, trailers: decoder.trailers().to_vec(), end });
        }
        assert_eq!(progress.consumed, piece.len());
        offset += piece.len();
    }
    Ok(Decoded { body, trailers: Vec::new(), end: None })
}

/// PROXY headers: every prefix of an accepted one is partial; writing what was read reads the same.
pub fn proxy_protocol(data: &[u8]) {
    const BYTES_MAX: usize = 1024;
    let parsed = proxy_protocol::parse(data, BYTES_MAX);
    for end in 0..data.len().min(BYTES_MAX) {
        match proxy_protocol::parse(&data[..end], BYTES_MAX) {
            Ok(Status::Partial) => {}
            earlier => {
                assert_eq!(earlier, parsed, "told at {end}");
                break;
            }
        }
    }
    let Ok(Status::Complete(header)) = parsed else { return };
    assert!(header.len <= data.len());
    let tlvs: Vec<(u8, &[u8])> = header.tlvs.iter().map(|tlv| (tlv.kind, tlv.value)).collect();
    assert!(tlvs.iter().map(|tlv| tlv.1.len() + 3).sum::<usize>() <= header.len);
    let _ = header.tlvs.ssl();
    let mut out = Vec::new();
    match (header.version, header.addresses) {
        (HeaderVersion::V1, Addresses::Tcp { source, destination }) => {
            write_v1(&mut out, Some((source, destination)));
        }
        (HeaderVersion::V1, _) => write_v1(&mut out, None),
        (HeaderVersion::V2, addresses) => {
            let plain: Vec<_> = tlvs.iter().copied().filter(|tlv| tlv.0 != 3).collect();
            let command = header.command;
            let again = HeaderV2 { command, addresses, tlvs: &plain, checksum: true };
            write_v2(&mut out, &again).expect("it was read");
        }
    }
    match proxy_protocol::parse(&out, BYTES_MAX + 16) {
        Ok(Status::Complete(again)) => {
            assert_eq!((again.addresses, again.command), (header.addresses, header.command));
            assert_eq!(again.len, out.len());
        }
        other => panic!("{other:?} for what we wrote"),
    }
}

/// ClientHellos: same answer for every split, and what is reported is well formed.
pub fn client_hello(data: &[u8]) {
    let limits = HelloLimits { message_bytes_max: 2048, wire_bytes_max: 4096 };
    let mut hello = ClientHello::new();
    let whole = client_hello::parse(data, &limits, &mut hello);
    if let Ok(Status::Complete(len)) = whole {
        assert!(len <= data.len());
        assert!(hello.server_name().is_none_or(|name| !name.is_empty() && name.len() <= 255));
        assert!(hello.alpn().all(|name| !name.is_empty()));
        assert!(hello.versions().count() > 0);
    }
    let mut split = ClientHello::new();
    for end in 0..data.len() {
        match client_hello::parse(&data[..end], &limits, &mut split) {
            Ok(Status::Partial) => {}
            earlier => {
                assert_eq!(earlier, whole, "told at {end}");
                break;
            }
        }
    }
}
