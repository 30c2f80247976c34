//! Version 1: one line of text, at most 107 bytes (section 2.1).

use super::{Addresses, Command, Header, HeaderVersion, ProxyError, Status, Tlvs, same_family};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// "The worst case is 107 characters with CRLF."
const LINE_BYTES_MAX: usize = 107;

const PREFIX: &[u8] = b"PROXY ";

pub(super) fn parse(buf: &[u8]) -> Result<Status<Header<'_>>, ProxyError> {
    let seen = buf.get(..PREFIX.len()).unwrap_or(buf);
    if !PREFIX.starts_with(seen) {
        return Err(ProxyError::NotProxy);
    }
    let window = buf.get(..LINE_BYTES_MAX).unwrap_or(buf);
    let Some(line_feed) = memchr::memchr(b'\n', window) else {
        return if window.len() < LINE_BYTES_MAX {
            Ok(Status::Partial)
        } else {
            Err(ProxyError::LineInvalid)
        };
    };
    let line = window.get(PREFIX.len()..line_feed).and_then(|line| line.strip_suffix(b"\r"));
    let text = line.and_then(|line| std::str::from_utf8(line).ok()).ok_or(ProxyError::LineInvalid)?;
    let addresses = addresses(text).ok_or(ProxyError::LineInvalid)?;
    let header = Header {
        version: HeaderVersion::V1,
        command: Command::Proxy,
        addresses,
        tlvs: Tlvs::default(),
        len: line_feed + 1,
    };
    Ok(Status::Complete(header))
}

/// `TCP4|TCP6 SP source SP destination SP source-port SP destination-port`, or `UNKNOWN` and anything.
fn addresses(text: &str) -> Option<Addresses<'static>> {
    let mut words = text.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Addresses::Unspecified);
    }
    let mut ip = || {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, destination) = (ip()?, ip()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    if words.next().is_some() {
        return None;
    }
    let source = SocketAddr::new(source, source_port);
    Some(Addresses::Tcp { source, destination: SocketAddr::new(destination, destination_port) })
}

/// Decimal without sign or leading zero.
fn port(word: &str) -> Option<u16> {
    let canonical = word == "0" || word.starts_with(|first: char| ('1'..='9').contains(&first));
    word.parse().ok().filter(|_| canonical)
}

/// Writes a version 1 line; `None` is `UNKNOWN`.
pub fn write_v1(out: &mut Vec<u8>, connection: Option<(SocketAddr, SocketAddr)>) {
    let Some((source, destination)) = connection else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let (source, destination) = same_family(source, destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let written = write!(
        out,
        "PROXY {family} {} {} {} {}\r\n",
        source.ip(),
        destination.ip(),
        source.port(),
        destination.port()
    );
    debug_assert!(written.is_ok(), "writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::super::{HEADER_BYTES_MAX, parse};
    use super::*;

    fn tcp(source: &str, destination: &str) -> Addresses<'static> {
        Addresses::Tcp { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    #[test]
    fn lines_of_the_specification() {
        let cases = [
            ("PROXY TCP4 255.255.255.255 1.2.3.4 65535 0\r\n", tcp("255.255.255.255:65535", "1.2.3.4:0")),
            ("PROXY TCP6 ::1 2001:db8::2 1 443\r\n", tcp("[::1]:1", "[2001:db8::2]:443")),
            ("PROXY UNKNOWN\r\n", Addresses::Unspecified),
            ("PROXY UNKNOWN ffff:: whatever 1 2\r\n", Addresses::Unspecified),
        ];
        for (line, expected) in cases {
            let bytes = [line.as_bytes(), b"GET /"].concat();
            match parse(&bytes, HEADER_BYTES_MAX) {
                Ok(Status::Complete(header)) => {
                    assert_eq!(header.addresses, expected, "{line}");
                    assert_eq!(header.len, line.len());
                    assert_eq!(header.command, Command::Proxy);
                }
                other => panic!("{line}: {other:?}"),
            }
            for split in 1..line.len() {
                assert_eq!(
                    parse(&bytes[..split], HEADER_BYTES_MAX),
                    Ok(Status::Partial),
                    "{line} at {split}"
                );
            }
        }
    }

    #[test]
    fn broken_lines() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        let broken = [
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n",
            "PROXY TCP4 ::1 1.2.3.4 1 2\r\n",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
            "PROXY \r\n",
            &long,
        ];
        for line in broken {
            assert_eq!(parse(line.as_bytes(), HEADER_BYTES_MAX), Err(ProxyError::LineInvalid), "{line}");
        }
        for line in ["POST / HTTP/1.1\r\n", "PROXYX", "PROXY\r\n"] {
            assert_eq!(parse(line.as_bytes(), HEADER_BYTES_MAX), Err(ProxyError::NotProxy), "{line}");
        }
    }

    #[test]
    fn the_longest_line_is_accepted() {
        let ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let line = format!("PROXY UNKNOWN {ip} {ip} 65535 65535\r\n");
        assert_eq!(line.len(), LINE_BYTES_MAX);
        assert!(matches!(parse(line.as_bytes(), HEADER_BYTES_MAX), Ok(Status::Complete(_))));
    }

    #[test]
    fn written_lines() {
        let mut out = Vec::new();
        write_v1(&mut out, None);
        write_v1(&mut out, Some(("1.2.3.4:5".parse().unwrap(), "6.7.8.9:10".parse().unwrap())));
        write_v1(&mut out, Some(("1.2.3.4:5".parse().unwrap(), "[::1]:10".parse().unwrap())));
        let expected =
            "PROXY UNKNOWN\r\nPROXY TCP4 1.2.3.4 6.7.8.9 5 10\r\nPROXY TCP6 ::ffff:1.2.3.4 ::1 5 10\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
