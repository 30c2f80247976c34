//! Which CPUs this process may use, how many workers that makes, and whether pinning them helps.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Workers of one process at most: far above today's machines, low enough to bound every per-worker table.
pub const WORKERS_MAX: usize = 1024;

/// The workers to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One entry per worker: the CPU it is pinned to, or `None` when the scheduler places it.
    pub cpus: Vec<Option<usize>>,
}

impl Plan {
    /// How many workers.
    pub fn workers(&self) -> usize {
        self.cpus.len()
    }

    /// True when each worker has a CPU of its own.
    pub fn pinned(&self) -> bool {
        self.cpus.iter().all(Option::is_some)
    }
}

/// Decides from what was asked for (`None` = automatic) and what the machine allows.
pub fn plan(asked: Option<u32>) -> Plan {
    // The standard library's figure follows sched_getaffinity and the cgroup v1 and v2 CPU quota.
    let usable = std::thread::available_parallelism().map_or(1, |n| n.get());
    plan_from(asked, &allowed_cpus(), usable)
}

/// Pinning is right only when every allowed CPU gets exactly one worker. With fewer workers than CPUs (a quota, a sidecar
/// with one worker) all processes of the machine would pin to the same first CPUs, so the scheduler places them.
fn plan_from(asked: Option<u32>, allowed: &[usize], usable: usize) -> Plan {
    let workers = asked.map_or(usable, |n| n as usize).clamp(1, WORKERS_MAX);
    let cpus = match workers == allowed.len() {
        true => allowed.iter().copied().map(Some).collect(),
        false => vec![None; workers],
    };
    Plan { cpus }
}

/// Pins the calling thread. False when the kernel refuses; the thread then runs where the scheduler puts it.
pub fn pin_current_thread(cpu: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).is_ok()
}

fn allowed_cpus() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect(),
        Err(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_per_allowed_cpu_is_pinned() {
        let plan = plan_from(None, &[2, 5], 2);
        assert_eq!(plan.cpus, [Some(2), Some(5)]);
        assert!(plan.pinned());
    }

    #[test]
    fn a_quota_below_the_cpus_leaves_placement_to_the_scheduler() {
        let plan = plan_from(None, &[0, 1, 2, 3], 2);
        assert_eq!(plan.cpus, [None, None]);
        assert!(!plan.pinned());
    }

    #[test]
    fn an_explicit_count_wins_and_is_bounded() {
        assert_eq!(plan_from(Some(3), &[0], 1).workers(), 3);
        assert_eq!(plan_from(Some(0), &[0], 1).workers(), 1);
        assert_eq!(plan_from(Some(1 << 30), &[0], 1).workers(), WORKERS_MAX);
        assert_eq!(plan_from(Some(2), &[4, 6], 8).cpus, [Some(4), Some(6)]);
    }

    #[test]
    fn this_machine_gives_at_least_one_worker() {
        assert!(plan(None).workers() >= 1);
    }
}
