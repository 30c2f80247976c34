//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): parsing with every length
//! checked, and writing. The listener calls it before the first byte of the session, the pool after connecting.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

mod crc32c;
mod tlv;
mod v1;
mod v2;

pub use crate::h1::Status;
pub use tlv::{Ssl, Tlv, Tlvs, kind};
pub use v1::write_v1;
pub use v2::{HeaderV2, write_v2};

/// Bytes of a whole header unless the caller allows another number: room for addresses and a few hundred bytes of TLVs
/// each from several proxies.
pub const HEADER_BYTES_MAX: usize = 4096;

/// Which version a header is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum HeaderVersion {
    V1,
    V2,
}

/// Whom the header speaks of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    /// The proxy's own connection, a health check for example: use the real addresses (section 2.2).
    Local,
    /// A connection on behalf of another.
    Proxy,
}

/// The addresses of the original connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Addresses<'a> {
    /// Unknown, unspecified, or LOCAL: use the real ones.
    Unspecified,
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// UDP over IPv4 or IPv6.
    Udp {
        /// The client.
        source: SocketAddr,
        /// Where it sent to.
        destination: SocketAddr,
    },
    /// A unix socket; paths without their padding of NUL bytes, possibly empty.
    Unix {
        /// Stream or datagram.
        stream: bool,
        /// The client's path.
        source: &'a [u8],
        /// The listener's path.
        destination: &'a [u8],
    },
}

/// A parsed header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// 1 or 2.
    pub version: HeaderVersion,
    /// Whom it speaks of. Version 1 `UNKNOWN` is `Proxy` with unspecified addresses.
    pub command: Command,
    /// The original connection.
    pub addresses: Addresses<'a>,
    /// Further properties; empty in version 1.
    pub tlvs: Tlvs<'a>,
    /// Bytes of the header; the stream proper starts behind it.
    pub len: usize,
}

/// Why a header was refused. The connection is closed without an answer (section 2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum ProxyError {
    /// The first bytes are no PROXY header at all.
    NotProxy,
    /// Version 1: not the line it must be.
    LineInvalid,
    /// Version 2: version or command unknown.
    CommandUnknown,
    /// Version 2: family or transport unknown.
    FamilyUnknown,
    /// Version 2: shorter than its addresses, or a TLV that leaves it.
    LengthInvalid,
    /// Longer than the caller allows.
    TooLarge,
    /// Version 2: the CRC32c is wrong (section 2.2.3).
    ChecksumWrong,
}

impl ProxyError {
    /// A stable snake_case word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            ProxyError::NotProxy => "proxy_header_missing",
            ProxyError::LineInvalid => "proxy_v1_line_invalid",
            ProxyError::CommandUnknown => "proxy_v2_command_unknown",
            ProxyError::FamilyUnknown => "proxy_v2_family_unknown",
            ProxyError::LengthInvalid => "proxy_v2_length_invalid",
            ProxyError::TooLarge => "proxy_header_too_large",
            ProxyError::ChecksumWrong => "proxy_v2_checksum_wrong",
        }
    }
}

impl std::fmt::Display for ProxyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.reason())
    }
}

impl std::error::Error for ProxyError {}

/// Parses the header of either version at the start of `buf`, of at most `header_bytes_max` bytes
/// ([`HEADER_BYTES_MAX`]).
///
/// # Errors
/// [`ProxyError::NotProxy`] as soon as the bytes cannot become a header; the others for broken ones.
pub fn parse(buf: &[u8], header_bytes_max: usize) -> Result<Status<Header<'_>>, ProxyError> {
    match buf.first() {
        None => Ok(Status::Partial),
        Some(b'P') => v1::parse(buf),
        Some(_) => v2::parse(buf, header_bytes_max),
    }
}

/// Both as IPv6 if they differ in family, which no header can express otherwise.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) | (SocketAddr::V6(_), SocketAddr::V6(_)) => {
            (source, destination)
        }
        _ => (mapped(source), mapped(destination)),
    }
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(IpAddr::V6(v4.to_ipv6_mapped()), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// Takes `N` bytes off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (front, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*front)
}

fn take_v4(bytes: &mut &[u8]) -> Option<IpAddr> {
    take::<4>(bytes).map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
}

fn take_v6(bytes: &mut &[u8]) -> Option<IpAddr> {
    take::<16>(bytes).map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take::<2>(bytes).map(u16::from_be_bytes)
}
