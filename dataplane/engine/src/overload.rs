//! Load shedding: what a worker does when connections, descriptors or memory run out. Never a loop, never a refusal without a count.
//!
//! In this order: idle keep-alive connections are closed, oldest first; accepting stops and starts again at 95 % or by a timer; with
//! too much memory in use new requests are answered 503.

use ringway_driver::{Close, Driver, Micros};

use crate::session::State;
use crate::slab::Key;
use crate::timer::TimerId;
use crate::worker::{Worker, WorkerConfig};

/// Accepting starts again after this at the latest. Microseconds.
const ACCEPT_BACKOFF_US: Micros = 100_000;
/// Share of the idle connections closed at once under pressure: one in this many.
const SHED_SHARE: usize = 16;
/// Turns between two looks at the memory in use.
const MEMORY_CHECK_TURNS: u32 = 64;

/// Pressure as last seen.
pub(crate) struct Overload {
    connections_max: u64,
    memory_max: u64,
    pub(crate) accept_paused: bool,
    /// Not before: descriptors or memory had run out.
    resume_at: Micros,
    timer: TimerId,
    turns: u32,
    /// Too much memory is in use: new requests are refused.
    pub(crate) memory_short: bool,
}

impl Overload {
    pub(crate) fn new(config: &WorkerConfig, timer: TimerId) -> Overload {
        Overload {
            connections_max: config.connections_max.max(1),
            memory_max: config.memory_max,
            accept_paused: false,
            resume_at: 0,
            timer,
            turns: 0,
            memory_short: false,
        }
    }
}

impl<D: Driver> Worker<D> {
    /// Called after each accepted connection.
    pub(crate) fn after_accept(&mut self) {
        if self.sessions.len() as u64 >= self.overload.connections_max {
            self.shed_idle_sessions();
            if self.sessions.len() as u64 >= self.overload.connections_max {
                self.pause_accepting();
            }
        }
    }

    /// Stops accepting for a while: descriptors or memory have run out, and the next try would only find that again.
    pub(crate) fn back_off_accepting(&mut self) {
        self.overload.resume_at = self.driver.now() + ACCEPT_BACKOFF_US;
        self.pause_accepting();
    }

    /// Stops accepting; the kernel queues what comes.
    fn pause_accepting(&mut self) {
        if !self.overload.accept_paused {
            self.overload.accept_paused = true;
            self.shared.stats.worker.accept_paused_total.add(1);
            for listening in self.listening.iter().filter(|l| !l.closing) {
                self.driver.accept_pause(listening.id);
            }
        }
        self.wheel.no_later_than(self.overload.timer, self.driver.now() + ACCEPT_BACKOFF_US);
    }

    /// Starts accepting again where there is room.
    pub(crate) fn resume_accepting(&mut self) {
        if !self.overload.accept_paused {
            return;
        }
        if self.sessions.len() as u64 >= self.overload.connections_max || self.overload.memory_short {
            self.shed_idle_sessions();
            self.wheel.no_later_than(self.overload.timer, self.driver.now() + ACCEPT_BACKOFF_US);
            return;
        }
        self.overload.accept_paused = false;
        for listening in self.listening.iter().filter(|l| !l.closing) {
            self.driver.accept(listening.id);
        }
    }

    /// Once a turn: looks at memory and at the room for connections.
    pub(crate) fn relieve_pressure(&mut self) {
        if self.overload.accept_paused
            && self.driver.now() >= self.overload.resume_at
            && (self.sessions.len() as u64) * 100 <= self.overload.connections_max * 95
        {
            self.resume_accepting();
        }
        self.overload.turns += 1;
        if self.overload.turns < MEMORY_CHECK_TURNS && !self.overload.memory_short {
            return;
        }
        self.overload.turns = 0;
        let buffers = self.driver.pool().stats();
        let stats = &self.shared.stats.worker;
        stats.buffers_in_use.set(buffers.out as u64);
        stats.buffer_bytes.set(buffers.allocated_bytes as u64);
        if buffers.allocated_bytes as u64 <= self.overload.memory_max {
            self.overload.memory_short = false;
            return;
        }
        self.driver.pool().trim();
        self.overload.memory_short =
            self.driver.pool().stats().allocated_bytes as u64 > self.overload.memory_max;
        if self.overload.memory_short {
            self.shed_idle_sessions();
            self.back_off_accepting();
        }
    }

    /// Closes the oldest idle keep-alive connections: a sixteenth of them, at least one.
    pub(crate) fn shed_idle_sessions(&mut self) {
        let mut idle: Vec<(Micros, Key)> = self.idle_sessions(None);
        idle.retain(|(_, key)| self.sessions.get(*key).is_some_and(|s| s.requests > 0));
        idle.sort_unstable_by_key(|(deadline, _)| *deadline);
        for (_, key) in idle.iter().take(idle.len().div_ceil(SHED_SHARE)) {
            self.shared.stats.worker.shed_connections_total.add(1);
            self.close_session(*key, Close::Graceful);
        }
    }

    /// Sessions without a request in progress, with their deadline (of one listener, or of all).
    pub(crate) fn idle_sessions(&self, listener: Option<u32>) -> Vec<(Micros, Key)> {
        let idle = |key: Key| {
            let session = self.sessions.get(key)?;
            let wanted = listener.is_none_or(|at| session.listener == at);
            (session.state == State::Idle && wanted).then_some((session.deadline, key))
        };
        self.sessions.keys().filter_map(idle).collect()
    }
}
