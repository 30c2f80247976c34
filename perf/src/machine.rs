//! What a result file says about where it was measured: kernel, processor, idle states, commit, versions.

use crate::failure::Result;
use serde::Serialize;
use std::{fs, path::Path, process::Command};

/// The machine and the sources of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Commit of this repository, `-dirty` when files differ from it.
    pub commit: String,
    /// The command line of the rig.
    pub command: String,
    /// Seconds since 1970, UTC.
    pub unix_time: u64,
    /// `uname -r`.
    pub kernel: String,
    /// Processor model.
    pub cpu: String,
    /// Number of cores online.
    pub cores: usize,
    /// Driver of the idle loop.
    pub cpuidle_driver: String,
    /// Its governor.
    pub cpuidle_governor: String,
    /// How long a guest polls before it halts, in ns: it moves the CPU per request of low load threefold.
    pub guest_halt_poll_ns: String,
    /// TCP congestion control.
    pub congestion_control: String,
    /// Load average over the last minute when the run began: above 0.5 something else is running.
    pub load_average: String,
    /// Soft limit of open files.
    pub files: u64,
}

/// Reads everything that can be read; what cannot says so.
pub fn inspect() -> Machine {
    let unix_time =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Machine {
        commit: commit(),
        command: std::env::args().map(|word| shorten(&word)).collect::<Vec<_>>().join(" "),
        unix_time,
        kernel: line("/proc/sys/kernel/osrelease"),
        cpu: cpu_model(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        cpuidle_driver: line("/sys/devices/system/cpu/cpuidle/current_driver"),
        cpuidle_governor: line("/sys/devices/system/cpu/cpuidle/current_governor"),
        guest_halt_poll_ns: line("/sys/module/haltpoll/parameters/guest_halt_poll_ns"),
        congestion_control: line("/proc/sys/net/ipv4/tcp_congestion_control"),
        load_average: line("/proc/loadavg").split(' ').next().unwrap_or_default().to_string(),
        files: crate::net::raise_files(),
    }
}

/// The first line a program prints when asked for its version, on either output.
///
/// # Errors
/// When the program cannot be started.
pub fn version(program: &Path, flag: &str) -> Result<String> {
    let output = Command::new(program).arg(flag).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(text.lines().next().unwrap_or("no version printed").trim().to_string())
}

/// Calendar date and time in UTC, as `2026-01-31T12:00:00Z`.
pub fn utc(unix_time: u64) -> String {
    let (year, month, day) = civil(unix_time / 86_400);
    let second = unix_time % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Days since 1970 to a date of the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while left >= lengths[month] {
        left -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, left + 1)
}

fn commit() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { format!("{hash}-dirty") } else { hash }
}

/// A command word without the directories of this checkout.
fn shorten(word: &str) -> String {
    match (word.starts_with('/'), word.rsplit_once('/')) {
        (true, Some((_, name))) => name.to_string(),
        _ => word.to_string(),
    }
}

fn line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "not available".into(), |text| text.trim().to_string())
}

fn cpu_model(cpuinfo: &str) -> String {
    let named = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_string())
    };
    named("model name").or_else(|| named("CPU part")).unwrap_or_else(|| "not available".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_across_leap_years() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn the_processor_is_named_on_both_architectures() {
        assert_eq!(cpu_model("processor : 0\nmodel name\t: Fast CPU @ 3 GHz\n"), "Fast CPU @ 3 GHz");
        assert_eq!(cpu_model("processor : 0\nCPU part\t: 0xd0c\n"), "0xd0c");
    }
}
