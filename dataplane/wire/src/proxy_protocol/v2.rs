//! Version 2: binary (section 2.2).

use super::crc32c::checksum;
use super::tlv::{TLV_HEADER_BYTES, kind};
use super::{
    Addresses, Command, Header, HeaderVersion, ProxyError, Status, Tlvs, same_family, take, take_u16,
    take_v4, take_v6,
};
use std::net::{IpAddr, SocketAddr};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

/// Bytes of one path in a unix address block.
const UNIX_PATH_BYTES: usize = 108;

pub(super) fn parse(buf: &[u8], header_bytes_max: usize) -> Result<Status<Header<'_>>, ProxyError> {
    let seen = buf.get(..SIGNATURE.len()).unwrap_or(buf);
    if !SIGNATURE.starts_with(seen) {
        return Err(ProxyError::NotProxy);
    }
    let Some((&fixed, rest)) = buf.split_first_chunk::<FIXED_BYTES>() else { return Ok(Status::Partial) };
    let [.., version_command, family, high, low] = fixed;
    let command = match version_command {
        0x20 => Command::Local,
        0x21 => Command::Proxy,
        _ => return Err(ProxyError::CommandUnknown),
    };
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    if FIXED_BYTES + body_len > header_bytes_max {
        return Err(ProxyError::TooLarge);
    }
    let Some(body) = rest.get(..body_len) else { return Ok(Status::Partial) };
    let (addresses, tail) = addresses(command, family, body)?;
    let tlvs = Tlvs::new(tail).ok_or(ProxyError::LengthInvalid)?;
    verify_checksum(&fixed, body, tail.len(), &tlvs)?;
    let len = FIXED_BYTES + body_len;
    Ok(Status::Complete(Header { version: HeaderVersion::V2, command, addresses, tlvs, len }))
}

/// The address block by family, and the TLVs behind it.
fn addresses(command: Command, family: u8, body: &[u8]) -> Result<(Addresses<'_>, &[u8]), ProxyError> {
    let mut rest = body;
    let parsed = match family {
        0x11 | 0x12 => ip_block(&mut rest, family == 0x11, take_v4),
        0x21 | 0x22 => ip_block(&mut rest, family == 0x21, take_v6),
        0x31 | 0x32 => unix_block(&mut rest, family == 0x31),
        // What stands behind an unspecified family has no known layout: skip it all.
        0x00 => return Ok((Addresses::Unspecified, &[])),
        // LOCAL: "the receiver must ignore the protocol block" whatever its family.
        _ if command == Command::Local => return Ok((Addresses::Unspecified, &[])),
        _ => return Err(ProxyError::FamilyUnknown),
    };
    match (command, parsed) {
        (Command::Local, None) => Ok((Addresses::Unspecified, &[])),
        (Command::Local, Some(_)) => Ok((Addresses::Unspecified, rest)),
        (Command::Proxy, Some(addresses)) => Ok((addresses, rest)),
        (Command::Proxy, None) => Err(ProxyError::LengthInvalid),
    }
}

fn ip_block(
    rest: &mut &[u8],
    stream: bool,
    take_ip: fn(&mut &[u8]) -> Option<IpAddr>,
) -> Option<Addresses<'static>> {
    let (source, destination) = (take_ip(rest)?, take_ip(rest)?);
    let source = SocketAddr::new(source, take_u16(rest)?);
    let destination = SocketAddr::new(destination, take_u16(rest)?);
    Some(if stream { Addresses::Tcp { source, destination } } else { Addresses::Udp { source, destination } })
}

fn unix_block<'a>(rest: &mut &'a [u8], stream: bool) -> Option<Addresses<'a>> {
    let (source, tail) = rest.split_at_checked(UNIX_PATH_BYTES)?;
    let (destination, tail) = tail.split_at_checked(UNIX_PATH_BYTES)?;
    *rest = tail;
    Some(Addresses::Unix { stream, source: unpadded(source), destination: unpadded(destination) })
}

/// Without trailing NUL bytes; an abstract path keeps its leading one.
fn unpadded(path: &[u8]) -> &[u8] {
    let len = path.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    path.get(..len).unwrap_or(path)
}

/// The CRC32c, if there is one, covers the whole header with its own value as zero (section 2.2.3).
fn verify_checksum(fixed: &[u8], body: &[u8], tlvs_len: usize, tlvs: &Tlvs<'_>) -> Result<(), ProxyError> {
    let Some(value) = tlvs.get(kind::CRC32C) else { return Ok(()) };
    let mut value = value;
    let (Some(expected), []) = (take::<4>(&mut value), value) else { return Err(ProxyError::LengthInvalid) };
    let at = body.len() - tlvs_len + tlvs.offset_of(kind::CRC32C).unwrap_or_default();
    let (before, after) = body.split_at_checked(at).ok_or(ProxyError::LengthInvalid)?;
    let after = after.get(4..).ok_or(ProxyError::LengthInvalid)?;
    if checksum([fixed, before, &[0; 4], after]) != u32::from_be_bytes(expected) {
        return Err(ProxyError::ChecksumWrong);
    }
    Ok(())
}

/// What a version 2 header is to say.
#[derive(Clone, Copy, Debug)]
pub struct HeaderV2<'a> {
    /// Whom it speaks of.
    pub command: Command,
    /// The original connection.
    pub addresses: Addresses<'a>,
    /// Properties: kind and value.
    pub tlvs: &'a [(u8, &'a [u8])],
    /// Add a CRC32c.
    pub checksum: bool,
}

/// Writes a version 2 header.
///
/// # Errors
/// [`ProxyError::TooLarge`] if the TLVs exceed the 65,535 bytes a header can announce, or a unix path its 108; nothing
/// is written then.
pub fn write_v2(out: &mut Vec<u8>, header: &HeaderV2<'_>) -> Result<(), ProxyError> {
    let start = out.len();
    let written = write_parts(out, header, start);
    if written.is_none() {
        out.truncate(start);
    }
    written.ok_or(ProxyError::TooLarge)
}

fn write_parts(out: &mut Vec<u8>, header: &HeaderV2<'_>, start: usize) -> Option<()> {
    out.extend_from_slice(SIGNATURE);
    out.push(match header.command {
        Command::Local => 0x20,
        Command::Proxy => 0x21,
    });
    let family_at = out.len();
    out.extend_from_slice(&[0, 0, 0]);
    let family = write_addresses(out, &header.addresses)?;
    *out.get_mut(family_at)? = family;
    // Behind an unspecified family a receiver cannot find TLVs.
    if family != 0 {
        for &(kind, value) in header.tlvs {
            write_tlv(out, kind, value)?;
        }
        if header.checksum {
            write_tlv(out, kind::CRC32C, &[0; 4])?;
        }
    }
    let body_len = u16::try_from(out.len() - start - FIXED_BYTES).ok()?;
    out.get_mut(family_at + 1..family_at + 3)?.copy_from_slice(&body_len.to_be_bytes());
    if header.checksum && family != 0 {
        let crc = checksum([out.get(start..)?]);
        out.last_chunk_mut::<4>()?.copy_from_slice(&crc.to_be_bytes());
    }
    Some(())
}

/// Writes the address block and returns its family byte.
fn write_addresses(out: &mut Vec<u8>, addresses: &Addresses<'_>) -> Option<u8> {
    match *addresses {
        Addresses::Unspecified => Some(0),
        Addresses::Tcp { source, destination } => Some(write_ip_block(out, source, destination) | 1),
        Addresses::Udp { source, destination } => Some(write_ip_block(out, source, destination) | 2),
        Addresses::Unix { stream, source, destination } => {
            for path in [source, destination] {
                let padding = UNIX_PATH_BYTES.checked_sub(path.len())?;
                out.extend_from_slice(path);
                out.extend(std::iter::repeat_n(0, padding));
            }
            Some(0x30 | if stream { 1 } else { 2 })
        }
    }
}

fn write_ip_block(out: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) -> u8 {
    let (source, destination) = same_family(source, destination);
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    if source.is_ipv4() { 0x10 } else { 0x20 }
}

fn write_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8]) -> Option<()> {
    let len = u16::try_from(value.len()).ok()?;
    out.reserve(TLV_HEADER_BYTES + value.len());
    out.push(kind);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::{HEADER_BYTES_MAX, parse};
    use super::*;

    fn raw(version_command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u16).to_be_bytes();
        [SIGNATURE, &[version_command, family], &len, body].concat()
    }

    fn complete(bytes: &[u8]) -> Header<'_> {
        match parse(bytes, HEADER_BYTES_MAX) {
            Ok(Status::Complete(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_header_from_the_specification() {
        let body = [&[10, 0, 0, 1, 10, 0, 0, 2, 0x30, 0x39, 0x01, 0xbb][..], &[kind::ALPN, 0, 2, b'h', b'2']]
            .concat();
        let bytes = [raw(0x21, 0x11, &body), b"rest".to_vec()].concat();
        let header = complete(&bytes);
        let expected = Addresses::Tcp {
            source: "10.0.0.1:12345".parse().unwrap(),
            destination: "10.0.0.2:443".parse().unwrap(),
        };
        assert_eq!(header.addresses, expected);
        assert_eq!(header.tlvs.alpn(), Some(&b"h2"[..]));
        assert_eq!(header.len, bytes.len() - 4);
        for split in 0..header.len {
            assert_eq!(parse(&bytes[..split], HEADER_BYTES_MAX), Ok(Status::Partial), "{split}");
        }
    }

    #[test]
    fn local_and_unspecified_ignore_what_follows() {
        for (command, family, body) in
            [(0x20, 0x00, &[][..]), (0x20, 0x99, &[1, 2, 3]), (0x20, 0x11, &[1]), (0x21, 0, &[9; 7])]
        {
            let bytes = raw(command, family, body);
            let header = complete(&bytes);
            assert_eq!(header.addresses, Addresses::Unspecified);
            assert_eq!(header.len, bytes.len());
        }
    }

    #[test]
    fn broken_headers() {
        let cases: [(u8, u8, &[u8], ProxyError); 9] = [
            (0x22, 0x11, &[0; 12], ProxyError::CommandUnknown),
            (0x11, 0x11, &[0; 12], ProxyError::CommandUnknown),
            (0x21, 0x13, &[0; 12], ProxyError::FamilyUnknown),
            (0x21, 0x41, &[0; 12], ProxyError::FamilyUnknown),
            (0x21, 0x10, &[0; 12], ProxyError::FamilyUnknown),
            (0x21, 0x11, &[0; 11], ProxyError::LengthInvalid),
            (0x21, 0x11, &[0; 13], ProxyError::LengthInvalid),
            (0x21, 0x21, &[0; 35], ProxyError::LengthInvalid),
            (0x21, 0x11, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 5, 0], ProxyError::LengthInvalid),
        ];
        for (command, family, body, expected) in cases {
            assert_eq!(
                parse(&raw(command, family, body), HEADER_BYTES_MAX),
                Err(expected),
                "{family:#x} {body:?}"
            );
        }
        assert_eq!(parse(&raw(0x21, 0x11, &[0; 5000]), HEADER_BYTES_MAX), Err(ProxyError::TooLarge));
        assert_eq!(parse(b"\r\n\r\n\0\r\nQUIX", HEADER_BYTES_MAX), Err(ProxyError::NotProxy));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n", HEADER_BYTES_MAX), Err(ProxyError::NotProxy));
    }

    #[test]
    fn the_checksum_is_checked() {
        let mut bytes = Vec::new();
        let addresses =
            Addresses::Udp { source: "[::1]:1".parse().unwrap(), destination: "1.2.3.4:2".parse().unwrap() };
        let ssl = [1, 0, 0, 0, 0, kind::SSL_VERSION, 0, 7, b'T', b'L', b'S', b'v', b'1', b'.', b'3'];
        let tlvs: &[(u8, &[u8])] =
            &[(kind::AUTHORITY, b"example.com"), (kind::UNIQUE_ID, b"id"), (kind::SSL, &ssl)];
        let header = HeaderV2 { command: Command::Proxy, addresses, tlvs, checksum: true };
        write_v2(&mut bytes, &header).unwrap();
        let parsed = complete(&bytes);
        assert_eq!(parsed.tlvs.authority(), Some(&b"example.com"[..]));
        assert_eq!(parsed.tlvs.unique_id(), Some(&b"id"[..]));
        let ssl = parsed.tlvs.ssl().unwrap();
        assert_eq!((ssl.client, ssl.verify, ssl.tlvs.get(kind::SSL_VERSION)), (1, 0, Some(&b"TLSv1.3"[..])));
        // A flip of the checksum's own type byte makes it another TLV; all others must be noticed.
        let checksum_type = bytes.len() - TLV_HEADER_BYTES - 4;
        for index in (FIXED_BYTES..bytes.len()).filter(|&index| index != checksum_type) {
            let mut changed = bytes.clone();
            changed[index] ^= 0x40;
            assert!(parse(&changed, HEADER_BYTES_MAX).is_err(), "flip at {index} went unnoticed");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused_and_leaves_no_trace() {
        let mut out = b"kept".to_vec();
        let unix = |source| Addresses::Unix { stream: true, source, destination: b"" };
        let header = |addresses, tlvs| HeaderV2 { command: Command::Proxy, addresses, tlvs, checksum: false };
        assert_eq!(write_v2(&mut out, &header(unix(&[b'x'; 109]), &[])), Err(ProxyError::TooLarge));
        assert_eq!(write_v2(&mut out, &header(unix(b"/a"), &[(1, &[0; 65_530])])), Err(ProxyError::TooLarge));
        assert_eq!(out, b"kept");
        write_v2(&mut out, &header(unix(b"\0abstract"), &[])).unwrap();
        assert_eq!(complete(&out[4..]).addresses, unix(b"\0abstract"));
    }
}
