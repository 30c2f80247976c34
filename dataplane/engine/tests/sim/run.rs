//! One run: a worker in the simulated network, clients and upstreams around it, new configurations, a drain, and the verdict.

use std::collections::VecDeque;

use std::sync::Arc;

use ringway_driver::sim::{FaultCounts, FaultPlan, Network, NetworkOptions, Rng, Sim, SimOptions};
use ringway_driver::{Addr, Driver, Handle, Usage, Waker};
use ringway_engine::{Command, Shared, Status, Worker, WorkerConfig};
use ringway_policy::snapshot::Snapshot;

use super::audit::{Audit, Findings};
use super::buggy::{Bug, Buggy};
use super::client::{Leave, Script};
use super::config::{self, Shape};
use super::log;
use super::peers::{Event, Peers, Serves};
use super::plan::Plan;
use super::tcp::TunnelPlan;

/// What kind of run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// No fault of the network; every exchange must succeed unless a peer fails it.
    Calm,
    /// Faults that lose nothing: likewise.
    Harmless,
    /// All faults.
    Storm,
}

/// A run to be made.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub seed: u64,
    pub weather: Weather,
    pub bug: Option<(Bug, u64)>,
    /// Exchanges to begin, at least.
    pub exchanges: u64,
    /// Clients that leave in the middle. Parts per million.
    pub leave_ppm: u32,
    /// Lines of the network's log to show on failure.
    pub log_lines: usize,
}

/// What a run was.
#[derive(Debug)]
pub struct Summary {
    pub exchanges: u64,
    pub connections: u64,
    pub counts: Vec<(&'static str, u64)>,
    pub faults: FaultCounts,
    pub turns: u64,
    pub virtual_us: u64,
    pub hash: u64,
}

type Stack = Audit<Buggy<Audit<Sim>>>;

struct Run {
    options: Options,
    net: Network,
    rng: Rng,
    worker: Worker<Stack>,
    shared: Arc<Shared>,
    peers: Peers,
    findings: Findings,
    status: Status,
    shape: Shape,
    current: Option<Arc<Snapshot>>,
    generation: u64,
    slots: Vec<Slot>,
    /// Planned exchanges that no connection has taken yet, from connections that ended early.
    backlog: VecDeque<(u64, Plan)>,
    next_id: u64,
    tunnels_left: u64,
    connections: u64,
    /// Exchanges begun at which the next change of the configuration (or of an upstream) comes.
    changes: Vec<u64>,
    refusing: Option<u16>,
    winding_up: bool,
    log: Vec<u8>,
    turns: u64,
    /// Turns since the clock moved last.
    standing: u64,
    clock: u64,
    faults_over_at: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    Http,
    Tcp,
}

/// Makes a run. An error says what was wrong, first things first.
pub fn run(options: Options) -> Result<Summary, String> {
    let mut run = Run::new(options)?;
    run.traffic();
    if options.seed.is_multiple_of(2) {
        run.settle();
    }
    run.verdict()
}

impl Options {
    /// A run as the seed says: even seeds without faults of the network, odd ones with.
    pub fn of(seed: u64) -> Options {
        let weather = match seed % 4 {
            0 | 2 => Weather::Calm,
            1 => Weather::Harmless,
            _ => Weather::Storm,
        };
        Options { seed, weather, bug: None, exchanges: 220, leave_ppm: 50_000, log_lines: 0 }
    }
}

impl Run {
    fn new(options: Options) -> Result<Run, String> {
        let mut rng = Rng::new(options.seed);
        let net = network(&options, &mut rng);
        let findings = Findings::default();
        let (bug, after) = options.bug.map_or((None, 0), |(bug, after)| (Some(bug), after));
        let storm = options.weather == Weather::Storm;
        let few = storm && rng.chance(200_000);
        let socks_max = if few { rng.between(16, 40) as usize } else { 10_000 };
        let sim = Sim::with_options(&net, SimOptions { socks_max, ..SimOptions::default() });
        let below = Audit::new(sim, "below", &findings);
        let driver = Audit::new(Buggy::new(below, bug, after), "above", &findings);
        let shared = Arc::new(Shared::default());
        shared.enable_log(Waker::new(|| {}));
        let slots = rng.between(8, 14) as usize;
        let connections_max = if storm && rng.chance(200_000) { slots as u64 - 2 } else { 10_000 };
        let config = WorkerConfig {
            id: 0,
            seed: rng.next_u64(),
            connections_max,
            memory_max: if storm && rng.chance(150_000) { rng.between(1 << 19, 8 << 20) } else { u64::MAX },
            spin: rng.chance(500_000),
        };
        let mut peers = Peers::new(&net, rng.fork(1));
        peers.book.rough = storm;
        let mut changes: Vec<u64> = (0..4).map(|_| rng.below(options.exchanges)).collect();
        changes.sort_unstable();
        let mut run = Run {
            options,
            worker: Worker::new(driver, config, Arc::clone(&shared)),
            shared,
            peers,
            findings,
            status: Status::Running,
            shape: Shape::draw(&mut rng),
            current: None,
            generation: 0,
            slots: (0..slots).map(|n| if n < 2 { Slot::Tcp } else { Slot::Http }).collect(),
            backlog: VecDeque::new(),
            next_id: 1,
            tunnels_left: TUNNELS,
            connections: 0,
            changes,
            refusing: None,
            winding_up: false,
            log: Vec::new(),
            turns: 0,
            standing: 0,
            clock: net.now(),
            faults_over_at: None,
            net,
            rng,
        };
        run.start()?;
        Ok(run)
    }

    fn start(&mut self) -> Result<(), String> {
        for number in 0..3 {
            self.peers.serve(&config::endpoint(number), Serves::Http);
        }
        self.peers.serve(&config::tcp_endpoint(), Serves::Tcp(self.shape.proxy_out));
        self.peers.serve(&config::upgrade_endpoint(), Serves::Upgrade);
        let mut listeners = vec![self.bind("web", &config::web()), self.bind("tcp", &config::tcp())];
        if self.shape.extra {
            listeners.push(self.bind("extra", &config::extra()));
        }
        self.publish(listeners)?;
        for slot in 0..self.slots.len() {
            let at = self.net.now() + self.rng.between(1_000, 20_000);
            self.peers.call_slot_at(slot, at);
        }
        Ok(())
    }

    fn bind(&self, name: &str, addr: &Addr) -> (Arc<str>, Handle) {
        (name.into(), Handle::Sim(self.net.bind(addr)))
    }

    fn publish(&mut self, listeners: Vec<(Arc<str>, Handle)>) -> Result<(), String> {
        self.generation += 1;
        let snapshot = config::snapshot(&self.shape, self.current.as_deref(), self.generation)?;
        self.current = Some(Arc::clone(&snapshot));
        self.shared.send(Command::Publish { snapshot, listeners });
        Ok(())
    }

    // --- the loop ---

    /// One turn of everything. False when the run must stop.
    fn tick(&mut self) -> bool {
        self.status = self.worker.turn(u64::MAX);
        for event in self.peers.act() {
            self.handle(event);
        }
        while let Some(block) = self.shared.take_log_block() {
            self.log.extend_from_slice(&block);
            self.shared.recycle_log_block(block);
        }
        drop(self.shared.take_retired());
        drop(self.shared.take_pages());
        self.turns += 1;
        self.standing = if self.net.now() > self.clock { 0 } else { self.standing + 1 };
        self.clock = self.net.now();
        let begun = self.begun();
        if self.changes.first().is_some_and(|at| begun >= *at) && self.status == Status::Running {
            self.changes.remove(0);
            self.change();
        }
        if self.faults_over_at.is_none() && begun * 100 >= self.options.exchanges * 85 {
            self.net.set_faults(FaultPlan::none());
            self.faults_over_at = Some(self.clock);
        }
        self.lives()
    }

    /// Liveness: the run moves, and ends in time.
    fn lives(&mut self) -> bool {
        let clients = self.peers.clients();
        let calm_since = self.faults_over_at.map_or(0, |at| self.clock - at);
        let why = if self.standing > STANDING_MAX {
            format!("the clock stands still; {clients} clients wait, next event {:?}", self.net.next_event())
        } else if calm_since > CALM_MAX {
            format!("{clients} clients still wait {calm_since} us after the last fault")
        } else if self.clock > RUN_MAX {
            format!("{clients} clients still wait at {} us", self.clock)
        } else {
            return self.is_clean();
        };
        self.peers.book.violation(format!("liveness: {why}; held {:?}", self.worker.held()));
        false
    }

    fn is_clean(&self) -> bool {
        self.peers.book.violations.is_empty() && self.findings.borrow().is_empty()
    }

    fn begun(&self) -> u64 {
        self.peers.book.counts().get("exchanges").copied().unwrap_or(0)
    }

    fn handle(&mut self, event: Event) {
        let slot = match event {
            Event::Due(slot) => return self.connect(slot),
            Event::Tcp(slot) => slot,
            Event::Http(slot, leftover) => {
                self.backlog.extend(leftover);
                slot
            }
        };
        let pause = self.rng.magnitude(20_000);
        self.peers.call_slot_at(slot, self.net.now() + pause);
    }

    /// Enough is planned: what is under way may end.
    fn is_enough(&self) -> bool {
        self.winding_up || (self.backlog.is_empty() && self.next_id > self.options.exchanges)
    }

    fn connect(&mut self, slot: usize) {
        if self.is_enough() {
            return;
        }
        let trouble = self.trouble_ppm();
        if self.slots[slot] == Slot::Tcp {
            if self.tunnels_left == 0 {
                return;
            }
            self.tunnels_left -= 1;
            self.connections += 1;
            if self.rng.chance(300_000) {
                return self.peers.connect_hostile(slot, &config::web());
            }
            // Numbers apart from those of exchanges.
            let id = (1 << 32) + self.connections;
            let upgrade = self.rng.chance(400_000);
            let proxied = self.shape.proxy_in && !upgrade && self.rng.chance(500_000);
            let plan = TunnelPlan::draw(&mut self.rng, trouble * 2, upgrade, proxied);
            let to = if upgrade { config::web() } else { config::tcp() };
            return self.peers.connect_tcp(slot, &to, id, plan);
        }
        self.connections += 1;
        let to = if self.shape.extra && self.rng.chance(300_000) { config::extra() } else { config::web() };
        let script = self.script(trouble);
        self.peers.connect_http(slot, &to, script);
    }

    fn trouble_ppm(&self) -> u32 {
        match self.options.weather {
            Weather::Storm => 60_000,
            _ if self.options.seed.is_multiple_of(4) => 0,
            _ => 20_000,
        }
    }

    fn script(&mut self, trouble: u32) -> Script {
        let leave_ppm = self.options.leave_ppm;
        let rng = &mut self.rng;
        let old = rng.chance(80_000);
        let mut todo = VecDeque::new();
        for _ in 0..rng.magnitude(24) {
            let planned = self.backlog.pop_front().or_else(|| {
                let id = self.next_id;
                (id <= self.options.exchanges).then(|| (id, Plan::draw(rng, old, trouble)))
            });
            let Some((id, plan)) = planned else { break };
            self.next_id = self.next_id.max(id + 1);
            todo.push_back((id, plan));
        }
        // A truncated answer to HTTP/1.0 ends in a reset, which may destroy answers before it: such clients send one at a time.
        let old = todo.iter().any(|(_, plan)| plan.old);
        let depth = if !old && rng.chance(250_000) { rng.between(2, 5) as usize } else { 1 };
        let leave = rng.chance(leave_ppm).then(|| {
            let (sent, got) = (rng.magnitude(100_000), rng.magnitude(100_000));
            Leave { sent, got, reset: rng.chance(500_000) }
        });
        Script {
            todo,
            depth,
            reading: rng.chance(100_000).then(|| (rng.between(500, 16_000) as usize, rng.magnitude(20_000))),
            leave,
            pause_us: if rng.chance(200_000) { rng.magnitude(100_000) } else { 0 },
            half_close: depth == 1 && rng.chance(50_000),
        }
    }

    /// A new configuration, or (in a storm) an upstream that refuses for a while.
    fn change(&mut self) {
        if let Some(back) = self.refusing.take() {
            self.peers.serve(&config::endpoint(back), Serves::Http);
        } else if self.options.weather == Weather::Storm && self.rng.chance(500_000) {
            let number = self.rng.below(3) as u16;
            self.peers.stop_serving(&config::endpoint(number));
            self.refusing = Some(number);
        }
        let mut endpoints: Vec<u16> = (0..3).filter(|_| self.rng.chance(600_000)).collect();
        if endpoints.is_empty() {
            endpoints.push(0);
        }
        let before = self.shape.extra;
        let (extra, splice) = (self.rng.chance(500_000), self.rng.chance(500_000));
        self.shape = Shape { endpoints, extra, splice, ..self.shape.clone() };
        let mut listeners = Vec::new();
        if self.shape.extra && !before {
            listeners.push(self.bind("extra", &config::extra()));
        }
        if before && !self.shape.extra {
            self.peers.book.upheavals.push(self.net.now());
        }
        if let Err(why) = self.publish(listeners) {
            self.peers.book.violation(why);
        }
    }

    // --- the phases ---

    /// Until everything was begun; in every second run, until everything has ended.
    fn traffic(&mut self) {
        let settles = self.options.seed.is_multiple_of(2);
        let almost = self.options.exchanges - self.options.exchanges / 20;
        while self.tick() {
            let over = self.is_enough() && self.peers.clients() == 0;
            if over || (!settles && self.begun() >= almost) {
                return;
            }
        }
    }

    /// Without clients nothing is held but pooled connections, and these not for ever.
    fn settle(&mut self) {
        // A client that left in the middle may be waited for (or its upstream, that stands still) up to a time limit.
        self.idle((config::TIMEOUT_MS + 1_000) * 1_000);
        if !self.is_clean() {
            return;
        }
        let (sessions, exchanges, upstreams) = self.worker.held();
        let usage = self.worker.driver().usage();
        if (sessions, exchanges, usage.buffers) != (0, 0, 0) || usage.socks != upstreams {
            self.peers.book.violation(format!(
                "leaked: without clients {sessions} sessions, {exchanges} exchanges, {upstreams} upstreams, {usage:?}"
            ));
        }
        self.idle((config::POOL_IDLE_MS + 1_000) * 1_000);
        let usage = self.worker.driver().usage();
        if usage.socks != 0 {
            self.peers.book.violation(format!("leaked: idle connections outlive their time, {usage:?}"));
        }
    }

    fn idle(&mut self, us: u64) {
        let until = self.net.now() + us;
        self.net.timer(until, u64::MAX);
        while self.net.now() < until && self.tick() {}
    }

    fn drain(&mut self) {
        self.peers.book.upheavals.push(self.net.now());
        self.winding_up = true;
        self.peers.wind_up();
        self.changes.clear();
        self.shared.send(Command::Drain { timeout_ms: DRAIN_MS });
        while self.status == Status::Running && self.tick() {}
        // What is still on its way to the peers arrives.
        let mut steps = 0;
        while (self.net.step(u64::MAX) || self.peers.open() > 0) && steps < 100_000 {
            drop(self.peers.act());
            steps += 1;
        }
    }

    fn verdict(mut self) -> Result<Summary, String> {
        if self.is_clean() {
            self.drain();
        }
        if self.is_clean() {
            self.check_end();
        }
        let usage = self.worker.driver().usage();
        let mut wrong = std::mem::take(&mut *self.findings.borrow_mut());
        wrong.append(&mut self.peers.book.violations);
        if !wrong.is_empty() {
            let log = self.net.log();
            return Err(format!("{}\n  {usage:?}\n{log}", wrong.join("\n")));
        }
        Ok(Summary {
            exchanges: self.begun(),
            connections: self.connections,
            counts: self.peers.book.counts().iter().map(|(what, n)| (*what, *n)).collect(),
            faults: self.net.fault_counts(),
            turns: self.turns,
            virtual_us: self.clock,
            hash: self.net.trace_hash(),
        })
    }

    /// After the drain nothing is left anywhere, and the log tells what happened.
    fn check_end(&mut self) {
        if self.status != Status::Drained {
            self.peers.book.violation(format!("the drain ended as {:?}", self.status));
        }
        let usage = self.worker.driver().usage();
        let nothing = Usage { socks: 0, listeners: 0, buffers: 0 };
        if usage != nothing {
            self.peers.book.violation(format!("leaked: after the drain {usage:?}"));
        }
        let open = (self.net.open_of_drivers(), self.net.open_of_nobody(), self.peers.open());
        if open != (0, 0, 0) {
            self.peers.book.violation(format!("descriptors left (ours, nobody's, peers): {open:?}"));
        }
        self.peers.book.close();
        for (id, _) in self.peers.tunnels.iter().filter(|(_, tunnel)| !tunnel.over) {
            self.peers.book.violation(format!("tunnel {id} never ended"));
        }
        log::check(&self.log, &mut self.peers.book);
    }
}

/// The network of a run.
fn network(options: &Options, rng: &mut Rng) -> Network {
    let faults = match options.weather {
        Weather::Calm => FaultPlan::none(),
        Weather::Harmless => FaultPlan::harmless(),
        Weather::Storm => FaultPlan::storm(),
    };
    let network = NetworkOptions {
        send_buffer: *rng.pick(&[16 << 10, 64 << 10, 256 << 10]),
        receive_buffer: *rng.pick(&[8 << 10, 64 << 10, 128 << 10]),
        faults,
        ..NetworkOptions::default()
    };
    let net = Network::new(rng.next_u64(), network);
    net.keep_log(options.log_lines);
    net
}

/// Opaque and hostile connections of a run.
const TUNNELS: u64 = 16;
/// Turns in a row that may pass without the clock moving.
const STANDING_MAX: u64 = 50_000;
/// Everything must have ended this long after the last fault. Microseconds.
const CALM_MAX: u64 = 400_000_000;
/// A whole run. Microseconds.
const RUN_MAX: u64 = 3_600_000_000;
/// The drain may take so long. Milliseconds.
const DRAIN_MS: u64 = 200_000;
