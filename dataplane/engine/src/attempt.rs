//! Attempts: picking an endpoint, a pooled or new connection to it, and what follows when it fails.

use ringway_driver::{Buf, Close, ConnectOptions, Driver, IoError, Receive};
use ringway_policy::retry::{self, Cause};
use ringway_policy::spec;

use crate::cluster::EndpointSlot;
use crate::exchange::{Answer, Attempt, after_ms};
use crate::flags::Flag;
use crate::reply::Reply;
use crate::session::{Owner, Upstream, UpstreamState};
use crate::slab::Key;
use crate::worker::{TimerOwner, Worker};

/// A failed attempt: what it means to the client if no other follows.
#[derive(Clone, Copy)]
pub(crate) struct Broken {
    pub(crate) cause: Cause,
    pub(crate) status: u16,
    pub(crate) flag: Flag,
    pub(crate) reason: &'static str,
}

impl<D: Driver> Worker<D> {
    /// Picks an endpoint and sends the pending request on a pooled connection, or opens one.
    pub(crate) fn start_attempt(&mut self, key: Key, xkey: Key) {
        let now = self.driver.now();
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let Some(cluster) = exchange.cluster else { return };
        exchange.attempts += 1;
        let Some(endpoint) = self.clusters.pick(cluster, &mut self.rng, exchange.avoid) else {
            let reply = Reply::plain(503, Flag::NoHealthyUpstream, "no_endpoint");
            return self.local_reply(key, xkey, &reply);
        };
        // Where one pooled connection had died, the next may have too (an endpoint that restarts): a repetition gets its own.
        let fresh_only = exchange.request.connect || exchange.attempts > 1;
        let pooled = if fresh_only { None } else { self.check_out(endpoint) };
        let reused = pooled.is_some();
        let opened = match pooled {
            Some(upstream) => Ok(upstream),
            None => self.open_upstream(endpoint),
        };
        self.clusters.begin(endpoint);
        self.in_flight += 1;
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        exchange.attempt = Some(Attempt {
            upstream: *opened.as_ref().unwrap_or(&Key::NONE),
            endpoint,
            reused,
            sent: false,
            response_bytes: 0,
            keep_alive: false,
            times_out_at: u64::MAX,
        });
        exchange.last_moved = now;
        if self.log.is_on() {
            exchange.upstream = Some(self.clusters.endpoint(endpoint).addr.clone());
        }
        let deadline = exchange.deadline();
        match opened {
            Err(error) => return self.connect_failed(key, xkey, error),
            Ok(ukey) => {
                if let Some(upstream) = self.upstreams.get_mut(ukey) {
                    upstream.exchange = xkey;
                }
            }
        }
        if reused {
            self.shared.stats.worker.upstream_reused_total.add(1);
            self.send_pending(key, xkey);
        } else {
            self.set_deadline(key, deadline);
        }
    }

    /// The latest idle connection of the endpoint.
    fn check_out(&mut self, endpoint: EndpointSlot) -> Option<Key> {
        let ukey = self.clusters.endpoint_mut(endpoint).idle.pop()?;
        let upstream = self.upstreams.get_mut(ukey)?;
        debug_assert_eq!(upstream.state, UpstreamState::Idle);
        upstream.state = UpstreamState::Busy;
        upstream.deadline = u64::MAX;
        upstream.requests += 1;
        self.clusters.endpoint(endpoint).stats.connections_idle.sub(1);
        self.shared.stats.worker.upstream_connections_idle.sub(1);
        Some(ukey)
    }

    /// Starts a connection to the endpoint.
    pub(crate) fn open_upstream(&mut self, endpoint: EndpointSlot) -> Result<Key, IoError> {
        let state = self.clusters.endpoint(endpoint);
        let sock = self.driver.connect(&state.addr, &ConnectOptions::default())?;
        let connect_ms = self.clusters.config_of(endpoint).spec.connect_ms;
        let deadline = after_ms(self.driver.now(), connect_ms);
        let wheel = &mut self.wheel;
        let ukey = self.upstreams.insert_with(|key| Upstream {
            sock,
            timer: wheel.add(TimerOwner::Upstream(key)),
            endpoint,
            state: UpstreamState::Connecting,
            exchange: Key::NONE,
            session: Key::NONE,
            deadline,
            requests: 1,
            scanned: 0,
        });
        self.set_owner(sock, Owner::Upstream(ukey));
        if let Some(upstream) = self.upstreams.get(ukey)
            && deadline != u64::MAX
        {
            self.wheel.no_later_than(upstream.timer, deadline);
        }
        let state = self.clusters.endpoint_mut(endpoint);
        state.connections += 1;
        state.stats.connections_total.add(1);
        state.stats.connections_active.add(1);
        self.shared.stats.worker.upstream_connections_total.add(1);
        self.shared.stats.worker.upstream_connections_active.add(1);
        Ok(ukey)
    }

    /// A connection was made, or not.
    pub(crate) fn upstream_connected(&mut self, ukey: Key, result: Result<(), IoError>) {
        let Some(upstream) = self.upstreams.get_mut(ukey) else { return };
        let (sock, xkey, tunnel_session) = (upstream.sock, upstream.exchange, upstream.session);
        if let Err(error) = result {
            if !tunnel_session.is_none() {
                return self.tunnel_connect_failed(tunnel_session, error);
            }
            let Some(exchange) = self.exchanges.get(xkey) else {
                return self.close_upstream(ukey, Close::Reset);
            };
            return self.connect_failed(exchange.session, xkey, error);
        }
        upstream.deadline = u64::MAX;
        if !tunnel_session.is_none() {
            return self.tunnel_connected(tunnel_session);
        }
        upstream.state = UpstreamState::Busy;
        self.driver.recv(sock, None, Receive::Large);
        let Some(exchange) = self.exchanges.get(xkey) else {
            return self.close_upstream(ukey, Close::Graceful);
        };
        let key = exchange.session;
        if exchange.request.connect {
            return self.connect_established(key, xkey);
        }
        self.write_proxy_header(key, ukey);
        self.send_pending(key, xkey);
    }

    fn connect_failed(&mut self, key: Key, xkey: Key, error: IoError) {
        self.shared.stats.worker.upstream_connect_failures_total.add(1);
        let reason = match error {
            IoError::Refused => "connect_refused",
            IoError::TimedOut => "connect_timeout",
            IoError::Unreachable => "connect_unreachable",
            IoError::Descriptors | IoError::Memory => "connect_out_of_resources",
            _ => "connect_failed",
        };
        if let Some(attempt) = self.exchanges.get(xkey).and_then(|e| e.attempt.as_ref()) {
            self.clusters.endpoint(attempt.endpoint).stats.connect_failures_total.add(1);
        }
        let broken = Broken {
            cause: Cause::ConnectFailed,
            status: 503,
            flag: Flag::UpstreamConnectionFailure,
            reason,
        };
        self.attempt_failed(key, xkey, broken);
    }

    /// The attempt's connection broke.
    pub(crate) fn attempt_broken(&mut self, key: Key, xkey: Key, _error: IoError) {
        self.shared.stats.worker.upstream_resets_total.add(1);
        let flag = Flag::UpstreamRemoteReset;
        let broken = Broken { cause: Cause::Closed, status: 502, flag, reason: "upstream_reset" };
        self.attempt_failed(key, xkey, broken);
    }

    /// An attempt is over without an answer: another one, or the reply that says why.
    pub(crate) fn attempt_failed(&mut self, key: Key, xkey: Key, broken: Broken) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let Some(attempt) = &exchange.attempt else { return };
        self.clusters.endpoint(attempt.endpoint).stats.errors_total.add(1);
        let request = &exchange.request;
        let failure = retry::Failure {
            cause: broken.cause,
            sent: if attempt.sent { retry::Sent::Part } else { retry::Sent::Nothing },
            response_bytes: attempt.response_bytes,
            reused_connection: attempt.reused,
            idempotent: request.idempotent,
            replayable: request.connect || request.pending[0].is_some() || request.replay[0].is_some(),
            attempts: exchange.attempts,
        };
        let live = exchange.live.clone();
        let policy = exchange
            .route
            .map(|r| live.route(exchange.listener, r).spec.retry)
            .unwrap_or(spec::Retry { max: 0 });
        let again = exchange.response.answer == Answer::Awaited && retry::may_retry(&failure, &policy);
        exchange.avoid = Some(attempt.endpoint);
        exchange.up_blocked = false;
        self.drop_attempt(xkey, Close::Reset);
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        if !again {
            if exchange.attempts > 1 {
                exchange.flags.set(Flag::UpstreamRetryLimitExceeded);
            }
            let reply = Reply::plain(broken.status, broken.flag, broken.reason);
            return self.fail_exchange(key, xkey, &reply);
        }
        if exchange.request.pending[0].is_none() {
            exchange.request.pending = std::mem::take(&mut exchange.request.replay);
        }
        self.shared.stats.worker.retries_total.add(1);
        self.start_attempt(key, xkey);
    }

    /// Ends the attempt without an answer; its connection is closed.
    pub(crate) fn drop_attempt(&mut self, xkey: Key, how: Close) {
        let Some(attempt) = self.exchanges.get_mut(xkey).and_then(|e| e.attempt.take()) else { return };
        self.in_flight -= 1;
        self.close_upstream(attempt.upstream, how);
        self.clusters.end(attempt.endpoint);
    }

    /// Ends the attempt behind a whole answer; its connection goes to the pool where it can be used again.
    pub(crate) fn release_attempt(&mut self, xkey: Key) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let request_done = exchange.request.done;
        let Some(attempt) = exchange.attempt.take() else { return };
        self.in_flight -= 1;
        let ukey = attempt.upstream;
        let reusable = attempt.keep_alive && request_done && self.can_be_pooled(ukey, attempt.endpoint);
        if reusable {
            self.pool_upstream(ukey);
        } else {
            self.close_upstream(ukey, Close::Graceful);
        }
        self.clusters.end(attempt.endpoint);
    }

    fn can_be_pooled(&self, ukey: Key, endpoint: EndpointSlot) -> bool {
        let Some(upstream) = self.upstreams.get(ukey) else { return false };
        let spec = &self.clusters.config_of(endpoint).spec;
        let used_up = spec.requests_per_connection_max.is_some_and(|max| u64::from(upstream.requests) >= max);
        !used_up
            && self.drain.is_none()
            && spec.proxy_protocol == spec::ProxyProtocolOut::Off
            && self.clusters.is_member(endpoint)
            && self.clusters.endpoint(endpoint).idle.len() < spec.idle_max as usize
            && self.driver.queued(upstream.sock) == 0
    }

    fn pool_upstream(&mut self, ukey: Key) {
        let now = self.driver.now();
        let Some(upstream) = self.upstreams.get_mut(ukey) else { return };
        upstream.state = UpstreamState::Idle;
        upstream.exchange = Key::NONE;
        upstream.scanned = 0;
        let (sock, endpoint, timer) = (upstream.sock, upstream.endpoint, upstream.timer);
        let deadline = after_ms(now, self.clusters.config_of(endpoint).spec.idle_ms);
        upstream.deadline = deadline;
        if deadline != u64::MAX {
            self.wheel.no_later_than(timer, deadline);
        }
        let state = self.clusters.endpoint_mut(endpoint);
        state.idle.push(ukey);
        state.stats.connections_idle.add(1);
        self.shared.stats.worker.upstream_connections_idle.add(1);
        // Receiving stays allowed: a byte or an end seen now takes the connection out of the pool.
        self.driver.recv(sock, None, Receive::Large);
    }

    /// Closes an upstream connection and forgets it.
    pub(crate) fn close_upstream(&mut self, ukey: Key, how: Close) {
        let Some(upstream) = self.upstreams.remove(ukey) else { return };
        self.wheel.remove(upstream.timer);
        self.disown(upstream.sock);
        self.driver.close(upstream.sock, how);
        if upstream.state == UpstreamState::Idle {
            let state = self.clusters.endpoint_mut(upstream.endpoint);
            state.idle.retain(|key| *key != ukey);
            state.stats.connections_idle.sub(1);
            self.shared.stats.worker.upstream_connections_idle.sub(1);
        }
        self.shared.stats.worker.upstream_connections_active.sub(1);
        self.clusters.connection_closed(upstream.endpoint);
    }

    /// Bytes of an upstream.
    pub(crate) fn upstream_received(&mut self, ukey: Key, buf: Buf, _more: bool) {
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        match upstream.state {
            UpstreamState::Busy => self.response_received(ukey, buf),
            UpstreamState::Tunnel => self.tunnel_from_upstream(upstream.session, buf),
            // Nobody asked: the connection must not serve anybody (RFC 9112 section 9.2).
            UpstreamState::Idle | UpstreamState::Connecting => self.close_upstream(ukey, Close::Reset),
        }
    }

    /// Queued bytes were taken by an upstream's kernel buffer.
    pub(crate) fn upstream_sent(&mut self, ukey: Key, _bytes: usize, queued: usize) {
        let now = self.driver.now();
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        if upstream.state == UpstreamState::Tunnel {
            return self.tunnel_upstream_drained(upstream.session, queued);
        }
        let Some(exchange) = self.exchanges.get_mut(upstream.exchange) else { return };
        exchange.last_moved = now;
        if queued == 0 && exchange.up_blocked {
            exchange.up_blocked = false;
            let key = exchange.session;
            if !exchange.request.done
                && let Some(session) = self.sessions.get(key)
            {
                let sock = session.sock;
                self.driver.recv(sock, None, Receive::Large);
            }
        }
    }

    /// An upstream ended its direction.
    pub(crate) fn upstream_ended(&mut self, ukey: Key) {
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        match upstream.state {
            UpstreamState::Idle | UpstreamState::Connecting => self.close_upstream(ukey, Close::Graceful),
            UpstreamState::Busy => self.response_ended(ukey),
            UpstreamState::Tunnel => self.tunnel_upstream_ended(upstream.session),
        }
    }

    /// An upstream's connection broke.
    pub(crate) fn upstream_failed(&mut self, ukey: Key, error: IoError) {
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        match upstream.state {
            UpstreamState::Idle => self.close_upstream(ukey, Close::Reset),
            UpstreamState::Tunnel => self.tunnel_upstream_failed(upstream.session),
            UpstreamState::Connecting => self.upstream_connected(ukey, Err(error)),
            UpstreamState::Busy => {
                let xkey = upstream.exchange;
                let Some(exchange) = self.exchanges.get(xkey) else { return };
                self.attempt_broken(exchange.session, xkey, error);
            }
        }
    }

    /// Lets an upstream send again.
    pub(crate) fn resume_upstream(&mut self, ukey: Key) {
        if let Some(upstream) = self.upstreams.get(ukey) {
            let sock = upstream.sock;
            self.driver.recv(sock, None, Receive::Large);
        }
    }

    /// An upstream's timer fired.
    pub(crate) fn upstream_timer(&mut self, ukey: Key) {
        let now = self.driver.now();
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        if upstream.deadline > now {
            if upstream.deadline != u64::MAX {
                self.wheel.no_later_than(upstream.timer, upstream.deadline);
            }
            return;
        }
        match upstream.state {
            UpstreamState::Connecting => {
                self.shared.stats.worker.timeouts_total.add(1);
                self.upstream_connected(ukey, Err(IoError::TimedOut));
            }
            _ => self.close_upstream(ukey, Close::Graceful),
        }
    }
}
