//! One request and its answer: two halves, and the attempts made to get it. The flow reads top to bottom in `request.rs`
//! (head to upstream), `attempt.rs` (upstream to failure or answer) and `response.rs` (answer to client).

use std::net::IpAddr;
use std::rc::Rc;

use ringway_driver::{Addr, Micros, Slice};
use ringway_policy::snapshot::RouteId;
use ringway_wire::h1::{Body, Limits};
use ringway_wire::http::{Framing, Method, RequestHead, Version};

use crate::access_log::LogFields;
use crate::cluster::{ClusterSlot, EndpointSlot};
use crate::flags::Flags;
use crate::live::Live;
use crate::slab::Key;

/// How a body is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is (no body, by length, or up to the close).
    Plain,
    /// Chunked.
    Chunked,
}

/// The request half.
///
/// ```text
/// head complete -> (body ...) -> done
/// ```
pub(crate) struct RequestHalf {
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) idempotent: bool,
    /// The client did not ask for the end of its connection: more requests may be on their way.
    pub(crate) keep_alive: bool,
    pub(crate) body: Body,
    pub(crate) coding: Coding,
    /// Everything the client sends for it was received.
    pub(crate) done: bool,
    /// The protocol it asks to switch to is allowed by the route.
    pub(crate) upgrade: bool,
    pub(crate) connect: bool,
    /// Waiting for the connection: head and the first part of the body.
    pub(crate) pending: [Option<Slice>; 2],
    /// The whole request in what was sent so far, for another attempt.
    pub(crate) replay: [Option<Slice>; 2],
    /// Body bytes that may still come before 413.
    pub(crate) allowance: u64,
    pub(crate) bytes: u64,
}

impl RequestHalf {
    /// A request whose head was just read; `allowance` is how many bytes of body may come.
    pub(crate) fn new(head: &RequestHead, limits: &Limits, allowance: u64) -> RequestHalf {
        RequestHalf {
            method: head.method,
            version: head.version,
            idempotent: head.method.is_idempotent(),
            keep_alive: head.keep_alive,
            body: Body::from_framing(head.framing, limits),
            coding: if head.framing == Framing::Chunked { Coding::Chunked } else { Coding::Plain },
            done: false,
            upgrade: false,
            connect: head.method == Method::Connect,
            pending: [None, None],
            replay: [None, None],
            allowance,
            bytes: 0,
        }
    }
}

/// Where the answer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// No final head yet.
    Awaited,
    /// Its head was sent on: the commit point.
    Body,
    /// All of it was sent on.
    Done,
}

/// The response half.
pub(crate) struct ResponseHalf {
    pub(crate) answer: Answer,
    pub(crate) status: u16,
    pub(crate) body: Body,
    pub(crate) coding: Coding,
    /// The end of the answer is the end of the connection.
    pub(crate) until_close: bool,
    pub(crate) bytes: u64,
}

impl ResponseHalf {
    pub(crate) fn awaited() -> ResponseHalf {
        ResponseHalf {
            answer: Answer::Awaited,
            status: 0,
            body: Body::Empty,
            coding: Coding::Plain,
            until_close: false,
            bytes: 0,
        }
    }
}

/// An attempt in progress.
pub(crate) struct Attempt {
    pub(crate) upstream: Key,
    pub(crate) endpoint: EndpointSlot,
    pub(crate) reused: bool,
    /// Something of the request was handed to the connection.
    pub(crate) sent: bool,
    pub(crate) response_bytes: u64,
    /// The upstream lets its connection be used again.
    pub(crate) keep_alive: bool,
    /// Absolute; `Micros::MAX` = none.
    pub(crate) times_out_at: Micros,
}

/// One request and its answer.
pub(crate) struct Exchange {
    pub(crate) session: Key,
    pub(crate) live: Rc<Live>,
    /// Index of the listener in the snapshot.
    pub(crate) listener: u32,
    pub(crate) route: Option<RouteId>,
    pub(crate) cluster: Option<ClusterSlot>,
    pub(crate) request: RequestHalf,
    pub(crate) response: ResponseHalf,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) attempts: u32,
    /// The endpoint of the last failed attempt.
    pub(crate) avoid: Option<EndpointSlot>,
    /// Address of the last attempt's endpoint, when the log wants it.
    pub(crate) upstream: Option<Addr>,
    /// The client connection may be used again.
    pub(crate) keep_alive: bool,
    /// Sending to the client is blocked: the upstream is paused.
    pub(crate) down_blocked: bool,
    /// Sending to the upstream is blocked: the client is paused.
    pub(crate) up_blocked: bool,
    pub(crate) started: Micros,
    pub(crate) last_moved: Micros,
    pub(crate) idle_ms: u64,
    /// 0 = none.
    pub(crate) try_idle_ms: u64,
    /// Absolute deadlines; `Micros::MAX` = none.
    pub(crate) times_out_at: Micros,
    pub(crate) body_due_at: Micros,
    pub(crate) ends_at: Micros,
    /// The client ended its direction: the answer may still come until then.
    pub(crate) half_closed_until: Micros,
    pub(crate) flags: Flags,
    /// Why a local reply was given or the exchange was cut; empty otherwise.
    pub(crate) reason: &'static str,
    pub(crate) log: LogFields,
    /// Whom trusted proxies in front of us name as the client, when the log wants it.
    pub(crate) client: Option<IpAddr>,
}

impl Exchange {
    /// When an upstream that is waited for has been silent for too long.
    pub(crate) fn silent_until(&self) -> Micros {
        match self.request.done && !self.up_blocked && !self.down_blocked && self.attempt.is_some() {
            true => after_ms(self.last_moved, self.try_idle_ms),
            false => Micros::MAX,
        }
    }

    /// The earliest time at which this exchange must be looked at.
    pub(crate) fn deadline(&self) -> Micros {
        let idle = after_ms(self.last_moved, self.idle_ms);
        let attempt = self.attempt.as_ref().map_or(Micros::MAX, |a| a.times_out_at);
        [
            idle,
            attempt,
            self.silent_until(),
            self.times_out_at,
            self.body_due_at,
            self.ends_at,
            self.half_closed_until,
        ]
        .into_iter()
        .fold(Micros::MAX, Micros::min)
    }
}

/// Milliseconds from `now` as an absolute time; 0 = never.
pub(crate) fn after_ms(now: Micros, ms: u64) -> Micros {
    match ms {
        0 => Micros::MAX,
        ms => now.saturating_add(ms.saturating_mul(1_000)),
    }
}
