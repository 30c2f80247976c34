//! The binary under test as a child process: started with a configuration, ended on drop, its addresses read from its first log line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use crate::PATIENCE;
use crate::config::Config;
use crate::peer::Client;

/// A running `ringway`.
pub struct Ringway {
    child: Child,
    /// Listener name to the address it is bound to; `admin` and `telemetry` among them.
    addresses: BTreeMap<String, SocketAddr>,
    lines: Receiver<String>,
    seen: Vec<String>,
    output: Receiver<String>,
    config: PathBuf,
}

impl Ringway {
    /// Starts the binary with this configuration and waits for its first log line. `arguments` follow `--config`.
    pub fn start(config: &str, arguments: &[&str]) -> Ringway {
        let file = scratch_file("ringway.yaml");
        std::fs::write(&file, config).expect("the temporary folder is writable");
        Ringway::start_file(file, arguments, &[])
    }

    /// As [`Ringway::start`], on this driver.
    pub fn on(driver: &str, config: &Config) -> Ringway {
        Ringway::start(&config.yaml(), &["--driver", driver])
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
        command.arg("--config").arg(&config).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let lines = lines_of(child.stderr.take().expect("stderr is piped"));
        let output = lines_of(child.stdout.take().expect("stdout is piped"));
        let mut ringway =
            Ringway { child, addresses: BTreeMap::new(), lines, seen: Vec::new(), output, config };
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

    /// The next line of standard output: where the tests' configurations put the access log.
    pub fn output_line(&mut self) -> String {
        self.output.recv_timeout(PATIENCE).expect("a line on standard output")
    }

    /// All lines of standard output not read yet, once the process has ended.
    pub fn output_to_end(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.output.recv_timeout(PATIENCE).ok()).collect()
    }

    /// All lines logged so far.
    pub fn log(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// A connection to a listener.
    pub fn client(&self, listener: &str) -> Client {
        Client::connect(self.address(listener))
    }

    /// The body of `GET path` on the admin API.
    pub fn admin(&self, path: &str) -> String {
        let mut client = self.client("admin");
        let host = self.address("admin");
        client.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).text()
    }

    /// The sum of a metric over its labels; `name` may end in the beginning of a label set.
    pub fn metric(&self, name: &str) -> u64 {
        let text = self.admin("/metrics");
        let values = text.lines().filter_map(|line| {
            let (found, value) = line.rsplit_once(' ')?;
            let rest = found.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{') || name.contains('{')).then_some(value)
        });
        values.filter_map(|value| value.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// Waits until a metric satisfies a condition; each look is a request to the admin API.
    pub fn wait_for_metric(&self, name: &str, enough: impl Fn(u64) -> bool) {
        let until = Instant::now() + PATIENCE;
        loop {
            let value = self.metric(name);
            if enough(value) {
                return;
            }
            assert!(Instant::now() < until, "{name} is still {value}");
            std::thread::yield_now();
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
        // Its standard error closes with it.
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("the child is ours"),
                Err(RecvTimeoutError::Timeout) => panic!("still running:\n{}", self.seen.join("\n")),
            }
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

fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Why io_uring cannot be used here; `None` when it can. Asked of the binary itself, once.
pub fn uring_refused() -> Option<&'static str> {
    static REFUSED: OnceLock<Option<String>> = OnceLock::new();
    let refused = REFUSED.get_or_init(|| {
        let mut ringway = Ringway::start(&Config::to(["127.0.0.1:1"]).yaml(), &["--driver", "auto"]);
        let first = ringway.log().first().cloned().unwrap_or_default();
        (!first.contains("driver=uring")).then_some(first)
    });
    refused.as_deref()
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

/// The binary, beside the test that runs; brought up to date first, once.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<Option<PathBuf>> = OnceLock::new();
    BUILT.get_or_init(build).clone().expect("cargo build -p ringway")
}

fn build() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let target = folder.parent().expect("target/<profile>");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "ringway", "--bin", "ringway", "--profile", profile]);
    let built = cargo.arg("--target-dir").arg(target).status();
    let binary = folder.join("ringway");
    (built.is_ok_and(|status| status.success()) && binary.exists()).then_some(binary)
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
