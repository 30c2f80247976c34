//! A small scene for a case told step by step: a worker, and peers moved by hand.

use std::sync::Arc;

use ringway_driver::sim::{EndId, FaultPlan, Network, NetworkOptions, Read, Sim, SimOptions};
use ringway_driver::{Addr, Driver, Handle};
use ringway_engine::{Command, Shared, Status, Worker, WorkerConfig};

use super::config::{self, Shape};

/// A worker with listeners `web`, `extra` and `tcp`, one HTTP endpoint and one TCP endpoint, both played by hand. Everything takes
/// 100 us from one end to the other.
pub struct Scene {
    pub net: Network,
    pub worker: Worker<Sim>,
    pub shared: Arc<Shared>,
    upstream: u64,
    generation: u64,
}

impl Scene {
    pub fn new() -> Scene {
        Scene::with(SimOptions::default())
    }

    pub fn with(options: SimOptions) -> Scene {
        let net = Network::new(1, NetworkOptions { latency_us: (100, 100), ..NetworkOptions::default() });
        let shared = Arc::new(Shared::default());
        let config =
            WorkerConfig { id: 0, seed: 1, connections_max: 1_000, memory_max: u64::MAX, spin: false };
        let worker = Worker::new(Sim::with_options(&net, options), config, Arc::clone(&shared));
        let upstream = net.listen(&config::endpoint(0));
        let mut scene = Scene { net, worker, shared, upstream, generation: 0 };
        let places = [("web", config::web()), ("extra", config::extra()), ("tcp", config::tcp())];
        let listeners = places.map(|(name, addr)| (name.into(), Handle::Sim(scene.net.bind(&addr))));
        scene.publish(true, listeners.into());
        scene.pass(1_000);
        scene
    }

    /// Publishes a configuration with or without the listener `extra`.
    pub fn publish(&mut self, extra: bool, listeners: Vec<(Arc<str>, Handle)>) {
        self.generation += 1;
        let shape = Shape { endpoints: vec![0], extra, ..Shape::plain() };
        let snapshot = config::snapshot(&shape, None, self.generation).expect("a good configuration");
        self.shared.send(Command::Publish { snapshot, listeners });
    }

    /// Lets time pass. Microseconds.
    pub fn pass(&mut self, us: u64) {
        let until = self.net.now() + us;
        let mut turns = 0;
        while self.net.now() < until {
            turns += 1;
            assert!(turns < TURNS_MAX, "the worker spins");
            assert_eq!(self.worker.turn(until), Status::Running);
            while self.net.next_notice().is_some() {}
        }
    }

    /// Turns until the worker says that it is finished; how long that took (microseconds), and what it said.
    pub fn finish(&mut self) -> (u64, Status) {
        let from = self.net.now();
        for _ in 0..TURNS_MAX {
            match self.worker.turn(u64::MAX) {
                Status::Running => while self.net.next_notice().is_some() {},
                end => return (self.net.now() - from, end),
            }
        }
        panic!("the worker never ends");
    }

    /// Lets time pass until that is so. Returns how long it took. Microseconds.
    pub fn pass_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Scene) -> bool) -> u64 {
        let from = self.net.now();
        while !is_so(self) {
            assert!(self.net.now() - from < 100_000_000, "{what} never happened");
            self.pass(100);
        }
        self.net.now() - from
    }

    pub fn connect(&mut self, to: &Addr) -> EndId {
        let end = self.net.connect(to);
        self.pass_until("the connection", |s| s.net.connected(end).is_some());
        assert_eq!(self.net.connected(end), Some(Ok(())));
        end
    }

    /// Sends and lets it arrive.
    pub fn send(&mut self, end: EndId, bytes: &str) {
        assert_eq!(self.net.write(end, bytes.as_bytes()), Ok(bytes.len()));
        self.pass(1_000);
    }

    /// What the upstream's next connection is.
    pub fn accept(&mut self) -> EndId {
        self.pass_until("an upstream connection", |s| s.net.waiting(s.upstream) > 0);
        let (end, _) = self.net.accept(self.upstream).expect("one waits");
        self.pass(1_000);
        end
    }

    /// Everything that is there to read, as text.
    pub fn read(&self, end: EndId) -> String {
        let mut bytes = Vec::new();
        while let Read::Bytes(_) = self.net.read(end, usize::MAX, &mut bytes) {}
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How the stream stands behind what was read.
    pub fn state(&self, end: EndId) -> Read {
        self.net.read(end, 1, &mut Vec::new())
    }

    pub fn set_faults(&self, faults: FaultPlan) {
        self.net.set_faults(faults);
    }

    /// Sockets open and buffers in use.
    pub fn usage(&self) -> (usize, usize) {
        let usage = self.worker.driver().usage();
        (usage.socks, usage.buffers)
    }
}

/// Turns of one passing of time.
const TURNS_MAX: u32 = 1_000;
