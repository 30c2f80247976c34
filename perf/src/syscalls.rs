//! System calls per request: `strace -c -f` on each proxy while the load of a scenario runs.

use crate::{
    cli::Flags,
    compare,
    failure::{Context, Failure, Result},
    load::Background,
    net::{self, LOAD_CORE, PROXY_CORE},
    origin::Origin,
    proxy::{Directory, Job, Peer, Programs, Running},
    report::Report,
    scenario::Scenario,
    strace::{self, Calls},
    table::Table,
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// The flags of the subcommand.
pub const FLAGS: [&str; 5] = ["scenarios", "seconds", "peers", "ringway-bin", "into"];

/// How long strace may take to attach and to detach.
const PATIENCE: Duration = Duration::from_secs(10);
/// Calls that come less often than this per request are set-up noise and go into `other`.
const SHOWN_MIN: f64 = 0.005;

/// One proxy in one scenario: calls per request by name.
#[derive(Serialize)]
struct Counted {
    scenario: &'static str,
    peer: &'static str,
    requests: u64,
    per_request: BTreeMap<String, f64>,
    failed_per_request: f64,
    errors: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// When strace cannot attach, or requests failed.
pub fn run(flags: &Flags) -> Result<()> {
    let scenarios = flags.list("scenarios", "h1-1k,h1-64k,conn,l4-1k", Scenario::named)?;
    let peers = flags.peers("ringway-epoll,ringway-uring,nginx,haproxy")?;
    let window = Duration::from_secs_f64(flags.get("seconds", 2.0)?);
    let programs = flags.programs()?;
    net::raise_files();
    let mut report = Report::new("syscalls", &peers, &programs)?;
    let mut all = Vec::new();
    for scenario in scenarios {
        let mut rows = Vec::new();
        for peer in &peers {
            let counted = count(scenario, *peer, &programs, window).context(format!(
                "{} {}",
                scenario.name(),
                peer.name()
            ))?;
            rows.push(counted);
        }
        report.section(&format!("System calls per request: {}", scenario.name()), &table(&rows));
        all.extend(rows);
    }
    report.figures("syscalls", &all)?;
    report.save(flags.text("into"))?;
    match all.iter().map(|counted| counted.errors).sum() {
        0u64 => Ok(()),
        errors => Err(Failure::new(format!("{errors} failed requests"))),
    }
}

fn count(scenario: Scenario, peer: Peer, programs: &Programs, window: Duration) -> Result<Counted> {
    let origin = Origin::start(scenario.origin(), Some(LOAD_CORE))?;
    let job = Job { work: scenario.work(), origin: origin.address(), extra: &[], core: Some(PROXY_CORE) };
    let proxy = Running::start(peer, &job, programs)?;
    let load = Background::start(compare::plan(scenario, proxy.address()), Some(LOAD_CORE))?;
    // Attach to a load in full swing: the connections are open, so their set-up is not counted.
    let warm = wait::until(PATIENCE, || load.completed() >= compare::CONNECTIONS as u64 * 10);
    let mut tracer = Tracer::attach(&proxy.pids())?;
    let before = load.completed();
    wait::pause(window);
    let requests = load.completed() - before;
    let calls = tracer.detach()?;
    let (_, errors) = load.stop()?;
    if !warm || requests == 0 {
        return Err(Failure::new(format!("no requests while traced; errors {errors:?}")));
    }
    let per_request =
        calls.iter().map(|one| (one.name.clone(), one.calls as f64 / requests as f64)).collect();
    let failed: u64 = calls.iter().map(|one| one.errors).sum();
    Ok(Counted {
        scenario: scenario.name(),
        peer: peer.name(),
        requests,
        per_request,
        failed_per_request: failed as f64 / requests as f64,
        errors: errors.total(),
    })
}

/// A running strace; killed when dropped.
struct Tracer {
    child: Child,
    directory: Directory,
}

impl Tracer {
    fn attach(pids: &[u32]) -> Result<Self> {
        let directory = Directory::new()?;
        let said = fs::File::create(directory.path.join("said"))?;
        let mut command = Command::new("strace");
        command.args(["-c", "-f", "-o"]).arg(directory.path.join("summary"));
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().context("strace")?;
        let tracer = Self { child, directory };
        let attached = || {
            let said = fs::read_to_string(tracer.directory.path.join("said")).unwrap_or_default();
            said.matches(" attached").count() >= pids.len()
        };
        if !wait::until(PATIENCE, attached) {
            let said = fs::read_to_string(tracer.directory.path.join("said")).unwrap_or_default();
            return Err(Failure::new(format!("strace does not attach: {said}")));
        }
        Ok(tracer)
    }

    fn detach(&mut self) -> Result<Vec<Calls>> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("stop strace")?;
        let mut ended = false;
        wait::until(PATIENCE, || {
            ended = matches!(self.child.try_wait(), Ok(Some(_)));
            ended
        });
        let summary = fs::read_to_string(self.directory.path.join("summary")).context("summary of strace")?;
        let calls = strace::parse(&summary);
        if !ended || calls.is_empty() {
            return Err(Failure::new(format!("strace gave no summary: {summary}")));
        }
        Ok(calls)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child
                .kill()
                .and_then(|()| self.child.wait())
                .map_or_else(|error| eprintln!("strace: {error}"), drop);
        }
    }
}

fn table(rows: &[Counted]) -> String {
    let mut table =
        Table::new(&["proxy", "all", "of them failed", "calls per request", "requests traced", "errors"]);
    for row in rows {
        let mut calls: Vec<(&String, &f64)> =
            row.per_request.iter().filter(|(_, count)| **count >= SHOWN_MIN).collect();
        calls.sort_by(|a, b| b.1.total_cmp(a.1));
        let shown: Vec<String> = calls.iter().map(|(name, count)| format!("{name} {count:.2}")).collect();
        table.row([
            row.peer.to_string(),
            format!("{:.2}", row.per_request.values().sum::<f64>()),
            format!("{:.2}", row.failed_per_request),
            shown.join(", "),
            row.requests.to_string(),
            row.errors.to_string(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_leaves_out_set_up_noise_but_counts_it() {
        let per_request =
            BTreeMap::from([("sendto".into(), 2.0), ("brk".into(), 0.001), ("recvfrom".into(), 2.1)]);
        let row = Counted {
            scenario: "h1-1k",
            peer: "nginx",
            requests: 10,
            per_request,
            failed_per_request: 0.1,
            errors: 0,
        };
        let text = table(&[row]);
        assert!(text.contains("| 4.10 | 0.10 "), "{text}");
        assert!(text.contains("| recvfrom 2.10, sendto 2.00 |"), "{text}");
    }
}
