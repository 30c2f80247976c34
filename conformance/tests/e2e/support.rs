//! What several themes need: log lines as JSON, ports that refuse or never answer, real peers as child processes.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use ringway_conformance::process::Ringway;
use rustix::net::{AddressFamily, SocketType, bind, connect, getsockname, listen, socket};
use serde_json::Value;

/// The next line of the access log.
pub(crate) fn log_line(ringway: &mut Ringway) -> Value {
    let line = ringway.output_line();
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// What an access log line says of the end of an exchange: status, flags, reason.
pub(crate) fn outcome(ringway: &mut Ringway) -> (u64, String, String) {
    let line = log_line(ringway);
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    (line["status"].as_u64().unwrap_or(0), text("flags"), text("reason"))
}

fn bound() -> (OwnedFd, SocketAddr) {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&fd, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = getsockname(&fd).expect("bound").try_into().expect("an internet address");
    (fd, address)
}

/// A port that refuses connections for as long as the first part lives.
pub(crate) fn refusing() -> (OwnedFd, SocketAddr) {
    bound()
}

/// A port that never completes a handshake: its accept queue is full.
pub(crate) fn unanswering() -> (Vec<OwnedFd>, SocketAddr) {
    let (fd, address) = bound();
    listen(&fd, 0).expect("listens");
    let filler = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    connect(&filler, &address).expect("the one place in the queue");
    (vec![fd, filler], address)
}

/// A child process that is ended on drop.
pub(crate) struct Peer {
    pub(crate) child: Child,
    /// The first line it printed.
    pub(crate) first: String,
}

impl Peer {
    /// Starts it and waits for a line of its standard output that contains `marker`.
    pub(crate) fn start(command: &mut Command, marker: &str) -> Peer {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the peer: `.ci/install packages` installs it");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut first = String::new();
        while !first.contains(marker) {
            first.clear();
            assert!(out.read_line(&mut first).is_ok_and(|n| n > 0), "the peer ended before {marker:?}");
        }
        // What it prints later is nobody's concern, but must not block it.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Peer { child, first: first.trim().to_owned() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Debian's Python, which has the Debian packages; else the one in the path.
pub(crate) fn python() -> Command {
    let debian = "/usr/bin/python3";
    Command::new(if std::path::Path::new(debian).exists() { debian } else { "python3" })
}

/// `len` bytes that differ everywhere: an offset wrong by one shows.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}
