//! What the rig reads from `/proc`: CPU time by thread, memory, children. Parsing is pure; reading is not.

use crate::failure::{Context, Failure, Result};
use std::{collections::BTreeSet, fs, path::Path};

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    /// Resident set (`VmRSS`).
    pub resident: u64,
    /// Its private anonymous part (`RssAnon`): what the program allocated.
    pub anonymous: u64,
}

/// Nanoseconds on a CPU so far, summed over all threads of all these processes (`/proc/PID/task/*/schedstat`).
/// A thread or process that ended meanwhile counts nothing.
pub fn cpu_ns(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| process_cpu_ns(*pid)).sum()
}

/// The process and all its descendants.
pub fn family(root: u32) -> Vec<u32> {
    let mut seen = BTreeSet::from([root]);
    let mut waiting = vec![root];
    while let Some(pid) = waiting.pop() {
        for child in children(pid) {
            if seen.insert(child) {
                waiting.push(child);
            }
        }
    }
    seen.into_iter().collect()
}

/// Memory summed over these processes.
///
/// # Errors
/// When a status file cannot be read: the process is gone.
pub fn memory(pids: &[u32]) -> Result<Memory> {
    let mut sum = Memory::default();
    for pid in pids {
        let text =
            fs::read_to_string(format!("/proc/{pid}/status")).context(format!("memory of process {pid}"))?;
        let one =
            parse_memory(&text).ok_or_else(|| Failure::new(format!("no RssAnon in status of {pid}")))?;
        sum.resident += one.resident;
        sum.anonymous += one.anonymous;
    }
    Ok(sum)
}

/// Proportional set size summed over these processes, in bytes; processes that are gone count nothing.
pub fn proportional(pids: &[u32]) -> u64 {
    pids.iter()
        .filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok())
        .filter_map(|text| kib_field(&text, "Pss:"))
        .sum()
}

/// Busy and total clock ticks of one core from `/proc/stat`.
pub fn core_ticks(core: usize) -> Option<(u64, u64)> {
    parse_core_ticks(&fs::read_to_string("/proc/stat").ok()?, core)
}

/// The first field of a `schedstat` line: nanoseconds spent on a CPU.
pub fn parse_schedstat(text: &str) -> Option<u64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `VmRSS` and `RssAnon` of a `status` file.
pub fn parse_memory(text: &str) -> Option<Memory> {
    Some(Memory { resident: kib_field(text, "VmRSS:")?, anonymous: kib_field(text, "RssAnon:")? })
}

fn process_cpu_ns(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    tasks.flatten().filter_map(|task| thread_cpu_ns(&task.path())).sum()
}

fn thread_cpu_ns(task: &Path) -> Option<u64> {
    parse_schedstat(&fs::read_to_string(task.join("schedstat")).ok()?)
}

fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| text.split_ascii_whitespace().flat_map(str::parse).collect::<Vec<u32>>())
        .collect()
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line[name.len()..].split_ascii_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// user, nice, system, irq, softirq and steal are busy; idle and iowait are not; guest is inside user.
fn parse_core_ticks(text: &str, core: usize) -> Option<(u64, u64)> {
    let name = format!("cpu{core} ");
    let line = text.lines().find(|line| line.starts_with(&name))?;
    let ticks: Vec<u64> = line[name.len()..].split_ascii_whitespace().flat_map(str::parse).take(8).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    let total: u64 = ticks.iter().sum();
    Some((total - idle, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_is_time_on_cpu_then_waiting_then_slices() {
        assert_eq!(parse_schedstat("59375123456 52829 2\n"), Some(59_375_123_456));
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(parse_schedstat("x 1 2"), None);
    }

    #[test]
    fn memory_is_in_kib_in_the_status_file() {
        let text =
            "Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    5120 kB\nRssAnon:\t    1024 kB\nRssFile:\t 4096 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { resident: 5120 * 1024, anonymous: 1024 * 1024 }));
        assert_eq!(parse_memory("VmRSS:\t 1 kB\n"), None);
    }

    #[test]
    fn ticks_leave_out_idle_and_the_other_cores() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 10 1 20 500 7 2 3 4 0 0\ncpu10 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(parse_core_ticks(text, 0), Some((40, 547)));
        assert_eq!(parse_core_ticks(text, 1), None);
    }

    #[test]
    fn this_process_has_used_some_cpu_and_memory() {
        let own = std::process::id();
        let spent: u64 = (0..200_000u64).fold(0, |sum, value| sum ^ value.wrapping_mul(31));
        assert!(cpu_ns(&[own]) > 0, "{spent}");
        assert!(
            memory(&[own]).is_ok_and(|memory| memory.resident >= memory.anonymous && memory.anonymous > 0)
        );
        assert!(family(own).contains(&own));
    }
}
