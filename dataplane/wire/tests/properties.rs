//! Properties of the codecs over generated input: the invariants of the harness hold for bytes that look like the
//! protocol, right or wrong, and `parse(write(x)) == x`.

mod harness;

use proptest::collection::vec;
use proptest::prelude::*;
use ringway_wire::h1::{Body, BodyEvent, Limits, Relaxations, Status, parse_request, write};
use ringway_wire::http::{Framing, RequestHead};
use ringway_wire::proxy_protocol::{self, Addresses, Command, HeaderV2, write_v2};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Pieces of request heads, valid and hostile, glued together at random.
fn head_pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(LINES).prop_map(|line| line.as_bytes().to_vec()),
        1 => "[A-Za-z-]{1,12}: [ -~]{0,20}\r\n".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..4),
        1 => prop::sample::select(&["\r\n", "\n", "\r", " ", "\t", ",", ":", "\0"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (any::<bool>(), prop::sample::select(STARTS), vec(piece, 0..10), any::<bool>()).prop_map(
        |(with_host, start, pieces, ended)| {
            let mut bytes = start.as_bytes().to_vec();
            if with_host {
                bytes.extend_from_slice(b"Host: h\r\n");
            }
            bytes.extend(pieces.concat());
            if ended {
                bytes.extend_from_slice(b"\r\n");
            }
            bytes
        },
    )
}

const STARTS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "GET /a?b HTTP/1.1\r\n",
    "\r\nPOST http://a:1/b HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "CONNECT a:1 HTTP/1.1\r\n",
    "GET  /\u{e9} HTTP/1.0 \r\n",
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 204\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.0 304 \r\n",
    "HTTP/1.1 100 Continue\r\n",
    "HTTP/1.1 799 \u{e9}\r\n",
];

const LINES: &[&str] = &[
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close, x\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Sec-WebSocket-Key: a\r\n",
    "X: y\r\n",
    "X : y\r\n",
    "Fold: a\r\n b\r\n",
    "Bare: a\n",
    "Control: \u{1}a\u{7f}\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "Max-Forwards: 3\r\n",
    ": empty\r\n",
];

fn chunk_pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => (vec(any::<u8>(), 1..40), prop::sample::select(EXTENSIONS)).prop_map(|(data, extension)| {
            [format!("{:x}{extension}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        }),
        1 => prop::sample::select(&["0\r\n", "0\r\n\r\n", "0\r\nA: b\r\n\r\n", "\r\n", "5", "x", "\n", "ffffffffffffffff0\r\n"][..])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (
        vec(piece, 0..8),
        prop::sample::select(&["", "0\r\n\r\n", "0\r\nA: b\r\nHost: x\r\nB:c\r\n\r\nnext"][..]),
    )
        .prop_map(|(pieces, end)| [&pieces.concat(), end.as_bytes()].concat())
}

const EXTENSIONS: &[&str] = &["", "", "", ";a", " ; a = \"b;\\\"\" ;c=d", ";", ";a=", "  ", ";a b"];

/// Two addresses of one family.
fn socket_pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let ports = any::<(u16, u16)>();
    let v4 = any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (IpAddr::V4(a), IpAddr::V4(b)));
    let v6 = any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (IpAddr::V6(a), IpAddr::V6(b)));
    (prop_oneof![v4, v6], ports)
        .prop_map(|((a, b), (port_a, port_b))| (SocketAddr::new(a, port_a), SocketAddr::new(b, port_b)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn heads_hold_the_invariants(bytes in head_pieces()) {
        harness::h1_request(&bytes);
        harness::h1_response(&bytes);
    }

    #[test]
    fn chunks_hold_the_invariants(bytes in chunk_pieces()) {
        harness::chunked(&bytes);
    }

    #[test]
    fn arbitrary_bytes_hold_the_invariants(bytes in vec(any::<u8>(), 0..200)) {
        for (_, target) in harness::TARGETS {
            target(&bytes);
        }
    }

    #[test]
    fn a_written_request_is_read_as_written(
        method in "[A-Z]{1,16}",
        path in "/[a-z0-9/%._~-]{0,40}",
        fields in vec(("x-[A-Za-z0-9-]{0,15}", "([!-~\u{a0}-\u{ff}]([ -~\t]{0,30}[!-~])?)?"), 0..20),
        length in prop::option::of(0..1_000_000u64),
    ) {
        prop_assume!(method != "CONNECT" && method != "TRACE");
        let mut out = Vec::new();
        write::request_line(&mut out, method.as_bytes(), path.as_bytes());
        write::field(&mut out, b"host", b"example.com");
        for (name, value) in &fields {
            write::field(&mut out, name.as_bytes(), value.as_bytes());
        }
        match length {
            Some(length) => write::content_length(&mut out, length),
            None => write::transfer_encoding_chunked(&mut out),
        }
        write::end_of_head(&mut out);
        let mut head = RequestHead::new();
        let parsed = parse_request(&out, &mut 0, &Limits::DEFAULT, Relaxations::NONE, &mut head);
        prop_assert_eq!(parsed, Ok(Status::Complete(out.len())));
        prop_assert_eq!(head.method_span.of(&out), method.as_bytes());
        prop_assert_eq!(head.target.path.of(&out), path.as_bytes());
        prop_assert_eq!(head.framing, length.map_or(Framing::Chunked, Framing::Length));
        let read: Vec<_> = head.fields.iter().skip(1).take(fields.len())
            .map(|field| (field.name.of(&out).to_vec(), field.value.of(&out).to_vec())).collect();
        let written: Vec<_> = fields.iter()
            .map(|(name, value)| (name.clone().into_bytes(), value.clone().into_bytes())).collect();
        prop_assert_eq!(read, written);
    }

    #[test]
    fn bodies_of_known_length_end_where_they_should(total in 0..200u64, pieces in vec(0..50usize, 1..20)) {
        let mut body = Body::from_framing(Framing::Length(total), &Limits::DEFAULT);
        let mut seen = 0u64;
        for piece in pieces {
            let input = std::vec![0u8; piece];
            match body.decode(&input) {
                Ok(BodyEvent::Data { start: 0, end }) => seen += end as u64,
                Ok(BodyEvent::End { consumed: 0 }) => prop_assert_eq!(seen, total),
                Ok(BodyEvent::NeedMore { consumed: 0 }) => prop_assert!(piece == 0 && seen < total),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert_eq!(body.is_done(), seen == total);
        }
    }

    #[test]
    fn written_proxy_headers_are_read_as_written(
        (source, destination) in socket_pair(),
        stream in any::<bool>(),
        checksum in any::<bool>(),
        tlvs in vec((5..=255u8, vec(any::<u8>(), 0..60)), 0..5),
    ) {
        let addresses = if stream {
            Addresses::Tcp { source, destination }
        } else {
            Addresses::Udp { source, destination }
        };
        let tlvs: Vec<(u8, &[u8])> = tlvs.iter().map(|tlv| (tlv.0, tlv.1.as_slice())).collect();
        let mut out = Vec::new();
        let header = HeaderV2 { command: Command::Proxy, addresses, tlvs: &tlvs, checksum };
        prop_assert!(write_v2(&mut out, &header).is_ok());
        let Ok(Status::Complete(read)) = proxy_protocol::parse(&out, out.len()) else {
            return Err(TestCaseError::fail("not read"));
        };
        prop_assert_eq!(read.addresses, addresses);
        let read: Vec<(u8, &[u8])> = read.tlvs.iter().map(|tlv| (tlv.kind, tlv.value)).collect();
        prop_assert_eq!(&read[..tlvs.len()], &tlvs[..]);
        prop_assert_eq!(read.len(), tlvs.len() + usize::from(checksum));
    }
}
