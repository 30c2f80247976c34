//! The sockets of one thread: the state machine that both OS drivers share.
//!
//! A poller (`epoll`, `uring`) tells readiness; everything else happens here. A direct receive happens inside `next`,
//! into a pool buffer that is hot from the last one; an accepted socket is read before it is watched, and never
//! watched if it closes soon.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use crate::clock::Clock;
use crate::datagram;
use crate::outbox::{Flushed, Outbox, Stock};
use crate::poller::{Applied, ERROR, HANGUP, INPUT, Input, Interest, OUTPUT, Place, Poller, Raw, Token};
use crate::sys::{self, Errno};
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
mod splice;

use splice::{Pipe, Splice};

/// An OS driver: the sockets of one thread over one poller. Named by its aliases `Epoll` and `Uring`.
pub struct Streams<P: Poller> {
    poller: P,
    wake: Arc<WakeFd>,
    config: DriverConfig,
    clock: Clock,
    stock: Stock,
    socks: Table<Socket<P>>,
    listeners: Table<Listener<P>>,
    /// Completions that are ready to hand out.
    pending: VecDeque<Done>,
    /// Sockets to look at in this turn: freshly accepted, resumed with input waiting, ending.
    ready: VecDeque<Sock>,
    /// Sockets that filled their buffer in an earlier turn: after the events, one receive each.
    bulk: VecDeque<Sock>,
    /// Sockets that filled their buffer in this turn.
    bulk_later: Vec<Sock>,
    /// A socket that was read before it was watched; watched unless its session pauses or closes it at once.
    unwatched: Option<Sock>,
    /// Accepted sockets by the time at which they are watched if they still live.
    late: VecDeque<(Micros, Sock)>,
    /// Closing sockets by deadline (a moved deadline is re-inserted when the entry fires).
    closing: BinaryHeap<Reverse<(Micros, Sock)>>,
    /// A listener with accepts left in its quota.
    accepting: Option<(ListenerId, u32)>,
    /// Listeners whose queue is emptied before they close.
    draining: VecDeque<ListenerId>,
    /// Closing listeners whose queue was empty, by the time of the next look.
    lingering: VecDeque<(Micros, ListenerId)>,
    /// Empty pipes for splice.
    pipes: Vec<Pipe>,
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
    /// To be given away: waits for the poller to let go, then (without descriptor) for `Detached` to be delivered.
    Detaching,
    /// Nothing is left to do but wait for the poller to let go.
    Releasing,
    /// The descriptor is closed, `Closed` was not delivered yet.
    Closed,
}

struct Socket<P: Poller> {
    /// `None` at the end of the phase `Detaching` and in `Closed`.
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
    /// A pipe holds bytes that go out before the queue.
    piped: bool,
    watch: P::Watch,
    /// A send failed in the background while input was still wanted: (errno, unsent bytes).
    send_error: Option<(Errno, usize)>,
    outbox: Outbox,
    into: Option<Buf>,
    /// This socket's input goes to another socket.
    splice: Option<Box<Splice>>,
    /// The socket whose input comes to this one.
    fed_by: Sock,
    /// While closing: when to give up, and bytes that may still be thrown away.
    deadline: Micros,
    linger_bytes: u64,
}

struct Listener<P: Poller> {
    fd: OwnedFd,
    quota: u32,
    unix: bool,
    armed: bool,
    closing: bool,
    /// When closing: goes on accepting until then.
    closes_at: Micros,
    watch: P::Watch,
}

impl<P: Poller> Streams<P> {
    /// Opens a driver for the calling thread.
    ///
    /// # Errors
    /// Out of descriptors or memory, or the poller is not available.
    pub fn open(config: &DriverConfig) -> Result<Self, IoError> {
        let pool = Pool::new();
        let wake = WakeFd::new()?;
        Ok(Streams {
            poller: P::open(config, wake.raw(), &pool)?,
            wake,
            config: config.clone(),
            clock: Clock::new(),
            stock: Stock::new(pool),
            socks: Table::default(),
            listeners: Table::default(),
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            bulk: VecDeque::new(),
            bulk_later: Vec::new(),
            unwatched: None,
            late: VecDeque::new(),
            closing: BinaryHeap::new(),
            accepting: None,
            draining: VecDeque::new(),
            lingering: VecDeque::new(),
            pipes: Vec::new(),
            dones: 0,
            unnamed: Arc::from(""),
        })
    }

    /// Something can be handed out without an event.
    fn has_work(&self) -> bool {
        !self.pending.is_empty()
            || !self.ready.is_empty()
            || !self.bulk.is_empty()
            || !self.draining.is_empty()
            || self.accepting.is_some()
    }

    fn wait(&mut self, until: Micros, spin: bool) {
        if !self.poller.drained() {
            return;
        }
        let until = until.min(self.next_deadline());
        if self.has_work() || until <= self.clock.now() {
            return self.poller.poll();
        }
        let start = sys::monotonic();
        if spin {
            let end = until.min(start + self.config.spin_us);
            while sys::monotonic() < end {
                self.poller.poll();
                if !self.poller.drained() {
                    return;
                }
            }
        }
        let micros = (until != Micros::MAX).then(|| until.saturating_sub(start));
        self.poller.wait(micros);
    }

    /// When this driver itself wants to run: a late registration or the end of a closing socket's patience.
    fn next_deadline(&self) -> Micros {
        let late = self.late.front().map_or(Micros::MAX, |&(at, _)| at);
        let closing = self.closing.peek().map_or(Micros::MAX, |&Reverse((at, _))| at);
        let lingering = self.lingering.front().map_or(Micros::MAX, |&(at, _)| at);
        late.min(closing).min(lingering)
    }

    fn watch_late(&mut self) {
        let now = self.clock.now();
        while let Some(&(at, sock)) = self.late.front() {
            let waiting = self.socks.at(sock).is_some_and(|s| s.phase == Phase::Open && !s.watched());
            if waiting && at > now {
                return;
            }
            self.late.pop_front();
            if waiting {
                self.watch(sock, Interest::Input);
            }
        }
    }

    /// Watches the socket; existing readiness is reported as an event.
    fn watch(&mut self, sock: Sock, interest: Interest) {
        let Some(s) = self.socks.at_mut(sock) else { return };
        let place = s.place(sock);
        let Err(errno) = self.poller.watch(place, &mut s.watch, interest) else { return };
        // Out of watches or memory: nothing would ever be heard of this socket again.
        let unsent = s.outbox.clear(&mut self.stock);
        let connecting = s.phase == Phase::Connecting;
        let failed = s.break_off(sock, errno, unsent);
        self.pending.push_back(match connecting {
            true => Done::Connected { sock, result: Err(errno.into()) },
            false => failed,
        });
    }

    fn watch_unpaused(&mut self) {
        if let Some(sock) = self.unwatched.take()
            && let Some(s) = self.socks.at(sock)
            && s.reading
            && !s.watched()
        {
            let interest = s.input_interest();
            self.watch(sock, interest);
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
            } else if let Some(raw) = self.poller.take() {
                self.on_event(raw)
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

    fn on_event(&mut self, raw: Raw) -> Option<Done> {
        match raw.token {
            Token::Wake => self.wake.seen().then_some(Done::Woken),
            Token::Listener(id) => self.on_listener_event(id, raw),
            Token::Sock(sock) => {
                let s = self.socks.at_mut(sock)?;
                let place = s.place(sock);
                let applied = self.poller.apply(place, &mut s.watch, raw);
                self.on_sock_event(sock, applied)
            }
        }
    }

    fn on_sock_event(&mut self, sock: Sock, applied: Applied) -> Option<Done> {
        match self.socks.at(sock)?.phase {
            Phase::Connecting => return self.on_connect_event(sock, applied.events),
            Phase::Open => return self.on_open_event(sock, applied),
            Phase::Datagram => {
                self.socks.at_mut(sock)?.readable = true;
                return self.receive_datagrams(sock);
            }
            Phase::Draining | Phase::Lingering => self.continue_closing(sock),
            Phase::Releasing if applied.released => self.close_descriptor(sock),
            Phase::Detaching if applied.released => self.finish_detaching(sock),
            Phase::Broken | Phase::Releasing | Phase::Detaching | Phase::Closed => {}
        }
        None
    }

    fn on_open_event(&mut self, sock: Sock, applied: Applied) -> Option<Done> {
        let events = applied.events;
        if events & OUTPUT != 0 {
            self.on_writable(sock);
        }
        let s = self.socks.at_mut(sock)?;
        if (events & INPUT == 0 && !applied.input) || s.phase != Phase::Open {
            return None;
        }
        s.readable = true;
        s.hup |= events & HANGUP != 0;
        if s.reading {
            return self.receive(sock);
        }
        self.on_input_while_paused(sock, events)
    }

    /// Resets and the peer's end are told at once; bytes wait.
    fn on_input_while_paused(&mut self, sock: Sock, events: u32) -> Option<Done> {
        let s = self.socks.at_mut(sock)?;
        let mut errno = if events & ERROR != 0 { sys::take_error(s.raw()) } else { 0 };
        match self.poller.input(&mut s.watch) {
            Input::Bytes(buf, _) => self.poller.unread(&mut s.watch, buf),
            Input::Failed(e) => errno = e,
            Input::End => s.hup = true,
            Input::Direct | Input::Nothing => {}
        }
        if errno != 0 {
            let unsent = s.outbox.clear(&mut self.stock);
            return Some(s.break_off(sock, errno, unsent));
        }
        let told = s.tell_peer_closed(sock);
        if !s.watched() && !s.hup {
            // The poller gave up on its own (out of completion queue, say); somebody must notice a reset.
            self.watch(sock, Interest::Input);
        }
        told
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
            | Done::Ended { sock }
            | Done::Sent { sock, .. }
            | Done::Spliced { from: sock, .. }
            | Done::Failed { sock, .. } => *sock,
            _ => return Some(done),
        };
        let phase = self.socks.at(sock)?.phase;
        let heard = matches!(phase, Phase::Connecting | Phase::Open | Phase::Datagram | Phase::Broken);
        heard.then_some(done)
    }

    /// Takes a stream socket in; it is looked after even if the engine never reads from it.
    fn adopt(&mut self, s: Socket<P>) -> Sock {
        let sock = self.socks.insert(s);
        self.late.push_back((self.clock.now() + self.config.register_late_us, sock));
        sock
    }
}

impl<P: Poller> Socket<P> {
    fn new(fd: OwnedFd, phase: Phase, unix: bool, watch: P::Watch) -> Self {
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
            piped: false,
            watch,
            send_error: None,
            outbox: Outbox::default(),
            into: None,
            splice: None,
            fed_by: Sock::NONE,
            deadline: 0,
            linger_bytes: 0,
        }
    }

    /// The descriptor; -1 (which every call refuses) when it is gone.
    fn raw(&self) -> RawFd {
        self.fd.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    fn place(&self, sock: Sock) -> Place {
        Place { token: Token::Sock(sock), fd: self.raw() }
    }

    fn watched(&self) -> bool {
        P::watched(&self.watch)
    }

    fn input_interest(&self) -> Interest {
        match self.size {
            Receive::Small if self.fulls == 0 => Interest::ShortInput,
            _ => Interest::Input,
        }
    }

    fn break_off(&mut self, sock: Sock, errno: Errno, unsent: usize) -> Done {
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

impl<P: Poller> Driver for Streams<P> {
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
    fn splice(&mut self, from: Sock, to: Sock) -> Result<(), IoError> {
        self.start_splice(from, to)
    }
    fn detach(&mut self, sock: Sock) {
        self.start_detaching(sock);
    }
    fn attach(&mut self, detached: Detached) -> Result<Sock, IoError> {
        let Handle::Fd(fd) = detached.handle else { return Err(IoError::Unsupported) };
        sys::set_nonblocking(fd.as_raw_fd())?;
        let unix = sys::domain(fd.as_raw_fd()) == libc::AF_UNIX;
        Ok(self.adopt(Socket::new(fd, Phase::Open, unix, P::foreign())))
    }
    fn datagram(&mut self, handle: Handle) -> Result<Sock, IoError> {
        let Handle::Fd(fd) = handle else { return Err(IoError::Unsupported) };
        sys::set_nonblocking(fd.as_raw_fd())?;
        datagram::prepare(fd.as_raw_fd());
        let mut s = Socket::new(fd, Phase::Datagram, false, P::foreign());
        s.reading = true;
        let sock = self.socks.insert(s);
        self.watch(sock, Interest::Input);
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
        self.watch_unpaused();
        self.bulk.extend(self.bulk_later.drain(..));
        self.wait(until, spin);
        self.clock.refresh();
        self.watch_late();
        self.look_at_lingering();
        self.end_overdue();
    }
    fn next(&mut self) -> Option<Done> {
        self.watch_unpaused();
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
        P::NAME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{epoll::EpollPoller, uring::RingPoller};

    #[test]
    fn an_idle_socket_is_small() {
        assert!(size_of::<Socket<EpollPoller>>() <= 192, "{}", size_of::<Socket<EpollPoller>>());
        assert!(size_of::<Socket<RingPoller>>() <= 240, "{}", size_of::<Socket<RingPoller>>());
        assert!(size_of::<Done>() <= 72, "{}", size_of::<Done>());
    }
}
