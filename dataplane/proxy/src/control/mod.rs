//! The control thread: everything that needs I/O outside the workers. It owns the listening sockets and the configuration,
//! answers signals and the admin API, restarts workers, and ends the process.

mod publish;
mod start;

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway_engine::{Command, Shared, Status};
use ringway_policy::spec::Spec;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, sleep_until};

use crate::access_log::Writer;
use crate::admin::Ask;
use crate::cli::RunArgs;
use crate::dns::{Names, Update};
use crate::exit::Exit;
use crate::idle::NoSleep;
use crate::sockets::Sockets;
use crate::source::Source;
use crate::state::{State, WorkerState};
use crate::watch::Watch;
use crate::workers::{Body, End, Ended, Panics, Starter};
use crate::{error, info, warning};

/// How often published statistics are collected and retired configurations freed.
const COLLECT_EVERY: Duration = Duration::from_secs(1);
/// How long a configuration waits for the first look-up of names that are new in it.
const NAMES_MAX: Duration = Duration::from_secs(5);
/// What workers get beyond the drain deadline to say that they have ended.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

/// What to run.
#[derive(Clone)]
pub struct Options {
    /// Where the configuration comes from.
    pub source: Source,
    /// The command line, which wins over the configuration.
    pub args: RunArgs,
    /// DNS servers to ask instead of the system's.
    pub dns_servers: Option<Vec<SocketAddr>>,
    /// What worker threads do instead of serving.
    pub body: Option<Body>,
}

/// Runs until drained or failed. Everything it has to say goes to the log.
pub fn run(options: Options) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("the control thread cannot start: {error}");
            return Exit::Failed;
        }
    };
    LocalSet::new().block_on(&runtime, async {
        match Control::start(options).await {
            Ok(control) => control.serve().await,
            Err(refusal) => {
                error!("{}", refusal.why);
                refusal.exit
            }
        }
    })
}

/// Why the process does not start.
struct Refusal {
    exit: Exit,
    why: String,
}

struct Control {
    options: Options,
    state: Rc<State>,
    starter: Starter,
    sockets: Sockets,
    names: Names,
    log: Option<Writer>,
    watch: Option<Watch>,
    signals: Signals,
    asks: UnboundedReceiver<Ask>,
    ends: UnboundedReceiver<Ended>,
    updates: UnboundedReceiver<Update>,
    panics: Panics,
    generation: u64,
    /// The text of the last configuration tried, so that touching the file is no reload.
    text: String,
    pending: Option<Pending>,
    phase: Phase,
    /// Connections follow the CPU; fixed at the start.
    steering: bool,
    _no_sleep: Option<NoSleep>,
}

/// A configuration that waits for the addresses of its names.
struct Pending {
    spec: Arc<Spec>,
    until: Instant,
}

/// How far the end of the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    /// Not ready any more, listeners still open.
    Delay {
        until: Instant,
    },
    /// Listeners closing, exchanges finishing.
    Draining {
        until: Instant,
        cut_off: u64,
    },
}

struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    usr1: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
        })
    }
}

/// What woke the control thread.
enum Event {
    End(&'static str),
    Reload,
    FileChanged,
    ReopenLogs,
    WorkerEnded(Ended),
    Resolved(Update),
    Timer,
}

impl Control {
    async fn serve(mut self) -> Exit {
        let mut collect = tokio::time::interval(COLLECT_EVERY);
        collect.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let deadline = self.deadline();
            let timer = async {
                match deadline {
                    Some(at) => sleep_until(at.into()).await,
                    None => pending().await,
                }
            };
            let event = tokio::select! {
                _ = self.signals.term.recv() => Event::End("SIGTERM"),
                _ = self.signals.int.recv() => Event::End("SIGINT"),
                _ = self.signals.hup.recv() => Event::Reload,
                _ = self.signals.usr1.recv() => Event::ReopenLogs,
                Some(Ask::Drain) = self.asks.recv() => Event::End("POST /drain"),
                Some(ended) = self.ends.recv() => Event::WorkerEnded(ended),
                Some(update) = self.updates.recv() => Event::Resolved(update),
                () = changed(&mut self.watch) => Event::FileChanged,
                () = timer => Event::Timer,
                _ = collect.tick() => { self.collect(); continue }
            };
            if let Some(exit) = self.handle(event) {
                self.collect();
                if let Some(log) = self.log.take() {
                    log.finish();
                }
                return exit;
            }
        }
    }

    fn handle(&mut self, event: Event) -> Option<Exit> {
        match event {
            Event::End(why) => return self.end(why),
            Event::Reload => self.reload(true),
            Event::FileChanged => self.reload(false),
            Event::ReopenLogs => self.reopen_logs(),
            Event::WorkerEnded((number, end)) => return self.worker_ended(number, end),
            Event::Resolved(update) => self.resolved(update),
            Event::Timer => return self.timer(),
        }
        None
    }

    /// The next point in time at which something is due.
    fn deadline(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Serving => None,
            Phase::Delay { until } | Phase::Draining { until, .. } => Some(until),
        };
        phase.into_iter().chain(self.pending.as_ref().map(|pending| pending.until)).min()
    }

    fn timer(&mut self) -> Option<Exit> {
        let now = Instant::now();
        if self.pending.as_ref().is_some_and(|pending| pending.until <= now) {
            self.apply_pending();
        }
        match self.phase {
            Phase::Delay { until } if until <= now => self.close_and_finish(),
            Phase::Draining { until, .. } if until <= now => {
                error!("workers did not end by the drain deadline; ending without them");
                return Some(Exit::DrainTimedOut);
            }
            _ => {}
        }
        None
    }

    /// A request to end: the first drains, the second does not wait.
    fn end(&mut self, why: &str) -> Option<Exit> {
        if self.phase != Phase::Serving {
            if why == "POST /drain" {
                return None;
            }
            warning!("{why} while draining: ending at once");
            return Some(Exit::DrainTimedOut);
        }
        let drain = self.state.config.borrow().spec.process.drain;
        self.state.draining.set(true);
        self.pending = None;
        info!("{why}: draining, up to {} s; once more ends at once", seconds(drain.timeout_ms));
        self.phase = Phase::Delay { until: Instant::now() + Duration::from_millis(drain.delay_ms) };
        if drain.delay_ms == 0 {
            self.close_and_finish();
        }
        None
    }

    /// Has the workers empty their accept queues, close their listeners and finish what is active.
    fn close_and_finish(&mut self) {
        let timeout_ms = self.state.config.borrow().spec.process.drain.timeout_ms;
        // The workers' descriptors are the last ones from here on, so that theirs is the close that counts.
        self.sockets.release();
        self.state.listeners.borrow_mut().clear();
        for worker in self.state.workers.borrow().iter().filter(|worker| worker.running) {
            worker.shared.send(Command::Drain { timeout_ms });
        }
        let until = Instant::now() + Duration::from_millis(timeout_ms) + DRAIN_GRACE;
        self.phase = Phase::Draining { until, cut_off: 0 };
    }

    fn worker_ended(&mut self, number: usize, end: End) -> Option<Exit> {
        self.state.bury(number);
        match (&end, &mut self.phase) {
            (End::Finished(Status::Drained), Phase::Draining { .. }) => {}
            (End::Finished(Status::DrainTimedOut(sessions)), Phase::Draining { cut_off, .. }) => {
                *cut_off += sessions
            }
            (End::NoDriver(why), _) => {
                error!("worker {number} has no driver: {why}");
                return Some(Exit::Failed);
            }
            (End::Finished(status), _) => {
                error!("worker {number} ended unasked ({status:?})");
                return self.replace_worker(number);
            }
            (End::Panicked, _) => {
                self.state.panics.set(self.state.panics.get() + 1);
                return self.replace_worker(number);
            }
        }
        self.drained()
    }

    /// Restarts a worker that failed on the sockets that the process kept for it.
    fn replace_worker(&mut self, number: usize) -> Option<Exit> {
        if self.panics.count(Instant::now()) {
            let (most, window) = (crate::workers::PANICS_MAX, crate::workers::PANIC_WINDOW.as_secs());
            error!("{most} workers failed within {window} s: ending");
            return Some(Exit::Failed);
        }
        if let Phase::Draining { cut_off, .. } = &mut self.phase {
            *cut_off += 1;
            error!("worker {number} failed while draining; its connections are lost");
            return self.drained();
        }
        match self.start_worker(number) {
            Ok(()) => {
                error!(
                    "worker {number} failed; its connections are lost, and it was started again on its sockets"
                );
                None
            }
            Err(why) => {
                error!("worker {number} failed and cannot be started again: {why}");
                Some(Exit::Failed)
            }
        }
    }

    /// Ends the process once the last worker has ended.
    fn drained(&self) -> Option<Exit> {
        let Phase::Draining { cut_off, .. } = self.phase else { return None };
        if self.state.workers.borrow().iter().any(|worker| worker.running) {
            return None;
        }
        Some(match cut_off {
            0 => {
                info!("drained: every exchange was finished");
                Exit::Done
            }
            n => {
                let plural = if n == 1 { "connection was" } else { "connections were" };
                warning!("drain deadline: {n} {plural} cut off");
                Exit::DrainTimedOut
            }
        })
    }

    fn start_worker(&mut self, number: usize) -> Result<(), String> {
        let shared = Arc::new(Shared::default());
        let listeners = self.sockets.handles(number).map_err(|error| error.to_string())?;
        let snapshot = self.state.config.borrow().snapshot.clone();
        shared.send(Command::Publish { snapshot, listeners });
        if let Some(log) = &self.log {
            log.attach(&shared);
        }
        self.starter.start(number, shared.clone()).map_err(|error| error.to_string())?;
        let mut workers = self.state.workers.borrow_mut();
        match workers.get_mut(number) {
            Some(place) => *place = WorkerState::new(shared),
            None => workers.push(WorkerState::new(shared)),
        }
        Ok(())
    }

    fn reopen_logs(&mut self) {
        match &self.log {
            Some(log) => {
                log.reopen();
                info!("SIGUSR1: access log opened again");
            }
            None => info!("SIGUSR1: there is no access log"),
        }
    }

    fn collect(&mut self) {
        self.state.collect();
        self.state.lookups.set((self.names.successes, self.names.failures));
        self.state.log_failures.set(self.log.as_ref().map_or(0, Writer::failed));
    }
}

/// Waits for a change of the file; for ever when nothing is watched.
async fn changed(watch: &mut Option<Watch>) {
    let Some(active) = watch else { return pending().await };
    if !active.changed().await {
        warning!("the configuration is no longer watched: its folder is gone; SIGHUP still reloads it");
        *watch = None;
        pending().await
    }
}

/// Names used as endpoints, with the lowest time between two look-ups of each.
fn names_of(spec: &Spec) -> BTreeMap<Arc<str>, Duration> {
    let mut names = BTreeMap::new();
    for cluster in &spec.clusters {
        let refresh_min = Duration::from_millis(cluster.dns_min_ttl_ms);
        for endpoint in &cluster.endpoints {
            if let ringway_policy::spec::Address::Dns(name, _) = &endpoint.address {
                let slot = names.entry(name.clone()).or_insert(refresh_min);
                *slot = refresh_min.min(*slot);
            }
        }
    }
    names
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
