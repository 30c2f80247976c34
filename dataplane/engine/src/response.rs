//! The response half: answer of the upstream to the client, and the end of an exchange.

use ringway_driver::{Buf, Class, Close, Driver, Last, Receive};
use ringway_policy::retry::Cause;
use ringway_wire::h1::{self, Body, BodyEvent};
use ringway_wire::http::Framing;

use crate::attempt::Broken;
use crate::exchange::{Answer, Coding};
use crate::flags::Flag;
use crate::head::{self, ResponseContext};
use crate::reply::Reply;
use crate::request::{slice_of, wrap_chunk};
use crate::slab::Key;
use crate::worker::{Scratch, Worker};

/// Interim answers (1xx) to one request; more is a malformed answer.
const INTERIM_MAX: u64 = 32;

impl<D: Driver> Worker<D> {
    /// Bytes of the upstream that serves an exchange.
    pub(crate) fn response_received(&mut self, ukey: Key, buf: Buf) {
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        let xkey = upstream.exchange;
        let now = self.driver.now();
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        exchange.last_moved = now;
        match exchange.response.answer {
            Answer::Awaited => {
                let Some(mut scratch) = self.scratch.take() else { return };
                self.response_head(ukey, xkey, buf, &mut scratch);
                self.scratch = Some(scratch);
            }
            Answer::Body => self.response_body(ukey, xkey, buf),
            Answer::Done => {}
        }
    }

    fn response_head(&mut self, ukey: Key, xkey: Key, mut buf: Buf, scratch: &mut Scratch) {
        loop {
            let (Some(exchange), Some(upstream)) =
                (self.exchanges.get_mut(xkey), self.upstreams.get_mut(ukey))
            else {
                return;
            };
            let Some(attempt) = &mut exchange.attempt else { return };
            attempt.response_bytes = attempt.response_bytes.max(1);
            let mut limits = h1::Limits::DEFAULT;
            limits.head_bytes_max = self.clusters.config_of(attempt.endpoint).spec.head_bytes_max;
            let relax = exchange.live.rules(exchange.listener).relax;
            let mut scanned = upstream.scanned as usize;
            let method = exchange.request.method;
            let parsed =
                h1::parse_response(buf.bytes(), &mut scanned, &limits, relax, method, &mut scratch.response);
            match parsed {
                Ok(h1::Status::Partial) => {
                    upstream.scanned = scanned as u32;
                    return self.await_more_response(ukey, buf);
                }
                Err(error) => {
                    let key = exchange.session;
                    return self.malformed(key, xkey, error.kind.reason());
                }
                Ok(h1::Status::Complete(_)) => upstream.scanned = 0,
            }
            if !scratch.response.is_interim() {
                return self.final_head(ukey, xkey, buf, scratch);
            }
            let len = scratch.response.len as usize;
            attempt.response_bytes += 1;
            if attempt.response_bytes > INTERIM_MAX {
                let key = exchange.session;
                return self.malformed(key, xkey, "too_many_interim_responses");
            }
            if !self.pass_interim(xkey, &buf, scratch) {
                return;
            }
            buf.advance(len);
            if buf.is_empty() {
                return;
            }
        }
    }

    /// Waits for the rest of a head, in one contiguous buffer.
    fn await_more_response(&mut self, ukey: Key, buf: Buf) {
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        let sock = upstream.sock;
        // A part of a head rarely needs the large buffer it came in; kept small it costs little while it waits.
        let wanted = if buf.len() < 2_048 { Class::K4 } else { Class::K112 };
        let mut smaller = self.driver.pool().take(wanted);
        if smaller.append(buf.bytes()) && smaller.room() > 0 {
            self.driver.recv(sock, Some(smaller), Receive::Large);
        } else {
            self.driver.recv(sock, Some(buf), Receive::Large);
        }
    }

    /// Sends a 1xx on to a client that knows it (RFC 9110 section 15.2). `false` when the exchange is over.
    fn pass_interim(&mut self, xkey: Key, buf: &Buf, scratch: &mut Scratch) -> bool {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return false };
        if exchange.request.version == ringway_wire::http::Version::Http10 {
            return true;
        }
        let cx = ResponseContext {
            route: None,
            via: None,
            version: exchange.request.version,
            keep_alive: true,
            chunked: false,
            upgrade: false,
        };
        head::response(&mut scratch.out, buf.bytes(), &scratch.response, &cx);
        let key = exchange.session;
        let Some(slice) = slice_of(&scratch.out, self.driver.pool()) else { return true };
        self.send_down(key, slice, Last::End).is_some()
    }

    /// The final head: the commit point.
    fn final_head(&mut self, ukey: Key, xkey: Key, mut buf: Buf, scratch: &mut Scratch) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let key = exchange.session;
        let response = &scratch.response;
        if response.tunnel {
            let wanted = exchange.request.upgrade && response.upgrade.is_some();
            if !wanted {
                return self.malformed(key, xkey, "upgrade_not_asked_for");
            }
            return self.switch_protocols(ukey, key, xkey, buf, scratch);
        }
        if !response.tolerated.is_empty() {
            self.shared.stats.count_tolerated(response.tolerated);
        }
        let leaving = self.leaving(key);
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let chunked = head::response_is_chunked(response.framing, exchange.request.version);
        let until_close = !chunked && matches!(response.framing, Framing::Chunked | Framing::UntilClose);
        // An answer in the middle of its request ends the connection, and says so (RFC 9112 section 9.6).
        exchange.keep_alive &= !until_close && !leaving && exchange.request.done;
        exchange.request.replay = [None, None];
        exchange.times_out_at = u64::MAX;
        if let Some(attempt) = &mut exchange.attempt {
            attempt.times_out_at = u64::MAX;
            attempt.keep_alive = response.keep_alive && response.framing != Framing::UntilClose;
        }
        let limits = &exchange.live.rules(exchange.listener).limits;
        exchange.response.answer = Answer::Body;
        exchange.response.status = response.status;
        exchange.response.body = Body::from_framing(response.framing, limits);
        exchange.response.coding = if chunked { Coding::Chunked } else { Coding::Plain };
        exchange.response.until_close = until_close;
        let live = exchange.live.clone();
        let cx = ResponseContext {
            route: exchange.route.map(|r| live.route(exchange.listener, r)),
            via: live.http(exchange.listener).and_then(|h| h.via.as_deref()),
            version: exchange.request.version,
            keep_alive: exchange.keep_alive,
            chunked,
            upgrade: false,
        };
        head::response(&mut scratch.out, buf.bytes(), response, &cx);
        if response.status >= 500
            && let Some(attempt) = &exchange.attempt
        {
            self.clusters.endpoint(attempt.endpoint).stats.responses_5xx.add(1);
        }
        buf.advance(response.len as usize);
        self.send_response_part(ukey, key, xkey, buf, Some(&scratch.out));
    }

    fn response_body(&mut self, ukey: Key, xkey: Key, buf: Buf) {
        let Some(exchange) = self.exchanges.get(xkey) else { return };
        let key = exchange.session;
        self.send_response_part(ukey, key, xkey, buf, None);
    }

    /// Decodes a part of the body and sends it on, behind a head if it is the first.
    fn send_response_part(&mut self, ukey: Key, key: Key, xkey: Key, mut buf: Buf, head: Option<&[u8]>) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let response = &mut exchange.response;
        let decoded = match &mut response.body {
            Body::Chunked(decoder) => {
                decoder.decode_in_place(buf.bytes_mut()).map(|p| (p.data.start, p.data.end, p.consumed))
            }
            body => body.decode(buf.bytes()).map(|event| match event {
                BodyEvent::Data { end, .. } => (0, end, end),
                BodyEvent::End { consumed } | BodyEvent::NeedMore { consumed } => (0, 0, consumed),
            }),
        };
        let (start, end, used) = match decoded {
            Ok(progress) => progress,
            Err(error) if head.is_some() => {
                response.answer = Answer::Awaited;
                return self.malformed(key, xkey, error.kind.reason());
            }
            Err(error) => {
                self.shared.stats.worker.upstream_protocol_errors_total.add(1);
                return self.abort_exchange_of(key, Flag::UpstreamProtocolError, error.kind.reason());
            }
        };
        let done = response.body.is_done();
        // Bytes behind the answer were not asked for: this connection serves nobody else.
        if done
            && used < buf.len()
            && let Some(attempt) = &mut exchange.attempt
        {
            attempt.keep_alive = false;
        }
        buf.truncate(end);
        buf.advance(start);
        let mut extra = None;
        if response.coding == Coding::Chunked {
            extra = wrap_chunk(&mut buf, &response.body, self.driver.pool());
        }
        let closing = done && !(exchange.keep_alive && exchange.request.done);
        let last = if closing { Last::More } else { Last::End };
        let Some(session) = self.sessions.get(key) else { return };
        let sock = session.sock;
        let mut bytes = buf.len() + extra.as_ref().map_or(0, |e| e.len());
        if let Some(head) = head {
            bytes += head.len();
            if !buf.prepend(head)
                && let Some(head) = slice_of(head, self.driver.pool())
            {
                self.driver.queue(sock, head);
            }
        }
        exchange.response.bytes += bytes as u64;
        if bytes > 0 || closing {
            let blocked = match extra {
                None => self.send_down(key, buf.freeze(), last),
                Some(extra) => {
                    self.driver.queue(sock, buf.freeze());
                    self.send_down(key, extra, last)
                }
            };
            match blocked {
                Some(true) => {}
                Some(false) => self.client_blocked(ukey, xkey),
                None => return,
            }
        }
        if done {
            self.response_complete(key, xkey);
        }
    }

    /// The client takes no more for now: the upstream waits.
    fn client_blocked(&mut self, ukey: Key, xkey: Key) {
        if let Some(exchange) = self.exchanges.get_mut(xkey) {
            exchange.down_blocked = true;
        }
        if let Some(upstream) = self.upstreams.get(ukey) {
            let sock = upstream.sock;
            self.driver.pause(sock);
        }
    }

    fn response_complete(&mut self, key: Key, xkey: Key) {
        self.release_attempt(xkey);
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        exchange.response.answer = Answer::Done;
        exchange.half_closed_until = u64::MAX;
        if !exchange.down_blocked {
            self.finish_exchange_of(key);
        }
    }

    /// The upstream ended its direction while it served an exchange.
    pub(crate) fn response_ended(&mut self, ukey: Key) {
        let Some(upstream) = self.upstreams.get(ukey) else { return };
        let xkey = upstream.exchange;
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let key = exchange.session;
        match exchange.response.answer {
            Answer::Awaited => {
                self.shared.stats.worker.upstream_resets_total.add(1);
                let flag = Flag::UpstreamConnectionTermination;
                let broken = Broken { cause: Cause::Closed, status: 502, flag, reason: "upstream_closed" };
                self.attempt_failed(key, xkey, broken);
            }
            Answer::Body if exchange.response.body.is_whole_at_close() => {
                self.end_of_close_delimited(key, xkey)
            }
            Answer::Body => {
                self.shared.stats.worker.upstream_resets_total.add(1);
                self.abort_exchange_of(key, Flag::UpstreamConnectionTermination, "upstream_closed_early");
            }
            Answer::Done => {}
        }
    }

    /// An answer that ends with its connection is whole.
    fn end_of_close_delimited(&mut self, key: Key, xkey: Key) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        if let Some(attempt) = &mut exchange.attempt {
            attempt.keep_alive = false;
        }
        if exchange.response.coding == Coding::Chunked {
            exchange.response.bytes += h1::write::LAST_CHUNK.len() as u64;
            let closing = !(exchange.keep_alive && exchange.request.done);
            let last = if closing { Last::More } else { Last::End };
            match self.send_down(key, ringway_driver::Slice::from_static(h1::write::LAST_CHUNK), last) {
                Some(true) => {}
                Some(false) => {
                    if let Some(exchange) = self.exchanges.get_mut(xkey) {
                        exchange.down_blocked = true;
                    }
                }
                None => return,
            }
        }
        self.response_complete(key, xkey);
    }

    /// The answer was refused as malformed.
    fn malformed(&mut self, key: Key, xkey: Key, reason: &'static str) {
        self.shared.stats.worker.upstream_protocol_errors_total.add(1);
        let flag = Flag::UpstreamProtocolError;
        self.attempt_failed(key, xkey, Broken { cause: Cause::Malformed, status: 502, flag, reason });
    }

    /// The exchange of a session is over; its answer was handed to the kernel.
    pub(crate) fn finish_exchange_of(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let Some(exchange) = self.exchanges.remove(session.exchange) else { return };
        debug_assert!(exchange.attempt.is_none());
        session.exchange = Key::NONE;
        let keep = exchange.keep_alive && exchange.request.done;
        // Only a client that asked for the end sends nothing more; with input unread a plain close would be a reset, which destroys
        // the answer on its way (RFC 9112 section 9.6).
        let nothing_follows = exchange.request.done
            && (session.peer_ended || !exchange.request.keep_alive)
            && session.buf.is_none();
        self.account(key, exchange);
        if keep {
            self.await_request(key);
        } else if nothing_follows {
            self.close_session(key, Close::Graceful);
        } else {
            self.close_session_lingering(key);
        }
    }

    /// Cuts an exchange off: upstream and client connection are closed.
    pub(crate) fn abort_exchange_of(&mut self, key: Key, flag: Flag, reason: &'static str) {
        let Some(session) = self.sessions.get(key) else { return };
        let xkey = session.exchange;
        self.drop_attempt(xkey, Close::Reset);
        if let Some(mut exchange) = self.exchanges.remove(xkey) {
            exchange.flags.set(flag);
            exchange.reason = reason;
            // Behind a length or a chunk the client sees that the end is missing; a body up to the close needs a reset for that.
            let begun = exchange.response.answer != Answer::Awaited;
            let by_upstream = matches!(
                flag,
                Flag::UpstreamConnectionTermination | Flag::UpstreamRemoteReset | Flag::UpstreamProtocolError
            );
            let visible = begun && by_upstream && !exchange.response.until_close;
            if let Some(session) = self.sessions.get_mut(key) {
                session.exchange = Key::NONE;
            }
            self.account(key, exchange);
            match visible {
                true => self.close_session_lingering(key),
                false => self.close_session(key, Close::Reset),
            }
        }
    }

    /// A deadline of an exchange has passed.
    pub(crate) fn exchange_timed_out(&mut self, key: Key) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get(key) else { return };
        let xkey = session.exchange;
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        self.shared.stats.worker.timeouts_total.add(1);
        if exchange.half_closed_until <= now {
            self.shared.stats.worker.downstream_cancelled_total.add(1);
            return self.abort_exchange_of(key, Flag::DownstreamConnectionTermination, "client_half_closed");
        }
        if exchange.attempt.as_ref().is_some_and(|a| a.times_out_at <= now) && exchange.times_out_at > now {
            let flag = Flag::UpstreamRequestTimeout;
            let broken = Broken { cause: Cause::TimedOut, status: 504, flag, reason: "try_timeout" };
            return self.attempt_failed(key, xkey, broken);
        }
        if exchange.silent_until() <= now && exchange.times_out_at > now && exchange.ends_at > now {
            let reply = Reply::plain(504, Flag::UpstreamRequestTimeout, "try_idle_timeout");
            return self.fail_exchange(key, xkey, &reply);
        }
        let waits_for_client = !exchange.request.done && !exchange.up_blocked && exchange.attempt.is_some();
        let reply = if exchange.ends_at <= now {
            Reply::refuse(504, Flag::DurationTimeout, "duration_timeout")
        } else if exchange.times_out_at <= now {
            Reply::plain(504, Flag::UpstreamRequestTimeout, "response_timeout")
        } else if exchange.body_due_at <= now {
            Reply::refuse(408, Flag::DownstreamTimeout, "body_timeout")
        } else if waits_for_client {
            Reply::refuse(408, Flag::StreamIdleTimeout, "stream_idle_timeout")
        } else {
            Reply::refuse(504, Flag::StreamIdleTimeout, "stream_idle_timeout")
        };
        self.fail_exchange(key, xkey, &reply);
    }
}
