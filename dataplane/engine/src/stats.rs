//! Statistics of one worker: plain words the worker alone writes and any thread may read. No read-modify-write, no lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringway_policy::spec::Address;
use ringway_wire::h1::Relaxations;

/// A number one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds (counters and gauges).
    pub(crate) fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }
    /// Subtracts (gauges).
    pub(crate) fn sub(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(n), Ordering::Relaxed);
    }
    /// Sets (gauges).
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }
    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counter (only rises) or gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only rises.
    Counter,
    /// Rises and falls.
    Gauge,
}

macro_rules! stats {
    ($(#[$doc:meta])* $name:ident { $($kind:ident $field:ident $help:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name { $(#[doc = $help] pub $field: Cell,)* }

        impl $name {
            /// Every number: name, kind, help text, value.
            pub fn each(&self, mut f: impl FnMut(&'static str, Kind, &'static str, u64)) {
                $(f(stringify!($field), Kind::$kind, $help, self.$field.value());)*
            }
        }
    };
}

stats! {
    /// Numbers of a whole worker.
    WorkerStats {
        Counter turns "Turns of the event loop.",
        Counter downstream_connections_total "Downstream connections accepted.",
        Gauge downstream_connections_active "Downstream connections open.",
        Gauge downstream_connections_idle "Downstream connections waiting for a request.",
        Counter downstream_bytes_received "Bytes received from clients.",
        Counter downstream_bytes_sent "Bytes sent to clients.",
        Counter requests_total "Requests whose head was complete or refused.",
        Gauge requests_active "Exchanges in progress.",
        Counter responses_2xx "Answers 200-299 sent to clients.",
        Counter responses_3xx "Answers 300-399 sent to clients.",
        Counter responses_4xx "Answers 400-499 sent to clients.",
        Counter responses_5xx "Answers 500-599 sent to clients.",
        Counter local_replies_total "Answers made by the proxy itself.",
        Counter requests_refused_total "Requests refused by the parser or a limit.",
        Counter requests_tolerated_total "Requests and answers that strictness would have refused (relaxation or dry run).",
        Counter downstream_cancelled_total "Exchanges whose client went away first.",
        Counter upstream_connections_total "Upstream connections opened.",
        Gauge upstream_connections_active "Upstream connections open.",
        Gauge upstream_connections_idle "Upstream connections in the pool.",
        Counter upstream_reused_total "Attempts sent on a pooled connection.",
        Counter upstream_connect_failures_total "Upstream connections that failed.",
        Counter upstream_resets_total "Upstream connections that broke during an exchange.",
        Counter upstream_protocol_errors_total "Answers of upstreams refused as malformed.",
        Counter retries_total "Attempts beyond the first.",
        Counter timeouts_total "Exchanges ended by a time limit.",
        Counter tunnels_total "TCP connections, upgrades and CONNECT tunnels started.",
        Gauge tunnels_active "Tunnels open.",
        Counter shed_connections_total "Idle connections closed, or connections refused, under pressure.",
        Counter shed_requests_total "Requests refused under pressure.",
        Counter accept_paused_total "Times accepting was stopped.",
        Counter sni_unmatched_total "TLS connections without a route.",
        Counter proxy_protocol_errors_total "Connections closed for a bad or missing PROXY protocol header.",
        Counter log_lines_total "Access log lines written.",
        Counter log_lines_dropped_total "Access log lines dropped because the writer was behind.",
        Gauge buffers_in_use "Buffers in use.",
        Gauge buffer_bytes "Bytes of buffers allocated.",
        Gauge generation "Generation of the configuration served.",
        Gauge generations_live "Configurations still in use by exchanges.",
    }
}

stats! {
    /// Numbers of one listener on one worker.
    ListenerStats {
        Counter connections_total "Connections accepted on this listener.",
        Gauge connections_active "Connections open on this listener.",
        Counter requests_total "Requests on this listener.",
    }
}

stats! {
    /// Numbers of one endpoint on one worker.
    EndpointStats {
        Counter requests_total "Attempts sent to this endpoint.",
        Gauge requests_active "Attempts in progress at this endpoint.",
        Counter connections_total "Connections opened to this endpoint.",
        Gauge connections_active "Connections open to this endpoint.",
        Gauge connections_idle "Pooled connections to this endpoint.",
        Counter connect_failures_total "Connections to this endpoint that failed.",
        Counter errors_total "Attempts at this endpoint that broke or were malformed.",
        Counter responses_5xx "Answers 500-599 of this endpoint.",
    }
}

/// Upper bounds of the latency histogram buckets, microseconds.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    10_000_000,
];

/// Duration of exchanges, from the head of the request to the end of the answer.
#[derive(Debug, Default)]
pub struct Latency {
    /// Exchanges per bucket of [`LATENCY_BOUNDS_US`], one more for what is above.
    pub buckets: [Cell; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all, microseconds.
    pub sum_us: Cell,
}

impl Latency {
    pub(crate) fn record(&self, us: u64) {
        let at = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.add(1);
        }
        self.sum_us.add(us);
    }
}

/// Number of response flags counted.
pub const FLAGS: usize = crate::flags::Flag::ALL.len();

/// Number of relaxations counted.
pub const TOLERATED: usize = Relaxations::TABLE.len();

/// Everything of one worker.
#[derive(Debug, Default)]
pub struct Stats {
    /// Worker-wide numbers.
    pub worker: WorkerStats,
    /// Duration of exchanges.
    pub latency: Latency,
    /// Requests and answers that strictness would have refused, by relaxation, in the order of [`Relaxations::TABLE`].
    pub tolerated: [Cell; TOLERATED],
    /// Exchanges per response flag, in the order of [`crate::flags::Flag::ALL`].
    pub flags: [Cell; FLAGS],
}

impl Stats {
    /// Counts what a relaxation, or a dry run, let pass.
    #[cold]
    pub(crate) fn count_tolerated(&self, tolerated: Relaxations) {
        self.worker.requests_tolerated_total.add(1);
        for (cell, (relaxation, _, _)) in self.tolerated.iter().zip(Relaxations::TABLE) {
            if tolerated.contains(*relaxation) {
                cell.add(1);
            }
        }
    }
}

/// Numbers by name, of one snapshot.
#[derive(Debug, Default)]
pub struct StatsPage {
    /// Generation of the snapshot.
    pub generation: u64,
    /// By listener.
    pub listeners: Vec<(Arc<str>, Arc<ListenerStats>)>,
    /// By cluster and endpoint.
    pub clusters: Vec<ClusterPage>,
}

/// Numbers of one cluster on one worker.
#[derive(Debug, Clone)]
pub struct ClusterPage {
    /// Name of the cluster.
    pub name: Arc<str>,
    /// By endpoint address.
    pub endpoints: Vec<(Address, Arc<EndpointStats>)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_falls_into_the_bucket_of_its_bound() {
        let latency = Latency::default();
        for us in [1, 100, 101, 9_999_999, 10_000_000, 10_000_001] {
            latency.record(us);
        }
        let counts: Vec<u64> = latency.buckets.iter().map(Cell::value).collect();
        assert_eq!((counts[0], counts[1], counts[13], counts[14]), (2, 1, 2, 1));
        assert_eq!(latency.sum_us.value(), 1 + 100 + 101 + 9_999_999 + 10_000_000 + 10_000_001);
    }

    #[test]
    fn every_number_has_a_help_text() {
        Stats::default().worker.each(|name, _, help, value| {
            assert!(help.ends_with('.') && !name.is_empty() && value == 0);
        });
    }
}
