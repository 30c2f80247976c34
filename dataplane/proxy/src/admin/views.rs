//! The plain-text answers of the admin API.

use std::collections::BTreeMap;
use std::fmt::Write;

use ringway_engine::stats::EndpointStats;
use ringway_policy::spec::Lb;

use crate::address::show;
use crate::state::State;

/// What `/ready` says beside its status: a refused reload does not make the process unready, but should be seen.
pub(super) fn ready(state: &State) -> String {
    match &*state.reloads.last_error.borrow() {
        None => "ready\n".to_string(),
        Some(error) => {
            format!("ready\nthe last reload was refused; the configuration before it serves:\n{error}\n")
        }
    }
}

/// Listener names and addresses.
pub(super) fn listeners(state: &State) -> String {
    let mut out = String::new();
    for (name, address) in state.listeners.borrow().iter() {
        let _ = writeln!(out, "{name} {}", show(address));
    }
    out
}

/// The configuration in force, as a file that would load.
pub(super) fn config_dump(state: &State) -> String {
    let config = state.config.borrow();
    let mut out = format!("# generation {} from {}\n", config.snapshot.generation, config.source);
    if let Some(error) = &*state.reloads.last_error.borrow() {
        let _ = writeln!(out, "# the last reload was refused:");
        for line in error.lines() {
            let _ = writeln!(out, "#   {line}");
        }
    }
    out.push_str(&ringway_config::dump_yaml(&config.spec));
    out
}

/// One endpoint's numbers, summed over the workers.
#[derive(Default)]
struct Endpoint {
    numbers: BTreeMap<&'static str, u64>,
}

/// Clusters, one line per endpoint.
pub(super) fn clusters(state: &State) -> String {
    state.collect();
    let config = state.config.borrow();
    let mut out = String::new();
    for cluster in &config.snapshot.clusters {
        let policy = match cluster.spec.lb {
            Lb::LeastRequest => "least_request",
            Lb::RoundRobin => "round_robin",
            Lb::Weighted => "weighted",
        };
        let _ = writeln!(out, "{}  ({policy}, {} endpoints)", cluster.spec.name, cluster.endpoints.len());
        if cluster.endpoints.is_empty() {
            let _ = writeln!(out, "  none: requests are answered with 503");
        }
        for endpoint in &cluster.endpoints {
            let sum = endpoint_sum(state, &cluster.spec.name, &endpoint.address);
            let _ = write!(out, "  {:<24} weight={}", show(&endpoint.address), endpoint.weight);
            for (label, number) in COLUMNS {
                let _ = write!(out, " {label}={}", sum.numbers.get(number).copied().unwrap_or(0));
            }
            out.push('\n');
        }
    }
    for (name, error) in state.unresolved.borrow().iter() {
        let _ = writeln!(out, "{name} has no address: {error}");
    }
    out
}

/// What is shown of an endpoint, in this order.
const COLUMNS: [(&str, &str); 8] = [
    ("picks", "requests_total"),
    ("active", "requests_active"),
    ("connections", "connections_active"),
    ("idle", "connections_idle"),
    ("opened", "connections_total"),
    ("connect_failures", "connect_failures_total"),
    ("errors", "errors_total"),
    ("5xx", "responses_5xx"),
];

fn endpoint_sum(state: &State, cluster: &str, address: &ringway_policy::spec::Address) -> Endpoint {
    let mut sum = Endpoint::default();
    for worker in state.workers.borrow().iter().filter(|worker| worker.running) {
        let pages = worker.page.iter().flat_map(|page| &page.clusters).filter(|page| &*page.name == cluster);
        for (_, stats) in pages.flat_map(|page| &page.endpoints).filter(|(at, _)| at == address) {
            add(&mut sum, stats);
        }
    }
    sum
}

fn add(sum: &mut Endpoint, stats: &EndpointStats) {
    stats.each(|name, _, _, value| *sum.numbers.entry(name).or_default() += value);
}
