//! The fields a proxy adds about the path of a request: `X-Forwarded-*`, `Forwarded` (RFC 7239), `Via`, `X-Request-Id`.
//! Pure: addresses and random bits are arguments.
//!
//! One rule for all writers: unless the policy is [`FieldPolicy::Preserve`], the caller leaves the received lines of that
//! name out of what it copies, and the writer writes whatever stands in their place.

use crate::http::{FieldName, Fields, Version};
use std::io::Write;
use std::net::{IpAddr, Ipv6Addr};

/// What becomes of a forwarding field.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum FieldPolicy {
    /// Removed; none is written.
    Off,
    /// What came stays; list fields get our element behind it, single-valued fields are written only if none came.
    #[default]
    Append,
    /// What came is dropped, ours is written: for the edge of a network.
    Replace,
    /// Passed on as it came; nothing is added.
    Preserve,
}

impl FieldPolicy {
    /// Whether the received lines are to be left out of the copied fields.
    #[inline]
    pub fn drops_received(self) -> bool {
        self != FieldPolicy::Preserve
    }
}

/// `X-Forwarded-For`: lines joined into one list, the address of the peer behind it.
pub fn x_forwarded_for(out: &mut Vec<u8>, bytes: &[u8], fields: &Fields, peer: IpAddr, policy: FieldPolicy) {
    list_field(out, b"x-forwarded-for", bytes, fields, FieldName::XForwardedFor, policy, |out| {
        address(out, peer);
    });
}

/// `X-Forwarded-Proto` with the scheme the client used.
pub fn x_forwarded_proto(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &Fields,
    scheme: &[u8],
    policy: FieldPolicy,
) {
    single_field(out, b"x-forwarded-proto", bytes, fields, FieldName::XForwardedProto, scheme, policy);
}

/// `X-Forwarded-Host` with the authority the client asked for. Nothing of ours is written for an empty one.
pub fn x_forwarded_host(out: &mut Vec<u8>, bytes: &[u8], fields: &Fields, host: &[u8], policy: FieldPolicy) {
    single_field(out, b"x-forwarded-host", bytes, fields, FieldName::XForwardedHost, host, policy);
}

/// `Via` with our pseudonym (RFC 9110 section 7.6.3).
pub fn via(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &Fields,
    version: Version,
    pseudonym: &[u8],
    policy: FieldPolicy,
) {
    list_field(out, b"via", bytes, fields, FieldName::Via, policy, |out| {
        out.extend_from_slice(match version {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
        });
        out.extend_from_slice(pseudonym);
    });
}

/// One element of `Forwarded` (RFC 7239 section 4).
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The peer the request came from.
    pub peer: IpAddr,
    /// The address it came in on, if that is to be told.
    pub by: Option<IpAddr>,
    /// The authority asked for; left out if empty.
    pub host: &'a [u8],
    /// The scheme; left out if empty.
    pub proto: &'a [u8],
}

/// `Forwarded`: lines joined into one list, our element behind it.
pub fn forwarded(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &Fields,
    element: &Element<'_>,
    policy: FieldPolicy,
) {
    list_field(out, b"forwarded", bytes, fields, FieldName::Forwarded, policy, |out| {
        out.extend_from_slice(b"for=");
        node(out, element.peer);
        if let Some(by) = element.by {
            out.extend_from_slice(b";by=");
            node(out, by);
        }
        if !element.host.is_empty() {
            out.extend_from_slice(b";host=");
            token_or_quoted(out, element.host);
        }
        if !element.proto.is_empty() {
            out.extend_from_slice(b";proto=");
            token_or_quoted(out, element.proto);
        }
    });
}

/// The address of the client, `trusted_hops` proxies in front of us: 0 is the peer itself, `n` the n-th address from the
/// right of all `X-Forwarded-For` lines together. A list too short, or an entry there that is no address, leaves the
/// peer: what nobody trusted has written does not count.
pub fn client_address(bytes: &[u8], fields: &Fields, peer: IpAddr, trusted_hops: u32) -> IpAddr {
    if trusted_hops == 0 || !fields.has(FieldName::XForwardedFor) {
        return peer;
    }
    let entries = || {
        fields.all(FieldName::XForwardedFor).flat_map(|field| crate::h1::list_members(field.value.of(bytes)))
    };
    let index = entries().count().checked_sub(trusted_hops as usize);
    index.and_then(|index| entries().nth(index)).and_then(parse_address).unwrap_or(peer)
}

/// An address as found in `X-Forwarded-For`: `1.2.3.4`, `1.2.3.4:80`, `::1`, `[::1]`, `[::1]:80`, any of them quoted.
pub fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if let Some(rest) = text.strip_prefix('[') {
        let (literal, port) = rest.split_once(']')?;
        let port_valid =
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        return port_valid.then(|| literal.parse::<Ipv6Addr>().ok())?.map(IpAddr::V6);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address);
    }
    text.parse::<std::net::SocketAddrV4>().ok().map(|socket| IpAddr::V4(*socket.ip()))
}

/// The id of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestId<'a> {
    /// None is sent.
    None,
    /// The one that came.
    Received(&'a [u8]),
    /// A new one.
    Generated([u8; UUID_BYTES]),
}

impl RequestId<'_> {
    /// Its text; empty for [`RequestId::None`].
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            RequestId::None => &[],
            RequestId::Received(bytes) => bytes,
            RequestId::Generated(bytes) => bytes,
        }
    }
}

/// The id this request gets: the received one if the policy keeps it and it is one line of at most
/// [`REQUEST_ID_BYTES_MAX`] visible characters, else a UUIDv4 made of `random`. [`FieldPolicy::Preserve`] never makes one.
pub fn request_id<'a>(bytes: &'a [u8], fields: &Fields, random: u128, policy: FieldPolicy) -> RequestId<'a> {
    let received = fields.get(bytes, FieldName::XRequestId).filter(|value| is_plain_id(value));
    match (policy, received) {
        (FieldPolicy::Off, _) | (FieldPolicy::Preserve, None) => RequestId::None,
        (FieldPolicy::Append | FieldPolicy::Preserve, Some(value)) => RequestId::Received(value),
        (FieldPolicy::Append, None) | (FieldPolicy::Replace, _) => RequestId::Generated(uuid_v4(random)),
    }
}

/// `X-Request-Id`; nothing under [`FieldPolicy::Off`] and [`FieldPolicy::Preserve`].
pub fn x_request_id(out: &mut Vec<u8>, id: &RequestId<'_>, policy: FieldPolicy) {
    if policy != FieldPolicy::Preserve && *id != RequestId::None {
        crate::h1::write::field(out, b"x-request-id", id.as_bytes());
    }
}

/// A received request id longer than this is replaced.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// Bytes of a UUID in text form.
pub const UUID_BYTES: usize = 36;

/// The text of the UUIDv4 made of 122 of the given random bits (RFC 9562 section 5.4).
pub fn uuid_v4(random: u128) -> [u8; UUID_BYTES] {
    const VERSION_4: u128 = 0x4 << 76;
    const VARIANT: u128 = 0b10 << 62;
    let bits = random & !(0xf << 76) & !(0b11 << 62) | VERSION_4 | VARIANT;
    let mut text = [b'-'; UUID_BYTES];
    let mut shift = 128;
    for (index, slot) in text.iter_mut().enumerate() {
        if !matches!(index, 8 | 13 | 18 | 23) {
            shift -= 4;
            let digit = (bits >> shift) as u8 & 15;
            *slot = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
        }
    }
    text
}

fn is_plain_id(value: &[u8]) -> bool {
    !value.is_empty() && value.len() <= REQUEST_ID_BYTES_MAX && value.iter().all(u8::is_ascii_graphic)
}

/// Writes a list field by policy; `ours` writes our element.
fn list_field(
    out: &mut Vec<u8>,
    name: &[u8],
    bytes: &[u8],
    fields: &Fields,
    id: FieldName,
    policy: FieldPolicy,
    ours: impl FnOnce(&mut Vec<u8>),
) {
    if matches!(policy, FieldPolicy::Off | FieldPolicy::Preserve) {
        return;
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    if policy == FieldPolicy::Append && fields.has(id) {
        for field in fields.all(id).filter(|field| !field.hop && !field.value.is_empty()) {
            clean(out, field.value.of(bytes));
            out.extend_from_slice(b", ");
        }
    }
    ours(out);
    out.extend_from_slice(b"\r\n");
}

/// Writes a single-valued field by policy.
fn single_field(
    out: &mut Vec<u8>,
    name: &[u8],
    bytes: &[u8],
    fields: &Fields,
    id: FieldName,
    ours: &[u8],
    policy: FieldPolicy,
) {
    let received = fields.all(id).find(|field| !field.hop && !field.value.is_empty());
    let value = match (policy, received) {
        (FieldPolicy::Off | FieldPolicy::Preserve, _) => return,
        (FieldPolicy::Append, Some(field)) => field.value.of(bytes),
        (FieldPolicy::Append, None) | (FieldPolicy::Replace, _) => ours,
    };
    if value.is_empty() {
        return;
    }
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    clean(out, value);
    out.extend_from_slice(b"\r\n");
}

/// A received value; what a relaxation let through is written as SP.
fn clean(out: &mut Vec<u8>, value: &[u8]) {
    out.extend(value.iter().map(|&byte| if byte < b' ' || byte == 0x7f { b' ' } else { byte }));
}

/// An address in text. Writing to a `Vec` cannot fail.
fn address(out: &mut Vec<u8>, address: IpAddr) {
    let written = write!(out, "{}", address.to_canonical());
    debug_assert!(written.is_ok());
}

/// RFC 7239 section 6: IPv6 addresses in brackets and quotes.
fn node(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(_) => address(out, ip),
        IpAddr::V6(_) => {
            out.extend_from_slice(b"\"[");
            address(out, ip);
            out.extend_from_slice(b"]\"");
        }
    }
}

/// A `token` as it is, anything else as a `quoted-string` (RFC 9110 section 5.6.4).
fn token_or_quoted(out: &mut Vec<u8>, value: &[u8]) {
    if crate::h1::is_token(value) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(if byte < b' ' || byte == 0x7f { b' ' } else { byte });
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h1::{Limits, Relaxations, parse_request};
    use crate::http::RequestHead;

    fn with_head<T>(lines: &str, test: impl FnOnce(&[u8], &Fields) -> T) -> T {
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n").into_bytes();
        let mut head = RequestHead::new();
        parse_request(&bytes, &mut 0, &Limits::DEFAULT, Relaxations::NONE, &mut head).unwrap();
        assert!(head.len > 0);
        test(&bytes, &head.fields)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn forwarded_for_joins_lines() {
        with_head(
            "X-Forwarded-For: 1.1.1.1\r\nA: b\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n",
            |bytes, fields| {
                let written =
                    |policy| text(|out| x_forwarded_for(out, bytes, fields, ip("::ffff:9.9.9.9"), policy));
                let all = "x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 9.9.9.9\r\n";
                assert_eq!(written(FieldPolicy::Append), all);
                assert_eq!(written(FieldPolicy::Replace), "x-forwarded-for: 9.9.9.9\r\n");
                assert_eq!(written(FieldPolicy::Off), "");
                assert_eq!(written(FieldPolicy::Preserve), "");
            },
        );
    }

    #[test]
    fn the_client_is_counted_from_the_right() {
        let lines = "X-Forwarded-For: evil, 1.1.1.1:80\r\nX-Forwarded-For: \"[2001:db8::1]:5\"\r\n";
        with_head(lines, |bytes, fields| {
            let client = |hops| client_address(bytes, fields, ip("9.9.9.9"), hops);
            assert_eq!(client(0), ip("9.9.9.9"));
            assert_eq!(client(1), ip("2001:db8::1"));
            assert_eq!(client(2), ip("1.1.1.1"));
            assert_eq!(client(3), ip("9.9.9.9"), "not an address");
            assert_eq!(client(4), ip("9.9.9.9"), "list too short");
        });
        with_head("", |bytes, fields| assert_eq!(client_address(bytes, fields, ip("::1"), 2), ip("::1")));
    }

    #[test]
    fn addresses() {
        for (given, expected) in
            [("1.2.3.4", "1.2.3.4"), ("::1", "::1"), ("[::1]", "::1"), ("[::1]:80", "::1")]
        {
            assert_eq!(parse_address(given.as_bytes()), Some(ip(expected)), "{given}");
        }
        for given in [
            "",
            "unknown",
            "1.2.3.4:",
            "1.2.3.4:99999",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "01.2.3.4",
            "\"1.2.3.4",
        ] {
            assert_eq!(parse_address(given.as_bytes()), None, "{given}");
        }
    }

    #[test]
    fn single_valued_fields_keep_what_came_or_not() {
        with_head("X-Forwarded-Proto: https\r\n", |bytes, fields| {
            let proto = |policy| text(|out| x_forwarded_proto(out, bytes, fields, b"http", policy));
            assert_eq!(proto(FieldPolicy::Append), "x-forwarded-proto: https\r\n");
            assert_eq!(proto(FieldPolicy::Replace), "x-forwarded-proto: http\r\n");
            assert_eq!(proto(FieldPolicy::Off), "");
            let host =
                |ours: &[u8]| text(|out| x_forwarded_host(out, bytes, fields, ours, FieldPolicy::Append));
            assert_eq!(host(b"h:80"), "x-forwarded-host: h:80\r\n");
            assert_eq!(host(b""), "");
        });
    }

    #[test]
    fn forwarded_elements_are_quoted_by_rfc_7239() {
        let element = Element {
            peer: ip("2001:db8::17"),
            by: Some(ip("203.0.113.43")),
            host: b"example.com:8080",
            proto: b"http",
        };
        with_head("Forwarded: for=1.2.3.4\r\nForwarded: for=_x\r\n", |bytes, fields| {
            let written = text(|out| forwarded(out, bytes, fields, &element, FieldPolicy::Append));
            let ours = "for=\"[2001:db8::17]\";by=203.0.113.43;host=\"example.com:8080\";proto=http";
            assert_eq!(written, format!("forwarded: for=1.2.3.4, for=_x, {ours}\r\n"));
        });
    }

    #[test]
    fn via_is_appended() {
        with_head("Via: 1.0 fred\r\n", |bytes, fields| {
            let written =
                text(|out| via(out, bytes, fields, Version::Http11, b"ringway", FieldPolicy::Append));
            assert_eq!(written, "via: 1.0 fred, 1.1 ringway\r\n");
        });
    }

    #[test]
    fn request_ids() {
        let generated = uuid_v4(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        assert_eq!(&generated, b"01234567-89ab-4def-8123-456789abcdef");
        assert_eq!(&uuid_v4(u128::MAX), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        with_head("X-Request-Id: abc-1\r\n", |bytes, fields| {
            assert_eq!(request_id(bytes, fields, 7, FieldPolicy::Append).as_bytes(), b"abc-1");
            assert_eq!(request_id(bytes, fields, 7, FieldPolicy::Replace).as_bytes(), uuid_v4(7));
            assert_eq!(request_id(bytes, fields, 7, FieldPolicy::Off), RequestId::None);
        });
        with_head("X-Request-Id: a b\r\n", |bytes, fields| {
            assert_eq!(request_id(bytes, fields, 7, FieldPolicy::Append).as_bytes(), uuid_v4(7));
            assert_eq!(request_id(bytes, fields, 7, FieldPolicy::Preserve), RequestId::None);
        });
        let id = RequestId::Generated(generated);
        let line = text(|out| x_request_id(out, &id, FieldPolicy::Append));
        assert_eq!(line, "x-request-id: 01234567-89ab-4def-8123-456789abcdef\r\n");
    }
}
