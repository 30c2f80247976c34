//! The inside of the simulated network: the clock, the events to come, connections, listening sockets and datagram ports.
//! [`Network`](super::Network) is its face for scripted peers, [`Sim`](super::Sim) the one for the engine.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::pipe::Pipe;
use super::ports::{Packet, Port};
use super::trace::Trace;
use super::{EndId, Fault, FaultCounts, NetworkOptions, Notice, Read, Rng};
use crate::{Addr, IoError, Micros, Sock};

pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) rng: Rng,
    pub(crate) options: NetworkOptions,
    pub(crate) counts: FaultCounts,
    events: BinaryHeap<Reverse<Planned>>,
    planned: u64,
    conns: Vec<Conn>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) ports: Vec<Port>,
    pub(crate) drivers: Vec<Attached>,
    pub(super) notices: VecDeque<Notice>,
    next_port: u16,
    /// The driver whose turn it is, and how often in a row it found that somebody else must act first.
    turning: usize,
    held_turns: u32,
    pub(crate) trace: Trace,
}

/// One connection: two ends, and the bytes of each (`pipes[side]` is what `side` sends).
struct Conn {
    ends: [End; 2],
    pipes: [Pipe; 2],
    /// The SYN reached a listening socket.
    arrived: bool,
    /// A fault reset it.
    broken: bool,
}

struct End {
    owner: Owner,
    addr: Addr,
    /// The descriptor is open.
    open: bool,
    /// What became of the connect; accepted ends are born connected.
    connected: Option<Result<(), IoError>>,
    error: Option<IoError>,
    /// The last write found no room; room wakes the owner.
    blocked: bool,
    /// A spliced socket that waits for the same room.
    waiter: Option<(usize, Key)>,
    /// A notice for a scripted peer is waiting.
    noticed: bool,
}

/// Who is told about an end, a listening socket or a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// In an accept queue, or detached.
    Nobody,
    Peer,
    Driver(usize, Key),
}

/// A thing of a driver that can have completions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Key {
    Listener(Sock),
    Sock(Sock),
}

pub(crate) struct Listener {
    pub(crate) addr: Addr,
    pub(crate) owner: Owner,
    pub(crate) open: bool,
    backlog: VecDeque<EndId>,
}

/// What the world keeps for a driver.
pub(crate) struct Attached {
    /// Things that may have completions, in the order they were marked.
    ready: VecDeque<Key>,
    marked: BTreeSet<Key>,
    pub(crate) woken: Arc<AtomicBool>,
    /// It asked to be back by then.
    wait_until: Micros,
    /// It asked for completions since its last turn; when it does not, time passes all the same.
    asked: bool,
    gone: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Planned {
    at: Micros,
    number: u64,
    event: Event,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// Bytes (or the end) sent by that end arrive.
    Deliver(EndId),
    /// A connect reaches its destination, for the n-th time.
    Syn {
        from: EndId,
        to: Addr,
        tries: u32,
    },
    Established(EndId),
    ConnectFailed(EndId, Code),
    /// A reset reaches that end.
    Reset(EndId),
    Ready(usize, Key),
    Timer(u64),
    Packet(usize, Packet),
}

/// An [`IoError`] that can be ordered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    Refused,
    TimedOut,
    Unreachable,
}

impl World {
    pub(crate) fn new(seed: u64, options: NetworkOptions) -> World {
        World {
            now: START,
            rng: Rng::new(seed),
            options,
            counts: FaultCounts::default(),
            events: BinaryHeap::new(),
            planned: 0,
            conns: Vec::new(),
            listeners: Vec::new(),
            ports: Vec::new(),
            drivers: Vec::new(),
            notices: VecDeque::new(),
            next_port: 20_000,
            turning: 0,
            held_turns: 0,
            trace: Trace::new(),
        }
    }

    // --- time ---

    /// A driver waits for something to do, at most until `until`. The clock stands still while somebody else has work at
    /// this instant; but nobody can hold it for ever.
    pub(crate) fn turn(&mut self, driver: usize, until: Micros) {
        self.drivers[driver].wait_until = until;
        if self.turning != driver {
            self.turning = driver;
            self.held_turns = 0;
        }
        let asked = std::mem::take(&mut self.drivers[driver].asked);
        if self.has_work(driver) {
            if !asked {
                self.step(until);
            }
            return;
        }
        let patient = self.held_turns < HELD_TURNS_MAX;
        if patient && self.others_have_work(driver) {
            self.held_turns += 1;
            return;
        }
        self.held_turns = 0;
        let others = self.drivers.iter().enumerate().filter(|(i, d)| *i != driver && !d.gone);
        let limit = match patient {
            true => others.map(|(_, d)| d.wait_until).fold(until, Micros::min),
            false => until,
        };
        while !self.has_work(driver) && self.step(limit) {
            if self.others_have_work(driver) {
                break;
            }
        }
    }

    /// Moves the clock to the next instant at which something happens, at most to `limit`, and lets it happen.
    /// False when `limit` was reached, or nothing will ever happen.
    pub(crate) fn step(&mut self, limit: Micros) -> bool {
        let Some(at) = self.next_event().filter(|at| *at <= limit) else {
            if limit != Micros::MAX {
                self.now = self.now.max(limit);
            }
            return false;
        };
        self.now = self.now.max(at);
        while self.next_event().is_some_and(|at| at <= self.now) {
            if let Some(Reverse(planned)) = self.events.pop() {
                self.happen(planned.event);
            }
        }
        true
    }

    /// A driver asked for a completion.
    pub(crate) fn asked(&mut self, driver: usize) {
        self.drivers[driver].asked = true;
    }

    pub(crate) fn next_event(&self) -> Option<Micros> {
        self.events.peek().map(|e| e.0.at)
    }

    pub(crate) fn has_work(&self, driver: usize) -> bool {
        let d = &self.drivers[driver];
        !d.ready.is_empty() || d.woken.load(Ordering::Relaxed)
    }

    fn others_have_work(&self, driver: usize) -> bool {
        let due =
            |i: usize| !self.drivers[i].gone && (self.has_work(i) || self.drivers[i].wait_until <= self.now);
        !self.notices.is_empty() || (0..self.drivers.len()).any(|i| i != driver && due(i))
    }

    pub(super) fn plan(&mut self, at: Micros, event: Event) {
        self.planned += 1;
        self.events.push(Reverse(Planned { at: at.max(self.now + 1), number: self.planned, event }));
    }

    pub(crate) fn plan_timer(&mut self, at: Micros, token: u64) {
        self.plan(at, Event::Timer(token));
    }

    /// Marks `key` of a driver as having something to say, at that time.
    pub(crate) fn plan_ready(&mut self, at: Micros, driver: usize, key: Key) {
        self.plan(at, Event::Ready(driver, key));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver(from) => self.deliver(from),
            Event::Syn { from, to, tries } => self.arrive(from, to, tries),
            Event::Established(end) => self.settle(end, Ok(())),
            Event::ConnectFailed(end, code) => self.settle(end, Err(code.into())),
            Event::Reset(end) => self.reset_arrives(end),
            Event::Ready(driver, key) => self.mark(driver, key),
            Event::Timer(token) => self.notices.push_back(Notice::Timer(token)),
            Event::Packet(port, packet) => self.packet_arrives(port, packet),
        }
    }

    /// Draws whether that fault happens here, and counts it if so.
    pub(crate) fn strikes(&mut self, fault: Fault) -> bool {
        let strikes = self.rng.chance(self.options.faults.ppm(fault));
        if strikes {
            self.counts.add(fault);
            self.trace.note(self.now, "fault", fault as u64, 0);
        }
        strikes
    }

    pub(super) fn latency(&mut self) -> Micros {
        let usual = self.rng.between(self.options.latency_us.0, self.options.latency_us.1);
        match self.strikes(Fault::LatencySpike) {
            true => usual * self.rng.between(2, 50),
            false => usual,
        }
    }

    // --- who is told ---

    pub(crate) fn mark(&mut self, driver: usize, key: Key) {
        let d = &mut self.drivers[driver];
        if !d.gone && d.marked.insert(key) {
            d.ready.push_back(key);
        }
    }

    /// The next thing of a driver to ask for completions; it stays marked, at the end, until [`World::unmark`].
    pub(crate) fn next_ready(&mut self, driver: usize) -> Option<Key> {
        let many = self.drivers[driver].ready.len() as u64;
        let at = match many > 1 && self.strikes(Fault::Reorder) {
            true => self.rng.below(many) as usize,
            false => 0,
        };
        let ready = &mut self.drivers[driver].ready;
        let key = ready.remove(at)?;
        ready.push_back(key);
        Some(key)
    }

    pub(crate) fn unmark(&mut self, driver: usize, key: Key) {
        let d = &mut self.drivers[driver];
        if d.marked.remove(&key) {
            d.ready.retain(|k| *k != key);
        }
    }

    pub(crate) fn attach_driver(&mut self, woken: Arc<AtomicBool>) -> usize {
        self.drivers.push(Attached {
            ready: VecDeque::new(),
            marked: BTreeSet::new(),
            woken,
            wait_until: Micros::MAX,
            asked: true,
            gone: false,
        });
        self.drivers.len() - 1
    }

    /// A driver is gone: its listening sockets close, nothing waits for it any more. Its streams were closed before.
    pub(crate) fn detach_driver(&mut self, driver: usize) {
        let owned = |owner: Owner| matches!(owner, Owner::Driver(d, _) if d == driver);
        for index in 0..self.listeners.len() {
            if owned(self.listeners[index].owner) {
                self.close_listener(index);
            }
        }
        for port in self.ports.iter_mut().filter(|p| owned(p.owner)) {
            (port.open, port.owner) = (false, Owner::Nobody);
        }
        let d = &mut self.drivers[driver];
        d.ready.clear();
        d.marked.clear();
        d.gone = true;
    }

    fn wake(&mut self, end: EndId) {
        if let Some((driver, key)) = self.end_mut(end).waiter.take() {
            self.mark(driver, key);
        }
        match self.end(end).owner {
            Owner::Driver(driver, key) => self.mark(driver, key),
            Owner::Peer if !self.end(end).noticed => {
                self.end_mut(end).noticed = true;
                self.notices.push_back(Notice::End(end));
            }
            Owner::Peer | Owner::Nobody => {}
        }
    }

    pub(crate) fn next_notice(&mut self) -> Option<Notice> {
        let many = self.notices.len() as u64;
        let at = match many > 1 && self.strikes(Fault::Reorder) {
            true => self.rng.below(many) as usize,
            false => 0,
        };
        let notice = self.notices.remove(at)?;
        if let Notice::End(end) = notice {
            self.end_mut(end).noticed = false;
        }
        self.trace.note(self.now, "notice", notice.number(), 0);
        self.held_turns = 0;
        Some(notice)
    }

    // --- connections ---

    fn end(&self, id: EndId) -> &End {
        &self.conns[id.conn()].ends[id.side()]
    }

    fn end_mut(&mut self, id: EndId) -> &mut End {
        &mut self.conns[id.conn()].ends[id.side()]
    }

    /// What that end sends.
    fn outgoing(&mut self, id: EndId) -> &mut Pipe {
        &mut self.conns[id.conn()].pipes[id.side()]
    }

    /// What that end receives.
    fn incoming(&mut self, id: EndId) -> &mut Pipe {
        self.outgoing(id.other())
    }

    pub(crate) fn set_owner(&mut self, end: EndId, owner: Owner) {
        self.end_mut(end).owner = owner;
        if owner != Owner::Nobody {
            self.wake(end);
        }
    }

    pub(crate) fn addr(&self, end: EndId) -> Addr {
        self.end(end).addr.clone()
    }

    pub(crate) fn connect(&mut self, owner: Owner, source: Option<Addr>, to: &Addr) -> EndId {
        let from = source.unwrap_or_else(|| self.ephemeral(to));
        let end = |owner, addr, open| End {
            owner,
            addr,
            open,
            connected: None,
            error: None,
            blocked: false,
            waiter: None,
            noticed: false,
        };
        let pipe = || Pipe::new(self.options.send_buffer, self.options.receive_buffer);
        self.conns.push(Conn {
            ends: [end(owner, from, true), end(Owner::Nobody, to.clone(), false)],
            pipes: [pipe(), pipe()],
            arrived: false,
            broken: false,
        });
        let id = EndId::new(self.conns.len() - 1, 0);
        self.trace.note(self.now, "connect", id.0, 0);
        let (there, back) = (self.latency(), self.latency());
        if self.strikes(Fault::ConnectRefused) {
            self.plan(self.now + there + back, Event::ConnectFailed(id, Code::Refused));
        } else if self.strikes(Fault::ConnectTimeout) {
            self.plan(self.now + CONNECT_TIMEOUT, Event::ConnectFailed(id, Code::TimedOut));
        } else {
            self.plan(self.now + there, Event::Syn { from: id, to: to.clone(), tries: 0 });
        }
        id
    }

    fn ephemeral(&mut self, to: &Addr) -> Addr {
        self.next_port = self.next_port.checked_add(1).unwrap_or(20_000);
        match to {
            Addr::Inet(std::net::SocketAddr::V6(_)) => {
                Addr::Inet((std::net::Ipv6Addr::LOCALHOST, self.next_port).into())
            }
            Addr::Inet(_) => Addr::Inet(([127, 0, 0, 1], self.next_port).into()),
            Addr::Unix(_) => Addr::Unix("".into()),
        }
    }

    fn arrive(&mut self, from: EndId, to: Addr, tries: u32) {
        if !self.end(from).open {
            return;
        }
        let back = self.latency();
        let listening = |l: &Listener| l.open && same_place(&l.addr, &to);
        let all: Vec<usize> = (0..self.listeners.len()).filter(|i| listening(&self.listeners[*i])).collect();
        if all.is_empty() {
            let code = if matches!(to, Addr::Unix(_)) { Code::Unreachable } else { Code::Refused };
            return self.plan(self.now + back, Event::ConnectFailed(from, code));
        }
        let index = *self.rng.pick(&all);
        if self.listeners[index].backlog.len() >= self.options.backlog_max {
            return match tries < SYN_RETRIES {
                true => self
                    .plan(self.now + (SYN_RETRY_AFTER << tries), Event::Syn { from, to, tries: tries + 1 }),
                false => self.plan(self.now + back, Event::ConnectFailed(from, Code::TimedOut)),
            };
        }
        let end = self.end_mut(from.other());
        (end.open, end.connected) = (true, Some(Ok(())));
        self.conns[from.conn()].arrived = true;
        self.listeners[index].backlog.push_back(from.other());
        self.plan(self.now + back, Event::Established(from));
        self.wake_listener(index);
    }

    fn settle(&mut self, end: EndId, result: Result<(), IoError>) {
        let e = self.end_mut(end);
        if e.open && e.connected.is_none() {
            e.connected = Some(result);
            e.error = result.err();
            self.wake(end);
        }
    }

    pub(crate) fn connected(&self, end: EndId) -> Option<Result<(), IoError>> {
        self.end(end).connected
    }

    /// Writes what fits; with `more`, it waits (at most 200 ms) for what follows.
    pub(crate) fn write(&mut self, end: EndId, bytes: &[u8], more: bool) -> Result<usize, IoError> {
        if let Some(error) = self.end(end).error {
            return Err(error);
        }
        if !self.end(end).open || self.outgoing(end).is_finished() {
            return Err(IoError::Reset);
        }
        if self.end(end).connected != Some(Ok(())) {
            self.end_mut(end).blocked = true;
            return Ok(0);
        }
        let at = self.now + if more { CORKED_FOR } else { self.latency() };
        let taken = self.outgoing(end).write(bytes, at, more);
        self.end_mut(end).blocked = taken < bytes.len();
        self.trace.note(self.now, "write", end.0, taken as u64);
        self.plan_delivery(end);
        Ok(taken)
    }

    /// Lets bytes go that were written with `more`.
    pub(crate) fn push(&mut self, end: EndId) {
        let at = self.now + self.latency();
        self.outgoing(end).uncork(at);
        self.plan_delivery(end);
    }

    /// Reads at most `max` bytes.
    pub(crate) fn read(&mut self, end: EndId, max: usize, take: impl FnMut(&[u8])) -> Read {
        if self.end(end).connected.is_none() || !self.end(end).open {
            return Read::Empty;
        }
        let n = self.incoming(end).read(max, take);
        if n > 0 {
            self.trace.note(self.now, "read", end.0, n as u64);
            self.plan_delivery(end.other());
            return Read::Bytes(n);
        }
        match (self.end(end).error, self.has_ended(end)) {
            (Some(error), _) => Read::Failed(error),
            (None, true) => Read::End,
            (None, false) => Read::Empty,
        }
    }

    pub(crate) fn unread(&self, end: EndId) -> usize {
        self.conns[end.conn()].pipes[end.other().side()].unread()
    }

    pub(crate) fn has_ended(&self, end: EndId) -> bool {
        self.conns[end.conn()].pipes[end.other().side()].has_ended()
    }

    pub(crate) fn error(&self, end: EndId) -> Option<IoError> {
        self.end(end).error
    }

    pub(crate) fn is_open(&self, end: EndId) -> bool {
        self.end(end).open
    }

    pub(crate) fn is_broken(&self, end: EndId) -> bool {
        self.conns[end.conn()].broken
    }

    /// Marks that socket of a driver when there is room, or never will be.
    pub(crate) fn want_space(&mut self, end: EndId, driver: usize, key: Key) {
        self.end_mut(end).blocked = true;
        self.end_mut(end).waiter = Some((driver, key));
    }

    pub(crate) fn space(&self, end: EndId) -> usize {
        self.conns[end.conn()].pipes[end.side()].space()
    }

    pub(crate) fn shutdown(&mut self, end: EndId) {
        if self.end(end).open && self.end(end).error.is_none() && self.end(end).connected.is_some() {
            let at = self.now + self.latency();
            self.outgoing(end).finish(at);
            self.plan_delivery(end);
        }
    }

    /// Closes the descriptor: what was written still travels, unread input makes it a reset.
    pub(crate) fn close(&mut self, end: EndId) {
        if !self.end(end).open {
            return;
        }
        self.trace.note(self.now, "close", end.0, 0);
        let unread = self.incoming(end).unread() > 0;
        let (dead, at) = (self.end(end).error.is_some(), self.now + self.latency());
        self.let_go(end);
        if unread && !dead {
            self.plan(at, Event::Reset(end.other()));
        } else if !dead {
            self.outgoing(end).finish(at);
            self.plan_delivery(end);
        }
    }

    /// Closes the descriptor with an RST.
    pub(crate) fn reset(&mut self, end: EndId) {
        if !self.end(end).open {
            return;
        }
        self.trace.note(self.now, "reset", end.0, 0);
        let (dead, at) = (self.end(end).error.is_some(), self.now + self.latency());
        self.let_go(end);
        if !dead {
            self.plan(at, Event::Reset(end.other()));
        }
    }

    fn let_go(&mut self, end: EndId) {
        let e = self.end_mut(end);
        (e.open, e.owner, e.blocked) = (false, Owner::Nobody, false);
        self.incoming(end).empty();
        if !self.end(end.other()).open {
            self.outgoing(end).empty();
        } else {
            self.plan_delivery(end.other());
        }
    }

    fn plan_delivery(&mut self, from: EndId) {
        let pipe = self.outgoing(from);
        let Some(due) = pipe.due() else { return };
        if pipe.planned.is_none_or(|at| due < at) {
            pipe.planned = Some(due);
            self.plan(due, Event::Deliver(from));
        }
    }

    fn deliver(&mut self, from: EndId) {
        let now = self.now;
        self.outgoing(from).planned = None;
        if self.end(from).error.is_some() || self.end(from.other()).error.is_some() {
            return;
        }
        let ripe = self.outgoing(from).ripe(now);
        if ripe > 0 && self.strikes(Fault::Stall) {
            let stall = self.rng.magnitude(self.options.faults.stall_us_max);
            self.outgoing(from).stall(now + stall);
            return self.plan_delivery(from);
        }
        let breaks = ripe > 0 && self.strikes(Fault::Reset);
        let some = match ripe > 1 && (breaks || self.strikes(Fault::Split)) {
            true => self.rng.magnitude(ripe as u64) as usize,
            false => ripe,
        };
        let done = self.outgoing(from).deliver(now, some);
        self.trace.note(now, "deliver", from.0, done.bytes as u64);
        if some < ripe {
            let pause = self.rng.between(1, 300);
            self.outgoing(from).stall(now + pause);
        }
        if done.bytes > 0 && !self.end(from.other()).open {
            self.outgoing(from).empty();
            let at = now + self.latency();
            return self.plan(at, Event::Reset(from));
        }
        if done.bytes > 0 || done.end {
            self.wake(from.other());
        }
        if breaks {
            return self.break_up(from);
        }
        if self.end(from).blocked && self.space(from) > 0 {
            self.end_mut(from).blocked = false;
            self.wake(from);
        }
        self.plan_delivery(from);
    }

    /// The network resets a connection for both ends.
    pub(crate) fn break_up(&mut self, end: EndId) {
        self.conns[end.conn()].broken = true;
        for end in [end, end.other()] {
            self.fail(end);
        }
    }

    fn reset_arrives(&mut self, end: EndId) {
        self.trace.note(self.now, "rst", end.0, 0);
        self.fail(end);
    }

    fn fail(&mut self, end: EndId) {
        let e = self.end_mut(end);
        if !e.open || e.error.is_some() {
            return;
        }
        e.error = Some(IoError::Reset);
        e.connected.get_or_insert(Err(IoError::Reset));
        self.outgoing(end).lose();
        self.incoming(end).lose();
        self.wake(end);
    }

    /// Open descriptors of an owner kind.
    pub(crate) fn count_open(&self, belongs: impl Fn(&Owner) -> bool) -> usize {
        let ends = self.conns.iter().flat_map(|c| &c.ends);
        ends.filter(|e| e.open && belongs(&e.owner)).count()
    }

    // --- listening sockets ---

    pub(crate) fn listen(&mut self, addr: &Addr) -> u64 {
        self.listeners.push(Listener {
            addr: addr.clone(),
            owner: Owner::Nobody,
            open: true,
            backlog: VecDeque::new(),
        });
        self.listeners.len() as u64 - 1
    }

    fn wake_listener(&mut self, index: usize) {
        match self.listeners[index].owner {
            Owner::Driver(driver, key) => self.mark(driver, key),
            Owner::Peer => self.notices.push_back(Notice::Listener(index as u64)),
            Owner::Nobody => {}
        }
    }

    pub(crate) fn own_listener(&mut self, index: usize, owner: Owner) {
        self.listeners[index].owner = owner;
        self.wake_listener(index);
    }

    pub(crate) fn waiting(&self, listener: usize) -> usize {
        self.listeners[listener].backlog.len()
    }

    /// Takes the oldest connection out of the accept queue: our end and the peer's address.
    pub(crate) fn accept(&mut self, listener: usize, owner: Owner) -> Option<(EndId, Addr)> {
        let end = self.listeners[listener].backlog.pop_front()?;
        self.set_owner(end, owner);
        self.trace.note(self.now, "accept", end.0, 0);
        Some((end, self.addr(end.other())))
    }

    /// Closes a listening socket; what waits in its queue is reset.
    pub(crate) fn close_listener(&mut self, listener: usize) {
        let l = &mut self.listeners[listener];
        (l.open, l.owner) = (false, Owner::Nobody);
        for end in std::mem::take(&mut l.backlog) {
            self.reset(end);
        }
    }
}

impl From<Code> for IoError {
    fn from(code: Code) -> IoError {
        match code {
            Code::Refused => IoError::Refused,
            Code::TimedOut => IoError::TimedOut,
            Code::Unreachable => IoError::Unreachable,
        }
    }
}

/// A socket bound to `bound` (which may be a wildcard) gets what is sent to `to`.
pub(super) fn same_place(bound: &Addr, to: &Addr) -> bool {
    match (bound, to) {
        (Addr::Inet(b), Addr::Inet(t)) => {
            b == t || (b.ip().is_unspecified() && b.port() == t.port() && (b.is_ipv6() || t.is_ipv4()))
        }
        _ => bound == to,
    }
}

/// The clock starts here: not at 0, so that a deadline of 0 is always in the past.
const START: Micros = 1_000_000;
/// Turns of one driver in a row that leave the clock standing for the sake of others.
const HELD_TURNS_MAX: u32 = 64;
/// The kernel's own limit for a connect without an answer (tcp_syn_retries 6).
const CONNECT_TIMEOUT: Micros = 127_000_000;
/// A connect that found the accept queue full tries again after this, doubling.
const SYN_RETRY_AFTER: Micros = 1_000_000;
/// Times it tries again.
const SYN_RETRIES: u32 = 6;
/// Bytes sent with MSG_MORE wait this long at most.
const CORKED_FOR: Micros = 200_000;
