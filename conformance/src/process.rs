//! The binary under test as a child process: started with a configuration, ended on drop, its addresses read from its first log line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use crate::PATIENCE;

/// A running `ringway`.
pub struct Ringway {
    child: Child,
    /// Listener name to the address it is bound to; `admin` and `telemetry` among them.
    addresses: BTreeMap<String, SocketAddr>,
    lines: Receiver<String>,
    seen: Vec<String>,
    config: PathBuf,
}

impl Ringway {
    /// Starts the binary with this configuration and waits for its first log line. `arguments` follow `--config`.
    pub fn start(config: &str, arguments: &[&str]) -> Ringway {
        let file = scratch_file("ringway.yaml");
        std::fs::write(&file, config).expect("the temporary folder is writable");
        Ringway::start_file(file, arguments, &[])
    }

    /// As [`Ringway::start`], from a file, run by `wrapper` (a command and its arguments in front of the binary's path).
    pub fn start_file(config: PathBuf, arguments: &[&str], wrapper: &[&str]) -> Ringway {
        let binary = binary();
        let mut command = match wrapper {
            [] => Command::new(&binary),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(&binary);
                command
            }
        };
        command.arg("--config").arg(&config).args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut ringway = Ringway { child, addresses: BTreeMap::new(), lines, seen: Vec::new(), config };
        let first = ringway.wait_for_line("listeners:");
        ringway.addresses = addresses(&first);
        ringway
    }

    /// The address of a listener (or of `admin`, `telemetry`).
    pub fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", self.addresses))
    }

    /// Waits for a log line that contains `text` and returns it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!("no log line with {text:?} among:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The configuration file it runs on; rewritten in place it is read again.
    pub fn config(&self) -> &PathBuf {
        &self.config
    }

    /// Sends a signal by its name without `SIG`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|s| s.success()), "kill -{name}");
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < until, "still running");
            std::thread::yield_now();
        }
    }
}

impl Drop for Ringway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

/// A fresh path in the temporary folder.
pub fn scratch_file(name: &str) -> PathBuf {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let folder = std::env::temp_dir().join(format!(
        "ringway-test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    folder.join(name)
}

/// The binary, beside the test that runs; built first if it is not there.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let binary = profile.join("ringway");
    if !binary.exists() {
        let built =
            Command::new(env!("CARGO")).args(["build", "--package", "ringway", "--bin", "ringway"]).status();
        assert!(built.is_ok_and(|s| s.success()) && binary.exists(), "cargo build -p ringway");
    }
    binary
}

/// `... admin=127.0.0.1:1 telemetry=off listeners: web=127.0.0.1:2(http) ...`
fn addresses(line: &str) -> BTreeMap<String, SocketAddr> {
    let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
    pairs
        .filter_map(|(name, value)| {
            let address = value.split('(').next()?.trim_end_matches(',').parse().ok()?;
            Some((name.to_owned(), address))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_from_the_first_line() {
        let found = addresses(
            "info ringway 0.1.0 driver=epoll (x) admin=127.0.0.1:1 telemetry=off listeners: web=[::1]:2(http)",
        );
        assert_eq!(found.get("admin"), "127.0.0.1:1".parse().ok().as_ref());
        assert_eq!(found.get("web"), "[::1]:2".parse().ok().as_ref());
        assert_eq!(found.len(), 2);
    }
}
