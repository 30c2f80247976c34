//! Downstream connections: from accept to the head of a request, between requests, and to the end.

use ringway_driver::{Buf, Class, Close, Driver, IoError, Last, Micros, Receive, Sent, Slice};
use ringway_policy::spec;
use ringway_wire::h1;

use crate::exchange::{Answer, after_ms};
use crate::flags::Flag;
use crate::session::State;
use crate::slab::Key;
use crate::worker::{Scratch, Worker};

/// While draining, an idle connection gets this long to send a request that was under way. Microseconds.
const DRAIN_IDLE_GRACE_US: Micros = 500_000;
/// Bytes thrown away at most from a client that still sends while its connection is closed.
pub(crate) const LINGER_BYTES_MAX: u64 = 1 << 20;
/// A client that ended its direction while it waits for an answer gets it if it begins within this; then the exchange is
/// cancelled. Microseconds.
const HALF_CLOSED_US: Micros = 1_000_000;

impl<D: Driver> Worker<D> {
    /// A connection is ready to speak its listener's protocol.
    pub(crate) fn open_session(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else { return };
        let listening = &self.listening[session.listener as usize];
        let live = listening.live.clone();
        match &live.listener(listening.at).spec.protocol {
            spec::Protocol::Http(http) => {
                let sock = session.sock;
                self.set_state(key, State::Idle);
                let due = after_ms(self.driver.now(), http.timeouts.header_ms);
                self.set_idle_deadline(key, due);
                self.driver.recv(sock, None, Receive::Small);
            }
            spec::Protocol::Tcp(tcp) => self.open_tcp(key, &live, tcp),
        }
    }

    pub(crate) fn set_state(&mut self, key: Key, state: State) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let idle = &self.shared.stats.worker.downstream_connections_idle;
        match (
            session.state == State::Idle && session.requests > 0,
            state == State::Idle && session.requests > 0,
        ) {
            (false, true) => idle.add(1),
            (true, false) => idle.sub(1),
            _ => {}
        }
        session.state = state;
    }

    #[inline]
    pub(crate) fn set_deadline(&mut self, key: Key, at: Micros) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.deadline = at;
        if at != Micros::MAX {
            self.wheel.no_later_than(session.timer, at);
        }
    }

    /// As `set_deadline`, for a session without a request: a drain (of the worker or of its listener) shortens the wait.
    fn set_idle_deadline(&mut self, key: Key, at: Micros) {
        let Some(session) = self.sessions.get(key) else { return };
        let leaving = self.drain.is_some() || self.listening[session.listener as usize].closing;
        let at = if leaving { at.min(self.driver.now() + DRAIN_IDLE_GRACE_US) } else { at };
        self.set_deadline(key, at);
    }

    /// Bytes of a client.
    pub(crate) fn session_received(&mut self, key: Key, buf: Buf) {
        self.shared.stats.worker.downstream_bytes_received.add(buf.len() as u64);
        let Some(session) = self.sessions.get(key) else { return };
        match session.state {
            State::Idle | State::Head => self.read_head(key, buf),
            State::Exchange => self.request_body(key, buf),
            State::Tunnel => self.tunnel_from_client(key, buf),
            State::Hello => self.read_hello(key, buf),
            State::ProxyHeader => self.read_proxy_header(key, buf),
        }
    }

    /// Bytes that may hold a request head.
    pub(crate) fn read_head(&mut self, key: Key, buf: Buf) {
        let Some(mut scratch) = self.scratch.take() else { return };
        self.read_head_with(key, buf, &mut scratch);
        self.scratch = Some(scratch);
    }

    fn read_head_with(&mut self, key: Key, buf: Buf, scratch: &mut Scratch) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let listening = &self.listening[session.listener as usize];
        let (live, at) = (listening.live.clone(), listening.at);
        let rules = live.rules(at);
        let mut scanned = session.scanned as usize;
        match h1::parse_request(buf.bytes(), &mut scanned, &rules.limits, rules.relax, &mut scratch.request) {
            Ok(h1::Status::Complete(_)) => {
                session.scanned = 0;
                self.begin_exchange(key, buf, live, at, scratch);
            }
            Ok(h1::Status::Partial) => {
                session.scanned = scanned as u32;
                if session.state == State::Idle {
                    let header_ms = live.http(at).map_or(0, |h| h.timeouts.header_ms);
                    let due = after_ms(now, header_ms);
                    let due = if session.requests == 0 { due.min(session.deadline) } else { due };
                    self.set_state(key, State::Head);
                    self.set_deadline(key, due);
                }
                self.await_more_head(key, buf);
            }
            Err(error) => {
                session.scanned = 0;
                self.refuse_head(key, buf, live, at, error.kind, scratch);
            }
        }
    }

    /// Waits for the rest of a head, in one contiguous buffer.
    fn await_more_head(&mut self, key: Key, buf: Buf) {
        let Some(session) = self.sessions.get(key) else { return };
        let sock = session.sock;
        if buf.room() > 0 {
            self.driver.recv(sock, Some(buf), Receive::Small);
            return;
        }
        match self.larger(&buf) {
            Some(larger) => self.driver.recv(sock, Some(larger), Receive::Small),
            // The head limit is far below the largest class, so the parser refuses before this.
            None => self.close_session(key, Close::Reset),
        }
    }

    /// The same bytes in a buffer of the next class; `None` when there is none.
    pub(crate) fn larger(&self, buf: &Buf) -> Option<Buf> {
        let class = Class::ALL.into_iter().find(|c| c.bytes() > buf.len())?;
        let mut larger = self.driver.pool().take(class);
        larger.append(buf.bytes()).then_some(larger)
    }

    /// The exchange is over and the connection lives on: the next request may already be there.
    pub(crate) fn next_request(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        if session.state != State::Idle {
            return;
        }
        if let Some(buf) = session.buf.take() {
            self.read_head(key, buf);
        }
    }

    /// Between two requests.
    pub(crate) fn await_request(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.exchange = Key::NONE;
        let (sock, buffered, ended) = (session.sock, session.buf.is_some(), session.peer_ended);
        let listening = &self.listening[session.listener as usize];
        let timeouts = listening.live.http(listening.at).map(|h| h.timeouts).unwrap_or_default();
        self.set_state(key, State::Idle);
        if buffered {
            self.ready.push_back(key);
            self.set_idle_deadline(key, after_ms(self.driver.now(), timeouts.header_ms));
        } else if ended {
            self.close_session(key, Close::Graceful);
        } else {
            self.set_idle_deadline(key, after_ms(self.driver.now(), timeouts.idle_ms));
            self.driver.recv(sock, None, Receive::Small);
        }
    }

    /// Sends to a client; `None` when the connection broke (and everything about it was cleaned up).
    #[inline]
    pub(crate) fn send_down(&mut self, key: Key, data: Slice, last: Last) -> Option<bool> {
        let session = self.sessions.get(key)?;
        self.shared.stats.worker.downstream_bytes_sent.add(data.len() as u64);
        match self.driver.send(session.sock, data, last) {
            Sent::All => Some(true),
            Sent::Queued(_) => Some(false),
            Sent::Failed(error) => {
                self.session_failed(key, error);
                None
            }
        }
    }

    /// The kernel took bytes that were queued for a client.
    pub(crate) fn session_sent(&mut self, key: Key, _bytes: usize, queued: usize) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        if let Some(tunnel) = &mut session.tunnel {
            tunnel.last_moved = now;
            if queued == 0 && !tunnel.upstream_ended {
                let upstream = tunnel.upstream;
                self.resume_upstream(upstream);
            }
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(session.exchange) else { return };
        exchange.last_moved = now;
        if queued == 0 && exchange.down_blocked {
            exchange.down_blocked = false;
            if exchange.response.answer == Answer::Done {
                self.finish_exchange_of(key);
            } else if let Some(attempt) = &exchange.attempt {
                let (upstream, deadline) = (attempt.upstream, exchange.deadline());
                self.set_deadline(key, deadline);
                self.resume_upstream(upstream);
            }
        }
    }

    /// A client that waits for its answer ended its direction: it may be gone. More requests may still be unread.
    pub(crate) fn session_peer_closed(&mut self, key: Key) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get(key).filter(|s| s.state == State::Exchange) else { return };
        let Some(exchange) = self.exchanges.get_mut(session.exchange) else { return };
        if exchange.request.done && exchange.response.answer == Answer::Awaited {
            exchange.half_closed_until = now + HALF_CLOSED_US;
            let deadline = exchange.deadline();
            self.set_deadline(key, deadline);
        }
    }

    /// A client ended its direction.
    pub(crate) fn session_ended(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.peer_ended = true;
        match session.state {
            State::Tunnel => self.tunnel_client_ended(key),
            State::Exchange => {
                let Some(exchange) = self.exchanges.get(session.exchange) else { return };
                match exchange.request.done {
                    false => self.cancel_by_client(key, "client_closed_early"),
                    true => self.session_peer_closed(key),
                }
            }
            State::Idle | State::Head | State::Hello | State::ProxyHeader => {
                self.close_session(key, Close::Graceful)
            }
        }
    }

    /// A client's connection broke.
    pub(crate) fn session_failed(&mut self, key: Key, _error: IoError) {
        let Some(session) = self.sessions.get(key) else { return };
        match session.state {
            State::Tunnel => self.tunnel_client_failed(key),
            State::Exchange => self.cancel_by_client(key, "client_reset"),
            _ => self.close_session(key, Close::Reset),
        }
    }

    /// The client is gone: the upstream work is cancelled.
    fn cancel_by_client(&mut self, key: Key, reason: &'static str) {
        self.shared.stats.worker.downstream_cancelled_total.add(1);
        self.abort_exchange_of(key, Flag::DownstreamConnectionTermination, reason);
    }

    /// A session's timer fired: its deadline may have moved meanwhile.
    pub(crate) fn session_timer(&mut self, key: Key) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let deadline = match session.state {
            State::Exchange => {
                self.exchanges.get(session.exchange).map_or(session.deadline, |e| e.deadline())
            }
            State::Tunnel => session.tunnel.as_ref().map_or(Micros::MAX, |t| t.deadline()),
            _ => session.deadline,
        };
        session.deadline = deadline;
        if deadline > now {
            if deadline != Micros::MAX {
                self.wheel.no_later_than(session.timer, deadline);
            }
            return;
        }
        match session.state {
            State::Idle if session.requests == 0 && session.buf.is_none() => {
                self.close_session(key, Close::Graceful)
            }
            State::Idle => self.close_session(key, Close::Graceful),
            State::Head => self.head_timed_out(key),
            State::Exchange => self.exchange_timed_out(key),
            State::Tunnel => self.tunnel_timed_out(key),
            State::Hello | State::ProxyHeader => {
                self.shared.stats.worker.timeouts_total.add(1);
                self.close_session(key, Close::Reset);
            }
        }
    }

    /// Ends a session: whatever it held is released. An exchange or tunnel must have been ended before.
    pub(crate) fn close_session(&mut self, key: Key, how: Close) {
        self.set_state(key, State::Head);
        let Some(session) = self.sessions.remove(key) else { return };
        debug_assert!(session.exchange.is_none() && session.tunnel.is_none());
        self.wheel.remove(session.timer);
        self.disown(session.sock);
        self.driver.pause(session.sock);
        self.driver.close(session.sock, how);
        self.shared.stats.worker.downstream_connections_active.sub(1);
        let listening = &mut self.listening[session.listener as usize];
        listening.active -= 1;
        listening.stats.connections_active.sub(1);
    }

    /// Closes behind an answer: input still coming is thrown away for a while, so that no reset destroys the answer.
    pub(crate) fn close_session_lingering(&mut self, key: Key) {
        let Some(session) = self.sessions.get(key) else { return };
        let listening = &self.listening[session.listener as usize];
        let linger_ms = listening.live.http(listening.at).map_or(1_000, |h| h.timeouts.linger_ms);
        let deadline = self.driver.now() + linger_ms.saturating_mul(1_000);
        self.close_session(key, Close::Linger { bytes: LINGER_BYTES_MAX, deadline });
    }

    /// Idle sessions (of one listener, or all) are to go: each gets a moment for a request that was under way.
    pub(crate) fn hasten_idle_sessions(&mut self, listener: Option<u32>) {
        for (deadline, key) in self.idle_sessions(listener) {
            self.set_idle_deadline(key, deadline);
        }
    }

    /// Cuts off everything that is left. Returns how many sessions that were.
    pub(crate) fn cut_all_sessions(&mut self) -> u64 {
        let keys: Vec<Key> = self.sessions.keys().collect();
        for key in &keys {
            match self.sessions.get(*key).map(|s| s.state) {
                Some(State::Exchange) => self.abort_exchange_of(*key, Flag::LocalReset, "drain_deadline"),
                Some(State::Tunnel) => self.end_tunnel(*key, Flag::LocalReset, Close::Reset),
                _ => self.close_session(*key, Close::Reset),
            }
        }
        keys.len() as u64
    }
}
