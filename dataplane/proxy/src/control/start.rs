//! The start: everything is read, resolved, bound and opened before the first connection is accepted.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ringway_driver::{Choice, DriverConfig, OsDriver};
use ringway_policy::spec::{Address, DriverChoice, Idle, Listener, Protocol, Spec};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::publish::compile;
use super::{Control, NAMES_MAX, Options, Phase, Refusal, Signals, names_of};
use crate::access_log::Writer;
use crate::address::show;
use crate::admin::{Ask, Role, Server};
use crate::cpus::Plan;
use crate::dns::{Names, Update};
use crate::exit::Exit;
use crate::exposition::Families;
use crate::sockets::Sockets;
use crate::source::{Source, override_by};
use crate::state::{Config, DriverInfo, Reloads, State};
use crate::watch::Watch;
use crate::workers::{Body, End, Ended, Panics, Starter, serve};
use crate::{info, limits, warning};

/// How long workers get to open their drivers and take the first configuration.
const WORKERS_READY_MAX: Duration = Duration::from_secs(10);
/// How often that is looked at.
const WORKERS_READY_POLL: Duration = Duration::from_millis(1);

impl Control {
    /// Starts everything, or says why not.
    pub(super) async fn start(options: Options) -> Result<Control, Refusal> {
        let open_files = limits::raise_open_files();
        let signals = Signals::new().map_err(failed)?;
        let samples = match options.source {
            Source::Demo { .. } => crate::samples::start().map_err(failed)?,
            _ => Vec::new(),
        };
        // Before the file is read: a change in between is seen.
        let (watch, unwatched) = match options.source.file().map(Watch::new).transpose() {
            Ok(watch) => (watch, None),
            Err(error) => (None, Some(error)),
        };
        let (text, spec, warnings) = load(&options, &samples)?;
        let (choice, driver) = select_driver(spec.process.driver)?;
        let plan = crate::cpus::plan(spec.process.workers);
        let (updates_to, mut updates) = unbounded_channel();
        let mut names = Names::new(options.dns_servers.clone(), updates_to);
        resolve_first(&mut names, &mut updates, &spec).await;

        let (sockets, admin, telemetry) = bind_all(&options.source, &spec, plan.workers())?;
        let snapshot = compile(&spec, &names, None, 1).map_err(|why| Refusal { exit: Exit::Config, why })?;
        let log = open_log(&spec)?;

        let (ends_to, ends) = unbounded_channel();
        let (asks_to, asks) = unbounded_channel();
        let body = options.body.clone().unwrap_or_else(|| Arc::new(serve));
        let starter = new_starter(&spec, plan, choice, open_files, body, ends_to);
        let steering = spec.process.cpu_steering;
        let config = Config {
            source: options.source.describe(),
            spec: spec.clone(),
            snapshot,
            since: SystemTime::now(),
        };
        let state = Rc::new(new_state(driver, starter.plan.pinned(), config));
        *state.listeners.borrow_mut() = sockets.addresses().map(|(n, a)| (n.clone(), a.clone())).collect();
        *state.unresolved.borrow_mut() = names.unresolved();
        let mut control = Control {
            state,
            starter,
            sockets,
            names,
            log,
            watch,
            signals,
            asks,
            ends,
            updates,
            panics: Panics::default(),
            generation: 1,
            text,
            pending: None,
            phase: Phase::Serving,
            steering,
            _no_sleep: None,
            options,
        };
        control.start_workers().await?;
        control.announce(&admin, &telemetry);
        if let Some(error) = unwatched {
            warning!("the configuration is not watched ({error}); SIGHUP reloads it");
        }
        for warning in warnings {
            warning!("{warning}");
        }
        control.serve_admin([admin, telemetry], &asks_to);
        control.hold_awake();
        Ok(control)
    }

    /// Starts all workers and waits until each serves.
    async fn start_workers(&mut self) -> Result<(), Refusal> {
        for number in 0..self.starter.plan.workers() {
            self.start_worker(number)
                .map_err(|why| failed(format!("worker {number} cannot start: {why}")))?;
        }
        let end = Instant::now() + WORKERS_READY_MAX;
        while self.state.ready().is_err() {
            match self.ends.try_recv() {
                Ok((number, End::NoDriver(why))) => {
                    return Err(failed(format!("worker {number} has no driver: {why}")));
                }
                Ok((number, _)) => return Err(failed(format!("worker {number} failed at its start"))),
                Err(_) if Instant::now() > end => return Err(failed("the workers do not start to serve")),
                Err(_) => tokio::time::sleep(WORKERS_READY_POLL).await,
            }
        }
        Ok(())
    }

    /// The first line of the log, and in the demonstration what to try.
    fn announce(&self, admin: &Option<Server>, telemetry: &Option<Server>) {
        let at = |server: &Option<Server>| {
            server.as_ref().and_then(|s| s.address().ok()).map_or("off".to_string(), |address| show(&address))
        };
        let (admin, telemetry) = (at(admin), at(telemetry));
        let config = self.state.config.borrow();
        let mut listening = String::new();
        for (name, address) in self.sockets.addresses() {
            let listener = config.spec.listeners.iter().find(|listener| listener.name == *name);
            let protocol = match listener.map(|listener| &listener.protocol) {
                Some(Protocol::Tcp(_)) => "tcp",
                _ => "http",
            };
            listening.push_str(&format!(" {name}={}({protocol})", show(address)));
        }
        let DriverInfo { name, reason } = &self.state.driver;
        let workers = self.starter.plan.workers();
        let placed = if self.starter.plan.pinned() { "pinned" } else { "not pinned" };
        info!(
            "ringway {} driver={name} ({reason}) workers={workers} ({placed}) admin={admin} telemetry={telemetry} \
             listeners:{}",
            env!("CARGO_PKG_VERSION"),
            if listening.is_empty() { " none" } else { &listening }
        );
        for (name, error) in self.names.unresolved() {
            warning!("{name} has no address yet ({error}); it is tried again");
        }
        let web = self.sockets.addresses().next().map(|(_, address)| show(address)).unwrap_or_default();
        match &self.options.source {
            Source::Demo { .. } => eprint!("{}", demo_text(&web, &admin)),
            Source::To { upstream, .. } => {
                eprint!("\nhttp://{web}/ is answered by {}. Ctrl-C drains and ends.\n\n", show(upstream))
            }
            Source::File(path) => info!("configuration {}: generation 1, {}", path.display(), self.summary()),
        }
    }

    fn serve_admin(&self, servers: [Option<Server>; 2], asks: &UnboundedSender<Ask>) {
        for server in servers.into_iter().flatten() {
            tokio::task::spawn_local(server.serve(self.state.clone(), asks.clone()));
        }
    }

    fn hold_awake(&mut self) {
        if self.state.config.borrow().spec.process.idle != Idle::Poll {
            return;
        }
        match crate::idle::hold() {
            Ok(no_sleep) => self._no_sleep = Some(no_sleep),
            Err(error) => warning!("idle: poll has no effect, /dev/cpu_dma_latency: {error}"),
        }
    }
}

fn failed(why: impl ToString) -> Refusal {
    Refusal { exit: Exit::Failed, why: why.to_string() }
}

fn load(options: &Options, samples: &[SocketAddr]) -> Result<(String, Arc<Spec>, Vec<String>), Refusal> {
    let refuse =
        |why: String| Refusal { exit: Exit::Config, why: format!("the configuration does not load:\n{why}") };
    let text = options.source.text(samples).map_err(refuse)?;
    let mut loaded = options.source.parse(&text).map_err(refuse)?;
    override_by(&mut loaded.spec, &options.args);
    Ok((text, Arc::new(loaded.spec), loaded.warnings))
}

/// Opens a driver once to learn which one works here and why.
fn select_driver(asked: DriverChoice) -> Result<(Choice, DriverInfo), Refusal> {
    let choice = match asked {
        DriverChoice::Auto => Choice::Auto,
        DriverChoice::Uring => Choice::Uring,
        DriverChoice::Epoll => Choice::Epoll,
    };
    let opened = OsDriver::open(choice, &DriverConfig::default());
    let (_, selected) = opened.map_err(|error| failed(no_driver(choice, &error.to_string())))?;
    let settled = if selected.name == "uring" { Choice::Uring } else { Choice::Epoll };
    Ok((settled, DriverInfo { name: selected.name, reason: selected.reason }))
}

/// Why there is no driver. When io_uring was insisted on, the automatic choice knows best what is wrong with it.
fn no_driver(choice: Choice, error: &str) -> String {
    match (choice, OsDriver::open(Choice::Auto, &DriverConfig::default())) {
        (Choice::Uring, Ok((_, selected))) if selected.name != "uring" => {
            format!("driver uring was asked for, but {}; auto and epoll work", selected.reason)
        }
        _ => format!("no I/O driver: {error}"),
    }
}

/// Waits, within bounds, until every name was looked up once.
async fn resolve_first(names: &mut Names, updates: &mut UnboundedReceiver<Update>, spec: &Spec) {
    names.follow(&names_of(spec));
    let all = async {
        while !names.settled() {
            match updates.recv().await {
                Some(update) => names.learn(update),
                None => return,
            };
        }
    };
    // What is not known by then is served without, and comes in when it is known.
    let _ = tokio::time::timeout(NAMES_MAX, all).await;
}

/// Binds every address of the process, for every worker.
fn bind_all(
    source: &Source,
    spec: &Spec,
    workers: usize,
) -> Result<(Sockets, Option<Server>, Option<Server>), Refusal> {
    let mut sockets = Sockets::default();
    let listeners: Vec<&Listener> = spec.listeners.iter().collect();
    let refuse = |error| Refusal { exit: Exit::Bind, why: format!("{error}{}", hint(source)) };
    let prepared = sockets.prepare(&listeners, workers, spec.process.cpu_steering).map_err(refuse)?;
    sockets.install(prepared, &listeners);
    let admin = bind_server(spec.process.admin.as_ref(), Role::Admin)?;
    let telemetry = bind_server(spec.process.telemetry.as_ref(), Role::Telemetry)?;
    Ok((sockets, admin, telemetry))
}

fn new_starter(
    spec: &Spec,
    plan: Plan,
    choice: Choice,
    open_files: u64,
    body: Body,
    ends: UnboundedSender<Ended>,
) -> Starter {
    let (process, workers) = (&spec.process, plan.workers() as u64);
    let listeners = spec.listeners.len() as u64;
    Starter {
        choice,
        connections_max: limits::connections_per_worker(
            process.connections_max,
            open_files,
            workers,
            listeners,
        ),
        memory_max: process.memory_max.map_or(u64::MAX, |bytes| (bytes / workers).max(1)),
        spin: process.idle == Idle::Spin,
        body,
        ends,
        plan,
    }
}

fn bind_server(address: Option<&Address>, role: Role) -> Result<Option<Server>, Refusal> {
    let Some(address) = address else { return Ok(None) };
    let (name, flag) = match role {
        Role::Admin => ("admin", "--admin 127.0.0.1:PORT, unix:/PATH or off"),
        Role::Telemetry => ("telemetry", "--telemetry ADDR or off"),
    };
    Server::bind(address, role).map(Some).map_err(|error| {
        let error = crate::sockets::BindError { listener: name.to_string(), address: show(address), error };
        Refusal { exit: Exit::Bind, why: format!("{error}; choose another with {flag}") }
    })
}

fn open_log(spec: &Spec) -> Result<Option<Writer>, Refusal> {
    let Some(log) = &spec.process.access_log else { return Ok(None) };
    let shown = log.path.as_deref().unwrap_or("standard output");
    let refuse = |error| Refusal { exit: Exit::Config, why: format!("access log {shown}: {error}") };
    Writer::start(log.path.clone()).map(Some).map_err(refuse)
}

fn new_state(driver: DriverInfo, pinned: bool, config: Config) -> State {
    State {
        started: Instant::now(),
        started_at: SystemTime::now(),
        driver,
        pinned,
        workers: RefCell::default(),
        bygone: RefCell::new(Families::default()),
        config: RefCell::new(config),
        listeners: RefCell::default(),
        reloads: Reloads::default(),
        panics: Cell::new(0),
        log_failures: Cell::new(0),
        lookups: Cell::new((0, 0)),
        unresolved: RefCell::default(),
        draining: Cell::new(false),
    }
}

/// What helps when the demonstration's or `--to`'s port is taken: they have no option for another one.
fn hint(source: &Source) -> &'static str {
    match source {
        Source::File(_) => "",
        _ => {
            "; stop it, or run `ringway -c FILE` with an address of your own:\n  \
             version: 1\n  listeners: { web: { address: \"127.0.0.1:8081\" } }\n  \
             routes: [{ path: { prefix: \"/\" }, cluster: app }]\n  \
             clusters: { app: { endpoints: [\"127.0.0.1:3000\"] } }"
        }
    }
}

fn demo_text(web: &str, admin: &str) -> String {
    let mut tries =
        vec![(format!("curl http://{web}/"), "answered by one sample, then the other".to_string())];
    match admin.strip_prefix("unix:") {
        _ if admin == "off" => {}
        Some(socket) => {
            let command = format!("curl --unix-socket {socket} http://localhost/clusters");
            tries.push((command, "how both do".to_string()));
        }
        None => {
            let note = format!("how both do; in a browser: http://{admin}/");
            tries.push((format!("curl http://{admin}/clusters"), note));
        }
    }
    tries.push(("ringway --to 127.0.0.1:3000".to_string(), "a service of your own instead".to_string()));
    let width = tries.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let mut text =
        "\nA proxy in front of two built-in sample services. Try, in another terminal:\n\n".to_string();
    for (command, note) in tries {
        text.push_str(&format!("  {command:<width$}   {note}\n"));
    }
    text.push_str("\nCtrl-C drains and ends.\n\n");
    text
}
