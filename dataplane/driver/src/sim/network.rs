//! The simulated network as scripted peers and test fixtures see it: connect, listen, write, read, close, timers, the clock.

#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use super::world::{Key, Owner, World};
use super::{Fault, FaultCounts, FaultPlan};
use crate::{Addr, IoError, Micros};

/// A seeded network with a virtual clock, all in one thread; clones share it. Drivers attach with
/// [`Sim::new`](super::Sim::new), scripted peers call it directly and are told what changed by [`Network::next_notice`].
#[derive(Clone)]
pub struct Network(pub(crate) Rc<RefCell<World>>);

/// How the network behaves.
#[derive(Clone, Debug)]
pub struct NetworkOptions {
    /// One-way latency: least and most. Microseconds.
    pub latency_us: (Micros, Micros),
    /// Bytes a sender may have on their way.
    pub send_buffer: usize,
    /// Bytes a receiver holds unread.
    pub receive_buffer: usize,
    /// Connections a listening socket holds unaccepted.
    pub backlog_max: usize,
    /// What goes wrong, and how often.
    pub faults: FaultPlan,
}

impl Default for NetworkOptions {
    fn default() -> Self {
        NetworkOptions {
            latency_us: (20, 200),
            send_buffer: 256 << 10,
            receive_buffer: 128 << 10,
            backlog_max: 128,
            faults: FaultPlan::none(),
        }
    }
}

/// One end of a simulated connection. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndId(pub(crate) u64);

impl EndId {
    pub(crate) fn new(conn: usize, side: u64) -> EndId {
        EndId(conn as u64 * 2 + side)
    }
    pub(crate) fn conn(self) -> usize {
        (self.0 / 2) as usize
    }
    pub(crate) fn side(self) -> usize {
        (self.0 % 2) as usize
    }
    /// The opposite end.
    pub fn other(self) -> EndId {
        EndId(self.0 ^ 1)
    }
    /// Numbers of connections count up from 0, in the order of their connects.
    pub fn connection(self) -> u64 {
        self.0 / 2
    }
}

/// Something a scripted peer should look at. What exactly happened is seen by asking (read, write, connected).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// An end connected, got bytes or its end, has room again, or failed.
    End(EndId),
    /// A listening socket has a connection waiting.
    Listener(u64),
    /// A datagram port has something.
    Port(u64),
    /// A timer of [`Network::timer`] fired, with its token.
    Timer(u64),
}

impl Notice {
    pub(crate) fn number(self) -> u64 {
        match self {
            Notice::End(EndId(n)) | Notice::Listener(n) | Notice::Port(n) | Notice::Timer(n) => n,
        }
    }
}

/// The outcome of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// That many bytes were read.
    Bytes(usize),
    /// Nothing there yet; a notice will follow.
    Empty,
    /// The peer ended its direction.
    End,
    /// The connection is broken.
    Failed(IoError),
}

impl Network {
    /// A network; the seed decides everything that happens in it.
    pub fn new(seed: u64, options: NetworkOptions) -> Network {
        Network(Rc::new(RefCell::new(World::new(seed, options))))
    }

    /// The virtual clock. Microseconds.
    pub fn now(&self) -> Micros {
        self.0.borrow().now
    }

    /// The virtual wall clock. Microseconds since the Unix epoch.
    pub fn unix_now(&self) -> u64 {
        UNIX_START + self.now()
    }

    /// Moves the clock to the next event, at most to `limit`, without any driver. False when there was none by then.
    pub fn step(&self, limit: Micros) -> bool {
        self.0.borrow_mut().step(limit)
    }

    /// When the next event is due; `None` when nothing will happen by itself any more.
    pub fn next_event(&self) -> Option<Micros> {
        self.0.borrow().next_event()
    }

    /// The next thing a scripted peer should look at.
    pub fn next_notice(&self) -> Option<Notice> {
        self.0.borrow_mut().next_notice()
    }

    /// Asks for a [`Notice::Timer`] with that token at that time.
    pub fn timer(&self, at: Micros, token: u64) {
        self.0.borrow_mut().plan_timer(at, token);
    }

    /// Changes what goes wrong from now on.
    pub fn set_faults(&self, faults: FaultPlan) {
        self.0.borrow_mut().options.faults = faults;
    }

    /// How often each fault happened.
    pub fn fault_counts(&self) -> FaultCounts {
        self.0.borrow().counts.clone()
    }

    /// Counts a fault that the caller played itself.
    pub fn count_fault(&self, fault: Fault) {
        self.0.borrow_mut().counts.add(fault);
    }

    /// A hash over everything that happened so far: two runs with equal hashes went the same way.
    pub fn trace_hash(&self) -> u64 {
        self.0.borrow().trace.hash
    }

    /// Keeps the last `lines_max` lines of what happens, for [`Network::log`].
    pub fn keep_log(&self, lines_max: usize) {
        self.0.borrow_mut().trace.lines_max = lines_max;
    }

    /// The lines kept, oldest first: time, what, and two numbers (connection end, bytes).
    pub fn log(&self) -> String {
        let world = self.0.borrow();
        let lines: Vec<&str> = world.trace.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }

    /// Opens a listening socket for a driver ([`Handle::Sim`](crate::Handle::Sim)). Several may share an address.
    pub fn bind(&self, addr: &Addr) -> u64 {
        self.0.borrow_mut().listen(addr)
    }

    /// Opens a listening socket for a scripted peer: [`Notice::Listener`] tells of connections.
    pub fn listen(&self, addr: &Addr) -> u64 {
        let mut world = self.0.borrow_mut();
        let listener = world.listen(addr);
        world.own_listener(listener as usize, Owner::Peer);
        listener
    }

    /// Takes a connection from a listening socket: our end, and who connected.
    pub fn accept(&self, listener: u64) -> Option<(EndId, Addr)> {
        self.0.borrow_mut().accept(listener as usize, Owner::Peer)
    }

    /// Closes a listening socket; connections not yet accepted are reset.
    pub fn close_listener(&self, listener: u64) {
        self.0.borrow_mut().close_listener(listener as usize);
    }

    /// Connections waiting to be accepted.
    pub fn waiting(&self, listener: u64) -> usize {
        self.0.borrow().waiting(listener as usize)
    }

    /// Connects as a scripted peer; a notice follows when it is settled.
    pub fn connect(&self, to: &Addr) -> EndId {
        self.0.borrow_mut().connect(Owner::Peer, None, to)
    }

    /// What became of a connect; `None` while it is under way.
    pub fn connected(&self, end: EndId) -> Option<Result<(), IoError>> {
        self.0.borrow().connected(end)
    }

    /// Sends what fits now; how many bytes that were. After less than all, a notice tells when there is room.
    pub fn write(&self, end: EndId, bytes: &[u8]) -> Result<usize, IoError> {
        self.0.borrow_mut().write(end, bytes, false)
    }

    /// Appends at most `max` received bytes to `into`. Not calling it is how a peer stops reading.
    pub fn read(&self, end: EndId, max: usize, into: &mut Vec<u8>) -> Read {
        self.0.borrow_mut().read(end, max, |bytes| into.extend_from_slice(bytes))
    }

    /// Bytes that arrived at that end and were not read.
    pub fn unread(&self, end: EndId) -> usize {
        self.0.borrow().unread(end)
    }

    /// Bytes that a write takes now.
    pub fn space(&self, end: EndId) -> usize {
        self.0.borrow().space(end)
    }

    /// Ends our direction.
    pub fn shutdown(&self, end: EndId) {
        self.0.borrow_mut().shutdown(end);
    }

    /// Closes the descriptor as close(2) does: with unread input the other end gets a reset.
    pub fn close(&self, end: EndId) {
        self.0.borrow_mut().close(end);
    }

    /// Closes the descriptor with a reset.
    pub fn reset(&self, end: EndId) {
        self.0.borrow_mut().reset(end);
    }

    /// Resets a connection for both ends, as a fault of the network.
    pub fn break_up(&self, end: EndId) {
        self.0.borrow_mut().break_up(end);
    }

    /// A fault of the network reset this connection.
    pub fn is_broken(&self, end: EndId) -> bool {
        self.0.borrow().is_broken(end)
    }

    /// That end's descriptor is open.
    pub fn is_open(&self, end: EndId) -> bool {
        self.0.borrow().is_open(end)
    }

    /// The address of an end.
    pub fn addr(&self, end: EndId) -> Addr {
        self.0.borrow().addr(end)
    }

    /// Open stream descriptors of all drivers, as the network sees them.
    pub fn open_of_drivers(&self) -> usize {
        self.0.borrow().count_open(|owner| matches!(owner, Owner::Driver(_, Key::Sock(_))))
    }

    /// Open stream descriptors nobody holds: in accept queues, or detached and not attached again.
    pub fn open_of_nobody(&self) -> usize {
        self.0.borrow().count_open(|owner| *owner == Owner::Nobody)
    }

    /// Opens a datagram socket for a driver ([`Handle::Sim`](crate::Handle::Sim)).
    pub fn bind_datagram(&self, addr: &Addr) -> u64 {
        self.0.borrow_mut().bind_port(addr)
    }

    /// Opens a datagram socket for a scripted peer.
    pub fn datagram(&self, addr: &Addr) -> u64 {
        let mut world = self.0.borrow_mut();
        let port = world.bind_port(addr);
        world.ports[port as usize].owner = Owner::Peer;
        port
    }

    /// Sends one datagram.
    pub fn send_datagram(&self, port: u64, to: &Addr, bytes: &[u8]) {
        self.0.borrow_mut().send_packet(port as usize, to, 0, bytes);
    }

    /// Takes one received datagram and its sender.
    pub fn read_datagram(&self, port: u64) -> Option<(Addr, Vec<u8>)> {
        let packet = self.0.borrow_mut().ports[port as usize].inbox.pop_front()?;
        Some((packet.from, packet.bytes))
    }
}

/// The wall clock when the virtual clock stood at 0: 2023-11-14T22:13:20Z.
const UNIX_START: u64 = 1_700_000_000_000_000;
