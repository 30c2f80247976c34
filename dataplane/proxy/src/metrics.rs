//! The numbers of `/metrics`: the workers' counters summed at scrape time, and what the control thread knows itself.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringway_engine::flags::Flag;
use ringway_engine::stats::{self, LATENCY_BOUNDS_US, WorkerStats};

use crate::address::show;
use crate::exposition::{Families, Kind};
use crate::state::{State, WorkerState};

/// Everything, as the text a scraper reads.
pub fn text(state: &State) -> String {
    state.collect();
    let mut families = state.bygone.borrow().clone();
    for worker in state.workers.borrow().iter().filter(|worker| worker.running) {
        add_worker(&mut families, worker);
    }
    add_workers(&mut families, state);
    add_config(&mut families, state);
    add_control(&mut families, state);
    add_process(&mut families, state);
    families.text()
}

/// The numbers of one worker.
pub fn add_worker(families: &mut Families, worker: &WorkerState) {
    let stats = &worker.shared.stats;
    add_worker_stats(families, &stats.worker);
    let counts: Vec<u64> = stats.latency.buckets.iter().map(stats::Cell::value).collect();
    let help = "Duration of exchanges from the head of the request to the end of the answer.";
    let sum_us = stats.latency.sum_us.value();
    families.add_histogram("ringway_request_duration_seconds", help, &LATENCY_BOUNDS_US, &counts, sum_us);
    for (flag, count) in Flag::ALL.into_iter().zip(&stats.flags) {
        let help = "Exchanges by response flag.";
        let labels = [("flag", flag.letters())];
        families.add("ringway_response_flags_total", Kind::Counter, help, &labels, count.value());
    }
    let Some(page) = &worker.page else { return };
    for (name, listener) in &page.listeners {
        listener.each(|number, kind, help, value| {
            add_named(families, &format!("listener_{number}"), kind, help, &[("listener", name)], value);
        });
    }
    for cluster in &page.clusters {
        for (address, endpoint) in &cluster.endpoints {
            let labels = [("cluster", &*cluster.name), ("endpoint", &*show(address))];
            endpoint.each(|number, kind, help, value| {
                add_named(families, &format!("endpoint_{number}"), kind, help, &labels, value);
            });
        }
    }
}

fn add_worker_stats(families: &mut Families, stats: &WorkerStats) {
    stats.each(|name, kind, help, value| match name {
        // These do not add up; `add_workers` has them.
        "generation" | "generations_live" => {}
        _ => match name.strip_prefix("responses_") {
            Some(class) => {
                let help = "Answers sent to clients by status class.";
                families.add("ringway_responses_total", Kind::Counter, help, &[("class", class)], value);
            }
            None => add_named(families, name, kind, help, &[], value),
        },
    });
}

/// Prefixes the name, and gives counters the suffix that Prometheus expects.
fn add_named(
    families: &mut Families,
    name: &str,
    kind: stats::Kind,
    help: &'static str,
    labels: &[(&str, &str)],
    value: u64,
) {
    let (kind, suffix) = match kind {
        stats::Kind::Counter if name.ends_with("_total") => (Kind::Counter, ""),
        stats::Kind::Counter => (Kind::Counter, "_total"),
        stats::Kind::Gauge => (Kind::Gauge, ""),
    };
    families.add(&format!("ringway_{name}{suffix}"), kind, help, labels, value);
}

fn add_workers(families: &mut Families, state: &State) {
    let workers = state.workers.borrow();
    let running = workers.iter().filter(|worker| worker.running);
    families.add("ringway_workers", Kind::Gauge, "Workers running.", &[], running.clone().count() as u64);
    let help = "Worker panics; each lost the connections of that worker.";
    families.add("ringway_worker_panics_total", Kind::Counter, help, &[], state.panics.get());
    for (number, worker) in workers.iter().enumerate().filter(|(_, worker)| worker.running) {
        let (stats, number) = (&worker.shared.stats.worker, number.to_string());
        let labels = [("worker", number.as_str())];
        let active = stats.downstream_connections_active.value();
        let help = "Downstream connections open, by worker: how evenly the kernel spreads them.";
        families.add("ringway_worker_connections_active", Kind::Gauge, help, &labels, active);
        let help = "Requests by worker.";
        let requests = stats.requests_total.value();
        families.add("ringway_worker_requests_total", Kind::Counter, help, &labels, requests);
    }
    let generation = running.clone().map(|worker| worker.shared.stats.worker.generation.value()).min();
    let help = "Generation of the configuration that all workers serve.";
    families.add("ringway_config_generation", Kind::Gauge, help, &[], generation.unwrap_or(0));
    let live = running.map(|worker| worker.shared.stats.worker.generations_live.value()).max();
    let help = "Configurations that exchanges still use, on the worker with most.";
    families.add("ringway_config_generations_live", Kind::Gauge, help, &[], live.unwrap_or(0));
}

fn add_config(families: &mut Families, state: &State) {
    let help = "Configuration reloads by outcome; a failure leaves the one before in force.";
    for (result, count) in [("success", &state.reloads.successes), ("failure", &state.reloads.failures)] {
        let labels = [("result", result)];
        families.add("ringway_config_reloads_total", Kind::Counter, help, &labels, count.get());
    }
    let config = state.config.borrow();
    let help = "When the configuration in force was loaded, seconds since the Unix epoch.";
    families.add_real(
        "ringway_config_loaded_timestamp_seconds",
        Kind::Gauge,
        help,
        &[],
        unix_seconds(config.since),
    );
    for cluster in &config.snapshot.clusters {
        let help = "Endpoints of a cluster, names resolved.";
        let labels = [("cluster", &*cluster.spec.name)];
        let count = cluster.endpoints.len() as u64;
        families.add("ringway_cluster_endpoints", Kind::Gauge, help, &labels, count);
    }
}

fn add_control(families: &mut Families, state: &State) {
    let help = "Version of this process.";
    let labels = [("version", env!("CARGO_PKG_VERSION"))];
    families.add("ringway_build_info", Kind::Gauge, help, &labels, 1);
    let help = "I/O driver in use and why.";
    let labels = [("driver", state.driver.name), ("reason", state.driver.reason.as_str())];
    families.add("ringway_driver_info", Kind::Gauge, help, &labels, 1);
    let help = "1 when ready to be sent traffic.";
    families.add("ringway_ready", Kind::Gauge, help, &[], u64::from(state.ready().is_ok()));
    let help = "1 while draining.";
    families.add("ringway_draining", Kind::Gauge, help, &[], u64::from(state.draining.get()));
    let help = "Look-ups of endpoint names by outcome.";
    let (successes, failures) = state.lookups.get();
    for (result, count) in [("success", successes), ("failure", failures)] {
        families.add("ringway_dns_lookups_total", Kind::Counter, help, &[("result", result)], count);
    }
    let help = "Access log blocks that could not be written to the file.";
    families.add("ringway_log_write_failures_total", Kind::Counter, help, &[], state.log_failures.get());
}

/// The usual process metrics, from /proc; left out where it cannot be read.
fn add_process(families: &mut Families, state: &State) {
    let help = "Start time, seconds since the Unix epoch.";
    families.add_real("process_start_time_seconds", Kind::Gauge, help, &[], unix_seconds(state.started_at));
    if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
        // The listing itself holds one descriptor.
        let open = entries.count().saturating_sub(1) as u64;
        families.add("process_open_fds", Kind::Gauge, "Open file descriptors.", &[], open);
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    families.add(
        "process_max_fds",
        Kind::Gauge,
        "Limit of open file descriptors.",
        &[],
        limit.unwrap_or(u64::MAX),
    );
    if let Some(bytes) = resident_bytes() {
        families.add("process_resident_memory_bytes", Kind::Gauge, "Resident memory.", &[], bytes);
    }
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = Duration::new(cpu.tv_sec.unsigned_abs(), cpu.tv_nsec as u32).as_secs_f64();
    families.add_real("process_cpu_seconds_total", Kind::Counter, "User and system CPU time.", &[], seconds);
}

fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as f64 / 1000.0
}
