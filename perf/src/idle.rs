//! User memory per idle connection: 10,000 keep-alive connections that made one request each, held by two client
//! processes, and afterwards asked once more to prove that none was dropped.

use crate::{
    answer::{Expect, Progress, Reader},
    cli::Flags,
    failure::{Context, Failure, Result},
    net::{self, LOAD_CORE, PROXY_CORE},
    origin::Origin,
    procfs,
    proxy::{Job, Peer, Programs, Running},
    report::Report,
    scenario::Scenario,
    table::Table,
    wait,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::Serialize;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// The flags of the subcommand.
pub const FLAGS: [&str; 5] = ["driver", "peers", "connections", "ringway-bin", "into"];
/// The flags of the client process.
pub const CLIENT_FLAGS: [&str; 3] = ["to", "connections", "from"];

/// Bytes per connection that are allowed.
const PER_CONNECTION_MAX: f64 = 1024.0;
/// Client processes.
const CLIENTS: usize = 2;
/// Requests before the memory is read for the first time: code and pools are warm then.
const WARM_UP: usize = 200;
/// For buffers of the last requests to be given back.
const SETTLE: Duration = Duration::from_millis(500);
/// Silence after which a request has failed.
const SILENCE_MAX: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Idle {
    proxy: &'static str,
    connections: usize,
    anonymous_before: u64,
    anonymous_after: u64,
    per_connection: f64,
    resident_growth: u64,
    errors: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// When a connection is refused or dropped, or takes more than 1 KiB.
pub fn run(flags: &Flags) -> Result<()> {
    let peers = flags.drivers()?;
    let connections: usize = flags.get("connections", 10_000)?;
    let programs = flags.programs()?;
    net::raise_files();
    let mut report = Report::new("idle", &peers, &programs)?;
    let mut all = Vec::new();
    for peer in &peers {
        all.push(measure(*peer, connections, &programs).context(peer.name())?);
    }
    report.section("User memory per idle connection", &table(&all));
    report.figures("idle", &all)?;
    report.save(flags.text("into"))?;
    match all.iter().filter(|one| one.errors > 0 || one.per_connection > PER_CONNECTION_MAX).count() {
        0 => Ok(()),
        many => Err(Failure::new(format!("{many} proxies above 1 KiB per connection or with errors"))),
    }
}

/// Runs the client process: opens the connections, one request on each, says `ready`; when its input ends, asks once
/// more on each and says how many failed.
///
/// # Errors
/// When the address does not parse.
pub fn clients(flags: &Flags) -> Result<()> {
    net::raise_files();
    let to: SocketAddr = flags.get("to", SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let from: Ipv4Addr = flags.get("from", Ipv4Addr::LOCALHOST)?;
    let count: usize = flags.get("connections", 0)?;
    let (mut open, mut failed) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        match connect(from, to).and_then(|mut stream| ask(&mut stream, to).map(|()| stream)) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                failed += 1;
                eprintln!("connection {}: {error}", open.len());
            }
        }
    }
    println!("ready {failed}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let failed = open.iter_mut().filter_map(|stream| ask(stream, to).err()).count();
    println!("asked again {failed}");
    Ok(())
}

fn measure(peer: Peer, connections: usize, programs: &Programs) -> Result<Idle> {
    let scenario = Scenario::H1Small;
    let origin = Origin::start(scenario.origin(), Some(LOAD_CORE))?;
    let work = if peer.driver().is_some() { "idle" } else { "h1" };
    let job = Job { work, origin: origin.address(), extra: &[], core: Some(PROXY_CORE) };
    let proxy = Running::start(peer, &job, programs)?;
    let to = proxy.address();
    let mut warm = connect(Ipv4Addr::LOCALHOST, to)?;
    for _ in 0..WARM_UP {
        ask(&mut warm, to)?;
    }
    wait::pause(SETTLE);
    let pids = proxy.pids();
    let before = procfs::memory(&pids)?;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let share = connections / CLIENTS + usize::from(number < connections % CLIENTS);
        clients.push(Client::start(to, share, number)?);
    }
    let mut errors = 0;
    for client in &mut clients {
        errors += client.says("ready ").context(proxy.log())?;
    }
    wait::pause(SETTLE);
    let after = procfs::memory(&pids)?;
    for client in &mut clients {
        drop(client.child.stdin.take());
        errors += client.says("asked again ").context(proxy.log())?;
    }
    Ok(Idle {
        proxy: peer.name(),
        connections,
        anonymous_before: before.anonymous,
        anonymous_after: after.anonymous,
        per_connection: (after.anonymous as f64 - before.anonymous as f64) / connections.max(1) as f64,
        resident_growth: after.resident.saturating_sub(before.resident),
        errors,
    })
}

/// One client process; killed when dropped.
struct Client {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Client {
    fn start(to: SocketAddr, connections: usize, number: usize) -> Result<Self> {
        let from = format!("127.0.0.{}", number + 2);
        let mut child = Command::new(std::env::current_exe()?)
            .args(["idle-clients", "--to", &to.to_string(), "--connections", &connections.to_string()])
            .args(["--from", &from])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("idle-clients")?;
        let output = child.stdout.take().ok_or_else(|| Failure::new("idle-clients has no output"))?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    /// Reads the next line and the count behind `label` in it.
    fn says(&mut self, label: &str) -> Result<usize> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let count = line.strip_prefix(label).and_then(|count| count.trim().parse().ok());
        count.ok_or_else(|| Failure::new(format!("a client process said `{}`", line.trim())))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map_or_else(|error| eprintln!("client: {error}"), drop);
    }
}

/// Connects from a given loopback address, so that many connections do not run out of local ports.
fn connect(from: Ipv4Addr, to: SocketAddr) -> Result<TcpStream> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0))).context("bind")?;
    rustix::net::connect(&socket, &to).context("connect")?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream, to: SocketAddr) -> Result<()> {
    stream.write_all(&Scenario::H1Small.request(to))?;
    let (mut reader, mut buffer) = (Reader::new(expected()), [0; 8192]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(Failure::new("ended without a complete answer"));
        }
        match reader.feed(&buffer[..count]) {
            Progress::More => {}
            Progress::Done { close: false } => return Ok(()),
            Progress::Done { close: true } => return Err(Failure::new("the answer ends the connection")),
            Progress::Wrong => return Err(Failure::new("a wrong answer")),
        }
    }
}

fn expected() -> Expect {
    Scenario::H1Small.expect()
}

fn table(all: &[Idle]) -> String {
    let mut table = Table::new(&[
        "proxy",
        "connections",
        "RssAnon before, KiB",
        "after, KiB",
        "bytes per connection",
        "RSS growth, KiB",
        "errors",
        "under 1 KiB",
    ]);
    for one in all {
        table.row([
            one.proxy.to_string(),
            one.connections.to_string(),
            (one.anonymous_before >> 10).to_string(),
            (one.anonymous_after >> 10).to_string(),
            format!("{:.0}", one.per_connection),
            (one.resident_growth >> 10).to_string(),
            one.errors.to_string(),
            if one.errors == 0 && one.per_connection <= PER_CONNECTION_MAX { "yes" } else { "NO" }
                .to_string(),
        ]);
    }
    table.render()
}
