//! A million requests of real clients (`wrk`, `h2load --h1`, `curl`, python3-websockets) through the proxy to nginx.
//! Every answer that is not a complete 2xx is an error; none is allowed.

use crate::{
    cli::Flags,
    failure::{Context, Failure, Result},
    net::{self, LOAD_CORE, PROXY_CORE},
    proxy::{Directory, Job, Peer, Programs, Running, home},
    report::Report,
    table::Table,
};
use serde::Serialize;
use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Instant,
};

/// The flags of the subcommand.
pub const FLAGS: [&str; 5] = ["driver", "peers", "requests", "ringway-bin", "into"];

/// Seconds of one `wrk` run; runs follow until its share is reached.
const WRK_SECONDS: &str = "2";
/// Every so many of them asks for the large file.
const WRK_LARGE_EVERY: usize = 4;
/// Messages on each WebSocket connection.
const MESSAGES: u64 = 20;

/// What one client did.
#[derive(Clone, Debug, Serialize, PartialEq)]
struct Done {
    client: String,
    requests: u64,
    errors: u64,
    seconds: f64,
}

/// Runs the subcommand.
///
/// # Errors
/// When a client is missing or any request failed.
pub fn run(flags: &Flags) -> Result<()> {
    let peers = flags.drivers()?;
    let requests: u64 = flags.get("requests", 1_000_000)?;
    let programs = flags.programs()?;
    net::raise_files();
    let mut versions = peers.clone();
    versions.push(Peer::Nginx);
    let mut report = Report::new("soak", &versions, &programs)?;
    let mut errors = 0;
    for peer in peers {
        let all = net::pinned(LOAD_CORE, || soak(peer, &programs, requests))?;
        errors += all.iter().map(|done| done.errors).sum::<u64>();
        report.section(&format!("Soak: {}", peer.name()), &table(&all));
        report.figures(peer.name(), &all)?;
    }
    report.save(flags.text("into"))?;
    if errors > 0 { Err(Failure::new(format!("{errors} errors"))) } else { Ok(()) }
}

fn soak(peer: Peer, programs: &Programs, requests: u64) -> Result<Vec<Done>> {
    let files = Directory::new()?;
    for (name, bytes) in [("small", 1024), ("large", 64 * 1024)] {
        fs::write(files.path.join(name), vec![b'r'; bytes])?;
    }
    fs::write(files.path.join("upload"), vec![b'u'; 300_000])?;
    let echo = Echo::start()?;
    let extra = [("ROOT", files.path.display().to_string())];
    let job = Job { work: "upstream", origin: echo.address, extra: &extra, core: None };
    let upstream = Running::start(Peer::Nginx, &job, programs)?;
    let job = Job { work: "h1", origin: upstream.address(), extra: &[], core: Some(PROXY_CORE) };
    let mut proxy = Running::start(peer, &job, programs)?;
    let to = proxy.address();
    let few = (requests / 500).clamp(1, 2_000);
    let mut all = vec![
        timed(|| curl(to, "small", few, &[]))?,
        timed(|| curl(to, "large", few, &[]))?,
        timed(|| {
            curl(to, "discard", few, &["--data-binary", &format!("@{}", files.path.join("upload").display())])
        })?,
        timed(|| websockets(to, few.min(500)))?,
    ];
    let (mut by_wrk, mut runs) = (0, 0);
    while by_wrk < requests / 2 {
        runs += 1;
        let path = if runs % WRK_LARGE_EVERY == 2 { "large" } else { "small" };
        let done = timed(|| wrk(to, path))?;
        if done.requests == 0 {
            return Err(Failure::new(format!("wrk completed nothing: {}", proxy.log())));
        }
        by_wrk += done.requests;
        all.push(done);
    }
    let so_far: u64 = all.iter().map(|done| done.requests).sum();
    all.push(timed(|| h2load(to, requests.saturating_sub(so_far).max(64)))?);
    if proxy.has_ended() {
        return Err(Failure::new(format!("the proxy ended: {}", proxy.log())));
    }
    Ok(merge(all))
}

/// Runs of the same client become one row.
fn merge(all: Vec<Done>) -> Vec<Done> {
    let mut merged: Vec<Done> = Vec::new();
    for done in all {
        match merged.iter_mut().find(|row| row.client == done.client) {
            Some(row) => {
                row.requests += done.requests;
                row.errors += done.errors;
                row.seconds += done.seconds;
            }
            None => merged.push(done),
        }
    }
    merged
}

fn timed(client: impl FnOnce() -> Result<(String, u64, u64)>) -> Result<Done> {
    let begin = Instant::now();
    let (client, requests, errors) = client()?;
    Ok(Done { client, requests, errors, seconds: begin.elapsed().as_secs_f64() })
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().context(&name)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !said.is_empty() && name != "h2load" {
        eprintln!("{name}: {said}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn curl(to: SocketAddr, path: &str, count: u64, more: &[&str]) -> Result<(String, u64, u64)> {
    let url = format!("http://{to}/{path}?[1-{count}]");
    let format = "%{http_code} %{errormsg}\\n";
    let text =
        output(Command::new("curl").args(["-s", "-o", "/dev/null", "-w", format]).args(more).arg(url))?;
    let good = text.lines().filter(|line| line.starts_with("200")).count() as u64;
    Ok((format!("curl /{path}"), count, count.saturating_sub(good)))
}

fn websockets(to: SocketAddr, count: u64) -> Result<(String, u64, u64)> {
    let url = format!("ws://{to}/ws");
    let text = output(&mut python(&["client", &url, &count.to_string(), &MESSAGES.to_string()]))?;
    let errors = after(&text, "errors ").ok_or_else(|| Failure::new(format!("websockets: {text}")))?;
    Ok((format!("websockets, {MESSAGES} messages each"), count, errors))
}

fn wrk(to: SocketAddr, path: &str) -> Result<(String, u64, u64)> {
    let url = format!("http://{to}/{path}");
    let text = output(Command::new("wrk").args(["-t", "1", "-c", "64", "-d", WRK_SECONDS]).arg(url))?;
    let (requests, errors) = parse_wrk(&text).ok_or_else(|| Failure::new(format!("wrk: {text}")))?;
    Ok((format!("wrk /{path}"), requests, errors))
}

fn h2load(to: SocketAddr, count: u64) -> Result<(String, u64, u64)> {
    let url = format!("http://{to}/small");
    let text = output(Command::new("h2load").args(["--h1", "-c", "64", "-n", &count.to_string()]).arg(url))?;
    let errors = parse_h2load(&text, count).ok_or_else(|| Failure::new(format!("h2load: {text}")))?;
    Ok(("h2load --h1 /small".into(), count, errors))
}

/// Requests and errors (socket errors of all kinds, answers that are not 2xx or 3xx) of `wrk`'s summary.
fn parse_wrk(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find(|line| line.contains(" requests in "))?;
    let requests = line.split_ascii_whitespace().next()?.parse().ok()?;
    let mut errors = after(text, "Non-2xx or 3xx responses: ").unwrap_or(0);
    if let Some(line) = text.lines().find(|line| line.contains("Socket errors:")) {
        errors += ["connect ", "read ", "write ", "timeout "]
            .iter()
            .filter_map(|kind| after(line, kind))
            .sum::<u64>();
    }
    Some((requests, errors))
}

/// Requests of `h2load` that did not end with a 2xx.
fn parse_h2load(text: &str, count: u64) -> Option<u64> {
    let succeeded = number_before(text, " succeeded")?;
    let good = number_before(text, " 2xx")?;
    Some(count.saturating_sub(succeeded.min(good)))
}

fn after(text: &str, label: &str) -> Option<u64> {
    let rest = &text[text.find(label)? + label.len()..];
    rest.split(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
}

fn number_before(text: &str, label: &str) -> Option<u64> {
    text[..text.find(label)?].rsplit(|byte: char| !byte.is_ascii_digit()).next()?.parse().ok()
}

fn table(all: &[Done]) -> String {
    let mut table = Table::new(&["client", "requests", "errors", "seconds"]);
    for done in all {
        let cells = [done.requests.to_string(), done.errors.to_string(), format!("{:.1}", done.seconds)];
        table.row([done.client.clone()].into_iter().chain(cells));
    }
    let requests: u64 = all.iter().map(|done| done.requests).sum();
    let errors: u64 = all.iter().map(|done| done.errors).sum();
    let seconds: f64 = all.iter().map(|done| done.seconds).sum();
    table.row(["all".to_string(), requests.to_string(), errors.to_string(), format!("{seconds:.1}")]);
    table.render()
}

fn python(words: &[&str]) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(home().join("clients/websocket.py")).args(words);
    command
}

/// The WebSocket service behind nginx; killed when dropped.
struct Echo {
    child: Child,
    address: SocketAddr,
}

impl Echo {
    fn start() -> Result<Self> {
        let mut child =
            python(&["server"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("python3")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse().unwrap_or(0)));
        let echo = Self { child, address };
        if address.port() == 0 {
            return Err(Failure::new("the WebSocket server does not start (Debian: python3-websockets)"));
        }
        Ok(echo)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_or_else(|error| eprintln!("python3: {error}"), drop);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrk_with_and_without_errors() {
        let good = "  1 threads and 64 connections\n  98765 requests in 5.00s, 120.5MB read\n";
        assert_eq!(parse_wrk(good), Some((98_765, 0)));
        let bad = format!(
            "{good}  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
        );
        assert_eq!(parse_wrk(&bad), Some((98_765, 15)));
        assert_eq!(parse_wrk("unable to connect"), None);
    }

    #[test]
    fn h2load_counts_what_is_not_2xx() {
        let text = "requests: 100 total, 100 started, 100 done, 98 succeeded, 2 failed, 2 errored, 0 timeout\n\
                    status codes: 97 2xx, 0 3xx, 1 4xx, 0 5xx\n";
        assert_eq!(parse_h2load(text, 100), Some(3));
        assert_eq!(parse_h2load("nothing", 100), None);
    }

    #[test]
    fn runs_of_one_client_are_one_row() {
        let done =
            |client: &str, requests, errors| Done { client: client.into(), requests, errors, seconds: 1.0 };
        let merged = merge(vec![done("wrk", 1, 0), done("curl", 2, 1), done("wrk", 3, 2)]);
        assert_eq!(merged.len(), 2);
        assert_eq!((merged[0].requests, merged[0].errors, merged[0].seconds), (4, 2, 2.0));
    }
}
