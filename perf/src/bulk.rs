//! 1 GiB down and 1 GiB up while the receiving peer reads in bursts: the proxy must pass every byte and must not
//! store what the reader has not taken. Samples the resident memory of the proxy throughout.

use crate::{
    cli::Flags,
    failure::{Context, Failure, Result},
    net::{LOAD_CORE, PROXY_CORE, pinned, raise_files},
    procfs,
    proxy::{Job, Peer, Programs, Running},
    report::Report,
    table::Table,
    wait,
};
use serde::Serialize;
use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// The flags of the subcommand.
pub const FLAGS: [&str; 8] =
    ["driver", "peers", "work", "mib", "rate-mib", "burst-mib", "ringway-bin", "into"];

/// Growth of resident memory that is allowed, in bytes.
const GROWTH_MAX: u64 = 8 << 20;
/// Between two samples of the memory.
const SAMPLE: Duration = Duration::from_millis(10);
/// Silence after which a transfer has failed.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Length of the repeated pattern: a prime, so that a lost or doubled block shows.
const PATTERN_BYTES: usize = 65_521;
/// Bytes per read or write.
const PIECE_BYTES: usize = 256 * 1024;

/// How a reader paces itself.
#[derive(Clone, Copy, Debug)]
struct Pace {
    total: u64,
    burst: u64,
    per_second: u64,
}

#[derive(Serialize)]
struct Transfer {
    proxy: &'static str,
    work: String,
    direction: &'static str,
    bytes: u64,
    seconds: f64,
    resident_before: u64,
    growth: u64,
}

/// Runs the subcommand.
///
/// # Errors
/// When a byte is lost or memory grows by more than 8 MiB.
pub fn run(flags: &Flags) -> Result<()> {
    let peers = flags.drivers()?;
    let works = flags.list("work", "h1,l4", |work| Ok(work.to_string()))?;
    let mib = |name, default: u64| flags.get(name, default).map(|mib| mib << 20);
    let pace =
        Pace { total: mib("mib", 1024)?, burst: mib("burst-mib", 8)?, per_second: mib("rate-mib", 64)? };
    let programs = flags.programs()?;
    raise_files();
    let mut report = Report::new("bulk", &peers, &programs)?;
    let mut all = Vec::new();
    for peer in &peers {
        for work in &works {
            for direction in ["down", "up"] {
                let name = format!("{} {work} {direction}", peer.name());
                let transfer = pinned(LOAD_CORE, || transfer(*peer, work, direction, &programs, pace));
                all.push(transfer.context(name)?);
            }
        }
    }
    report.section("Bulk against a reader in bursts", &table(&all));
    report.figures("transfers", &all)?;
    report.save(flags.text("into"))?;
    match all.iter().filter(|one| one.growth > GROWTH_MAX).count() {
        0 => Ok(()),
        many => Err(Failure::new(format!("memory grew by more than 8 MiB in {many} transfers"))),
    }
}

fn transfer(
    peer: Peer,
    work: &str,
    direction: &'static str,
    programs: &Programs,
    pace: Pace,
) -> Result<Transfer> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let job = Job { work, origin: listener.local_addr()?, extra: &[], core: Some(PROXY_CORE) };
    let proxy = Running::start(peer, &job, programs)?;
    let pids = proxy.pids();
    let before = procfs::memory(&pids)?.resident;
    let begin = Instant::now();
    let to = proxy.address();
    let serve = thread("origin", move || serve(&listener, pace))?;
    let client =
        thread("client", move || if direction == "down" { download(to, pace) } else { upload(to, pace) })?;
    let mut highest = before;
    while !client.is_finished() {
        highest = highest.max(procfs::memory(&pids).context(proxy.log())?.resident);
        wait::pause(SAMPLE);
    }
    join(client).context(proxy.log())?;
    join(serve)?;
    Ok(Transfer {
        proxy: peer.name(),
        work: work.into(),
        direction,
        bytes: pace.total,
        seconds: begin.elapsed().as_secs_f64(),
        resident_before: before,
        growth: highest - before,
    })
}

fn thread(name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<JoinHandle<Result<()>>> {
    Ok(std::thread::Builder::new().name(name.into()).spawn(work)?)
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().map_err(|_| Failure::new("a transfer thread panicked"))?
}

/// The origin: accepts until a connection carries a request (probes of the rig carry none), serves it, ends.
fn serve(listener: &TcpListener, pace: Pace) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        patient(&stream)?;
        let Some((head, rest)) = read_head(&mut stream).context("request")? else { continue };
        if head.starts_with("GET ") {
            let length = pace.total;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes())?;
            return write_pattern(&mut stream, pace.total).context("origin sends");
        }
        read_in_bursts(&mut stream, &rest, pace).context("origin receives")?;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nreceived";
        stream.write_all(answer.as_bytes())?;
        return Ok(());
    }
}

fn download(to: SocketAddr, pace: Pace) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    patient(&stream)?;
    stream.write_all(format!("GET /bulk HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes())?;
    let (head, rest) = read_head(&mut stream)?.ok_or_else(|| Failure::new("no answer"))?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(Failure::new(format!("answer: {head}")));
    }
    read_in_bursts(&mut stream, &rest, pace).context("client receives")
}

fn upload(to: SocketAddr, pace: Pace) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    patient(&stream)?;
    let length = pace.total;
    stream.write_all(
        format!("POST /bulk HTTP/1.1\r\nHost: {to}\r\nContent-Length: {length}\r\n\r\n").as_bytes(),
    )?;
    write_pattern(&mut stream, length).context("client sends")?;
    let (head, rest) = read_head(&mut stream)?.ok_or_else(|| Failure::new("no answer"))?;
    let mut body = rest;
    if body.len() < 8 {
        let mut more = vec![0; 8 - body.len()];
        stream.read_exact(&mut more)?;
        body.extend(more);
    }
    if head.starts_with("HTTP/1.1 200") && body == b"received" {
        Ok(())
    } else {
        Err(Failure::new(format!("answer to the upload: {head}")))
    }
}

fn patient(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    Ok(())
}

/// The head as text and the bytes behind it; `None` when the connection ends before one.
fn read_head(stream: &mut TcpStream) -> Result<Option<(String, Vec<u8>)>> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Ok(None);
        }
        bytes.extend_from_slice(&piece[..count]);
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok(Some((String::from_utf8_lossy(&bytes).into_owned(), rest)));
        }
    }
}

fn pattern() -> Vec<u8> {
    (0..PATTERN_BYTES).map(|index| (index.wrapping_mul(31) >> 3) as u8).collect()
}

fn write_pattern(stream: &mut TcpStream, total: u64) -> Result<()> {
    let pattern = pattern();
    let mut left = total;
    while left > 0 {
        let piece = left.min(PATTERN_BYTES as u64) as usize;
        stream.write_all(&pattern[..piece])?;
        left -= piece as u64;
    }
    Ok(())
}

/// Reads `pace.total` bytes, `pace.burst` at a time, each burst not before its time, and compares every byte.
fn read_in_bursts(stream: &mut TcpStream, first: &[u8], pace: Pace) -> Result<()> {
    let mut check = Check { pattern: pattern(), seen: 0 };
    check.bytes(first)?;
    let begin = Instant::now();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut bursts = 0;
    while check.seen < pace.total {
        let due = Duration::from_secs_f64((bursts * pace.burst) as f64 / pace.per_second as f64);
        wait::pause(due.saturating_sub(begin.elapsed()));
        bursts += 1;
        let until = (bursts * pace.burst).min(pace.total);
        while check.seen < until {
            let wanted = (until - check.seen).min(PIECE_BYTES as u64) as usize;
            let count = stream.read(&mut buffer[..wanted])?;
            if count == 0 {
                return Err(Failure::new(format!("ended after {} of {} bytes", check.seen, pace.total)));
            }
            check.bytes(&buffer[..count])?;
        }
    }
    Ok(())
}

struct Check {
    pattern: Vec<u8>,
    seen: u64,
}

impl Check {
    fn bytes(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let at = (self.seen % PATTERN_BYTES as u64) as usize;
            let piece = bytes.len().min(PATTERN_BYTES - at);
            if bytes[..piece] != self.pattern[at..at + piece] {
                return Err(Failure::new(format!("bytes differ behind offset {}", self.seen)));
            }
            self.seen += piece as u64;
            bytes = &bytes[piece..];
        }
        Ok(())
    }
}

fn table(all: &[Transfer]) -> String {
    let mib = |bytes: u64| format!("{:.2}", bytes as f64 / f64::from(1 << 20));
    let mut table = Table::new(&[
        "proxy",
        "config",
        "direction",
        "MiB",
        "seconds",
        "resident before, MiB",
        "growth, MiB",
        "under 8 MiB",
    ]);
    for one in all {
        table.row([
            one.proxy.to_string(),
            one.work.clone(),
            one.direction.to_string(),
            (one.bytes >> 20).to_string(),
            format!("{:.1}", one.seconds),
            mib(one.resident_before),
            mib(one.growth),
            if one.growth <= GROWTH_MAX { "yes" } else { "NO" }.to_string(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_arrive_whole_without_a_proxy() -> Result<()> {
        let pace = Pace { total: 3 << 20, burst: 1 << 20, per_second: 1 << 30 };
        for direction in [download as fn(SocketAddr, Pace) -> Result<()>, upload] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let to = listener.local_addr()?;
            let origin = thread("origin", move || serve(&listener, pace))?;
            direction(to, pace)?;
            join(origin)?;
        }
        Ok(())
    }

    #[test]
    fn a_lost_a_doubled_and_a_changed_byte_are_found() -> Result<()> {
        let good: Vec<u8> = pattern().into_iter().cycle().take(200_000).collect();
        let check = |bytes: &[u8]| Check { pattern: pattern(), seen: 0 }.bytes(bytes);
        check(&good)?;
        for at in [0, 65_520, 131_000] {
            let (mut lost, mut doubled, mut changed) = (good.clone(), good.clone(), good.clone());
            lost.remove(at);
            doubled.insert(at, good[at]);
            changed[at] ^= 1;
            assert!(check(&lost).is_err() && check(&doubled).is_err() && check(&changed).is_err(), "at {at}");
        }
        Ok(())
    }
}
