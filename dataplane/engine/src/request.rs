//! The request half: head to route, route to upstream, body after it. Read from [`Worker::begin_exchange`] down.

use std::rc::Rc;

use ringway_driver::{Addr, Buf, Class, Close, Driver, Last, Pool, Receive, Sent, Slice};
use ringway_policy::route::{Form, Request};
use ringway_policy::snapshot::Action;
use ringway_wire::forwarded;
use ringway_wire::h1::{Body, BodyEvent, ErrorKind, write};
use ringway_wire::http::{Framing, Method, Version};

use crate::access_log::LogFields;
use crate::exchange::{Answer, Coding, Exchange, RequestHalf, ResponseHalf, after_ms};
use crate::flags::{Flag, Flags};
use crate::head::{self, RequestContext};
use crate::live::Live;
use crate::reply::Reply;
use crate::session::State;
use crate::slab::Key;
use crate::worker::{Scratch, Worker};

/// The first part of a body, cut out of the buffer that holds the head.
struct FirstPart {
    /// Data, decoded: a range of the buffer.
    start: usize,
    end: usize,
}

/// What is to become of a request.
enum Verdict {
    /// Goes to the exchange's cluster.
    Forward,
    /// Is answered here.
    Reply(Reply),
}

impl<D: Driver> Worker<D> {
    /// A whole head is at the start of `buf`, parsed into `scratch.request`.
    pub(crate) fn begin_exchange(
        &mut self,
        key: Key,
        mut buf: Buf,
        live: Rc<Live>,
        at: u32,
        scratch: &mut Scratch,
    ) {
        let xkey = self.open_exchange(key, live, at, &buf, scratch);
        let part = match self.take_first_part(key, xkey, &mut buf, scratch) {
            Ok(part) => part,
            Err(error) => return self.refuse_request(key, xkey, error),
        };
        match self.decide(xkey, &buf, scratch) {
            Verdict::Reply(reply) => self.local_reply(key, xkey, &reply),
            Verdict::Forward => {
                self.write_request(key, xkey, buf, &part, scratch);
                self.start_attempt(key, xkey);
            }
        }
    }

    fn open_exchange(&mut self, key: Key, live: Rc<Live>, at: u32, buf: &Buf, scratch: &Scratch) -> Key {
        let now = self.driver.now();
        let head = &scratch.request;
        let http = live.http(at);
        let idle_ms = http.map_or(0, |h| h.timeouts.stream_idle_ms);
        let body_ms = http.and_then(|h| h.timeouts.body_ms).unwrap_or(0);
        let allowance = http.and_then(|h| h.limits.body_bytes_max).unwrap_or(u64::MAX);
        let request = RequestHalf::new(head, &live.rules(at).limits, allowance);
        let log = if self.log.is_on() { self.log.fields(buf.bytes(), head) } else { LogFields::default() };
        let keep_alive = head.keep_alive;
        let xkey = self.exchanges.insert_with(|_| Exchange {
            session: key,
            live,
            listener: at,
            route: None,
            cluster: None,
            request,
            response: ResponseHalf::awaited(),
            attempt: None,
            attempts: 0,
            avoid: None,
            upstream: None,
            keep_alive,
            down_blocked: false,
            up_blocked: false,
            started: now,
            last_moved: now,
            idle_ms,
            try_idle_ms: 0,
            times_out_at: u64::MAX,
            body_due_at: after_ms(now, body_ms),
            ends_at: u64::MAX,
            half_closed_until: u64::MAX,
            flags: Flags::default(),
            reason: "",
            log,
            client: None,
        });
        self.name_client(key, xkey, buf, scratch);
        self.set_state(key, State::Exchange);
        if let Some(session) = self.sessions.get_mut(key) {
            session.exchange = xkey;
            session.requests = session.requests.saturating_add(1);
            self.listening[session.listener as usize].stats.requests_total.add(1);
            let sock = session.sock;
            self.driver.pause(sock);
        }
        let stats = &self.shared.stats.worker;
        stats.requests_total.add(1);
        stats.requests_active.add(1);
        if !head.tolerated.is_empty() {
            self.shared.stats.count_tolerated(head.tolerated);
        }
        xkey
    }

    /// With trusted proxies in front of us, the log names whom they name.
    #[inline]
    fn name_client(&mut self, key: Key, xkey: Key, buf: &Buf, scratch: &Scratch) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let hops = exchange.live.http(exchange.listener).map_or(0, |h| h.trusted_hops);
        if hops == 0 || !self.log.is_on() {
            return;
        }
        let peer = self.sessions.get(key).and_then(|s| s.client()).map(|a| a.ip());
        exchange.client =
            peer.map(|p| forwarded::client_address(buf.bytes(), &scratch.request.fields, p, hops));
    }

    /// Decodes the part of the body that came with the head; what lies behind the request is kept for the next one.
    fn take_first_part(
        &mut self,
        key: Key,
        xkey: Key,
        buf: &mut Buf,
        scratch: &Scratch,
    ) -> Result<FirstPart, ErrorKind> {
        let head_len = scratch.request.len as usize;
        let (Some(exchange), Some(session)) = (self.exchanges.get_mut(xkey), self.sessions.get_mut(key))
        else {
            return Ok(FirstPart { start: head_len, end: head_len });
        };
        let request = &mut exchange.request;
        let (part, used) = match &mut request.body {
            Body::Chunked(decoder) => {
                let rest = buf.bytes_mut().get_mut(head_len..).unwrap_or(&mut []);
                let progress = decoder.decode_in_place(rest).map_err(|e| e.kind)?;
                let (start, end) = (head_len + progress.data.start, head_len + progress.data.end);
                (FirstPart { start, end }, head_len + progress.consumed)
            }
            body => {
                let end = match body.decode(&buf.bytes()[head_len..]).map_err(|e| e.kind)? {
                    BodyEvent::Data { end, .. } => head_len + end,
                    BodyEvent::End { .. } | BodyEvent::NeedMore { .. } => head_len,
                };
                (FirstPart { start: head_len, end }, end)
            }
        };
        request.done = request.body.is_done();
        request.bytes = (part.end - part.start) as u64;
        exchange.body_due_at = if request.done { u64::MAX } else { exchange.body_due_at };
        if used < buf.len() {
            session.buf = buf.copy_tail(used, self.driver.pool());
            debug_assert!(session.buf.is_some(), "a receive buffer fits into a class");
        }
        Ok(part)
    }

    /// Filters and route: what is to become of the request.
    fn decide(&mut self, xkey: Key, buf: &Buf, scratch: &mut Scratch) -> Verdict {
        let head = &scratch.request;
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return Verdict::Forward };
        let live = exchange.live.clone();
        let Some(http) = live.http(exchange.listener) else { return Verdict::Forward };
        if self.overload.memory_short {
            self.shared.stats.worker.shed_requests_total.add(1);
            return Verdict::Reply(Reply::refuse(503, Flag::OverloadManager, "overload"));
        }
        let too_long = matches!(head.framing, Framing::Length(n) if n > exchange.request.allowance);
        if too_long || exchange.request.bytes > exchange.request.allowance {
            return Verdict::Reply(Reply::refuse(413, Flag::DownstreamProtocolError, "body_too_large"));
        }
        exchange.request.allowance -= exchange.request.bytes;
        match head.method {
            Method::Connect if !http.connect => {
                return Verdict::Reply(Reply::refuse(405, Flag::DownstreamProtocolError, "connect_refused"));
            }
            Method::Trace => {
                return Verdict::Reply(Reply::refuse(405, Flag::DownstreamProtocolError, "trace_refused"));
            }
            Method::Options if head.max_forwards == Some(0) => {
                return Verdict::Reply(Reply::plain(204, Flag::DirectResponse, "max_forwards"));
            }
            _ => {}
        }
        let table = &live.listener(exchange.listener).routes;
        let request = Request { head, bytes: buf.bytes() };
        let Some(route_id) = table.find(&request, &mut scratch.matching) else {
            return Verdict::Reply(match scratch.matching.form() {
                Form::Refused => Reply::refuse(400, Flag::DownstreamProtocolError, "path_ambiguous"),
                _ => Reply::plain(404, Flag::NoRouteFound, "no_route"),
            });
        };
        let route = table.route(route_id);
        exchange.route = Some(route_id);
        let spec = &route.spec;
        exchange.idle_ms = spec.idle_ms.unwrap_or(exchange.idle_ms);
        exchange.try_idle_ms = spec.try_idle_ms.unwrap_or(0);
        exchange.ends_at = after_ms(exchange.started, spec.duration_max_ms.unwrap_or(0));
        exchange.request.upgrade = head.upgrade.is_some_and(|u| route.allows_upgrade(u.of(buf.bytes())));
        let cluster = match &route.action {
            Action::Cluster(cluster) => *cluster,
            Action::Split(split) => live.split(exchange.listener, route_id, split, &mut self.rng),
            Action::Redirect(_) | Action::Respond(_) => {
                return Verdict::Reply(Reply::of_route(route, &request, &scratch.matching));
            }
        };
        exchange.cluster = Some(live.slot(cluster));
        Verdict::Forward
    }

    /// Writes the new head in front of the first part of the body, in place where there is room.
    fn write_request(&mut self, key: Key, xkey: Key, mut buf: Buf, part: &FirstPart, scratch: &mut Scratch) {
        let (Some(exchange), Some(session)) = (self.exchanges.get_mut(xkey), self.sessions.get(key)) else {
            return;
        };
        if exchange.request.connect {
            return;
        }
        let live = exchange.live.clone();
        let (Some(http), Some(route)) = (live.http(exchange.listener), exchange.route) else { return };
        let policy = head::request_id_policy(http);
        let random = u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64());
        let id = forwarded::request_id(buf.bytes(), &scratch.request.fields, random, policy);
        if self.log.is_on() {
            exchange.log.set_request_id(id.as_bytes());
        }
        let own_host = match scratch.request.host.is_empty() {
            true => own_host(self.driver.local_addr(session.sock)),
            false => String::new(),
        };
        let cx = RequestContext {
            http,
            route: live.route(exchange.listener, route),
            peer: session.client().map(|a| a.ip()),
            request_id: id.as_bytes(),
            own_host: own_host.as_bytes(),
            upgrade: exchange.request.upgrade,
            chunked: exchange.request.coding == Coding::Chunked,
        };
        let Scratch { request, out, value, matching, .. } = scratch;
        head::request(out, value, &Request { head: request, bytes: buf.bytes() }, matching, &cx);
        buf.truncate(part.end);
        buf.advance(part.start);
        let extra = match exchange.request.coding {
            Coding::Chunked => wrap_chunk(&mut buf, &exchange.request.body, self.driver.pool()),
            Coding::Plain => None,
        };
        exchange.request.pending = match buf.prepend(&scratch.out) {
            true => [Some(buf.freeze()), extra],
            false => {
                let head = slice_of(&scratch.out, self.driver.pool());
                join_front(head, buf, extra, self.driver.pool())
            }
        };
    }

    /// Sends what is pending on the attempt's connection. `false` when that failed (and was dealt with).
    pub(crate) fn send_pending(&mut self, key: Key, xkey: Key) -> bool {
        let now = self.driver.now();
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return false };
        let Some(attempt) = &mut exchange.attempt else { return false };
        let Some(upstream) = self.upstreams.get(attempt.upstream) else { return false };
        let request = &mut exchange.request;
        // Only on a reused connection may a sent request be sent again; then its bytes are kept until the answer begins.
        if attempt.reused && request.idempotent && request.done {
            request.replay = request.pending.clone();
        }
        attempt.sent = true;
        let sock = upstream.sock;
        let sent = match std::mem::take(&mut request.pending) {
            [Some(first), None] => self.driver.send(sock, first, Last::End),
            pieces => {
                pieces.into_iter().flatten().for_each(|piece| self.driver.queue(sock, piece));
                self.driver.flush(sock, Last::End)
            }
        };
        exchange.last_moved = now;
        exchange.up_blocked = matches!(sent, Sent::Queued(_));
        if let Sent::Failed(error) = sent {
            self.attempt_broken(key, xkey, error);
            return false;
        }
        if exchange.request.done {
            self.request_complete(key, xkey);
            return true;
        }
        let (blocked, deadline) = (exchange.up_blocked, exchange.deadline());
        self.set_deadline(key, deadline);
        if !blocked && let Some(session) = self.sessions.get(key) {
            let sock = session.sock;
            self.driver.recv(sock, None, Receive::Large);
        }
        true
    }

    /// All of the request was received and sent on: the answer's time begins to run.
    fn request_complete(&mut self, key: Key, xkey: Key) {
        let now = self.driver.now();
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        exchange.body_due_at = u64::MAX;
        if exchange.response.answer == Answer::Awaited
            && let Some(route) = exchange.route
        {
            let spec = &exchange.live.route(exchange.listener, route).spec;
            let (timeout_ms, try_ms) = (spec.timeout_ms, spec.try_timeout_ms.unwrap_or(0));
            if exchange.times_out_at == u64::MAX {
                exchange.times_out_at = after_ms(now, timeout_ms);
            }
            if let Some(attempt) = &mut exchange.attempt {
                attempt.times_out_at = after_ms(now, try_ms);
            }
        }
        let deadline = exchange.deadline();
        self.set_deadline(key, deadline);
    }

    /// A further part of a request body.
    pub(crate) fn request_body(&mut self, key: Key, mut buf: Buf) {
        let now = self.driver.now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        let xkey = session.exchange;
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let request = &mut exchange.request;
        if request.done {
            // Arrived before the pause took effect: it belongs to the next request.
            self.keep_for_next(key, buf);
            return;
        }
        exchange.last_moved = now;
        let decoded = match &mut request.body {
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
            Err(error) => return self.refuse_request(key, xkey, error.kind),
        };
        let bytes = (end - start) as u64;
        request.bytes += bytes;
        if bytes > request.allowance {
            let reply = Reply::refuse(413, Flag::DownstreamProtocolError, "body_too_large");
            return self.fail_exchange(key, xkey, &reply);
        }
        request.allowance -= bytes;
        request.done = request.body.is_done();
        if request.done {
            let sock = session.sock;
            if used < buf.len() {
                session.buf = buf.copy_tail(used, self.driver.pool());
            }
            self.driver.pause(sock);
        }
        buf.truncate(end);
        buf.advance(start);
        self.send_request_body(key, xkey, buf);
    }

    fn send_request_body(&mut self, key: Key, xkey: Key, mut buf: Buf) {
        let Some(exchange) = self.exchanges.get_mut(xkey) else { return };
        let done = exchange.request.done;
        let extra = match exchange.request.coding {
            Coding::Chunked => wrap_chunk(&mut buf, &exchange.request.body, self.driver.pool()),
            Coding::Plain => None,
        };
        let Some(attempt) = &exchange.attempt else { return };
        let Some(upstream) = self.upstreams.get(attempt.upstream) else { return };
        let sock = upstream.sock;
        exchange.request.replay = [None, None];
        let mut sent = Sent::All;
        if !buf.is_empty() || extra.is_some() {
            self.driver.queue(sock, buf.freeze());
            if let Some(extra) = extra {
                self.driver.queue(sock, extra);
            }
            sent = self.driver.flush(sock, Last::End);
        }
        match sent {
            Sent::Failed(error) => return self.attempt_broken(key, xkey, error),
            Sent::Queued(_) if !done => {
                exchange.up_blocked = true;
                if let Some(session) = self.sessions.get(key) {
                    let sock = session.sock;
                    self.driver.pause(sock);
                }
            }
            Sent::Queued(_) => exchange.up_blocked = true,
            Sent::All => {}
        }
        if done {
            self.request_complete(key, xkey);
        }
    }

    /// Bytes behind a complete request: they wait until its answer is over.
    fn keep_for_next(&mut self, key: Key, buf: Buf) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        match &mut session.buf {
            None => session.buf = Some(buf),
            Some(kept) => {
                if !kept.append(buf.bytes()) {
                    let mut larger = self.driver.pool().take(Class::K256);
                    let fits = larger.append(kept.bytes()) && larger.append(buf.bytes());
                    debug_assert!(fits, "a driver holds few undelivered buffers");
                    session.buf = Some(larger);
                }
            }
        }
    }

    /// A head the parser refused: answered, counted, closed.
    pub(crate) fn refuse_head(
        &mut self,
        key: Key,
        buf: Buf,
        live: Rc<Live>,
        at: u32,
        kind: ErrorKind,
        scratch: &mut Scratch,
    ) {
        scratch.request.clear();
        scratch.request.version = Version::Http11;
        let xkey = self.open_exchange(key, live, at, &buf, scratch);
        drop(buf);
        self.shared.stats.worker.requests_refused_total.add(1);
        let reply = Reply::refuse(kind.status(), Flag::DownstreamProtocolError, kind.reason());
        self.local_reply(key, xkey, &reply);
    }

    /// The head of a request did not come in time.
    pub(crate) fn head_timed_out(&mut self, key: Key) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let listening = &self.listening[session.listener as usize];
        let (live, at) = (listening.live.clone(), listening.at);
        let sock = session.sock;
        session.scanned = 0;
        let part = self.driver.pause(sock);
        let (Some(buf), Some(mut scratch)) = (part, self.scratch.take()) else {
            return self.close_session(key, Close::Graceful);
        };
        scratch.request.clear();
        self.shared.stats.worker.timeouts_total.add(1);
        let xkey = self.open_exchange(key, live, at, &buf, &scratch);
        let reply = Reply::refuse(408, Flag::DownstreamTimeout, "header_timeout");
        self.local_reply(key, xkey, &reply);
        self.scratch = Some(scratch);
    }

    /// A body the decoder refused.
    fn refuse_request(&mut self, key: Key, xkey: Key, kind: ErrorKind) {
        self.shared.stats.worker.requests_refused_total.add(1);
        let reply = Reply::refuse(kind.status(), Flag::DownstreamProtocolError, kind.reason());
        self.fail_exchange(key, xkey, &reply);
    }
}

/// Encodes the data in `buf` as one chunk, with the last chunk behind it when the body is done. What does not fit behind the
/// data (trailers) comes back as a slice of its own.
pub(crate) fn wrap_chunk(buf: &mut Buf, body: &Body, pool: &Pool) -> Option<Slice> {
    let data = buf.len();
    let mut fits = true;
    if data > 0 {
        fits = buf.prepend(write::chunk_prefix(data).as_bytes()) && buf.append(write::chunk_suffix());
    }
    debug_assert!(fits, "head room and tail room hold a chunk's frame");
    if !body.is_done() {
        return None;
    }
    if body.trailers().is_empty() && buf.append(write::LAST_CHUNK) {
        return None;
    }
    let mut last = Vec::new();
    write::last_chunk(&mut last, body.trailers());
    slice_of(&last, pool)
}

/// A slice with a copy of `bytes`; `None` when they are longer than the largest class.
pub(crate) fn slice_of(bytes: &[u8], pool: &Pool) -> Option<Slice> {
    let mut buf = pool.take(Class::holding(bytes.len())?);
    buf.append(bytes).then(|| buf.freeze())
}

/// A head of its own in front of the body: three pieces become two by copying the last.
fn join_front(head: Option<Slice>, mut buf: Buf, extra: Option<Slice>, pool: &Pool) -> [Option<Slice>; 2] {
    if let Some(extra) = extra
        && !buf.append(extra.bytes())
    {
        let mut larger = pool.take(Class::K256);
        let fits = larger.append(buf.bytes()) && larger.append(extra.bytes());
        debug_assert!(fits, "a receive buffer and a trailer section fit");
        buf = larger;
    }
    [head, (!buf.is_empty()).then(|| buf.freeze())]
}

/// The authority of a request that named none: the address it came to.
#[cold]
fn own_host(local: Option<Addr>) -> String {
    local.and_then(|a| a.inet()).map_or_else(|| "localhost".into(), |a| a.to_string())
}
