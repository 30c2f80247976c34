//! A downstream connection, and the upstream connections a worker holds: their state and nothing else.

use std::net::SocketAddr;

use ringway_driver::{Addr, Buf, Micros, Sock};

use crate::access_log::LogFields;
use crate::cluster::{ClusterSlot, EndpointSlot};
use crate::slab::Key;
use crate::timer::TimerId;

/// What a downstream connection is doing.
///
/// ```text
/// ProxyHeader -> Idle <-> Head -> Exchange -> Idle | Closing
///            `-> Hello -> Tunnel            `-> Tunnel (upgrade, CONNECT)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A PROXY protocol header is expected.
    ProxyHeader,
    /// A TLS ClientHello is expected (SNI routing).
    Hello,
    /// Between requests: nothing buffered.
    Idle,
    /// A part of a request head was received.
    Head,
    /// An exchange is in progress.
    Exchange,
    /// Bytes are relayed.
    Tunnel,
}

/// One downstream connection.
pub(crate) struct Session {
    pub(crate) sock: Sock,
    pub(crate) timer: TimerId,
    /// Index into the worker's listeners.
    pub(crate) listener: u32,
    pub(crate) state: State,
    /// The client ended its direction (seen while an exchange was in progress).
    pub(crate) peer_ended: bool,
    /// Bytes received and not used yet: a part of a head, or the next pipelined request.
    pub(crate) buf: Option<Buf>,
    /// How far the head in `buf` was scanned.
    pub(crate) scanned: u32,
    pub(crate) requests: u32,
    pub(crate) exchange: Key,
    /// The earliest time at which something must be checked.
    pub(crate) deadline: Micros,
    pub(crate) opened: Micros,
    pub(crate) peer: Addr,
    /// Addresses from a PROXY protocol header.
    pub(crate) proxied: Option<Box<Proxied>>,
    pub(crate) tunnel: Option<Box<Tunnel>>,
}

/// Addresses a PROXY protocol header announced.
pub(crate) struct Proxied {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

impl Session {
    /// The client's address, as far as we believe it at connection level.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.proxied.as_ref().map(|p| p.source).or_else(|| self.peer.inet())
    }
}

/// Two connections whose bytes are relayed.
pub(crate) struct Tunnel {
    pub(crate) upstream: Key,
    pub(crate) cluster: ClusterSlot,
    /// Counted as busy while the tunnel lives.
    pub(crate) endpoint: Option<EndpointSlot>,
    pub(crate) idle_ms: u64,
    /// Absolute; `Micros::MAX` = no limit.
    pub(crate) ends_at: Micros,
    pub(crate) last_moved: Micros,
    pub(crate) connected: bool,
    pub(crate) client_ended: bool,
    pub(crate) upstream_ended: bool,
    pub(crate) splice: bool,
    pub(crate) attempts: u32,
    pub(crate) bytes_up: u64,
    pub(crate) bytes_down: u64,
    pub(crate) log: TunnelLog,
}

/// What the log line of a tunnel needs at its end.
pub(crate) struct TunnelLog {
    pub(crate) fields: LogFields,
    /// 0 for opaque TCP.
    pub(crate) status: u16,
    pub(crate) started: Micros,
    /// It began as an HTTP exchange.
    pub(crate) http: bool,
}

impl TunnelLog {
    pub(crate) fn tcp(started: Micros) -> TunnelLog {
        TunnelLog { fields: LogFields::default(), status: 0, started, http: false }
    }
}

/// What an upstream connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamState {
    Connecting,
    /// In the pool.
    Idle,
    /// Serves an exchange.
    Busy,
    /// One side of a tunnel.
    Tunnel,
}

/// One upstream connection.
pub(crate) struct Upstream {
    pub(crate) sock: Sock,
    pub(crate) timer: TimerId,
    pub(crate) endpoint: EndpointSlot,
    pub(crate) state: UpstreamState,
    /// The exchange it serves.
    pub(crate) exchange: Key,
    /// The session it is tunnelled to.
    pub(crate) session: Key,
    pub(crate) deadline: Micros,
    pub(crate) requests: u32,
    /// How far the head being received was scanned.
    pub(crate) scanned: u32,
}

/// Who owns a socket of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    Session(Key),
    Upstream(Key),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle connection costs: these and a timer entry, an owner entry and the driver's socket.
    #[test]
    fn sizes_are_guarded() {
        assert!(size_of::<Session>() <= 184, "{}", size_of::<Session>());
        assert!(size_of::<Upstream>() <= 88, "{}", size_of::<Upstream>());
        assert!(size_of::<crate::exchange::Exchange>() <= 704, "{}", size_of::<crate::exchange::Exchange>());
    }
}
