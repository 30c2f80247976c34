//! Time from exec to the first answer, and memory then; and an origin on its own for trying things by hand.

use crate::{
    answer::{Progress, Reader},
    cli::Flags,
    failure::{Context, Failure, Result},
    net::{self, LOAD_CORE, PROXY_CORE},
    origin::{Origin, Speaks},
    procfs,
    proxy::{Job, Peer, Programs, Running},
    report::Report,
    scenario::Scenario,
    stats::{Quartiles, quartiles},
    table::Table,
    wait,
};
use serde::Serialize;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The flags of the subcommand.
pub const FLAGS: [&str; 4] = ["peers", "rounds", "ringway-bin", "into"];
/// The flags of `origin`.
pub const ORIGIN_FLAGS: [&str; 1] = ["body"];

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Serialize)]
struct Started {
    peer: &'static str,
    answer_ms: f64,
    resident_mib: f64,
    proportional_mib: f64,
}

/// Runs the subcommand.
///
/// # Errors
/// When a proxy does not answer within 10 s.
pub fn run(flags: &Flags) -> Result<()> {
    let peers = flags.peers("ringway-epoll,ringway-uring,nginx,haproxy")?;
    let rounds: usize = flags.get("rounds", 15)?;
    let programs = flags.programs()?;
    let mut report = Report::new("start", &peers, &programs)?;
    let origin = Origin::start(Scenario::H1Small.origin(), Some(LOAD_CORE))?;
    let mut all = Vec::new();
    for round in 0..rounds {
        for place in 0..peers.len() {
            let peer = peers[(place + round) % peers.len()];
            let started = net::pinned(LOAD_CORE, || measure(peer, &origin, &programs));
            all.push(started.context(peer.name())?);
        }
    }
    report.section("Start", &table(&peers, &all));
    report.figures("starts", &all)?;
    report.save(flags.text("into"))?;
    Ok(())
}

/// Runs an origin until its input ends.
///
/// # Errors
/// When no port is free.
pub fn origin(flags: &Flags) -> Result<()> {
    let origin = Origin::start(Speaks::Http { body: flags.get("body", 1024)? }, None)?;
    println!("{}", origin.address());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn measure(peer: Peer, origin: &Origin, programs: &Programs) -> Result<Started> {
    let job = Job { work: "h1", origin: origin.address(), extra: &[], core: Some(PROXY_CORE) };
    let mut proxy = Running::launch(peer, &job, programs)?;
    let to = proxy.address();
    let mut took = Duration::ZERO;
    wait::until(PATIENCE, || {
        let answered = first_answer(to).is_ok();
        if answered {
            took = proxy.started().elapsed();
        }
        answered || proxy.has_ended()
    });
    if took.is_zero() {
        return Err(Failure::new(format!("no answer: {}", proxy.log())));
    }
    let pids = proxy.pids();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    Ok(Started {
        peer: peer.name(),
        answer_ms: took.as_secs_f64() * 1e3,
        resident_mib: mib(procfs::memory(&pids)?.resident),
        proportional_mib: mib(procfs::proportional(&pids)),
    })
}

fn first_answer(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&Scenario::Connection.request(to))?;
    let (mut reader, mut buffer) = (Reader::new(Scenario::Connection.expect()), [0; 8192]);
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let count = stream.read(&mut buffer)?;
        match reader.feed(&buffer[..count]) {
            Progress::More if count > 0 => {}
            Progress::Done { .. } => return Ok(()),
            Progress::More | Progress::Wrong => break,
        }
    }
    Err(Failure::new("no complete answer"))
}

fn table(peers: &[Peer], all: &[Started]) -> String {
    let mut table = Table::new(&[
        "proxy",
        "exec to first answer, ms",
        "resident, MiB",
        "proportional (PSS), MiB",
        "starts",
    ]);
    for peer in peers {
        let of = |figure: fn(&Started) -> f64| -> Vec<f64> {
            all.iter().filter(|one| one.peer == peer.name()).map(figure).collect()
        };
        let show = |values: &[f64]| {
            let shown = |q: Quartiles| format!("{:.1} [{:.1}-{:.1}]", q.median, q.lower, q.upper);
            quartiles(values).map_or("-".into(), shown)
        };
        let answers = of(|one| one.answer_ms);
        table.row([
            peer.name().to_string(),
            show(&answers),
            show(&of(|one| one.resident_mib)),
            show(&of(|one| one.proportional_mib)),
            answers.len().to_string(),
        ]);
    }
    table.render()
}
