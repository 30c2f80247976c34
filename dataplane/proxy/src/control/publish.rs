//! Reload and publication: everything is validated and bound before anything changes; then workers get the new snapshot between two turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ringway_engine::Command;
use ringway_policy::compile::Resolved;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec::{Address, Listener, Process, Spec};

use super::{Control, NAMES_MAX, Pending, Phase, names_of};
use crate::access_log::Writer;
use crate::dns::{Names, Update};
use crate::source::override_by;
use crate::state::Config;
use crate::{error, info, warning};

impl Control {
    /// Reads the configuration again. Unless `forced`, an unchanged text is no reload.
    pub(super) fn reload(&mut self, forced: bool) {
        if self.phase != Phase::Serving {
            return;
        }
        let source = &self.options.source;
        if source.file().is_none() {
            info!("SIGHUP: {} has no file to read again", source.describe());
            return;
        }
        let text = match source.text(&[]) {
            Ok(text) => text,
            // A file that is gone for the moment between two renames; its return is another event.
            Err(_) if !forced => return,
            Err(error) => return self.refuse(&error),
        };
        if !forced && text == self.text {
            return;
        }
        if forced {
            self.names.refresh_servers();
        }
        let parsed = source.parse(&text);
        self.text = text;
        match parsed {
            Ok(mut loaded) => {
                for warning in &loaded.warnings {
                    warning!("{warning}");
                }
                override_by(&mut loaded.spec, &self.options.args);
                self.consider(Arc::new(loaded.spec));
            }
            Err(errors) => self.refuse(&errors),
        }
    }

    /// Starts looking up the names that are new; the configuration is applied once they are known.
    fn consider(&mut self, spec: Arc<Spec>) {
        let mut wanted = names_of(&spec);
        for (name, refresh_min) in names_of(&self.state.config.borrow().spec) {
            wanted.entry(name).or_insert(refresh_min);
        }
        self.names.follow(&wanted);
        self.pending = Some(Pending { spec, until: Instant::now() + NAMES_MAX });
        if self.names.settled() {
            self.apply_pending();
        }
    }

    /// A name was looked up.
    pub(super) fn resolved(&mut self, update: Update) {
        let name = update.name.clone();
        let changed = self.names.learn(update);
        *self.state.unresolved.borrow_mut() = self.names.unresolved();
        if self.pending.is_some() {
            if self.names.settled() {
                self.apply_pending();
            }
        } else if changed && !matches!(self.phase, Phase::Draining { .. }) {
            let spec = self.state.config.borrow().spec.clone();
            match self.apply(spec) {
                Ok(()) => info!("{name} now has {} addresses", self.names.addresses(&name).len()),
                Err(why) => error!("new addresses of {name} cannot be taken into force: {why}"),
            }
        }
    }

    /// Applies the configuration that waited, whether or not all its names are known by now.
    pub(super) fn apply_pending(&mut self) {
        let Some(Pending { spec, .. }) = self.pending.take() else { return };
        warn_of_fixed_settings(&self.state.config.borrow().spec.process, &spec.process);
        match self.apply(spec) {
            Ok(()) => {
                let reloads = &self.state.reloads;
                reloads.successes.set(reloads.successes.get() + 1);
                *reloads.last_error.borrow_mut() = None;
                info!("configuration reloaded: generation {}, {}", self.generation, self.summary());
            }
            Err(why) => self.refuse(&why),
        }
    }

    /// A reload that changes nothing.
    fn refuse(&mut self, why: &str) {
        let reloads = &self.state.reloads;
        reloads.failures.set(reloads.failures.get() + 1);
        *reloads.last_error.borrow_mut() = Some(why.to_string());
        // Names of the refused configuration need not be followed.
        let wanted = names_of(&self.state.config.borrow().spec);
        self.names.follow(&wanted);
        error!("reload refused, the configuration before it stays in force:\n{why}");
    }

    /// Binds, compiles, and only then changes anything.
    fn apply(&mut self, spec: Arc<Spec>) -> Result<(), String> {
        let listeners: Vec<&Listener> = spec.listeners.iter().collect();
        let workers = self.starter.plan.workers();
        let prepared =
            self.sockets.prepare(&listeners, workers, self.steering).map_err(|error| error.to_string())?;
        let snapshot = {
            let config = self.state.config.borrow();
            compile(&spec, &self.names, Some(&config.snapshot), self.generation + 1)?
        };
        // A descriptor for each worker while refusing is still possible.
        let handles: Result<Vec<_>, _> = (0..workers).map(|number| prepared.handles(number)).collect();
        let handles = handles.map_err(|error| format!("no descriptors for new listeners: {error}"))?;
        self.follow_log(&spec.process)?;
        self.sockets.install(prepared, &listeners);
        self.generation += 1;
        for (worker, listeners) in self.state.workers.borrow().iter().zip(handles) {
            if worker.running {
                worker.shared.send(Command::Publish { snapshot: snapshot.clone(), listeners });
            }
        }
        self.names.follow(&names_of(&spec));
        *self.state.unresolved.borrow_mut() = self.names.unresolved();
        let listening =
            self.sockets.addresses().map(|(name, address)| (name.clone(), address.clone())).collect();
        *self.state.listeners.borrow_mut() = listening;
        let source = self.options.source.describe();
        *self.state.config.borrow_mut() = Config { source, spec, snapshot, since: SystemTime::now() };
        Ok(())
    }

    /// Opens, redirects or leaves the access log as the configuration says.
    fn follow_log(&mut self, process: &Process) -> Result<(), String> {
        let Some(wanted) = &process.access_log else { return Ok(()) };
        let shown = wanted.path.as_deref().unwrap_or("standard output");
        match &self.log {
            Some(log) => {
                let config = self.state.config.borrow();
                if config.spec.process.access_log.as_ref().is_none_or(|now| now.path != wanted.path) {
                    log.redirect(wanted.path.clone());
                }
            }
            None => {
                let log = Writer::start(wanted.path.clone())
                    .map_err(|error| format!("access log {shown}: {error}"))?;
                for worker in self.state.workers.borrow().iter().filter(|worker| worker.running) {
                    log.attach(&worker.shared);
                }
                self.log = Some(log);
            }
        }
        Ok(())
    }

    /// What the configuration in force holds, in a few words.
    pub(super) fn summary(&self) -> String {
        let config = self.state.config.borrow();
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (listeners, routes) = (config.spec.listeners.len(), config.spec.routes.len());
        let clusters = count(config.spec.clusters.len(), "cluster");
        format!("{}, {}, {clusters}", count(listeners, "listener"), count(routes, "route"))
    }
}

/// Compiles with the addresses known now; pages that stay the same are shared with `previous`.
pub(super) fn compile(
    spec: &Spec,
    names: &Names,
    previous: Option<&Snapshot>,
    generation: u64,
) -> Result<Arc<Snapshot>, String> {
    let mut resolved = Resolved::new();
    for endpoint in spec.clusters.iter().flat_map(|cluster| &cluster.endpoints) {
        if let Address::Dns(name, port) = &endpoint.address {
            let addresses = names.addresses(name).iter().map(|ip| SocketAddr::new(*ip, *port));
            resolved.insert(name.clone(), *port, addresses.collect());
        }
    }
    Snapshot::compile(spec, &resolved, previous, generation)
        .map(Arc::new)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Settings that only a restart changes.
fn warn_of_fixed_settings(now: &Process, new: &Process) {
    let fixed = [
        ("workers", now.workers != new.workers),
        ("driver", now.driver != new.driver),
        ("idle", now.idle != new.idle),
        ("cpu_steering", now.cpu_steering != new.cpu_steering),
        ("admin", now.admin != new.admin),
        ("telemetry", now.telemetry != new.telemetry),
        ("limits.connections", now.connections_max != new.connections_max),
        ("limits.memory", now.memory_max != new.memory_max),
    ];
    for (name, _) in fixed.into_iter().filter(|(_, changed)| *changed) {
        warning!("a changed `{name}` takes effect at the next start only");
    }
}
