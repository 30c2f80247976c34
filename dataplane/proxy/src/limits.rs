//! File descriptors: the soft limit is raised to the hard one, and the share of downstream connections is derived from it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors kept for the control thread: logs, admin connections, DNS, file watch.
const CONTROL_RESERVE: u64 = 64;
/// Descriptors each worker needs beside its sockets: ring or poller, wake-up, spare.
const WORKER_RESERVE: u64 = 8;
/// What is assumed when the limit is "unlimited": the kernel's default for `fs.nr_open`.
const UNLIMITED: u64 = 1 << 20;
/// A worker accepts at least this many connections, however low the limit of descriptors.
const WORKER_CONNECTIONS_MIN: u64 = 16;

/// Raises the soft limit on open files to the hard limit. Returns the limit now in force.
pub fn raise_open_files() -> u64 {
    let now = getrlimit(Resource::Nofile);
    if now.current != now.maximum {
        // A refusal leaves the old soft limit, which is what the second getrlimit reports.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED).min(UNLIMITED)
}

/// Of the descriptors, one in this many is kept for upstream connections even when the file asks for more downstream ones.
const UPSTREAM_SHARE: u64 = 10;

/// Downstream connections of one worker: what the descriptor limit allows when each connection may need one upstream
/// connection; or the configured total, which may go beyond that (idle connections need no upstream) as long as a tenth of the
/// descriptors is left; divided over the workers.
pub fn connections_per_worker(configured: Option<u64>, open_files: u64, workers: u64, listeners: u64) -> u64 {
    let kept = CONTROL_RESERVE + workers * (WORKER_RESERVE + listeners * 2);
    let free = open_files.saturating_sub(kept);
    let each = |total: u64| (total / workers.max(1)).max(WORKER_CONNECTIONS_MIN);
    match configured {
        None => each(free / 2),
        Some(asked) => (asked / workers.max(1)).clamp(1, each(free - free / UPSTREAM_SHARE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_descriptors_are_kept_for_upstreams() {
        assert_eq!(connections_per_worker(None, 20_000, 2, 1), (20_000 - 64 - 2 * 10) / 2 / 2);
    }

    #[test]
    fn a_configured_total_is_divided_and_cannot_exceed_the_descriptors() {
        assert_eq!(connections_per_worker(Some(1000), 20_000, 2, 1), 500);
        assert_eq!(
            connections_per_worker(Some(12_000), 20_000, 1, 1),
            12_000,
            "more than half, when asked for"
        );
        let free = 1024 - 64 - 2 * 10;
        assert_eq!(connections_per_worker(Some(1 << 40), 1024, 2, 1), (free - free / 10) / 2);
    }

    #[test]
    fn what_was_asked_for_is_kept_however_little() {
        assert_eq!(connections_per_worker(Some(4), 20_000, 1, 1), 4);
        assert_eq!(connections_per_worker(Some(1), 20_000, 2, 1), 1);
    }

    #[test]
    fn a_tiny_limit_still_serves_somebody() {
        assert_eq!(connections_per_worker(None, 40, 8, 3), WORKER_CONNECTIONS_MIN);
    }

    #[test]
    fn the_soft_limit_reaches_the_hard_one() {
        let now = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(now, limit.current.unwrap_or(UNLIMITED).min(UNLIMITED));
    }
}
