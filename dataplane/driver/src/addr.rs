//! Addresses of stream sockets: IPv4, IPv6 or a unix socket path.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Where a socket listens, connects to, or came from.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Addr {
    /// IPv4 or IPv6 with a port.
    Inet(SocketAddr),
    /// A unix socket path; empty for an unnamed peer. A leading NUL means the abstract name space.
    Unix(Arc<str>),
}

impl Addr {
    /// The IP address, if it is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Addr::Inet(a) => Some(a.ip()),
            Addr::Unix(_) => None,
        }
    }
    /// The socket address, if it is one.
    pub fn inet(&self) -> Option<SocketAddr> {
        match self {
            Addr::Inet(a) => Some(*a),
            Addr::Unix(_) => None,
        }
    }
}

impl From<SocketAddr> for Addr {
    fn from(a: SocketAddr) -> Self {
        Addr::Inet(a)
    }
}

impl std::fmt::Display for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Addr::Inet(a) => a.fmt(f),
            Addr::Unix(p) => write!(f, "unix:{p}"),
        }
    }
}

impl std::fmt::Debug for Addr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
