//! Opaque connections: TCP listeners (by server name or not), PROXY protocol headers, and what an upgrade or CONNECT turns into.

use std::rc::Rc;

use ringway_driver::{Buf, Close, Driver, IoError, Last, Micros, Receive, Sent, Slice, Sock};
use ringway_policy::spec;
use ringway_wire::client_hello::{self, HelloLimits};
use ringway_wire::h1::Status;
use ringway_wire::proxy_protocol::{self, Addresses, Command, HeaderV2};

use crate::cluster::{ClusterSlot, EndpointSlot};
use crate::downstream::LINGER_BYTES_MAX;
use crate::exchange::after_ms;
use crate::flags::{Flag, Flags};
use crate::head::{self, ResponseContext};
use crate::live::Live;
use crate::request::slice_of;
use crate::session::{Owner, Proxied, State, Tunnel, TunnelLog, UpstreamState};
use crate::slab::Key;
use crate::worker::{Scratch, Worker};

/// Connections tried for one opaque client connection.
const TCP_ATTEMPTS_MAX: u32 = 2;
/// The answer to a CONNECT whose upstream connection stands (RFC 9110 section 9.3.6).
const CONNECT_ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection Established\r\n\r\n";

impl Tunnel {
    /// When this tunnel must be looked at.
    pub(crate) fn deadline(&self) -> Micros {
        after_ms(self.last_moved, self.idle_ms).min(self.ends_at)
    }
}

impl<D: Driver> Worker<D> {
    /// A connection of an opaque TCP listener.
    pub(crate) fn open_tcp(&mut self, key: Key, live: &Rc<Live>, tcp: &spec::Tcp) {
        let Some(session) = self.sessions.get(key) else { return };
        let (sock, at) = (session.sock, self.listening[session.listener as usize].at);
        let Some(routes) = &live.listener(at).tcp else { return self.close_session(key, Close::Reset) };
        if routes.needs_hello() {
            self.set_state(key, State::Hello);
            self.set_deadline(key, after_ms(self.driver.now(), tcp.hello_ms));
            return self.driver.recv(sock, None, Receive::Small);
        }
        match routes.find(None, std::iter::empty()) {
            Some(cluster) => self.open_tunnel(key, live.slot(cluster), tcp.idle_ms, tcp.splice),
            None => self.close_session(key, Close::Reset),
        }
    }

    /// Bytes that should be a TLS ClientHello.
    pub(crate) fn read_hello(&mut self, key: Key, buf: Buf) {
        let Some(session) = self.sessions.get(key) else { return };
        let (sock, listening) = (session.sock, &self.listening[session.listener as usize]);
        let (live, at) = (listening.live.clone(), listening.at);
        let spec::Protocol::Tcp(tcp) = &live.listener(at).spec.protocol else { return };
        let Some(routes) = &live.listener(at).tcp else { return };
        let cluster = match client_hello::parse(buf.bytes(), &HelloLimits::DEFAULT, &mut self.hello) {
            Ok(Status::Partial) if buf.room() > 0 => {
                return self.driver.recv(sock, Some(buf), Receive::Small);
            }
            Ok(Status::Partial) => {
                return match self.larger(&buf) {
                    Some(larger) => self.driver.recv(sock, Some(larger), Receive::Small),
                    None => self.close_session(key, Close::Reset),
                };
            }
            Ok(Status::Complete(_)) => {
                let name = self.hello.server_name().map(str::as_bytes);
                let offered: Vec<&[u8]> = self.hello.alpn().collect();
                routes.find(name, offered.iter().copied())
            }
            // Not TLS, or broken: only a default may take it.
            Err(_) => routes.find(None, std::iter::empty()),
        };
        self.driver.pause(sock);
        let Some(cluster) = cluster else {
            self.shared.stats.worker.sni_unmatched_total.add(1);
            return self.close_session(key, Close::Reset);
        };
        if let Some(session) = self.sessions.get_mut(key) {
            session.buf = Some(buf);
        }
        self.open_tunnel(key, live.slot(cluster), tcp.idle_ms, tcp.splice);
    }

    /// Bytes that should be a PROXY protocol header.
    pub(crate) fn read_proxy_header(&mut self, key: Key, mut buf: Buf) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let listening = &self.listening[session.listener as usize];
        let listener = listening.live.listener(listening.at).clone();
        let required = listener.spec.proxy_protocol == spec::ProxyProtocolIn::Required;
        let trusted = listener.trusts(session.peer.ip());
        let sock = session.sock;
        let parsed = if trusted {
            Some(proxy_protocol::parse(buf.bytes(), proxy_protocol::HEADER_BYTES_MAX))
        } else {
            None
        };
        match parsed {
            Some(Ok(Status::Partial)) if buf.room() > 0 => {
                return self.driver.recv(sock, Some(buf), Receive::Small);
            }
            Some(Ok(Status::Complete(header))) => {
                if let Addresses::Tcp { source, destination } = header.addresses {
                    session.proxied = Some(Box::new(Proxied { source, destination }));
                }
                let len = header.len;
                buf.advance(len);
            }
            None | Some(Err(proxy_protocol::ProxyError::NotProxy)) if !required => {}
            None | Some(_) => {
                self.shared.stats.worker.proxy_protocol_errors_total.add(1);
                return self.close_session(key, Close::Reset);
            }
        }
        self.driver.pause(sock);
        self.open_session(key);
        if buf.is_empty() {
            return;
        }
        match self.sessions.get_mut(key) {
            Some(session) if session.state == State::Tunnel => session.buf = Some(buf),
            Some(session) if session.state == State::Hello => self.read_hello(key, buf),
            Some(_) => self.read_head(key, buf),
            None => {}
        }
    }

    /// Sends the PROXY protocol header that the cluster wants before anything else.
    pub(crate) fn write_proxy_header(&mut self, key: Key, ukey: Key) {
        let (Some(session), Some(upstream)) = (self.sessions.get(key), self.upstreams.get(ukey)) else {
            return;
        };
        let kind = self.clusters.config_of(upstream.endpoint).spec.proxy_protocol;
        if kind == spec::ProxyProtocolOut::Off {
            return;
        }
        let local = || self.driver.local_addr(session.sock).and_then(|a| a.inet());
        let destination = session.proxied.as_ref().map(|p| p.destination).or_else(local);
        let connection = session.client().zip(destination);
        let mut out = Vec::new();
        match kind {
            spec::ProxyProtocolOut::V2 => {
                let addresses = match connection {
                    Some((source, destination)) => Addresses::Tcp { source, destination },
                    None => Addresses::Unspecified,
                };
                let header = HeaderV2 { command: Command::Proxy, addresses, tlvs: &[], checksum: false };
                let written = proxy_protocol::write_v2(&mut out, &header);
                debug_assert!(written.is_ok(), "a header without TLVs fits");
            }
            _ => proxy_protocol::write_v1(&mut out, connection),
        }
        let sock = upstream.sock;
        if let Some(slice) = slice_of(&out, self.driver.pool()) {
            self.driver.queue(sock, slice);
        }
    }

    /// Connects an opaque client to a cluster.
    fn open_tunnel(&mut self, key: Key, cluster: ClusterSlot, idle_ms: u64, splice: bool) {
        let now = self.driver.now();
        let tunnel = Tunnel {
            upstream: Key::NONE,
            cluster,
            endpoint: None,
            idle_ms,
            ends_at: Micros::MAX,
            last_moved: now,
            client_ended: false,
            upstream_ended: false,
            bytes_up: 0,
            bytes_down: 0,
            splice,
            connected: false,
            attempts: 0,
            log: TunnelLog::tcp(now),
        };
        if let Some(session) = self.sessions.get_mut(key) {
            session.tunnel = Some(Box::new(tunnel));
        }
        self.set_state(key, State::Tunnel);
        self.shared.stats.worker.tunnels_total.add(1);
        self.shared.stats.worker.tunnels_active.add(1);
        self.connect_tunnel(key, None);
    }

    fn connect_tunnel(&mut self, key: Key, avoid: Option<EndpointSlot>) {
        let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.as_mut()) else { return };
        tunnel.attempts += 1;
        let cluster = tunnel.cluster;
        let Some(endpoint) = self.clusters.pick(cluster, &mut self.rng, avoid) else {
            return self.end_tunnel(key, Flag::NoHealthyUpstream, Close::Reset);
        };
        self.clusters.begin(endpoint);
        let opened = self.open_upstream(endpoint);
        let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.as_mut()) else { return };
        tunnel.endpoint = Some(endpoint);
        match opened {
            Ok(ukey) => {
                tunnel.upstream = ukey;
                let deadline = tunnel.deadline();
                if let Some(upstream) = self.upstreams.get_mut(ukey) {
                    upstream.session = key;
                }
                self.set_deadline(key, deadline);
            }
            Err(error) => self.tunnel_connect_failed(key, error),
        }
    }

    pub(crate) fn tunnel_connect_failed(&mut self, key: Key, _error: IoError) {
        self.shared.stats.worker.upstream_connect_failures_total.add(1);
        let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.as_mut()) else { return };
        let (ukey, attempts) = (std::mem::replace(&mut tunnel.upstream, Key::NONE), tunnel.attempts);
        let endpoint = tunnel.endpoint.take();
        self.close_upstream(ukey, Close::Reset);
        if let Some(endpoint) = endpoint {
            self.clusters.endpoint(endpoint).stats.connect_failures_total.add(1);
            self.clusters.end(endpoint);
        }
        if attempts >= TCP_ATTEMPTS_MAX {
            return self.end_tunnel(key, Flag::UpstreamConnectionFailure, Close::Reset);
        }
        self.shared.stats.worker.retries_total.add(1);
        self.connect_tunnel(key, endpoint);
    }

    pub(crate) fn tunnel_connected(&mut self, key: Key) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(tunnel) = &mut session.tunnel else { return };
        (tunnel.connected, tunnel.last_moved) = (true, now);
        let ukey = tunnel.upstream;
        let prefix = session.buf.take();
        if let Some(upstream) = self.upstreams.get_mut(ukey) {
            upstream.state = UpstreamState::Tunnel;
        }
        self.write_proxy_header(key, ukey);
        self.relay(key, prefix);
    }

    /// Lets bytes flow both ways, `prefix` first towards the upstream.
    fn relay(&mut self, key: Key, prefix: Option<Buf>) {
        let Some(session) = self.sessions.get(key) else { return };
        let Some(tunnel) = &session.tunnel else { return };
        let Some(upstream) = self.upstreams.get(tunnel.upstream) else { return };
        let (client, upstream, splice) = (session.sock, upstream.sock, tunnel.splice);
        let prefix_len = prefix.as_ref().map_or(0, Buf::len) as u64;
        if let Some(prefix) = prefix {
            self.driver.queue(upstream, prefix.freeze());
        }
        let mut sent = Sent::All;
        if self.driver.queued(upstream) > 0 {
            sent = self.driver.flush(upstream, Last::End);
        }
        if let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.as_mut()) {
            tunnel.bytes_up += prefix_len;
        }
        if let Sent::Failed(_) = sent {
            return self.tunnel_upstream_failed(key);
        }
        if splice
            && self.driver.splice(client, upstream).is_ok()
            && self.driver.splice(upstream, client).is_ok()
        {
            return;
        }
        self.driver.recv(upstream, None, Receive::Large);
        if sent == Sent::All {
            self.driver.recv(client, None, Receive::Large);
        }
    }

    pub(crate) fn tunnel_from_client(&mut self, key: Key, buf: Buf) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let client = session.sock;
        let Some(tunnel) = &mut session.tunnel else { return };
        tunnel.last_moved = now;
        tunnel.bytes_up += buf.len() as u64;
        let Some(upstream) = self.upstreams.get(tunnel.upstream) else { return };
        match self.driver.send(upstream.sock, buf.freeze(), Last::End) {
            Sent::All => {}
            Sent::Queued(_) => {
                self.driver.pause(client);
            }
            Sent::Failed(_) => self.tunnel_upstream_failed(key),
        }
    }

    pub(crate) fn tunnel_from_upstream(&mut self, key: Key, buf: Buf) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(tunnel) = &mut session.tunnel else { return };
        tunnel.last_moved = now;
        tunnel.bytes_down += buf.len() as u64;
        let ukey = tunnel.upstream;
        self.shared.stats.worker.downstream_bytes_sent.add(buf.len() as u64);
        match self.driver.send(session.sock, buf.freeze(), Last::End) {
            Sent::All => {}
            Sent::Queued(_) => {
                if let Some(upstream) = self.upstreams.get(ukey) {
                    let sock = upstream.sock;
                    self.driver.pause(sock);
                }
            }
            Sent::Failed(_) => self.tunnel_client_failed(key),
        }
    }

    pub(crate) fn tunnel_upstream_drained(&mut self, key: Key, queued: usize) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let sock = session.sock;
        let Some(tunnel) = &mut session.tunnel else { return };
        tunnel.last_moved = now;
        if queued == 0 && !tunnel.client_ended {
            self.driver.recv(sock, None, Receive::Large);
        }
    }

    /// Bytes moved inside the kernel.
    pub(crate) fn spliced(&mut self, from: Sock, bytes: u64) {
        let now = self.driver.now();
        let (key, up) = match self.owner(from) {
            Owner::Session(key) => (key, true),
            Owner::Upstream(ukey) => match self.upstreams.get(ukey) {
                Some(upstream) => (upstream.session, false),
                None => return,
            },
            Owner::Nobody => return,
        };
        let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.as_mut()) else { return };
        tunnel.last_moved = now;
        let counted = if up { &mut tunnel.bytes_up } else { &mut tunnel.bytes_down };
        *counted += bytes;
        let stats = &self.shared.stats.worker;
        if up { stats.downstream_bytes_received.add(bytes) } else { stats.downstream_bytes_sent.add(bytes) }
    }

    /// The client's half of the tunnel is over: the end goes on behind what was sent.
    pub(crate) fn tunnel_client_ended(&mut self, key: Key) {
        let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.as_mut()) else { return };
        tunnel.client_ended = true;
        if !tunnel.connected || tunnel.upstream_ended {
            return self.end_tunnel_quietly(key);
        }
        if let Some(upstream) = self.upstreams.get(tunnel.upstream) {
            let sock = upstream.sock;
            self.driver.shutdown(sock);
        }
    }

    /// The upstream's half of the tunnel is over.
    pub(crate) fn tunnel_upstream_ended(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let sock = session.sock;
        let Some(tunnel) = &mut session.tunnel else { return };
        tunnel.upstream_ended = true;
        if tunnel.client_ended {
            return self.end_tunnel_quietly(key);
        }
        self.driver.shutdown(sock);
    }

    pub(crate) fn tunnel_client_failed(&mut self, key: Key) {
        self.shared.stats.worker.downstream_cancelled_total.add(1);
        self.end_tunnel(key, Flag::DownstreamConnectionTermination, Close::Reset);
    }

    pub(crate) fn tunnel_upstream_failed(&mut self, key: Key) {
        self.shared.stats.worker.upstream_resets_total.add(1);
        self.end_tunnel(key, Flag::UpstreamRemoteReset, Close::Reset);
    }

    pub(crate) fn tunnel_timed_out(&mut self, key: Key) {
        let now = self.driver.now();
        let Some(tunnel) = self.sessions.get(key).and_then(|s| s.tunnel.as_ref()) else { return };
        let flag = if tunnel.ends_at <= now { Flag::DurationTimeout } else { Flag::StreamIdleTimeout };
        self.shared.stats.worker.timeouts_total.add(1);
        self.end_tunnel(key, flag, Close::Reset);
    }

    /// Both ends came, in order. What is still queued is sent, within the idle time.
    fn end_tunnel_quietly(&mut self, key: Key) {
        let Some(tunnel) = self.sessions.get(key).and_then(|s| s.tunnel.as_ref()) else { return };
        let deadline = after_ms(self.driver.now(), tunnel.idle_ms);
        self.close_tunnel(key, Flags::default(), Close::Linger { bytes: LINGER_BYTES_MAX, deadline });
    }

    /// Ends a tunnel for a reason.
    pub(crate) fn end_tunnel(&mut self, key: Key, flag: Flag, how: Close) {
        let mut flags = Flags::default();
        flags.set(flag);
        self.close_tunnel(key, flags, how);
    }

    fn close_tunnel(&mut self, key: Key, flags: Flags, how: Close) {
        let Some(tunnel) = self.sessions.get_mut(key).and_then(|s| s.tunnel.take()) else { return };
        self.shared.stats.worker.tunnels_active.sub(1);
        self.account_tunnel(key, &tunnel, flags);
        self.close_upstream(tunnel.upstream, how);
        if let Some(endpoint) = tunnel.endpoint {
            self.clusters.end(endpoint);
        }
        self.log.recycle(tunnel.log.fields);
        self.close_session(key, how);
    }

    /// The upstream agreed to switch protocols (RFC 9110 section 7.8): the exchange becomes a tunnel.
    pub(crate) fn switch_protocols(
        &mut self,
        ukey: Key,
        key: Key,
        xkey: Key,
        mut buf: Buf,
        scratch: &mut Scratch,
    ) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let cx = ResponseContext {
            route: None,
            via: None,
            version: exchange.request.version,
            keep_alive: true,
            chunked: false,
            upgrade: true,
        };
        head::response(&mut scratch.out, buf.bytes(), &scratch.response, &cx);
        exchange.response.status = scratch.response.status;
        buf.advance(scratch.response.len as usize);
        if !buf.prepend(&scratch.out)
            && let (Some(head), Some(session)) =
                (slice_of(&scratch.out, self.driver.pool()), self.sessions.get(key))
        {
            let sock = session.sock;
            self.driver.queue(sock, head);
        }
        self.begin_tunnel(ukey, key, xkey, buf.freeze());
    }

    /// The connection a CONNECT asked for stands.
    pub(crate) fn connect_established(&mut self, key: Key, xkey: Key) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        exchange.response.status = 200;
        let Some(ukey) = exchange.attempt.as_ref().map(|a| a.upstream) else { return };
        self.begin_tunnel(ukey, key, xkey, Slice::from_static(CONNECT_ESTABLISHED));
    }

    /// Turns an exchange into a tunnel; it keeps nothing of the configuration but its limits.
    fn begin_tunnel(&mut self, ukey: Key, key: Key, xkey: Key, answer: Slice) {
        let now = self.driver.now();
        let Some(exchange) = self.exchanges.remove(xkey) else { return };
        let (Some(attempt), Some(cluster)) = (exchange.attempt, exchange.cluster) else { return };
        self.in_flight -= 1;
        self.shared.stats.worker.requests_active.sub(1);
        self.shared.stats.worker.tunnels_total.add(1);
        self.shared.stats.worker.tunnels_active.add(1);
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.exchange = Key::NONE;
        session.tunnel = Some(Box::new(Tunnel {
            upstream: ukey,
            cluster,
            endpoint: Some(attempt.endpoint),
            idle_ms: exchange.idle_ms,
            ends_at: exchange.ends_at,
            last_moved: now,
            client_ended: session.peer_ended,
            upstream_ended: false,
            bytes_up: exchange.request.bytes,
            bytes_down: answer.len() as u64,
            splice: false,
            connected: true,
            attempts: exchange.attempts,
            log: TunnelLog {
                fields: exchange.log,
                status: exchange.response.status,
                started: exchange.started,
                http: true,
            },
        }));
        let prefix = session.buf.take();
        self.set_state(key, State::Tunnel);
        if let Some(upstream) = self.upstreams.get_mut(ukey) {
            upstream.state = UpstreamState::Tunnel;
            upstream.session = key;
            upstream.exchange = Key::NONE;
        }
        let deadline = after_ms(now, exchange.idle_ms).min(exchange.ends_at);
        self.set_deadline(key, deadline);
        if self.send_down(key, answer, Last::End).is_some() {
            self.relay(key, prefix);
        }
    }
}
