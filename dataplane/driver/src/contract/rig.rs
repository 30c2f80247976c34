//! A driver under observation: remembers what each socket saw and checks the rules that hold for every completion.

use std::collections::BTreeMap;

use super::Backend;
use crate::{
    AcceptOptions, Addr, Buf, Class, Close, ConnectOptions, Datagram, Detached, Done, Driver, HEADROOM,
    IoError, Last, ListenerId, Micros, Receive, Sent, Slice, Sock, TAILROOM,
};

/// Turns that may pass without the awaited outcome.
const TURNS_MAX: usize = 200_000;
/// Time that may pass without the awaited outcome. Microseconds.
const PATIENCE_US: Micros = 20_000_000;
/// The longest wait of one turn. Microseconds.
const TURN_US: Micros = 20_000;

/// What a socket saw so far.
#[derive(Default, Debug)]
pub(crate) struct Seen {
    pub(crate) bytes: Vec<u8>,
    /// `Received` completions.
    pub(crate) arrivals: usize,
    pub(crate) ended: bool,
    pub(crate) peer_closed: bool,
    pub(crate) failed: Option<(IoError, usize)>,
    pub(crate) connected: Option<Result<(), IoError>>,
    /// Total of `Sent`.
    pub(crate) sent: usize,
    pub(crate) spliced: u64,
    pub(crate) closed: bool,
    pub(crate) datagrams: Vec<Datagram>,
    reading: bool,
    closing: bool,
    /// Bytes that were in the `into` buffer when it was handed over.
    into: Option<usize>,
    /// Keep received buffers here instead of dropping them.
    pub(crate) hold: Option<Vec<Buf>>,
    /// Pause at every arrival.
    pub(crate) pause_at_arrival: bool,
}

pub(crate) struct Rig<B: Backend> {
    pub(crate) backend: B,
    pub(crate) driver: B::D,
    pub(crate) seen: BTreeMap<Sock, Seen>,
    pub(crate) accepted: Vec<(Sock, Addr)>,
    pub(crate) accept_failed: Vec<IoError>,
    pub(crate) listener_closed: usize,
    pub(crate) woken: usize,
    pub(crate) detached: Vec<(Sock, Result<Detached, IoError>)>,
    /// Most completions seen in one turn.
    pub(crate) dones_max: usize,
    default_listener: Option<(ListenerId, Addr)>,
}

impl<B: Backend> Rig<B> {
    pub(crate) fn new() -> Rig<B> {
        let (backend, driver) = B::open();
        Rig::over(backend, driver)
    }

    /// Over a driver that was opened in a special way.
    pub(crate) fn over(backend: B, driver: B::D) -> Rig<B> {
        Rig {
            backend,
            driver,
            seen: BTreeMap::new(),
            accepted: Vec::new(),
            accept_failed: Vec::new(),
            listener_closed: 0,
            woken: 0,
            detached: Vec::new(),
            dones_max: 0,
            default_listener: None,
        }
    }

    pub(crate) fn listen(&mut self, options: AcceptOptions) -> (ListenerId, Addr) {
        let (handle, addr) = self.backend.listener(&mut self.driver);
        (self.driver.listen(handle, options).expect("listen"), addr)
    }

    pub(crate) fn connect(&mut self, to: &Addr) -> Sock {
        let sock = self.driver.connect(to, &ConnectOptions::default()).expect("a socket");
        assert!(self.seen.insert(sock, Seen::default()).is_none(), "a live handle was reused");
        sock
    }

    /// A connection: (connecting side, accepted side).
    pub(crate) fn pair(&mut self) -> (Sock, Sock) {
        let (id, addr) = match self.default_listener.clone() {
            Some(listener) => listener,
            None => self.listen(AcceptOptions::default()),
        };
        self.default_listener = Some((id, addr.clone()));
        self.driver.accept(id);
        let client = self.connect(&addr);
        let before = self.accepted.len();
        self.run("a connection", |r| r.accepted.len() > before && r.seen[&client].connected == Some(Ok(())));
        (client, self.accepted.last().expect("accepted").0)
    }

    /// Grants receiving.
    pub(crate) fn recv(&mut self, sock: Sock, size: Receive) {
        self.saw(sock).reading = true;
        self.driver.recv(sock, None, size);
    }

    pub(crate) fn recv_into(&mut self, sock: Sock, buf: Buf) {
        let seen = self.saw(sock);
        (seen.reading, seen.into) = (true, Some(buf.len()));
        self.driver.recv(sock, Some(buf), Receive::Small);
    }

    pub(crate) fn pause(&mut self, sock: Sock) -> Option<Buf> {
        let seen = self.saw(sock);
        (seen.reading, seen.into) = (false, None);
        self.driver.pause(sock)
    }

    pub(crate) fn send(&mut self, sock: Sock, bytes: &[u8], last: Last) -> Sent {
        let slice = self.slice(bytes);
        self.driver.send(sock, slice, last)
    }

    /// A slice of pool memory; at most 256 KiB.
    pub(crate) fn slice(&self, bytes: &[u8]) -> Slice {
        let class = Class::holding(bytes.len()).expect("a class that holds it");
        let mut buf = self.driver.pool().take(class);
        assert!(buf.append(bytes));
        buf.freeze()
    }

    pub(crate) fn close(&mut self, sock: Sock, how: Close) {
        let seen = self.saw(sock);
        (seen.closing, seen.reading) = (true, false);
        self.driver.close(sock, how);
    }

    /// Turns until `done`; panics when that takes too long.
    pub(crate) fn run(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = self.driver.now();
        for _ in 0..TURNS_MAX {
            if done(self) {
                return;
            }
            assert!(self.driver.now() - start < PATIENCE_US, "{what} did not happen: {:#?}", self.seen);
            self.turn(TURN_US);
        }
        panic!("{what} did not happen in {TURNS_MAX} turns: {:#?}", self.seen);
    }

    /// Turns until the peer's reset is noticed; where the backend knows none, its end.
    pub(crate) fn run_until_reset(&mut self, sock: Sock) {
        self.run("the reset", |r| {
            let seen = &r.seen[&sock];
            seen.failed.is_some() || (!B::RESETS && (seen.ended || seen.peer_closed))
        });
        if B::RESETS {
            assert_eq!(self.seen[&sock].failed, Some((IoError::Reset, 0)));
            assert!(!self.seen[&sock].ended);
        }
    }

    /// Turns for this long: for what must not happen. Microseconds.
    pub(crate) fn idle(&mut self, micros: Micros) {
        let until = self.driver.now() + micros;
        while self.driver.now() < until {
            self.turn(until - self.driver.now());
        }
    }

    /// One turn of at most `micros`.
    pub(crate) fn turn(&mut self, micros: Micros) {
        self.driver.turn(self.driver.now() + micros, false);
        let mut dones = 0;
        while let Some(done) = self.driver.next() {
            dones += 1;
            self.check(done);
        }
        self.dones_max = self.dones_max.max(dones);
    }

    /// Closes what is open and checks that nothing leaked.
    pub(crate) fn finish(mut self) {
        let open: Vec<Sock> =
            self.seen.iter().filter(|(_, s)| !s.closed && !s.closing).map(|(&sock, _)| sock).collect();
        for sock in open {
            self.close(sock, Close::Reset);
        }
        for seen in self.seen.values_mut() {
            seen.hold = None;
            seen.datagrams.clear();
        }
        self.detached.clear();
        self.run("Closed for every socket", |r| r.seen.values().all(|s| s.closed));
        self.turn(0);
        let usage = self.driver.usage();
        assert_eq!((usage.socks, usage.buffers), (0, 0), "leaked: {usage:?}");
    }

    pub(crate) fn saw(&mut self, sock: Sock) -> &mut Seen {
        self.seen.get_mut(&sock).expect("a socket of this rig")
    }

    /// Notes that a splice grants the end of the stream.
    pub(crate) fn saw_splice(&mut self, from: Sock) {
        self.saw(from).reading = true;
    }

    /// Starts to observe a socket that came by `attach` or `datagram`.
    pub(crate) fn adopt(&mut self, sock: Sock) {
        assert!(self.seen.insert(sock, Seen::default()).is_none_or(|old| old.closed));
    }

    fn check(&mut self, done: Done) {
        match done {
            Done::Accepted { sock, peer, .. } => {
                assert!(!sock.is_none());
                assert!(self.seen.insert(sock, Seen::default()).is_none(), "a handle was reused");
                self.accepted.push((sock, peer));
            }
            Done::AcceptFailed { error, .. } => self.accept_failed.push(error),
            Done::ListenerClosed { .. } => self.listener_closed += 1,
            Done::Woken => self.woken += 1,
            Done::Closed { sock } => {
                let seen = self.saw(sock);
                assert!(seen.closing, "{sock:?} was closed by nobody");
                assert!(!std::mem::replace(&mut seen.closed, true), "{sock:?} was closed twice");
            }
            Done::Detached { sock, result } => {
                self.live(sock);
                if result.is_ok() {
                    self.seen.remove(&sock);
                }
                self.detached.push((sock, result));
            }
            Done::Received { sock, buf, .. } => self.check_received(sock, buf),
            Done::Connected { sock, result } => {
                assert!(self.live(sock).connected.replace(result).is_none(), "connected twice");
            }
            Done::Ended { sock } => {
                let seen = self.live(sock);
                assert!(seen.reading, "the end came without permission");
                assert!(!std::mem::replace(&mut seen.ended, true), "the stream ended twice");
            }
            Done::PeerClosed { sock } => {
                let seen = self.live(sock);
                assert!(!seen.reading && !seen.ended);
                assert!(!std::mem::replace(&mut seen.peer_closed, true), "told twice");
            }
            Done::Sent { sock, bytes, queued } => {
                assert!(bytes > 0);
                self.live(sock).sent += bytes;
                assert_eq!(self.driver.queued(sock), queued);
            }
            Done::Spliced { from, bytes } => self.live(from).spliced += bytes,
            Done::Failed { sock, error, unsent } => {
                let seen = self.live(sock);
                assert!(seen.failed.replace((error, unsent)).is_none(), "failed twice");
            }
            Done::Datagrams { sock, batch } => self.live(sock).datagrams.extend(batch),
        }
    }

    fn check_received(&mut self, sock: Sock, buf: Buf) {
        let seen = self.live(sock);
        assert!(seen.reading, "bytes came without permission");
        assert!(!seen.ended && seen.failed.is_none());
        let skip = seen.into.take().unwrap_or(0);
        assert!(buf.len() > skip, "an empty arrival");
        assert!(buf.headroom() >= HEADROOM && buf.tailroom() >= TAILROOM);
        seen.bytes.extend_from_slice(&buf.bytes()[skip..]);
        seen.arrivals += 1;
        if let Some(held) = &mut seen.hold {
            held.push(buf);
        }
        if self.saw(sock).pause_at_arrival {
            assert!(self.pause(sock).is_none());
        }
    }

    /// Nothing but `Closed` may be told of a socket that is closing or failed.
    fn live(&mut self, sock: Sock) -> &mut Seen {
        let seen = self.saw(sock);
        assert!(!seen.closing, "{sock:?} was heard of after close");
        assert!(seen.failed.is_none(), "{sock:?} was heard of after it failed");
        seen
    }
}

/// Bytes that tell their position, so that a lost, repeated or swapped one is seen.
pub(crate) fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(&(state >> 24).to_le_bytes()[..5]);
    }
    bytes.truncate(len);
    bytes
}
