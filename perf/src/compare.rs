//! The comparison: every scenario, every peer, in interleaved rounds with a rotating order; CPU per request, ratios
//! within the round, latency, errors, and the goals.

use crate::{
    cli::Flags,
    failure::{Context, Failure, Result},
    load::{Errors, Load, Plan},
    net::{self, LOAD_CORE, PROXY_CORE},
    origin::Server,
    procfs,
    proxy::{Job, Peer, Programs, Running},
    report::Report,
    scenario::Scenario,
    stats::{Quartiles, quartiles, ratios},
    table::Table,
};
use serde::Serialize;
use std::time::{Duration, Instant};

/// The flags of the subcommand.
pub const FLAGS: [&str; 7] = ["scenarios", "rounds", "seconds", "warm-up", "peers", "ringway-bin", "into"];
/// All scenarios, as the default of `--scenarios`.
pub const SCENARIOS: &str = "l4-1k,l4-64k,h1-1k,h1-64k,conn,open-5000";
/// Connections at a time in every scenario.
pub const CONNECTIONS: usize = 64;

/// A cell in which others took more than this share of the proxy's core was disturbed.
const FOREIGN_MAX: f64 = 0.05;

/// One peer in one scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Entrant {
    /// The proxy.
    pub peer: Peer,
    /// Its name in the tables; a variant of its config stands behind a `+`.
    pub label: String,
    /// Its config template.
    pub work: String,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    round: u32,
    scenario: &'static str,
    entrant: String,
    /// Answers complete within the window.
    completed: u64,
    /// Answers per second.
    rate: f64,
    /// CPU microseconds of the proxy per answer.
    cpu_us: f64,
    /// Median latency in microseconds.
    p50_us: f64,
    /// 99th percentile.
    p99_us: f64,
    /// CPU time of the proxy over wall time.
    proxy_busy: f64,
    /// CPU time of origin and load generator over wall time: near 1 they are the bottleneck.
    load_busy: f64,
    /// What others used of the proxy's core, over wall time: noise.
    foreign: f64,
    errors: Errors,
}

/// What `measure` counts between the start and the end of the window.
#[derive(Clone, Copy)]
struct Reading {
    at: Instant,
    completed: u64,
    proxy_ns: u64,
    own_ns: u64,
    ticks: (u64, u64),
}

/// Runs the subcommand.
///
/// # Errors
/// When a peer cannot be measured, or any request failed.
pub fn run(flags: &Flags) -> Result<()> {
    let scenarios = flags.list("scenarios", SCENARIOS, Scenario::named)?;
    let peers = flags.peers("ringway,nginx,haproxy")?;
    let rounds: u32 = flags.get("rounds", 9)?;
    let window = Duration::from_secs_f64(flags.get("seconds", 2.0)?);
    let warm_up = Duration::from_secs_f64(flags.get("warm-up", 0.4)?);
    let programs = flags.programs()?;
    net::raise_files();
    let mut report = Report::new("compare", &peers, &programs)?;
    let mut cells = Vec::new();
    for round in 0..rounds {
        for scenario in &scenarios {
            let entrants = entrants(*scenario, &peers);
            for place in 0..entrants.len() {
                let entrant = &entrants[(place + round as usize) % entrants.len()];
                let cell = measure(round, *scenario, entrant, &programs, warm_up, window)
                    .context(format!("{} {}", scenario.name(), entrant.label))?;
                eprintln!(
                    "round {:>2}/{rounds} {:<10} {:<18} {:>7.2} us/request {:>8.0}/s  errors {}",
                    round + 1,
                    cell.scenario,
                    cell.entrant,
                    cell.cpu_us,
                    cell.rate,
                    cell.errors.total()
                );
                cells.push(cell);
            }
        }
    }
    for scenario in &scenarios {
        let entrants = entrants(*scenario, &peers);
        report.section(scenario.name(), &scenario_table(*scenario, &entrants, &cells, rounds));
    }
    report.section("Goals", &goals_table(&scenarios, &peers, &cells, rounds));
    report.section("Disturbance", &disturbance(&cells));
    report.section("How to read this", LEGEND);
    report.figures("cells", &cells)?;
    report.figures("seconds", &window.as_secs_f64())?;
    report.figures("rounds", &rounds)?;
    report.save(flags.text("into"))?;
    match cells.iter().map(|cell| cell.errors.total()).sum() {
        0u64 => Ok(()),
        errors => Err(Failure::new(format!("{errors} errors; the figures of those cells mean nothing"))),
    }
}

/// Who takes part: every peer, and behind it its variant for this scenario if it has one.
pub fn entrants(scenario: Scenario, peers: &[Peer]) -> Vec<Entrant> {
    let mut entrants = Vec::new();
    for peer in peers.iter().copied() {
        entrants.push(Entrant { peer, label: peer.name().into(), work: scenario.work().into() });
        if let Some(variant) = variant(scenario, peer) {
            let (label, work) = (format!("{}+{variant}", peer.name()), format!("h1-{variant}"));
            entrants.push(Entrant { peer, label, work });
        }
    }
    entrants
}

/// `poll`: the cores never halt. `bare`: no forwarding fields, as in the others' configs. `128k`: buffers that hold a
/// whole answer of 64 KiB.
fn variant(scenario: Scenario, peer: Peer) -> Option<&'static str> {
    match (scenario, peer) {
        (Scenario::Open, peer) if peer.driver().is_some() => Some("poll"),
        (Scenario::H1Small, peer) if peer.driver().is_some() => Some("bare"),
        (Scenario::H1Large, Peer::Nginx | Peer::Haproxy) => Some("128k"),
        _ => None,
    }
}

/// The load of a scenario against an address.
pub fn plan(scenario: Scenario, to: std::net::SocketAddr) -> Plan {
    Plan {
        to,
        connections: CONNECTIONS,
        request: scenario.request(to),
        expect: scenario.expect(),
        shape: scenario.shape(),
        refused_ends: false,
    }
}

fn measure(
    round: u32,
    scenario: Scenario,
    entrant: &Entrant,
    programs: &Programs,
    warm_up: Duration,
    window: Duration,
) -> Result<Cell> {
    let origin = Server::new(scenario.origin())?;
    let job = Job { work: &entrant.work, origin: origin.address(), extra: &[], core: Some(PROXY_CORE) };
    let proxy = Running::start(entrant.peer, &job, programs)?;
    let mut load = Load::new(plan(scenario, proxy.address()))?;
    load.serve(origin)?;
    net::pinned(LOAD_CORE, || {
        load.open();
        load.run_for(warm_up)?;
        load.latency.clear();
        let pids = proxy.pids();
        let before = read(&load, &pids);
        load.run_for(window)?;
        let after = read(&load, &pids);
        load.finish()?;
        Ok(cell(round, scenario, entrant, &load, before, after))
    })
}

fn read(load: &Load, pids: &[u32]) -> Reading {
    Reading {
        at: Instant::now(),
        completed: load.completed,
        proxy_ns: procfs::cpu_ns(pids),
        own_ns: procfs::cpu_ns(&[std::process::id()]),
        ticks: procfs::core_ticks(PROXY_CORE).unwrap_or_default(),
    }
}

fn cell(round: u32, scenario: Scenario, entrant: &Entrant, load: &Load, from: Reading, to: Reading) -> Cell {
    let wall_ns = (to.at - from.at).as_nanos() as f64;
    let completed = to.completed - from.completed;
    let proxy_ns = (to.proxy_ns - from.proxy_ns) as f64;
    let proxy_busy = proxy_ns / wall_ns;
    let core_busy = (to.ticks.0 - from.ticks.0) as f64 / ((to.ticks.1 - from.ticks.1) as f64).max(1.0);
    Cell {
        round,
        scenario: scenario.name(),
        entrant: entrant.label.clone(),
        completed,
        rate: completed as f64 * 1e9 / wall_ns,
        cpu_us: proxy_ns / 1e3 / completed.max(1) as f64,
        p50_us: load.latency.quantile(0.5) as f64 / 1e3,
        p99_us: load.latency.quantile(0.99) as f64 / 1e3,
        proxy_busy,
        load_busy: (to.own_ns - from.own_ns) as f64 / wall_ns,
        foreign: (core_busy - proxy_busy).max(0.0),
        errors: load.errors,
    }
}

/// One figure of one entrant over the rounds; a round without a cell is a gap.
fn series(
    cells: &[Cell],
    scenario: Scenario,
    label: &str,
    rounds: u32,
    figure: fn(&Cell) -> f64,
) -> Vec<Option<f64>> {
    let at = |round| {
        cells
            .iter()
            .find(|cell| cell.round == round && cell.scenario == scenario.name() && cell.entrant == label)
    };
    (0..rounds).map(|round| at(round).map(figure)).collect()
}

fn scenario_table(scenario: Scenario, entrants: &[Entrant], cells: &[Cell], rounds: u32) -> String {
    let mut table = Table::new(&[
        "proxy",
        "CPU us/request",
        "to nginx",
        "to haproxy",
        "requests/s",
        "p50 us",
        "p99 us",
        "proxy busy",
        "load busy",
        "foreign",
        "errors",
    ]);
    for entrant in entrants {
        let figure = |figure| series(cells, scenario, &entrant.label, rounds, figure);
        let middle =
            |values: &[Option<f64>]| quartiles(&values.iter().flatten().copied().collect::<Vec<_>>());
        let against = |peer: &str| {
            ratios(&figure(|cell| cell.cpu_us), &series(cells, scenario, peer, rounds, |cell| cell.cpu_us))
        };
        let share = |values| middle(values).map_or("-".into(), |q| format!("{:.0} %", q.median * 100.0));
        let errors: f64 = figure(|cell| cell.errors.total() as f64).iter().flatten().sum();
        table.row([
            entrant.label.clone(),
            spread(middle(&figure(|cell| cell.cpu_us)), 2),
            spread(against("nginx"), 3),
            spread(against("haproxy"), 3),
            spread(middle(&figure(|cell| cell.rate)), 0),
            spread(middle(&figure(|cell| cell.p50_us)), 0),
            spread(middle(&figure(|cell| cell.p99_us)), 0),
            share(&figure(|cell| cell.proxy_busy)),
            share(&figure(|cell| cell.load_busy)),
            share(&figure(|cell| cell.foreign)),
            format!("{errors:.0}"),
        ]);
    }
    table.render()
}

/// `median [lower-upper]`.
fn spread(values: Option<Quartiles>, digits: usize) -> String {
    values
        .map_or("-".into(), |q| format!("{:.digits$} [{:.digits$}-{:.digits$}]", q.median, q.lower, q.upper))
}

/// One goal: the median over the rounds of a figure, or of its ratio to a peer, is at most `at_most`.
struct Goal {
    scenario: Scenario,
    entrant: &'static str,
    what: &'static str,
    figure: fn(&Cell) -> f64,
    peer: Option<&'static str>,
    at_most: f64,
}

const fn cpu_goal(scenario: Scenario, peer: &'static str, at_most: f64) -> Goal {
    let figure: fn(&Cell) -> f64 = |cell| cell.cpu_us;
    Goal { scenario, entrant: "", what: "CPU per request", figure, peer: Some(peer), at_most }
}

const fn p50_goal(entrant: &'static str, peer: Option<&'static str>, at_most: f64) -> Goal {
    let figure: fn(&Cell) -> f64 = |cell| cell.p50_us;
    Goal { scenario: Scenario::Open, entrant, what: "p50", figure, peer, at_most }
}

const GOALS: [Goal; 6] = [
    cpu_goal(Scenario::L4Small, "nginx", 1.02),
    cpu_goal(Scenario::H1Small, "nginx", 0.90),
    cpu_goal(Scenario::H1Large, "nginx", 0.85),
    cpu_goal(Scenario::Connection, "haproxy", 0.75),
    p50_goal("", Some("nginx"), 1.0),
    p50_goal("+poll", None, 60.0),
];

fn goals_table(scenarios: &[Scenario], peers: &[Peer], cells: &[Cell], rounds: u32) -> String {
    let mut table = Table::new(&["scenario", "proxy", "what", "goal", "seen", "met"]);
    for goal in GOALS.iter().filter(|goal| scenarios.contains(&goal.scenario)) {
        for peer in peers.iter().filter(|peer| peer.driver().is_some()) {
            let label = format!("{}{}", peer.name(), goal.entrant);
            let ours = series(cells, goal.scenario, &label, rounds, goal.figure);
            let (seen, unit, digits) = match goal.peer {
                Some(other) => {
                    let theirs = series(cells, goal.scenario, other, rounds, goal.figure);
                    (ratios(&ours, &theirs), format!(" x {other}"), 3)
                }
                None => (quartiles(&ours.into_iter().flatten().collect::<Vec<_>>()), " us".into(), 1),
            };
            let met =
                seen.map_or("not measured", |seen| if seen.median <= goal.at_most { "yes" } else { "NO" });
            let wanted = format!("<= {:.2}{unit}", goal.at_most);
            table.row([goal.scenario.name(), &label, goal.what, &wanted, &spread(seen, digits), met]);
        }
    }
    table.render()
}

/// Says how many cells shared the proxy's core with something else.
fn disturbance(cells: &[Cell]) -> String {
    let disturbed = cells.iter().filter(|cell| cell.foreign > FOREIGN_MAX).count();
    let share = FOREIGN_MAX * 100.0;
    let verdict =
        if disturbed * 10 > cells.len() { "REPEAT THIS RUN on a quiet machine" } else { "quiet enough" };
    format!(
        "{disturbed} of {} cells had more than {share:.0} % of the core taken by others: {verdict}.",
        cells.len()
    )
}

const LEGEND: &str = "\
Every figure is the median over the rounds with the quartiles in brackets. `to nginx` and `to haproxy` are ratios of
CPU per request taken within one round. `CPU us/request` is the time on CPU of all threads of the proxy
(`/proc/PID/task/*/schedstat`) over the window, divided by the answers complete in it. `proxy busy` and `load busy` are
shares of their cores: where the load is at 100 % requests/s say nothing about the proxy. `foreign` is what anything else
took of the proxy's core (resolution 1 %): a run with more than a few per cent was disturbed. Latency of closed loops
counts from sent; that of the open loop from when the request was due.";

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(round: u32, scenario: Scenario, entrant: &str, cpu_us: f64) -> Cell {
        Cell {
            round,
            scenario: scenario.name(),
            entrant: entrant.into(),
            completed: 1,
            rate: 1.0,
            cpu_us,
            p50_us: cpu_us,
            p99_us: 1.0,
            proxy_busy: 0.5,
            load_busy: 0.5,
            foreign: 0.0,
            errors: Errors::default(),
        }
    }

    #[test]
    fn goals_are_judged_by_the_median_ratio_of_the_round() {
        let scenario = Scenario::H1Small;
        let mut cells = Vec::new();
        for (round, (ours, theirs)) in [(8.0, 10.0), (17.0, 20.0), (30.0, 10.0)].into_iter().enumerate() {
            cells.push(cell(round as u32, scenario, "ringway", ours));
            cells.push(cell(round as u32, scenario, "nginx", theirs));
        }
        let text = goals_table(&[scenario], &[Peer::Ringway, Peer::Nginx], &cells, 3);
        assert!(text.contains("0.850 [0.825-1.925]"), "{text}");
        assert!(text.contains("| yes |"), "{text}");
        cells[2].cpu_us = 19.0;
        assert!(goals_table(&[scenario], &[Peer::Ringway], &cells, 3).contains("| NO "));
    }

    #[test]
    fn a_goal_nobody_measured_is_not_met() {
        let text = goals_table(&[Scenario::Open], &[Peer::Ringway], &[], 3);
        assert_eq!(text.matches("not measured").count(), 2, "{text}");
    }

    #[test]
    fn only_some_scenarios_have_variants() {
        let labels = |scenario| -> Vec<String> {
            entrants(scenario, &[Peer::RingwayEpoll, Peer::Nginx]).into_iter().map(|one| one.label).collect()
        };
        assert_eq!(labels(Scenario::H1Small), ["ringway-epoll", "ringway-epoll+bare", "nginx"]);
        assert_eq!(labels(Scenario::H1Large), ["ringway-epoll", "nginx", "nginx+128k"]);
        assert_eq!(labels(Scenario::Open), ["ringway-epoll", "ringway-epoll+poll", "nginx"]);
    }
}
