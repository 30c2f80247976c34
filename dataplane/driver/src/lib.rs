//! I/O as data: operations in, completions out. This page is the contract that `uring`, `epoll` and `sim` all keep.
//!
//! The unit is the stream, not the system call, so that each backend does its natural thing. All unsafe code of the
//! data plane lives in this crate. The engine is the only caller; one driver belongs to one thread.
//!
//! # The loop
//! ```text
//! driver.turn(until, spin);                    // waits, at most until `until`
//! while let Some(done) = driver.next() { … }   // completions one by one; calls in between run at once
//! ```
//! `next` produces lazily: the epoll backend receives into a buffer only when the engine is ready to handle it, so one
//! hot buffer serves a whole turn. `next` hands out a bounded number of completions per turn
//! ([`DONES_PER_TURN_MAX`]); what is left waits for the following turn, which then does not sleep.
//!
//! # Sockets
//! A [`Sock`] is an index with a generation: a stale one is ignored by every call, so a late call can never touch
//! a socket that was opened since. For each socket there is exactly one [`Done::Closed`], and it is the last one.
//! It follows [`Driver::close`]; nothing else closes a socket (errors are reported as [`Done::Failed`] first).
//!
//! # Receiving
//! [`Driver::recv`] is a standing permission: every arrival is one [`Done::Received`] until [`Driver::pause`].
//! A driver holds at most [`RECV_CREDIT`] undelivered buffers per socket (`uring`: and what the kernel received before it saw
//! the cancellation, bounded by its buffer ring); bytes that arrived before a `pause` took effect
//! are delivered after the next `recv`. Received bytes lie at least [`HEADROOM`] behind the start of their
//! buffer and at least [`TAILROOM`] before its end. The first `recv` of an accepted socket is tried before anything is
//! registered with the poller; while a socket is paused and unregistered for longer than a named time, it is
//! registered all the same so that a reset of the peer is noticed ([`Done::Failed`] is delivered even while paused; the orderly end of
//! the stream is delivered while paused as [`Done::PeerClosed`] where the backend can see it).
//! A reset may overtake bytes that were not received yet. After [`Done::Ended`] a `recv` does nothing.
//!
//! # Sending
//! Each socket owns a queue of slices. [`Driver::send`] appends and flushes at once (send(2) is tried at once on every backend);
//! [`Driver::queue`] only appends, [`Driver::flush`] gathers everything queued in one system call. What the kernel does not
//! take stays queued and is continued inside the driver; [`Done::Sent`] tells progress. `Last::More` sets
//! MSG_MORE: followed by `close(Graceful)` or `shutdown`, the FIN leaves in the segment of the last data.
//! What is sent before [`Done::Connected`] is queued. After [`Sent::Failed`] no further send works, but what the peer had
//! sent before is still received while `recv` stands (an early answer survives a broken request), up to `Ended` or `Failed`.
//!
//! # Closing
//! A graceful close that makes no progress for a named time becomes a reset; `close(Reset)` ends one that still waits.
//! Closing a socket that is still connecting drops what was queued.
#![deny(unsafe_op_in_unsafe_fn)]

mod addr;
mod buffer;
mod clock;
mod config;
#[cfg(test)]
mod contract;
mod datagram;
mod epoll;
#[cfg(test)]
mod faults;
pub mod listen;
mod os;
mod outbox;
mod poller;
mod rawaddr;
pub mod sim;
mod stream;
mod sys;
mod table;
mod uring;
mod wake;

pub use addr::Addr;
pub use buffer::{Buf, BufferStats, Class, Pool, Slice};
pub use config::{Choice, DriverConfig, Selected};
pub use epoll::Epoll;
pub use os::OsDriver;
pub use uring::Uring;

/// Free bytes in front of received data, so that a rewritten head fits in place and one contiguous send leaves. Bytes.
pub const HEADROOM: usize = 512;
/// Free bytes behind received data, so that a chunk's end and the last chunk fit in place. Bytes.
pub const TAILROOM: usize = 64;
/// Undelivered receive buffers a driver may hold for one socket.
pub const RECV_CREDIT: usize = 4;
/// Completions handed out per turn; more wait for the next turn, which does not sleep.
pub const DONES_PER_TURN_MAX: usize = 1024;
/// System-call arguments gathered by one flush (`IOV_MAX` is 1,024; more never helps).
pub const GATHER_MAX: usize = 64;

/// Microseconds of a monotonic clock with an arbitrary origin.
pub type Micros = u64;

/// A stream or datagram socket: index and generation. Stale handles are ignored by every call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sock {
    /// Dense slot number, reused after `Closed`; fit to index a table of owners.
    pub index: u32,
    /// Distinguishes the users of one slot. Never 0 for a live socket.
    pub generation: u32,
}

impl Sock {
    /// A handle no driver ever hands out.
    pub const NONE: Sock = Sock { index: u32::MAX, generation: 0 };
    /// True for [`Sock::NONE`].
    pub fn is_none(self) -> bool {
        self.generation == 0
    }
}

impl std::fmt::Debug for Sock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "sock{}.{}", self.index, self.generation)
    }
}

/// A listening socket of this driver.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ListenerId {
    /// Slot number.
    pub index: u32,
    /// Distinguishes the users of one slot.
    pub generation: u32,
}

/// What went wrong with a socket or a call, reduced to what the engine acts on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IoError {
    /// ECONNREFUSED.
    Refused,
    /// ECONNRESET, EPIPE, ECONNABORTED.
    Reset,
    /// ETIMEDOUT (the kernel gave up).
    TimedOut,
    /// EHOSTUNREACH, ENETUNREACH, EADDRNOTAVAIL, ENOENT of a unix socket path.
    Unreachable,
    /// EMFILE, ENFILE: out of descriptors.
    Descriptors,
    /// ENOMEM, ENOBUFS, EAGAIN of connect (out of local ports or memory).
    Memory,
    /// The call is not available on this backend or socket.
    Unsupported,
    /// Any other errno.
    Other(i32),
}

impl std::fmt::Display for IoError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            IoError::Refused => "connection refused",
            IoError::Reset => "connection reset",
            IoError::TimedOut => "timed out",
            IoError::Unreachable => "unreachable",
            IoError::Descriptors => "out of file descriptors",
            IoError::Memory => "out of memory",
            IoError::Unsupported => "not supported here",
            IoError::Other(errno) => return std::io::Error::from_raw_os_error(*errno).fmt(f),
        })
    }
}

impl std::error::Error for IoError {}

/// How large the driver's receive buffers should be for this socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receive {
    /// Requests and other short messages: small buffers.
    Small,
    /// Answers and bodies: 96–128 KiB buffers at once, 256 KiB after repeated full ones.
    Large,
}

/// What follows the bytes of this send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// More of this message follows at once, or the socket is closed or shut down next: MSG_MORE.
    More,
    /// The message (or the burst) ends here: push.
    End,
    /// The message ends here and so does our direction: data and FIN in one segment; no further send.
    Fin,
}

/// The immediate outcome of a send or flush.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Sent {
    /// The kernel took everything queued.
    All,
    /// This many bytes are still queued; [`Done::Sent`] will tell progress.
    Queued(usize),
    /// The socket is broken; the queue was dropped. No `Failed` follows for this error. The socket must still be closed.
    Failed(IoError),
}

/// How a socket is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Close {
    /// Queued bytes are still sent, then the descriptor is closed. With unread input pending the kernel sends RST after it.
    Graceful,
    /// Everything queued is dropped and an RST is sent (SO_LINGER 0). Unix sockets know no RST: the peer sees an end.
    Reset,
    /// Queued bytes are sent, our direction is shut down, then input is read and thrown away until the peer's end, at most
    /// `bytes` and until `deadline`, then the descriptor is closed: an answer to a client still sending is not lost to an RST.
    Linger {
        /// Bytes thrown away at most.
        bytes: u64,
        /// Absolute, on the driver's clock.
        deadline: Micros,
    },
}

/// A completion.
#[derive(Debug)]
pub enum Done {
    /// A connection was accepted. It delivers nothing until [`Driver::recv`].
    Accepted {
        /// The listening socket it came from.
        listener: ListenerId,
        /// The new connection.
        sock: Sock,
        /// The peer's address.
        peer: Addr,
    },
    /// The driver stopped accepting on its own (out of descriptors or memory); [`Driver::accept`] starts it again.
    AcceptFailed {
        /// The listening socket.
        listener: ListenerId,
        /// Why.
        error: IoError,
    },
    /// The accept queue was emptied (each as `Accepted`) and the listening socket closed.
    ListenerClosed {
        /// The listening socket.
        listener: ListenerId,
    },
    /// The outcome of [`Driver::connect`]. After an error the socket must still be closed.
    Connected {
        /// The socket `connect` returned.
        sock: Sock,
        /// The outcome.
        result: Result<(), IoError>,
    },
    /// Bytes arrived.
    Received {
        /// The socket.
        sock: Sock,
        /// The bytes; with `into`, the same buffer with the new bytes appended.
        buf: Buf,
        /// More bytes are known to be waiting (the receive filled its buffer).
        more: bool,
    },
    /// The peer ended its direction; everything it sent was delivered before. Sending may go on.
    Ended {
        /// The socket.
        sock: Sock,
    },
    /// The peer ended or reset the connection while the socket was paused; bytes may still be waiting (recv to get them).
    PeerClosed {
        /// The socket.
        sock: Sock,
    },
    /// Queued bytes were taken by the kernel after a [`Sent::Queued`].
    Sent {
        /// The socket.
        sock: Sock,
        /// Bytes taken since the last report.
        bytes: usize,
        /// Bytes still queued; 0 = drained.
        queued: usize,
    },
    /// [`Driver::splice`] moved bytes.
    Spliced {
        /// The reading side.
        from: Sock,
        /// Bytes that reached the writing side's kernel buffer since the last report.
        bytes: u64,
    },
    /// The socket is broken (reset, timed out); nothing more arrives. It must still be closed.
    Failed {
        /// The socket.
        sock: Sock,
        /// Why.
        error: IoError,
        /// Bytes that were queued and will never be sent.
        unsent: usize,
    },
    /// The descriptor is closed, all its operations are over; always the last completion of a socket.
    Closed {
        /// The socket; its index may be handed out again from now on.
        sock: Sock,
    },
    /// The outcome of [`Driver::detach`]: on success the socket is no longer this driver's (no `Closed` follows);
    /// on failure (a byte or an end was seen meanwhile) it is closed like any other, by the engine.
    Detached {
        /// The socket.
        sock: Sock,
        /// What can be moved to another thread.
        result: Result<Detached, IoError>,
    },
    /// A batch of datagrams arrived.
    Datagrams {
        /// The datagram socket.
        sock: Sock,
        /// The datagrams.
        batch: Vec<Datagram>,
    },
    /// A [`Waker`] fired since the last turn (coalesced).
    Woken,
}

/// A connection on its way to another driver: descriptor and addresses, no buffer.
#[derive(Debug)]
pub struct Detached {
    /// The backend's descriptor.
    pub handle: Handle,
}

/// What a listening socket, or a detached connection, is made of.
#[derive(Debug)]
pub enum Handle {
    /// An open descriptor of the operating system.
    Fd(std::os::fd::OwnedFd),
    /// An object of the simulator's network.
    Sim(u64),
}

/// One received or outgoing datagram.
#[derive(Debug)]
pub struct Datagram {
    /// The peer.
    pub peer: Addr,
    /// The local address it came to (or leaves from), when known.
    pub local: Option<std::net::IpAddr>,
    /// ECN bits of the IP header (0–3).
    pub ecn: u8,
    /// Size of each segment when `buf` carries several of one peer (GRO/GSO); 0 = one datagram.
    pub segment_size: u16,
    /// The payload.
    pub buf: Buf,
}

/// Options of a listening socket that the driver acts on. The descriptor itself is bound by its owner (the process).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AcceptOptions {
    /// TCP_NODELAY on accepted sockets (inherited from the listener where the kernel does that).
    pub nodelay: bool,
    /// Connections accepted per readiness event; 1 measured best.
    pub quota: u32,
}

impl Default for AcceptOptions {
    fn default() -> Self {
        AcceptOptions { nodelay: true, quota: 1 }
    }
}

/// Options of an outgoing connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Local address to bind to first; `None` leaves it to the kernel.
    pub source: Option<std::net::IpAddr>,
}

/// Wakes a driver from another thread. Cheap to clone; wake-ups coalesce into one [`Done::Woken`].
#[derive(Clone)]
pub struct Waker(pub(crate) std::sync::Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// Wakes the driver; callable from any thread, never blocks.
    pub fn wake(&self) {
        (self.0)()
    }
    /// A waker over any function (used by drivers).
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Waker {
        Waker(std::sync::Arc::new(wake))
    }
}

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

/// Sockets, descriptors and buffers in use: what the leak checks compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Stream and datagram sockets whose `Closed` has not been delivered.
    pub socks: usize,
    /// Listening sockets.
    pub listeners: usize,
    /// Buffers out of the pool (held by the engine, queued for sending, or with the kernel).
    pub buffers: usize,
}

/// The I/O of one thread. See the module page for the rules that hold for all implementations.
pub trait Driver {
    /// The monotonic clock as of the start of this turn. Microseconds.
    fn now(&self) -> Micros;
    /// The wall clock as of the start of this turn. Microseconds since the Unix epoch.
    fn unix_now(&self) -> u64;
    /// The buffer pool of this driver's thread.
    fn pool(&self) -> &Pool;

    /// Takes a listening socket. Nothing is accepted until [`Driver::accept`].
    fn listen(&mut self, handle: Handle, options: AcceptOptions) -> Result<ListenerId, IoError>;
    /// Starts or resumes accepting.
    fn accept(&mut self, listener: ListenerId);
    /// Stops accepting; the kernel queues connections meanwhile.
    fn accept_pause(&mut self, listener: ListenerId);
    /// Empties the accept queue (each as `Accepted`), then closes the listening socket: `ListenerClosed`.
    fn close_listener(&mut self, listener: ListenerId);

    /// Starts a connection; `Connected` tells the outcome, never before the next call of `next`.
    /// An error here (descriptors, memory) means there is no socket.
    fn connect(&mut self, to: &Addr, options: &ConnectOptions) -> Result<Sock, IoError>;
    /// Grants receiving: `Received`/`Ended` follow as bytes arrive, until `pause`. With `into`, the next bytes are appended to that
    /// buffer's data (it must have room), one time; afterwards the driver picks buffers again.
    fn recv(&mut self, sock: Sock, into: Option<Buf>, size: Receive);
    /// Withdraws the permission; an unused `into` buffer comes back.
    fn pause(&mut self, sock: Sock) -> Option<Buf>;
    /// Appends to the socket's queue without sending.
    fn queue(&mut self, sock: Sock, data: Slice);
    /// Sends everything queued, gathered, at once.
    fn flush(&mut self, sock: Sock, last: Last) -> Sent;
    /// `queue` and `flush`. The common case (nothing queued before) is one send(2).
    fn send(&mut self, sock: Sock, data: Slice, last: Last) -> Sent {
        self.queue(sock, data);
        self.flush(sock, last)
    }
    /// Bytes queued and not yet taken by the kernel.
    fn queued(&self, sock: Sock) -> usize;
    /// Ends our direction after everything queued.
    fn shutdown(&mut self, sock: Sock);
    /// Closes; exactly one `Closed` follows, after all other completions. Further calls on the handle are ignored; nothing but
    /// `Closed` is delivered for it any more.
    fn close(&mut self, sock: Sock, how: Close);
    /// Moves bytes from one socket to another inside the kernel until `from` ends (`Ended{from}`), fails, or is paused.
    /// `Err(Unsupported)` where the backend cannot: the caller relays with recv/send.
    fn splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError>;

    /// Gives an idle connection away: cancels what is armed, awaits it, then `Detached`.
    fn detach(&mut self, sock: Sock);
    /// Takes over a connection another driver gave away.
    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError>;

    /// Takes a bound datagram socket; `Datagrams` follow.
    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError>;
    /// Sends datagrams in as few system calls as possible; returns how many the kernel took (the rest is dropped, as UDP does).
    fn send_to(&mut self, sock: Sock, batch: Vec<Datagram>) -> usize;

    /// The peer's and our own address of a socket, when the operating system knows them (a system call: not per request).
    fn local_addr(&self, sock: Sock) -> Option<Addr>;

    /// A handle by which other threads wake this driver.
    fn waker(&self) -> Waker;
    /// Waits for something to do, at most until `until` (absolute; a past one polls). With `spin` the wait may first spin for the
    /// configured budget.
    fn turn(&mut self, until: Micros, spin: bool);
    /// The next completion of this turn.
    fn next(&mut self) -> Option<Done>;

    /// What is in use now.
    fn usage(&self) -> Usage;
    /// A short name for logs: `uring`, `epoll`, `sim`.
    fn name(&self) -> &'static str;
}
