//! The epoll backend: readiness turned into completions, lazily.
//!
//! Edge-triggered and registered once. A receive happens inside `next`, into a pool buffer that is hot from the last
//! one; an accepted socket is read before it is registered, and never registered if it closes soon.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::clock::Clock;
use crate::datagram;
use crate::outbox::{Flushed, Outbox, Stock};
use crate::sys;
use crate::table::Table;
use crate::wake::WakeFd;
use crate::{
    AcceptOptions, Addr, Buf, Close, ConnectOptions, DONES_PER_TURN_MAX, Datagram, Detached, Done, Driver,
    DriverConfig, Handle, IoError, Last, ListenerId, Micros, Pool, Receive, Sent, Slice, Sock, Usage, Waker,
};

mod close;
mod listen;
mod receive;
mod send;

/// The epoll driver of one thread.
pub struct Epoll {
    epoll: OwnedFd,
    wake: Arc<WakeFd>,
    config: DriverConfig,
    clock: Clock,
    stock: Stock,
    socks: Table<Socket>,
    listeners: Table<Listener>,
    /// Events fetched by the last wait; `event_at` is the next one to look at.
    events: Box<[libc::epoll_event]>,
    event_at: usize,
    event_end: usize,
    /// Completions that are ready to hand out.
    pending: VecDeque<Done>,
    /// Sockets to look at in this turn: freshly accepted, resumed with input waiting, ending.
    ready: VecDeque<Sock>,
    /// Sockets that filled their buffer in an earlier turn: after the events, one receive each.
    bulk: VecDeque<Sock>,
    /// Sockets that filled their buffer in this turn.
    bulk_later: Vec<Sock>,
    /// A socket that was read before registration; registered unless its session pauses or closes it at once.
    unregistered: Option<Sock>,
    /// Accepted sockets by the time at which they are registered if they still live.
    late: VecDeque<(Micros, Sock)>,
    /// Closing sockets by deadline (a moved deadline is re-inserted when the entry fires).
    closing: BinaryHeap<Reverse<(Micros, Sock)>>,
    /// A listener with accepts left in its quota.
    accepting: Option<(ListenerId, u32)>,
    /// Listeners whose queue is emptied before they close.
    draining: VecDeque<ListenerId>,
    /// Completions handed out in this turn.
    dones: usize,
    /// The address of unnamed unix peers.
    unnamed: Arc<str>,
}

/// What a socket is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Connecting,
    Open,
    /// A datagram socket.
    Datagram,
    /// An error was reported; waits for `close`.
    Broken,
    /// Closed by the engine, with bytes still queued.
    Draining,
    /// Our direction is (or will be) shut down; input is thrown away.
    Lingering,
    /// The descriptor was handed to the `Detached` completion, which was not delivered yet.
    Detaching,
    /// The descriptor is closed, `Closed` was not delivered yet.
    Closed,
}

struct Socket {
    /// `None` in the phases `Detaching` and `Closed`.
    fd: Option<OwnedFd>,
    phase: Phase,
    size: Receive,
    /// Consecutive receives that filled their buffer.
    fulls: u8,
    /// The engine wants input.
    reading: bool,
    /// Input may be waiting: an edge came, the last receive filled its buffer, or nobody looked yet.
    readable: bool,
    /// The peer's end (or reset) is known to be behind the waiting bytes.
    hup: bool,
    /// `PeerClosed` was delivered.
    told: bool,
    /// In `ready`, `bulk` or `bulk_later`.
    listed: bool,
    /// `Ended` was delivered.
    ended: bool,
    unix: bool,
    /// Registered interest; 0 = not registered.
    interest: u32,
    /// A send failed in the background while input was still wanted: (errno, unsent bytes).
    send_error: Option<(i32, usize)>,
    outbox: Outbox,
    into: Option<Buf>,
    /// While closing: when to give up, and bytes that may still be thrown away.
    deadline: Micros,
    linger_bytes: u64,
}

struct Listener {
    fd: OwnedFd,
    quota: u32,
    unix: bool,
    armed: bool,
    closing: bool,
}

const EDGE_INPUT: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET) as u32;
const OUTPUT: u32 = libc::EPOLLOUT as u32;
const INPUT: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP | libc::EPOLLERR) as u32;
const HANGUP: u32 = (libc::EPOLLRDHUP | libc::EPOLLHUP) as u32;
const ERROR: u32 = libc::EPOLLERR as u32;
/// Event data of the waker; no handle has this index.
const WAKE: u64 = u64::MAX;
/// Marks the event data of listeners.
const LISTENER: u64 = 1 << 31;

impl Epoll {
    /// Opens a driver for the calling thread.
    pub fn open(config: &DriverConfig) -> Result<Epoll, IoError> {
        let epoll = sys::epoll()?;
        let wake = WakeFd::new()?;
        // Edge-triggered and never read: each write is a new edge.
        let events = (libc::EPOLLIN | libc::EPOLLET) as u32;
        sys::epoll_control(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, wake.raw(), events, WAKE)?;
        let none = libc::epoll_event { events: 0, u64: 0 };
        Ok(Epoll {
            epoll,
            wake,
            config: config.clone(),
            clock: Clock::new(),
            stock: Stock::new(Pool::new()),
            socks: Table::default(),
            listeners: Table::default(),
            events: vec![none; config.events.max(1) as usize].into_boxed_slice(),
            event_at: 0,
            event_end: 0,
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            bulk: VecDeque::new(),
            bulk_later: Vec::new(),
            unregistered: None,
            late: VecDeque::new(),
            closing: BinaryHeap::new(),
            accepting: None,
            draining: VecDeque::new(),
            dones: 0,
            unnamed: Arc::from(""),
        })
    }

    /// Something can be handed out without waiting.
    fn has_work(&self) -> bool {
        self.event_at < self.event_end
            || !self.pending.is_empty()
            || !self.ready.is_empty()
            || !self.bulk.is_empty()
            || !self.draining.is_empty()
            || self.accepting.is_some()
    }

    fn wait(&mut self, until: Micros, spin: bool) {
        if self.event_at < self.event_end {
            return;
        }
        self.event_at = 0;
        let epoll = self.epoll.as_raw_fd();
        let until = until.min(self.next_deadline());
        if self.has_work() || until <= self.clock.now() {
            self.event_end = sys::epoll_wait(epoll, &mut self.events, Some(0));
            return;
        }
        let start = sys::monotonic();
        if spin {
            let end = until.min(start + self.config.spin_us);
            while sys::monotonic() < end {
                self.event_end = sys::epoll_wait(epoll, &mut self.events, Some(0));
                if self.event_end > 0 {
                    return;
                }
            }
        }
        let wait = (until != Micros::MAX).then(|| until.saturating_sub(start));
        self.event_end = sys::epoll_wait(epoll, &mut self.events, wait);
    }

    /// When this driver itself wants to run: a late registration or the end of a closing socket's patience.
    fn next_deadline(&self) -> Micros {
        let late = self.late.front().map_or(Micros::MAX, |&(at, _)| at);
        let closing = self.closing.peek().map_or(Micros::MAX, |&Reverse((at, _))| at);
        late.min(closing)
    }

    fn register_late(&mut self) {
        let now = self.clock.now();
        while let Some(&(at, sock)) = self.late.front() {
            let waiting = self
                .socks
                .at(sock)
                .is_some_and(|s| s.interest == 0 && matches!(s.phase, Phase::Open | Phase::Broken));
            if waiting && at > now {
                return;
            }
            self.late.pop_front();
            if waiting {
                self.register(sock, EDGE_INPUT);
            }
        }
    }

    /// Adds the socket to the poller (or changes its interest); existing readiness is reported as an event.
    fn register(&mut self, sock: Sock, interest: u32) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let Some(fd) = &s.fd else { return };
        if s.interest == interest {
            return;
        }
        let op = if s.interest == 0 { libc::EPOLL_CTL_ADD } else { libc::EPOLL_CTL_MOD };
        match sys::epoll_control(self.epoll.as_raw_fd(), op, fd.as_raw_fd(), interest, event_data(sock)) {
            Ok(()) => s.interest = interest,
            Err(errno) => {
                // Out of watches or memory: nothing would ever be heard of this socket again.
                let unsent = s.outbox.clear(&mut self.stock);
                let connecting = s.phase == Phase::Connecting;
                let failed = s.break_off(sock, errno, unsent);
                self.pending.push_back(match connecting {
                    true => Done::Connected { sock, result: Err(errno.into()) },
                    false => failed,
                });
            }
        }
    }

    fn register_unpaused(&mut self) {
        if let Some(sock) = self.unregistered.take()
            && self.socks.at(sock).is_some_and(|s| s.reading && s.interest == 0)
        {
            self.register(sock, EDGE_INPUT);
        }
    }

    fn produce(&mut self) -> Option<Done> {
        loop {
            let done = if let Some(done) = self.pending.pop_front() {
                self.deliver(done)
            } else if let Some(sock) = self.ready.pop_front() {
                self.on_listed(sock)
            } else if let Some((listener, left)) = self.accepting.take() {
                self.accept_one(listener, left)
            } else if self.event_at < self.event_end {
                let event = self.events[self.event_at];
                self.event_at += 1;
                self.on_event(event.u64, event.events)
            } else if let Some(sock) = self.bulk.pop_front() {
                self.on_listed(sock)
            } else if let Some(&listener) = self.draining.front() {
                self.drain_one(listener)
            } else {
                return None;
            };
            if done.is_some() {
                return done;
            }
        }
    }

    fn on_event(&mut self, data: u64, events: u32) -> Option<Done> {
        if data == WAKE {
            self.wake.seen();
            return Some(Done::Woken);
        }
        let sock = Sock { index: data as u32 & !(LISTENER as u32), generation: (data >> 32) as u32 };
        if data & LISTENER != 0 {
            let quota = self.listeners.at(sock)?.quota.max(1);
            return self.accept_one(sock.into(), quota);
        }
        match self.socks.at(sock)?.phase {
            Phase::Connecting => self.on_connect_event(sock, events),
            Phase::Open => self.on_open_event(sock, events),
            Phase::Datagram => {
                self.socks.at_mut(sock)?.readable = true;
                self.receive_datagrams(sock)
            }
            Phase::Draining | Phase::Lingering => {
                self.continue_closing(sock);
                None
            }
            Phase::Broken | Phase::Detaching | Phase::Closed => None,
        }
    }

    fn on_open_event(&mut self, sock: Sock, events: u32) -> Option<Done> {
        if events & OUTPUT != 0 {
            self.on_writable(sock);
        }
        let s = self.socks.at_mut(sock)?;
        if events & INPUT == 0 || s.phase != Phase::Open {
            return None;
        }
        s.readable = true;
        s.hup |= events & HANGUP != 0;
        if s.reading {
            return self.receive(sock);
        }
        if events & ERROR != 0 {
            let errno = sys::take_error(s.raw());
            if errno != 0 {
                let unsent = s.outbox.clear(&mut self.stock);
                return Some(s.break_off(sock, errno, unsent));
            }
        }
        s.tell_peer_closed(sock)
    }

    /// A completion from the queue, unless the engine closed the socket meanwhile.
    fn deliver(&mut self, done: Done) -> Option<Done> {
        let sock = match &done {
            Done::Closed { sock } => {
                self.socks.remove(*sock);
                return Some(done);
            }
            Done::Detached { sock, result } => {
                if self.socks.at(*sock)?.phase == Phase::Closed {
                    // Closed while it was on its way: the descriptor goes with `done`.
                    self.socks.remove(*sock);
                    return Some(Done::Closed { sock: *sock });
                }
                if result.is_ok() {
                    self.socks.remove(*sock);
                }
                return Some(done);
            }
            Done::Connected { sock, .. }
            | Done::PeerClosed { sock }
            | Done::Sent { sock, .. }
            | Done::Spliced { from: sock, .. }
            | Done::Failed { sock, .. } => *sock,
            _ => return Some(done),
        };
        let phase = self.socks.at(sock)?.phase;
        let heard = matches!(phase, Phase::Connecting | Phase::Open | Phase::Datagram | Phase::Broken);
        heard.then_some(done)
    }
}

impl Socket {
    fn new(fd: OwnedFd, phase: Phase, unix: bool) -> Socket {
        Socket {
            fd: Some(fd),
            phase,
            size: Receive::Small,
            fulls: 0,
            reading: false,
            readable: false,
            hup: false,
            told: false,
            listed: false,
            ended: false,
            unix,
            interest: 0,
            send_error: None,
            outbox: Outbox::default(),
            into: None,
            deadline: 0,
            linger_bytes: 0,
        }
    }

    /// The descriptor; -1 (which every call refuses) when it is gone.
    fn raw(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn break_off(&mut self, sock: Sock, errno: i32, unsent: usize) -> Done {
        self.phase = Phase::Broken;
        self.reading = false;
        self.readable = false;
        self.send_error = None;
        Done::Failed { sock, error: errno.into(), unsent }
    }

    fn tell_peer_closed(&mut self, sock: Sock) -> Option<Done> {
        if !self.hup || self.told || self.ended {
            return None;
        }
        self.told = true;
        Some(Done::PeerClosed { sock })
    }
}

fn event_data(sock: Sock) -> u64 {
    u64::from(sock.generation) << 32 | u64::from(sock.index)
}

impl Driver for Epoll {
    fn now(&self) -> Micros {
        self.clock.now()
    }
    fn unix_now(&self) -> u64 {
        self.clock.unix_now()
    }
    fn pool(&self) -> &Pool {
        &self.stock.pool
    }
    fn listen(&mut self, handle: Handle, options: AcceptOptions) -> Result<ListenerId, IoError> {
        self.add_listener(handle, options)
    }
    fn accept(&mut self, listener: ListenerId) {
        self.arm(listener);
    }
    fn accept_pause(&mut self, listener: ListenerId) {
        self.disarm(listener);
    }
    fn close_listener(&mut self, listener: ListenerId) {
        self.start_draining(listener);
    }
    fn connect(&mut self, to: &Addr, options: &ConnectOptions) -> Result<Sock, IoError> {
        self.start_connect(to, options)
    }
    fn recv(&mut self, sock: Sock, into: Option<Buf>, size: Receive) {
        self.start_receiving(sock, into, size);
    }
    fn pause(&mut self, sock: Sock) -> Option<Buf> {
        self.stop_receiving(sock)
    }
    fn queue(&mut self, sock: Sock, data: Slice) {
        if let Some(s) = self.socks.at_mut(sock)
            && s.may_send()
        {
            s.outbox.push(data, &mut self.stock);
        }
    }
    fn flush(&mut self, sock: Sock, last: Last) -> Sent {
        self.send_queued(sock, last)
    }
    fn send(&mut self, sock: Sock, data: Slice, last: Last) -> Sent {
        self.send_now(sock, data, last)
    }
    fn queued(&self, sock: Sock) -> usize {
        self.socks.at(sock).map_or(0, |s| s.outbox.bytes())
    }
    fn shutdown(&mut self, sock: Sock) {
        // A failure shows as the next event of the socket.
        let _ = self.send_queued(sock, Last::Fin);
    }
    fn close(&mut self, sock: Sock, how: Close) {
        self.start_closing(sock, how);
    }
    fn splice(&mut self, _from: Sock, _to: Sock) -> Result<(), IoError> {
        Err(IoError::Unsupported)
    }
    fn detach(&mut self, sock: Sock) {
        self.start_detaching(sock);
    }
    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError> {
        let Handle::Fd(fd) = detached.handle else { return Err(IoError::Unsupported) };
        sys::set_nonblocking(fd.as_raw_fd())?;
        let unix = sys::domain(fd.as_raw_fd()) == libc::AF_UNIX;
        let sock = self.socks.insert(Socket::new(fd, Phase::Open, unix));
        self.late.push_back((self.clock.now() + self.config.register_late_us, sock));
        Ok(sock)
    }
    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError> {
        let Handle::Fd(fd) = handle else { return Err(IoError::Unsupported) };
        sys::set_nonblocking(fd.as_raw_fd())?;
        datagram::prepare(fd.as_raw_fd());
        let mut s = Socket::new(fd, Phase::Datagram, false);
        s.reading = true;
        let sock = self.socks.insert(s);
        self.register(sock, EDGE_INPUT);
        Ok(sock)
    }
    fn send_to(&mut self, sock: Sock, batch: Vec<Datagram>) -> usize {
        match self.socks.at(sock) {
            Some(s) if s.phase == Phase::Datagram => datagram::send(s.raw(), &batch),
            _ => 0,
        }
    }
    fn local_addr(&self, sock: Sock) -> Option<Addr> {
        let addr = sys::local_addr(self.socks.at(sock)?.raw()).ok()?;
        Some(crate::rawaddr::decode(&addr, &self.unnamed))
    }
    fn waker(&self) -> Waker {
        let wake = self.wake.clone();
        Waker::new(move || wake.wake())
    }
    fn turn(&mut self, until: Micros, spin: bool) {
        self.dones = 0;
        self.register_unpaused();
        self.bulk.extend(self.bulk_later.drain(..));
        self.wait(until, spin);
        self.clock.refresh();
        self.register_late();
        self.end_overdue();
    }
    fn next(&mut self) -> Option<Done> {
        self.register_unpaused();
        if self.dones >= DONES_PER_TURN_MAX {
            return None;
        }
        let done = self.produce();
        self.dones += usize::from(done.is_some());
        done
    }
    fn usage(&self) -> Usage {
        Usage {
            socks: self.socks.len(),
            listeners: self.listeners.len(),
            buffers: self.stock.pool.stats().out,
        }
    }
    fn name(&self) -> &'static str {
        "epoll"
    }
}
