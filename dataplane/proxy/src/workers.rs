//! The worker threads: each opens its driver, runs its worker until it ends, and tells the control thread how it ended.
//! A panic stays inside its thread.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway_driver::{Choice, DriverConfig, Micros, OsDriver};
use ringway_engine::{Shared, Status, Worker, WorkerConfig};
use tokio::sync::mpsc::UnboundedSender;

use crate::cpus::Plan;

/// Panics of all workers within [`PANIC_WINDOW`] that end the process: something is wrong that a restart does not cure.
pub const PANICS_MAX: usize = 3;
/// See [`PANICS_MAX`].
pub const PANIC_WINDOW: Duration = Duration::from_secs(60);

/// How a worker ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It was told to: drained, cut off, or stopped.
    Finished(Status),
    /// Its driver could not be opened.
    NoDriver(String),
    /// It panicked; its connections are gone.
    Panicked,
}

/// Worker number and how it ended.
pub type Ended = (usize, End);

/// What a worker thread does until it ends; [`serve`] but in tests.
pub type Body = Arc<dyn Fn(&Starter, usize, Arc<Shared>) -> End + Send + Sync>;

/// Starts worker threads, all alike.
#[derive(Clone)]
pub struct Starter {
    /// How many, and where.
    pub plan: Plan,
    /// The driver to open.
    pub choice: Choice,
    /// Downstream connections per worker.
    pub connections_max: u64,
    /// Bytes per worker; `u64::MAX` = no limit.
    pub memory_max: u64,
    /// Spin while an answer is outstanding.
    pub spin: bool,
    /// What their threads do.
    pub body: Body,
    /// Where ends are reported.
    pub ends: UnboundedSender<Ended>,
}

impl Starter {
    /// Starts worker `number` over `shared`, whose commands it carries out from its first turn on.
    pub fn start(&self, number: usize, shared: Arc<Shared>) -> std::io::Result<()> {
        let this = self.clone();
        std::thread::Builder::new().name(format!("ringway-{number}")).spawn(move || {
            if let Some(Some(cpu)) = this.plan.cpus.get(number) {
                crate::cpus::pin_current_thread(*cpu);
            }
            let end = catch_unwind(AssertUnwindSafe(|| (this.body)(&this, number, shared)));
            // Nobody listens when the process is ending at once.
            let _ = this.ends.send((number, end.unwrap_or(End::Panicked)));
        })?;
        Ok(())
    }
}

/// Runs a worker until it ends.
pub fn serve(starter: &Starter, number: usize, shared: Arc<Shared>) -> End {
    serve_with(starter, number, shared, || {})
}

/// Runs a worker until it ends, with something to do after each turn.
pub fn serve_with(
    starter: &Starter,
    number: usize,
    shared: Arc<Shared>,
    mut after_turn: impl FnMut(),
) -> End {
    let config = WorkerConfig {
        id: number as u32,
        seed: RandomState::new().build_hasher().finish(),
        connections_max: starter.connections_max,
        memory_max: starter.memory_max,
        spin: starter.spin,
    };
    let driver = match OsDriver::open(starter.choice, &DriverConfig::default()) {
        Ok((driver, _)) => driver,
        Err(error) => return End::NoDriver(error.to_string()),
    };
    let mut worker = Worker::new(driver, config, shared);
    // Commands that were sent before the worker could be woken are there already: the first turn must not sleep.
    let mut until = 0;
    loop {
        match worker.turn(until) {
            Status::Running => after_turn(),
            end => return End::Finished(end),
        }
        until = Micros::MAX;
    }
}

/// The panics of the last minute.
#[derive(Debug, Default)]
pub struct Panics {
    recent: Vec<Instant>,
}

impl Panics {
    /// Counts one. True when there were too many.
    pub fn count(&mut self, now: Instant) -> bool {
        self.recent.retain(|at| now.saturating_duration_since(*at) < PANIC_WINDOW);
        self.recent.push(now);
        self.recent.len() >= PANICS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_panic_within_a_minute_is_too_many() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut panics = Panics::default();
        assert!(!panics.count(at(0)));
        assert!(!panics.count(at(30)));
        assert!(!panics.count(at(60)));
        assert!(panics.count(at(89)));
    }
}
