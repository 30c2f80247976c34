//! The proxy of one core in a simulated world: hundreds of runs, each decided by its seed, judged by an oracle.
//!
//! `cargo test -p ringway-engine --test sim` makes them all; `RINGWAY_SIM_SEED=7 cargo test -p ringway-engine --test sim`
//! repeats run 7 and prints its last events; `RINGWAY_SIM_RUNS` makes as many more (see `more_runs`).
#![expect(unreachable_pub, reason = "a test binary has no outside")]

mod audit;
mod book;
mod buggy;
mod cases;
mod client;
mod config;
mod hostile;
mod log;
mod message;
mod pattern;
mod peers;
mod plan;
mod planted;
mod run;
mod scene;
mod tcp;
mod upstream;
mod writer;

use std::collections::BTreeMap;

use ringway_driver::sim::FaultCounts;
use run::{Options, Summary, run};

/// A number from the environment: which run to repeat, or how many more to make.
#[expect(clippy::disallowed_methods, reason = "the one input of a replay")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn replayed() -> Option<u64> {
    number("RINGWAY_SIM_SEED")
}

/// Totals of many runs.
#[derive(Default)]
struct Totals {
    runs: u64,
    exchanges: u64,
    connections: u64,
    turns: u64,
    virtual_us: u64,
    faults: FaultCounts,
    counts: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn add(&mut self, summary: &Summary) {
        self.runs += 1;
        self.exchanges += summary.exchanges;
        self.connections += summary.connections;
        self.turns += summary.turns;
        self.virtual_us += summary.virtual_us;
        self.faults.merge(&summary.faults);
        for (what, n) in &summary.counts {
            *self.counts.entry(what).or_default() += n;
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (runs, exchanges, connections) = (self.runs, self.exchanges, self.connections);
        let seconds = self.virtual_us / 1_000_000;
        writeln!(
            f,
            "{runs} runs: {exchanges} exchanges, {connections} client connections, {} turns, {seconds} virtual s",
            self.turns
        )?;
        writeln!(
            f,
            "  faults: {}",
            if self.faults.total() == 0 { "none".into() } else { self.faults.to_string() }
        )?;
        for (what, n) in &self.counts {
            writeln!(f, "  {what}: {n}")?;
        }
        Ok(())
    }
}

/// Makes the runs of these seeds (or only the one asked for) and prints totals.
fn all(seeds: impl Iterator<Item = u64>) {
    let mut totals = Totals::default();
    for seed in seeds {
        if replayed().is_some_and(|wanted| wanted != seed) {
            continue;
        }
        let options =
            Options { log_lines: if replayed().is_some() { LOG_LINES } else { 0 }, ..Options::of(seed) };
        match run(options) {
            Ok(summary) => {
                assert!(summary.exchanges >= 200 && summary.connections >= 8, "seed {seed}: {summary:?}");
                totals.add(&summary);
            }
            Err(why) => {
                panic!("seed {seed} ({:?}), repeat with RINGWAY_SIM_SEED={seed}:\n{why}", options.weather)
            }
        }
    }
    println!("{totals}");
}

#[test]
fn runs_without_faults_first_half() {
    all((0..256).step_by(2));
}

#[test]
fn runs_without_faults_second_half() {
    all((256..512).step_by(2));
}

#[test]
fn runs_with_faults_first_half() {
    all((1..257).step_by(2));
}

#[test]
fn runs_with_faults_second_half() {
    all((257..513).step_by(2));
}

/// For a long search: `RINGWAY_SIM_RUNS=10000 cargo test -p ringway-engine --test sim more -- --ignored --nocapture`.
#[test]
#[ignore = "as long as it is asked to be"]
fn more_runs() {
    let first = replayed().unwrap_or(1_000);
    all(first..first + number("RINGWAY_SIM_RUNS").unwrap_or(1_000));
}

#[test]
fn the_seed_decides_the_run() {
    for seed in [3, 8] {
        let hash = |seed| run(Options::of(seed)).map(|s| (s.hash, s.turns));
        assert_eq!(hash(seed), hash(seed));
        assert_ne!(hash(seed), hash(seed + 4));
    }
}

/// Lines shown of a repeated run that fails.
const LOG_LINES: usize = 20_000;
