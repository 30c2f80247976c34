//! The seam between the socket state machine (`stream`) and the two ways of hearing from the kernel (`epoll`, `uring`).
//!
//! A poller tells readiness, edge-triggered. It may also receive by itself (into ring buffers): `input` then hands the
//! bytes over. Its state per descriptor is the `Watch`, which lives in the socket.

use std::ffi::c_int;
use std::os::fd::RawFd;

use crate::sys::Errno;
use crate::{Buf, DriverConfig, ListenerId, Micros, Pool, Sock};

/// Whom an event is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Token {
    /// The waker's descriptor.
    Wake,
    /// A listening socket.
    Listener(ListenerId),
    /// A stream or datagram socket.
    Sock(Sock),
}

/// A descriptor and whom it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub(crate) token: Token,
    pub(crate) fd: RawFd,
}

/// An event as it came; only its poller understands it.
#[derive(Clone, Copy, Debug)]
pub struct Raw {
    pub(crate) token: Token,
    pub(crate) kind: u8,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

/// What an event means for its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Readiness ([`INPUT`], [`OUTPUT`], …).
    pub(crate) events: u32,
    /// `input` has something new to say.
    pub(crate) input: bool,
    /// A `release` that had to wait is complete.
    pub(crate) released: bool,
}

/// Where the next bytes of a socket are.
#[derive(Debug)]
pub enum Input {
    /// In the kernel: recv(2).
    Direct,
    /// Received already; true when more is known to be there or has to be looked for.
    Bytes(Buf, bool),
    /// Not there yet; an event will come.
    Nothing,
    /// The peer's end.
    End,
    /// The socket is broken.
    Failed(Errno),
}

/// Which readiness to watch for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Bytes, the peer's end, errors.
    Input,
    /// The same, for a session that waits for short messages.
    ShortInput,
    /// Room to send, and input.
    Both,
}

/// One way of hearing from the kernel.
pub trait Poller: Sized {
    /// What it keeps per descriptor.
    type Watch: Default;
    /// For logs.
    const NAME: &'static str;
    /// Flags of accept4(2) that suit it.
    const ACCEPT_FLAGS: c_int;

    fn open(config: &DriverConfig, wake: RawFd, pool: &Pool) -> Result<Self, Errno>;
    /// The state of a descriptor that did not come from accept4 with `ACCEPT_FLAGS`: it is non-blocking.
    fn foreign() -> Self::Watch;

    /// No fetched event is left.
    fn drained(&mut self) -> bool;
    /// Fetches what is there, without sleeping. Only when drained.
    fn poll(&mut self);
    /// Sleeps until there is something, at most `micros` (`None`: for ever). Only when drained.
    fn wait(&mut self, micros: Option<Micros>);
    /// The next fetched event.
    fn take(&mut self) -> Option<Raw>;
    /// Brings the watch up to date with an event of its descriptor.
    fn apply(&mut self, place: Place, watch: &mut Self::Watch, raw: Raw) -> Applied;

    /// Existing readiness is reported as an event, later readiness at each change.
    fn watch(&mut self, place: Place, watch: &mut Self::Watch, interest: Interest) -> Result<(), Errno>;
    /// The send queue ran empty: room is of no interest for now.
    fn unwatch_output(&mut self, place: Place, watch: &mut Self::Watch);
    /// Input is being watched.
    fn watched(watch: &Self::Watch) -> bool;

    /// Where the next bytes are.
    fn input(&mut self, watch: &mut Self::Watch) -> Input;
    /// Puts bytes that `input` gave back in front.
    fn unread(&mut self, watch: &mut Self::Watch, buf: Buf);
    /// From now on (after what `input` still holds, and perhaps an event) the bytes are read directly.
    fn read_directly(&mut self, place: Place, watch: &mut Self::Watch);

    /// One event when connections wait, until `pause_listener`; called again after each event.
    fn watch_listener(&mut self, place: Place, watch: &mut Self::Watch) -> Result<(), Errno>;
    fn pause_listener(&mut self, place: Place, watch: &mut Self::Watch);

    /// Ends all watching. True: done, the descriptor may be closed (or, with `keep`, live on elsewhere). False: an
    /// event will say `released`.
    fn release(&mut self, place: Place, watch: &mut Self::Watch, keep: bool) -> bool;
}

pub(crate) const OUTPUT: u32 = libc::EPOLLOUT as u32;
pub(crate) const HANGUP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP) as u32;
pub(crate) const ERROR: u32 = libc::EPOLLERR as u32;
pub(crate) const INPUT: u32 = libc::EPOLLIN as u32 | HANGUP | ERROR;
