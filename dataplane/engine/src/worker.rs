//! The worker: one core's driver, sessions, pools and snapshot, and the turn that moves them.

use std::sync::Arc;

use ringway_driver::{Driver, Micros};

use crate::shared::{Command, Shared};

/// What a worker is given at its start.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Number of this worker, from 0.
    pub id: u32,
    /// Seed of its randomness.
    pub seed: u64,
    /// Downstream connections it may hold.
    pub connections_max: u64,
    /// Bytes of buffers it may hold before it sheds load; `u64::MAX` = no limit.
    pub memory_max: u64,
    /// Let the driver spin while an upstream answer is outstanding.
    pub spin: bool,
}

/// How a worker stands after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Call [`Worker::turn`] again.
    Running,
    /// Drained: nothing was cut off.
    Drained,
    /// The drain's time was over: this many sessions were cut off.
    DrainTimedOut(u64),
    /// Stopped at once.
    Stopped,
}

/// The proxy of one core.
pub struct Worker<D: Driver> {
    driver: D,
    shared: Arc<Shared>,
}

impl<D: Driver> Worker<D> {
    /// A worker without listeners or configuration; both come by [`Command::Publish`].
    pub fn new(driver: D, _config: WorkerConfig, shared: Arc<Shared>) -> Worker<D> {
        shared.set_waker(driver.waker());
        Worker { driver, shared }
    }

    /// One turn: waits at most until `until` (absolute, on the driver's clock), then handles what came.
    pub fn turn(&mut self, until: Micros) -> Status {
        self.driver.turn(until, false);
        while self.driver.next().is_some() {}
        match self.shared.command() {
            Some(Command::Stop) => Status::Stopped,
            _ => Status::Running,
        }
    }

    /// Turns until finished.
    pub fn run(&mut self) -> Status {
        loop {
            match self.turn(Micros::MAX) {
                Status::Running => {}
                end => return end,
            }
        }
    }
}
