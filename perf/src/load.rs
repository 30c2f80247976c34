//! The load generator: one thread, one epoll, a fixed number of connections. Closed loop (the next request leaves
//! when the answer is complete), a new connection for each request, or open loop (requests are due by the clock and
//! their latency counts from when they were due, so a stalled proxy cannot hide its stall).

use crate::{
    answer::{Expect, Progress, Reader},
    failure::{Failure, Result},
    histogram::Histogram,
    net::{self, Alarm, Poller, Received},
    origin::{Server, TOKENS},
};
use rustix::io::Errno;
use serde::Serialize;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Receive buffer of the thread: larger than any answer.
const RECEIVE_BYTES: usize = 256 * 1024;
/// How often the stop flag is looked at when nothing happens.
const LOOK: Duration = Duration::from_millis(20);
/// Token of the alarm; connections use their index.
const ALARM: u64 = u64::MAX;
/// How long the last answers may take after the end of the load.
const TAIL_MAX: Duration = Duration::from_secs(10);

/// When requests leave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    /// Keep-alive, the next request as soon as the answer is complete.
    Closed,
    /// A new connection for each request; the answer ends with the connection.
    PerConnection,
    /// Keep-alive, this many requests per second, evenly spaced.
    Open(u32),
}

/// What to send where.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The proxy.
    pub to: SocketAddr,
    /// Connections at a time.
    pub connections: usize,
    /// Bytes of every request.
    pub request: Vec<u8>,
    /// What every answer must be.
    pub expect: Expect,
    /// When requests leave.
    pub shape: Shape,
    /// Whether a refused connection ends its slot quietly: true only while the proxy is asked to stop.
    pub refused_ends: bool,
}

/// What went wrong, by kind. All must be 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Errors {
    /// A connection could not be made.
    pub connect: u64,
    /// A request was sent on an accepted connection and the connection ended without any byte of an answer.
    pub unanswered: u64,
    /// The same for the first request of a connection that was reset: it may never have left the accept queue.
    pub reset_first: u64,
    /// The connection ended in the middle of an answer.
    pub cut: u64,
    /// Status, length or content were not the expected ones.
    pub wrong: u64,
    /// The answer had not come 10 s after the end of the load.
    pub late: u64,
}

impl Errors {
    /// All kinds together.
    pub fn total(&self) -> u64 {
        self.connect + self.unanswered + self.reset_first + self.cut + self.wrong + self.late
    }

    /// Adds another count.
    pub fn add(&mut self, other: Self) {
        self.connect += other.connect;
        self.unanswered += other.unanswered;
        self.reset_first += other.reset_first;
        self.cut += other.cut;
        self.wrong += other.wrong;
        self.late += other.late;
    }
}

/// Shared with the thread that watches the load.
#[derive(Default)]
pub struct Watch {
    /// Set to end the load; outstanding answers are still awaited.
    pub stop: AtomicBool,
    /// Answers complete so far.
    pub completed: AtomicU64,
}

/// The generator.
pub struct Load {
    plan: Plan,
    poller: Poller,
    alarm: Alarm,
    /// Served in the same loop, if any: then no thread switch lies between client and origin.
    origin: Option<Server>,
    slots: Vec<Slot>,
    /// Open loop: connections without a request, longest idle first.
    free: VecDeque<usize>,
    /// Open loop: due times that found no free connection.
    waiting: VecDeque<u64>,
    next_due_ns: u64,
    epoch: Instant,
    buffer: Vec<u8>,
    ending: bool,
    /// Answers complete since the start.
    pub completed: u64,
    /// Nanoseconds from sent (open loop: due) to complete, since last cleared.
    pub latency: Histogram,
    /// What went wrong since the start.
    pub errors: Errors,
}

struct Slot {
    socket: Option<OwnedFd>,
    reader: Reader,
    state: State,
    since_ns: u64,
    /// No answer has come on this connection yet.
    fresh: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// No connection and none wanted.
    Off,
    Connecting,
    /// Connected, nothing asked.
    Idle,
    /// A request was sent.
    Asked,
    /// The answer is complete, the end of the connection is awaited.
    Ending,
}

impl Load {
    /// Prepares the generator; nothing is sent yet.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn new(plan: Plan) -> Result<Self> {
        let reader = || Reader::new(plan.expect);
        let slot = || Slot { socket: None, reader: reader(), state: State::Off, since_ns: 0, fresh: true };
        let slots = (0..plan.connections).map(|_| slot()).collect();
        let (poller, alarm) = (Poller::new()?, Alarm::new()?);
        poller.add(&alarm, ALARM, net::READ)?;
        Ok(Self {
            plan,
            poller,
            alarm,
            origin: None,
            slots,
            free: VecDeque::new(),
            waiting: VecDeque::new(),
            next_due_ns: 0,
            epoch: Instant::now(),
            buffer: vec![0; RECEIVE_BYTES],
            ending: false,
            completed: 0,
            latency: Histogram::default(),
            errors: Errors::default(),
        })
    }

    /// Serves this origin in the same loop.
    ///
    /// # Errors
    /// When it cannot be registered.
    pub fn serve(&mut self, origin: Server) -> Result<()> {
        origin.attach(&self.poller)?;
        self.origin = Some(origin);
        Ok(())
    }

    /// Opens the connections (closed loops send at once).
    pub fn open(&mut self) {
        for index in 0..self.slots.len() {
            self.connect(index);
        }
        self.next_due_ns = self.now_ns();
    }

    /// Runs for this long.
    ///
    /// # Errors
    /// When the poller fails.
    pub fn run_for(&mut self, span: Duration) -> Result<()> {
        let end = self.now_ns() + span.as_nanos() as u64;
        let mut ready = Vec::new();
        loop {
            let now = self.now_ns();
            if now >= end {
                return Ok(());
            }
            self.turn(end - now, &mut ready)?;
        }
    }

    /// Runs until the watch says stop, then awaits the outstanding answers.
    ///
    /// # Errors
    /// When the poller fails.
    pub fn run_until(&mut self, watch: &Watch) -> Result<()> {
        let mut ready = Vec::new();
        while !watch.stop.load(Ordering::Relaxed) && self.slots.iter().any(|slot| slot.state != State::Off) {
            self.turn(LOOK.as_nanos() as u64, &mut ready)?;
            watch.completed.store(self.completed, Ordering::Relaxed);
        }
        self.finish()?;
        watch.completed.store(self.completed, Ordering::Relaxed);
        Ok(())
    }

    /// Sends nothing that is not due yet and awaits the outstanding answers, at most 10 s; what is missing then is
    /// `late`.
    ///
    /// # Errors
    /// When the poller fails.
    pub fn finish(&mut self) -> Result<()> {
        self.ending = true;
        let mut ready = Vec::new();
        let end = Instant::now() + TAIL_MAX;
        while self.outstanding() > 0 && Instant::now() < end {
            self.turn(LOOK.as_nanos() as u64, &mut ready)?;
        }
        self.errors.late += self.outstanding() as u64;
        Ok(())
    }

    fn outstanding(&self) -> usize {
        let asked = |slot: &&Slot| matches!(slot.state, State::Asked | State::Connecting);
        self.slots.iter().filter(asked).count() + self.waiting.len()
    }

    fn now_ns(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn turn(&mut self, limit_ns: u64, ready: &mut Vec<u64>) -> Result<()> {
        if matches!(self.plan.shape, Shape::Open(_)) && !self.ending {
            self.alarm.set(self.next_due_ns.saturating_sub(self.now_ns()))?;
        }
        // Whole milliseconds are what this wait can do; due times come from the alarm.
        self.poller.wait(Duration::from_nanos(limit_ns.next_multiple_of(1_000_000)).min(LOOK), ready)?;
        for token in ready.iter().copied().filter(|token| *token != ALARM) {
            match &mut self.origin {
                Some(origin) if token & TOKENS != 0 => origin.on_event(&self.poller, token)?,
                _ => self.on_event(token as usize),
            }
        }
        self.ask_what_is_due();
        Ok(())
    }

    fn ask_what_is_due(&mut self) {
        let Shape::Open(per_second) = self.plan.shape else { return };
        let now = self.now_ns();
        while self.next_due_ns <= now && !self.ending {
            self.waiting.push_back(self.next_due_ns);
            self.next_due_ns += 1_000_000_000 / u64::from(per_second);
        }
        while let (Some(due), Some(index)) = (self.waiting.front().copied(), self.free.front().copied()) {
            self.waiting.pop_front();
            self.free.pop_front();
            self.ask(index, due);
        }
    }

    fn connect(&mut self, index: usize) {
        self.slots[index].reader.reset();
        match net::connect(self.plan.to) {
            Ok((socket, connected)) => self.connected(index, socket, connected),
            Err(error) => self.not_connected(index, error),
        }
    }

    fn not_connected(&mut self, index: usize, error: Errno) {
        if self.plan.refused_ends && error == Errno::CONNREFUSED {
            self.slots[index].socket = None;
            self.slots[index].state = State::Off;
        } else {
            self.fail(index, |errors| &mut errors.connect);
        }
    }

    /// The first request leaves before the socket is registered: one event less per connection.
    fn connected(&mut self, index: usize, socket: OwnedFd, at_once: bool) {
        let flags = if at_once { net::READ } else { net::READ_WRITE };
        self.slots[index].socket = Some(socket);
        self.slots[index].state = State::Connecting;
        self.slots[index].fresh = true;
        if at_once {
            self.begin(index);
        }
        let added =
            self.slots[index].socket.as_ref().map(|socket| self.poller.add(socket, index as u64, flags));
        if let Some(Err(error)) = added {
            eprintln!("load: {error}");
            self.errors.connect += 1;
        }
    }

    /// A connection is ready for its first request.
    fn begin(&mut self, index: usize) {
        self.slots[index].state = State::Idle;
        if matches!(self.plan.shape, Shape::Open(_)) {
            self.free.push_back(index);
        } else {
            let now = self.now_ns();
            self.ask(index, now);
        }
    }

    fn ask(&mut self, index: usize, since_ns: u64) {
        let slot = &mut self.slots[index];
        let Some(socket) = &slot.socket else { return };
        slot.since_ns = since_ns;
        slot.state = State::Asked;
        match net::send(socket, &self.plan.request) {
            Ok(sent) if sent == self.plan.request.len() => {}
            Ok(_) => self.fail(index, |errors| &mut errors.wrong),
            Err(_) => self.fail(index, |errors| &mut errors.unanswered),
        }
    }

    fn on_event(&mut self, index: usize) {
        if self.slots[index].state == State::Connecting {
            let slot = &self.slots[index];
            let Some(socket) = &slot.socket else { return };
            match rustix::net::sockopt::socket_error(socket) {
                Ok(Ok(())) => self.begin(index),
                Ok(Err(error)) | Err(error) => return self.not_connected(index, error),
            }
        }
        while let Some(socket) = &self.slots[index].socket {
            let more = match net::receive(socket, &mut self.buffer) {
                Received::Empty => false,
                Received::Bytes(count) => self.on_bytes(index, count),
                Received::End => self.on_end(index, false),
                Received::Broken(_) => self.on_end(index, true),
            };
            if !more {
                return;
            }
        }
    }

    /// Whether to receive again: after a full buffer, and where the end of the connection is to come.
    fn on_bytes(&mut self, index: usize, count: usize) -> bool {
        let slot = &mut self.slots[index];
        if slot.state != State::Asked {
            self.fail(index, |errors| &mut errors.wrong);
            return false;
        }
        match slot.reader.feed(&self.buffer[..count]) {
            Progress::More => count == self.buffer.len() || self.plan.shape == Shape::PerConnection,
            Progress::Wrong => {
                self.fail(index, |errors| &mut errors.wrong);
                false
            }
            Progress::Done { close } => {
                self.on_answer(index, close);
                self.plan.shape == Shape::PerConnection
            }
        }
    }

    fn on_answer(&mut self, index: usize, close: bool) {
        let now = self.now_ns();
        self.completed += 1;
        let slot = &mut self.slots[index];
        slot.fresh = false;
        self.latency.record(now.saturating_sub(slot.since_ns));
        match self.plan.shape {
            Shape::PerConnection => slot.state = State::Ending,
            _ if close => self.renew(index),
            Shape::Closed if self.ending => slot.state = State::Idle,
            Shape::Closed => self.ask(index, now),
            Shape::Open(_) => {
                slot.state = State::Idle;
                self.free.push_back(index);
            }
        }
    }

    /// The connection is over; never anything more to receive.
    fn on_end(&mut self, index: usize, reset: bool) -> bool {
        let slot = &self.slots[index];
        match slot.state {
            State::Asked if slot.reader.is_partial() => self.fail(index, |errors| &mut errors.cut),
            State::Asked if slot.fresh && reset => self.fail(index, |errors| &mut errors.reset_first),
            State::Asked => self.fail(index, |errors| &mut errors.unanswered),
            State::Idle => {
                self.free.retain(|free| *free != index);
                self.renew(index);
            }
            State::Ending | State::Off | State::Connecting => self.renew(index),
        }
        false
    }

    fn fail(&mut self, index: usize, kind: fn(&mut Errors) -> &mut u64) {
        *kind(&mut self.errors) += 1;
        self.free.retain(|free| *free != index);
        // A slot that fails is not tried again at once: a dead proxy would be met with a storm of connects.
        self.slots[index].socket = None;
        self.slots[index].state = State::Off;
    }

    fn renew(&mut self, index: usize) {
        self.slots[index].socket = None;
        self.slots[index].state = State::Off;
        if !self.ending {
            self.connect(index);
        }
    }
}

/// A load that runs in its own thread until told to stop.
pub struct Background {
    watch: std::sync::Arc<Watch>,
    thread: std::thread::JoinHandle<Result<(u64, Errors)>>,
}

impl Background {
    /// Starts the load, on `core` when one is given.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(plan: Plan, core: Option<usize>) -> Result<Self> {
        let watch = std::sync::Arc::new(Watch::default());
        let shared = std::sync::Arc::clone(&watch);
        let thread = std::thread::Builder::new().name("load".into()).spawn(move || {
            core.map_or(Ok(()), net::pin)?;
            let mut load = Load::new(plan)?;
            load.open();
            load.run_until(&shared)?;
            Ok((load.completed, load.errors))
        })?;
        Ok(Self { watch, thread })
    }

    /// Answers complete so far.
    pub fn completed(&self) -> u64 {
        self.watch.completed.load(Ordering::Relaxed)
    }

    /// Whether the load has ended by itself: every slot met a refused connection or an error.
    pub fn is_over(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends the load, awaits outstanding answers, returns completed answers and errors.
    ///
    /// # Errors
    /// When the generator failed.
    pub fn stop(self) -> Result<(u64, Errors)> {
        self.watch.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| Failure::new("the load generator panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{Origin, Speaks};

    fn plan(origin: &Origin, shape: Shape, body: usize) -> Plan {
        Plan {
            to: origin.address(),
            connections: 4,
            request: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            expect: Expect::Http(body),
            shape,
            refused_ends: false,
        }
    }

    #[test]
    fn closed_loop_completes_without_errors() -> Result<()> {
        let origin = Origin::start(Speaks::Http { body: 100_000 }, None)?;
        let mut load = Load::new(plan(&origin, Shape::Closed, 100_000))?;
        load.open();
        while load.completed < 50 {
            load.run_for(Duration::from_millis(10))?;
        }
        load.finish()?;
        assert_eq!(load.errors, Errors::default());
        assert_eq!(load.latency.total(), load.completed);
        Ok(())
    }

    #[test]
    fn open_loop_sends_what_is_due_and_no_more() -> Result<()> {
        let origin = Origin::start(Speaks::Http { body: 10 }, None)?;
        let mut load = Load::new(plan(&origin, Shape::Open(500), 10))?;
        load.open();
        let first_due = load.next_due_ns;
        load.run_for(Duration::from_millis(200))?;
        load.finish()?;
        assert_eq!(load.errors, Errors::default());
        let due = (load.next_due_ns - first_due) / 2_000_000;
        assert!(due >= 99, "{due} requests due in 0.2 s at 500/s");
        assert_eq!((load.completed, load.latency.total()), (due, due));
        Ok(())
    }

    #[test]
    fn a_wrong_answer_is_counted() -> Result<()> {
        let origin = Origin::start(Speaks::Http { body: 10 }, None)?;
        let mut load = Load::new(plan(&origin, Shape::Closed, 11))?;
        load.open();
        while load.errors.wrong < 4 {
            load.run_for(Duration::from_millis(5))?;
        }
        assert_eq!((load.completed, load.errors.total()), (0, 4));
        Ok(())
    }

    #[test]
    fn a_refused_connection_is_an_error_unless_the_proxy_stops() -> Result<()> {
        let to = net::free_address()?;
        let origin = Origin::start(Speaks::Http { body: 10 }, None)?;
        for (refused_ends, errors) in [(false, 4), (true, 0)] {
            let mut load = Load::new(Plan { to, refused_ends, ..plan(&origin, Shape::Closed, 10) })?;
            load.open();
            load.finish()?;
            assert_eq!(load.errors.total(), errors);
        }
        Ok(())
    }
}
