//! What the control thread knows about the process: read by the admin pages, written by the control loop. It stays on
//! that one thread, so plain cells are enough.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ringway_engine::Shared;
use ringway_engine::stats::StatsPage;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec::{Address, Spec};

use crate::exposition::Families;

/// Everything the admin API shows.
#[derive(Debug)]
pub struct State {
    /// When the process started, for its age.
    pub started: Instant,
    /// When the process started, on the wall clock.
    pub started_at: SystemTime,
    /// The driver in use and why.
    pub driver: DriverInfo,
    /// True when each worker is pinned to a CPU of its own.
    pub pinned: bool,
    /// The workers, by number.
    pub workers: RefCell<Vec<WorkerState>>,
    /// Counters of workers that are gone.
    pub bygone: RefCell<Families>,
    /// The configuration in force.
    pub config: RefCell<Config>,
    /// Listener names and the addresses they are bound to.
    pub listeners: RefCell<Vec<(Arc<str>, Address)>>,
    /// Configuration loads after the first.
    pub reloads: Reloads,
    /// Worker panics.
    pub panics: Cell<u64>,
    /// Access log blocks that could not be written.
    pub log_failures: Cell<u64>,
    /// Look-ups of names: successful and failed.
    pub lookups: Cell<(u64, u64)>,
    /// Names without any address, each with the last error.
    pub unresolved: RefCell<Vec<(Arc<str>, String)>>,
    /// A drain has begun.
    pub draining: Cell<bool>,
}

/// The I/O driver in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverInfo {
    /// `uring` or `epoll`.
    pub name: &'static str,
    /// Why this one.
    pub reason: String,
}

/// One worker as the control thread sees it.
#[derive(Debug)]
pub struct WorkerState {
    /// Commands in, statistics out.
    pub shared: Arc<Shared>,
    /// Its newest numbers by name.
    pub page: Option<Arc<StatsPage>>,
    /// It has taken its first configuration, and has not ended.
    pub running: bool,
}

/// A configuration in force.
#[derive(Debug)]
pub struct Config {
    /// Where it came from.
    pub source: String,
    /// As loaded, command line included.
    pub spec: Arc<Spec>,
    /// As compiled.
    pub snapshot: Arc<Snapshot>,
    /// When it came into force.
    pub since: SystemTime,
}

/// Outcomes of reloads.
#[derive(Debug, Default)]
pub struct Reloads {
    /// Taken into force.
    pub successes: Cell<u64>,
    /// Refused: the one before stays in force.
    pub failures: Cell<u64>,
    /// Why the last one was refused; `None` after a success.
    pub last_error: RefCell<Option<String>>,
}

impl State {
    /// Ready to be sent traffic, or why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        if self.draining.get() {
            return Err("draining");
        }
        let workers = self.workers.borrow();
        let serving =
            |worker: &WorkerState| worker.running && worker.shared.stats.worker.generation.value() > 0;
        match !workers.is_empty() && workers.iter().all(serving) {
            true => Ok(()),
            false => Err("starting"),
        }
    }

    /// Takes in what workers published since the last time, and frees what they no longer use.
    pub fn collect(&self) {
        for worker in self.workers.borrow_mut().iter_mut() {
            worker.collect();
        }
    }

    /// Remembers the counters of a worker that is gone.
    pub fn bury(&self, number: usize) {
        let mut workers = self.workers.borrow_mut();
        let Some(worker) = workers.get_mut(number) else { return };
        worker.running = false;
        worker.collect();
        let mut last = Families::default();
        crate::metrics::add_worker(&mut last, worker);
        self.bygone.borrow_mut().absorb_counters(&last);
    }
}

impl WorkerState {
    /// A worker that is about to start.
    pub fn new(shared: Arc<Shared>) -> WorkerState {
        WorkerState { shared, page: None, running: true }
    }

    fn collect(&mut self) {
        if let Some(newest) = self.shared.take_pages().pop() {
            self.page = Some(newest);
        }
        drop(self.shared.take_retired());
    }
}
