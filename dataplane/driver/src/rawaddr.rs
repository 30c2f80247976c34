//! Translation between [`Addr`] and the kernel's `sockaddr`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::Arc;

use crate::Addr;
use crate::sys::{Errno, RawAddr};

/// The kernel's form of `addr`. ENAMETOOLONG for a unix path of more than 107 bytes.
pub(crate) fn encode(addr: &Addr) -> Result<RawAddr, Errno> {
    match addr {
        Addr::Inet(SocketAddr::V4(a)) => Ok(encode_v4(a)),
        Addr::Inet(SocketAddr::V6(a)) => Ok(encode_v6(a)),
        Addr::Unix(path) => encode_unix(path),
    }
}

/// `addr` read back; `unnamed` is shared by all unnamed unix peers, so that accepting one allocates nothing.
pub(crate) fn decode(raw: &RawAddr, unnamed: &Arc<str>) -> Addr {
    match c_int(raw.storage.ss_family) {
        // SAFETY: the family says that the storage holds this type, and the storage is large and aligned enough for any.
        libc::AF_INET => Addr::Inet(decode_v4(unsafe { &*(&raw const raw.storage).cast() })),
        // SAFETY: as above.
        libc::AF_INET6 => Addr::Inet(decode_v6(unsafe { &*(&raw const raw.storage).cast() })),
        _ => Addr::Unix(decode_unix(raw).unwrap_or_else(|| unnamed.clone())),
    }
}

/// The socket family to open for `addr`.
pub(crate) fn family(addr: &Addr) -> libc::c_int {
    match addr {
        Addr::Inet(SocketAddr::V4(_)) => libc::AF_INET,
        Addr::Inet(SocketAddr::V6(_)) => libc::AF_INET6,
        Addr::Unix(_) => libc::AF_UNIX,
    }
}

/// Binds a unix socket to a free name outside the file system (unix(7), autobind).
pub(crate) fn any_unix() -> RawAddr {
    let mut raw = RawAddr { len: PATH_OFFSET as libc::socklen_t, ..RawAddr::default() };
    raw.storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
    raw
}

fn c_int(family: libc::sa_family_t) -> libc::c_int {
    libc::c_int::from(family)
}

/// Stores `value`, one of the sockaddr types, as a raw address of `len` bytes.
fn store<T: Copy>(value: T, len: usize) -> RawAddr {
    const { assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>()) };
    let mut raw = RawAddr::default();
    // SAFETY: the storage is at least as large, and aligned for every sockaddr type.
    unsafe { (&raw mut raw.storage).cast::<T>().write(value) };
    raw.len = len as libc::socklen_t;
    raw
}

fn encode_v4(a: &SocketAddrV4) -> RawAddr {
    let value = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: a.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(a.ip().octets()) },
        sin_zero: [0; 8],
    };
    store(value, size_of::<libc::sockaddr_in>())
}

fn encode_v6(a: &SocketAddrV6) -> RawAddr {
    let value = libc::sockaddr_in6 {
        sin6_family: libc::AF_INET6 as libc::sa_family_t,
        sin6_port: a.port().to_be(),
        sin6_flowinfo: a.flowinfo(),
        sin6_addr: libc::in6_addr { s6_addr: a.ip().octets() },
        sin6_scope_id: a.scope_id(),
    };
    store(value, size_of::<libc::sockaddr_in6>())
}

fn encode_unix(path: &str) -> Result<RawAddr, Errno> {
    // SAFETY: all-zero is a valid sockaddr_un.
    let mut value: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if path.len() >= value.sun_path.len() {
        return Err(libc::ENAMETOOLONG);
    }
    value.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in value.sun_path.iter_mut().zip(path.bytes()) {
        *to = from as libc::c_char;
    }
    // An abstract name is exactly as long as it says; a path ends with a NUL.
    let terminator = usize::from(!path.is_empty() && !path.starts_with('\0'));
    Ok(store(value, PATH_OFFSET + path.len() + terminator))
}

fn decode_v4(a: &libc::sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from(a.sin_addr.s_addr.to_ne_bytes());
    SocketAddr::new(IpAddr::V4(ip), u16::from_be(a.sin_port))
}

fn decode_v6(a: &libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(a.sin6_addr.s6_addr);
    SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(a.sin6_port), a.sin6_flowinfo, a.sin6_scope_id))
}

fn decode_unix(raw: &RawAddr) -> Option<Arc<str>> {
    let len = (raw.len as usize).checked_sub(PATH_OFFSET).filter(|&n| n > 0)?;
    // SAFETY: the family is AF_UNIX, so the storage holds a sockaddr_un.
    let value: &libc::sockaddr_un = unsafe { &*(&raw const raw.storage).cast() };
    let bytes: Vec<u8> = value.sun_path.iter().take(len).map(|&c| c as u8).collect();
    let end = match bytes.first() {
        Some(0) => bytes.len(),
        _ => bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len()),
    };
    Some(Arc::from(String::from_utf8_lossy(&bytes[..end])))
}

const PATH_OFFSET: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        let unnamed: Arc<str> = Arc::from("");
        for addr in [
            Addr::Inet("192.0.2.1:80".parse().unwrap()),
            Addr::Inet("[2001:db8::1]:65535".parse().unwrap()),
            Addr::Unix(Arc::from("/run/app.sock")),
            Addr::Unix(Arc::from("\0abstract")),
            Addr::Unix(Arc::from("")),
        ] {
            assert_eq!(decode(&encode(&addr).unwrap(), &unnamed), addr);
        }
    }

    #[test]
    fn a_path_that_does_not_fit_is_an_error() {
        let long = "x".repeat(108);
        assert_eq!(encode(&Addr::Unix(Arc::from(long))).err(), Some(libc::ENAMETOOLONG));
        assert!(encode(&Addr::Unix(Arc::from("x".repeat(107)))).is_ok());
    }
}
