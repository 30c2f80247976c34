//! Where the CPU time of a proxy goes: `perf record -e cpu-clock` (virtual machines often have no hardware counters).

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
    table::Table,
    wait,
};
use serde::Serialize;
use std::{process::Command, time::Duration};

/// The flags of the subcommand.
pub const FLAGS: [&str; 6] = ["scenarios", "seconds", "peers", "top", "ringway-bin", "into"];

/// How long the load may take to come into swing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Samples per second.
const FREQUENCY: &str = "1999";

/// One line of a profile.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Symbol {
    /// Share of the samples, in per cent.
    pub percent: f64,
    /// Program, library or `[kernel.kallsyms]`.
    pub object: String,
    /// `k` for kernel, `.` for user.
    pub space: String,
    /// The function.
    pub name: String,
}

/// Runs the subcommand.
///
/// # Errors
/// When `perf` does not work here.
pub fn run(flags: &Flags) -> Result<()> {
    let scenarios = flags.list("scenarios", "h1-1k", Scenario::named)?;
    let peers = flags.peers("ringway")?;
    let window = Duration::from_secs_f64(flags.get("seconds", 3.0)?);
    let top: usize = flags.get("top", 30)?;
    let programs = flags.programs()?;
    net::raise_files();
    let mut report = Report::new("profile", &peers, &programs)?;
    for scenario in scenarios {
        for peer in &peers {
            let title = format!("Profile: {} {}", scenario.name(), peer.name());
            let symbols = record(scenario, *peer, &programs, window).context(&title)?;
            report.section(&title, &table(&symbols, top));
            report.figures(&format!("{} {}", scenario.name(), peer.name()), &symbols)?;
        }
    }
    report.save(flags.text("into"))?;
    Ok(())
}

fn record(scenario: Scenario, peer: Peer, programs: &Programs, window: Duration) -> Result<Vec<Symbol>> {
    let origin = Origin::start(scenario.origin(), Some(LOAD_CORE))?;
    let job = Job { work: scenario.work(), origin: origin.address(), extra: &[], core: Some(PROXY_CORE) };
    let proxy = Running::start(peer, &job, programs)?;
    let load = Background::start(compare::plan(scenario, proxy.address()), Some(LOAD_CORE))?;
    wait::until(PATIENCE, || load.completed() >= compare::CONNECTIONS as u64 * 10);
    let directory = Directory::new()?;
    let data = directory.path.join("perf.data");
    let pids: Vec<String> = proxy.pids().iter().map(ToString::to_string).collect();
    let recorded = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", FREQUENCY, "-p", &pids.join(","), "-o"])
        .arg(&data)
        .args(["--", "sleep", &format!("{:.3}", window.as_secs_f64())])
        .output()
        .context("perf record")?;
    let (_, errors) = load.stop()?;
    if !recorded.status.success() || errors.total() > 0 {
        let said = String::from_utf8_lossy(&recorded.stderr).into_owned();
        return Err(Failure::new(format!("perf record: {said}; errors {errors:?}")));
    }
    let output = Command::new("perf")
        .args(["report", "--stdio", "--no-children", "-g", "none", "-s", "dso,sym", "-i"])
        .arg(&data)
        .output()
        .context("perf report")?;
    let symbols = parse(&String::from_utf8_lossy(&output.stdout));
    if symbols.is_empty() {
        return Err(Failure::new(format!(
            "perf report is empty: {}",
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    Ok(symbols)
}

/// Lines of `perf report --stdio -s dso,sym`: per cent, object, `[k]` or `[.]`, name.
fn parse(text: &str) -> Vec<Symbol> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Symbol> {
    let (percent, rest) = line.trim_start().split_once('%')?;
    let percent = percent.parse().ok()?;
    let at = rest.find("[k] ").or_else(|| rest.find("[.] "))?;
    let space = rest[at + 1..at + 2].to_string();
    let object = rest[..at].trim().to_string();
    Some(Symbol { percent, object, space, name: rest[at + 4..].trim().to_string() })
}

fn table(symbols: &[Symbol], top: usize) -> String {
    let mut table = Table::new(&["%", "space", "object", "function"]);
    for symbol in symbols.iter().take(top) {
        let percent = format!("{:.2}", symbol.percent);
        let space = if symbol.space == "k" { "kernel" } else { "user" };
        table.row([percent.as_str(), space, &symbol.object, &symbol.name]);
    }
    let user: f64 = symbols.iter().filter(|symbol| symbol.space != "k").map(|symbol| symbol.percent).sum();
    table.row([format!("{user:.2}"), "user".into(), "all".into(), String::new()]);
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_and_user_lines_are_read_and_comments_are_not() {
        let text = "# Overhead  Shared Object      Symbol\n#\n    \
                    12.50%  [kernel.kallsyms]  [k] tcp_sendmsg_locked\n     3.25%  ringway            [.] \
                    ringway_engine::exchange::Exchange::route\n\n";
        let symbols = parse(text);
        assert_eq!(symbols.len(), 2);
        assert_eq!((symbols[0].percent, symbols[0].space.as_str()), (12.5, "k"));
        assert_eq!(symbols[1].object, "ringway");
        assert_eq!(symbols[1].name, "ringway_engine::exchange::Exchange::route");
        assert!(table(&symbols, 1).contains("| 3.25  | user "));
    }
}
