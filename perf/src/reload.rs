//! Reloads and drain under load (Ringway only). Reload: the config file is replaced and SIGHUP sent, a second listener
//! comes and goes, and no request may fail. Drain: SIGTERM, and every request that was sent must be answered in full.

use crate::{
    cli::Flags,
    failure::{Context, Failure, Result},
    load::{Background, Errors, Plan, Shape},
    net::{self, LOAD_CORE, PROXY_CORE},
    origin::Origin,
    proxy::{Directory, Job, Peer, Programs, Running, fill},
    report::Report,
    scenario::Scenario,
    table::Table,
    wait,
};
use rustix::process::Signal;
use serde::Serialize;
use std::{
    fs,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The flags of the subcommands.
pub const FLAGS: [&str; 5] = ["driver", "peers", "count", "ringway-bin", "into"];

/// How long a reload may take to be seen, and a drain to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Load before, between and after the events.
const BETWEEN: Duration = Duration::from_millis(40);
/// Load before a drain.
const BEFORE_DRAIN: Duration = Duration::from_millis(300);
/// Keep-alive connections of the load; half as many slots make a new connection for each request.
const CONNECTIONS: usize = 32;

#[derive(Default, Serialize)]
struct Outcome {
    proxy: &'static str,
    /// Which listener the load went to.
    listener: &'static str,
    events: usize,
    completed: u64,
    slowest_ms: f64,
    errors: Errors,
}

/// Runs the reloads.
///
/// # Errors
/// When a reload is not seen or a request failed.
pub fn run(flags: &Flags) -> Result<()> {
    each(flags, "reload", 50, reloads)
}

/// Runs the drains.
///
/// # Errors
/// When the exit code is not 0 or a request that was sent is not answered.
pub fn drain(flags: &Flags) -> Result<()> {
    each(flags, "drain", 10, drains)
}

fn each(
    flags: &Flags,
    kind: &'static str,
    count: usize,
    work: fn(Peer, usize, &Programs) -> Result<Vec<Outcome>>,
) -> Result<()> {
    let peers = flags.drivers()?;
    let count: usize = flags.get("count", count)?;
    let programs = flags.programs()?;
    net::raise_files();
    let mut report = Report::new(kind, &peers, &programs)?;
    let mut all = Vec::new();
    for peer in peers {
        all.extend(work(peer, count, &programs).context(peer.name())?);
    }
    report.section(&format!("{kind} under load"), &table(kind, &all));
    report.figures(kind, &all)?;
    report.save(flags.text("into"))?;
    match all.iter().map(|outcome| outcome.errors.total()).sum() {
        0u64 => Ok(()),
        errors => Err(Failure::new(format!("{errors} failed requests"))),
    }
}

/// The loads of one address: keep-alive and a connection per request.
fn loads(scenario: Scenario, to: SocketAddr, refused_ends: bool) -> Result<Vec<Background>> {
    let plan = |scenario: Scenario, connections, shape| Plan {
        to,
        connections,
        request: scenario.request(to),
        expect: scenario.expect(),
        shape,
        refused_ends,
    };
    let keep_alive = plan(scenario, CONNECTIONS, Shape::Closed);
    let per_connection = Plan {
        expect: scenario.expect(),
        ..plan(Scenario::Connection, CONNECTIONS / 2, Shape::PerConnection)
    };
    Ok(vec![
        Background::start(keep_alive, Some(LOAD_CORE))?,
        Background::start(per_connection, Some(LOAD_CORE))?,
    ])
}

impl Outcome {
    fn absorb(&mut self, loads: Vec<Background>) -> Result<()> {
        for load in loads {
            let (completed, errors) = load.stop()?;
            self.completed += completed;
            self.errors.add(errors);
        }
        Ok(())
    }
}

fn reloads(peer: Peer, count: usize, programs: &Programs) -> Result<Vec<Outcome>> {
    let scenario = Scenario::H1Small;
    let origin = Origin::start(scenario.origin(), Some(LOAD_CORE))?;
    let first = [("EXTRA", String::new()), ("SECONDS", "15".into())];
    let job = Job { work: "reload", origin: origin.address(), extra: &first, core: Some(PROXY_CORE) };
    let proxy = Running::start(peer, &job, programs)?;
    let second = net::free_address()?;
    let outcome = |listener| Outcome { proxy: peer.name(), listener, events: count, ..Outcome::default() };
    let (mut kept, mut changing) = (outcome("kept"), outcome("comes and goes"));
    let main = loads(scenario, proxy.address(), false)?;
    let mut extra = Vec::new();
    for number in 0..count {
        wait::pause(BETWEEN);
        let added = number % 2 == 0;
        let listener = if added { format!("  second: {{ address: \"{second}\" }}") } else { String::new() };
        let values = [("EXTRA", listener), ("SECONDS", (16 + number).to_string())];
        rewrite(peer, &proxy, &Job { extra: &values, ..job.clone() })?;
        let begin = Instant::now();
        proxy.signal(Signal::HUP)?;
        let seen = wait::until(PATIENCE, || TcpStream::connect(second).is_ok() == added);
        changing.slowest_ms = changing.slowest_ms.max(begin.elapsed().as_secs_f64() * 1e3);
        if !seen {
            return Err(Failure::new(format!("reload {} had no effect: {}", number + 1, proxy.log())));
        }
        if added {
            extra = loads(scenario, second, true)?;
        } else {
            changing.absorb(std::mem::take(&mut extra))?;
        }
    }
    wait::pause(BETWEEN);
    changing.absorb(extra)?;
    kept.absorb(main)?;
    Ok(vec![kept, changing])
}

/// Replaces the config file in one step, as careful tools do.
fn rewrite(peer: Peer, proxy: &Running, job: &Job<'_>) -> Result<()> {
    let directory = Directory::new()?;
    let template = peer.template(job.work).ok_or_else(|| Failure::new("only Ringway reloads here"))?;
    let text = fill(&template, proxy.address(), job, &directory)?;
    let path = proxy.config();
    let fresh = path.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(&fresh, &path).context("replace the config")
}

fn drains(peer: Peer, count: usize, programs: &Programs) -> Result<Vec<Outcome>> {
    let scenario = Scenario::H1Large;
    let origin = Origin::start(scenario.origin(), Some(LOAD_CORE))?;
    let job = Job { work: "h1", origin: origin.address(), extra: &[], core: Some(PROXY_CORE) };
    let mut outcome =
        Outcome { proxy: peer.name(), listener: "drained", events: count, ..Outcome::default() };
    for number in 0..count {
        let mut proxy = Running::start(peer, &job, programs)?;
        let loads = loads(scenario, proxy.address(), true)?;
        wait::pause(BEFORE_DRAIN);
        let begin = Instant::now();
        proxy.signal(Signal::TERM)?;
        let code = proxy.await_end(PATIENCE)?;
        outcome.slowest_ms = outcome.slowest_ms.max(begin.elapsed().as_secs_f64() * 1e3);
        outcome.absorb(loads)?;
        if code != Some(0) {
            return Err(Failure::new(format!("drain {}: exit code {code:?}: {}", number + 1, proxy.log())));
        }
    }
    Ok(vec![outcome])
}

fn table(kind: &str, all: &[Outcome]) -> String {
    let events = format!("{kind}s");
    let mut table = Table::new(&[
        "proxy",
        "listener",
        &events,
        "requests answered",
        "failed",
        "connect",
        "unanswered",
        "reset first",
        "cut",
        "wrong",
        "late",
        "slowest, ms",
    ]);
    for one in all {
        let errors = one.errors;
        let counts = [
            one.events as u64,
            one.completed,
            errors.total(),
            errors.connect,
            errors.unanswered,
            errors.reset_first,
            errors.cut,
            errors.wrong,
            errors.late,
        ];
        let cells = counts.iter().map(ToString::to_string).chain([format!("{:.0}", one.slowest_ms)]);
        table.row([one.proxy.to_string(), one.listener.to_string()].into_iter().chain(cells));
    }
    table.render()
}
