//! Sockets, epoll and pinning behind safe wrappers: what origin and load generator share.

use crate::failure::{Context, Failure, Result};
use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt},
    thread::CpuSet,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime},
};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

/// The core of the proxy under measurement.
pub const PROXY_CORE: usize = 0;
/// The core of origin and load generator.
pub const LOAD_CORE: usize = 1;

/// Events taken per wait.
const EVENTS_MAX: usize = 256;

/// Where proxies listen.
const PROXY_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Readable, edge-triggered.
pub const READ: epoll::EventFlags = epoll::EventFlags::IN.union(epoll::EventFlags::ET);
/// Readable and writable, edge-triggered.
pub const READ_WRITE: epoll::EventFlags = READ.union(epoll::EventFlags::OUT);

/// What one receive gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The peer has ended its side.
    End,
    /// Nothing there.
    Empty,
    /// The connection failed.
    Broken(Errno),
}

/// An epoll instance with its event buffer; a token is the caller's business.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// An empty poller.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Registers a descriptor.
    ///
    /// # Errors
    /// When it is registered already or closed.
    pub fn add(&self, fd: impl AsFd, token: u64, flags: epoll::EventFlags) -> Result<()> {
        epoll::add(&self.epoll, fd, epoll::EventData::new_u64(token), flags).context("epoll add")
    }

    /// Waits for events, at most so long; returns the tokens that are ready.
    ///
    /// # Errors
    /// When the kernel refuses to wait. Being interrupted is no error.
    pub fn wait(&mut self, limit: Duration, ready: &mut Vec<u64>) -> Result<()> {
        ready.clear();
        self.events.clear();
        let limit = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| event.data.u64()));
        Ok(())
    }
}

/// A timer with the resolution of the kernel's high-resolution clock: epoll's own limit has that of a millisecond.
pub struct Alarm {
    timer: OwnedFd,
}

impl Alarm {
    /// An alarm that is not set.
    ///
    /// # Errors
    /// When descriptors have run out.
    pub fn new() -> Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("timer")?;
        Ok(Self { timer })
    }

    /// Makes the alarm readable so many nanoseconds from now (at least one), in place of what was set before.
    ///
    /// # Errors
    /// Never for a span below centuries.
    pub fn set(&self, ns: u64) -> Result<()> {
        let after = Duration::from_nanos(ns.max(1));
        let value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: i64::from(after.subsec_nanos()) };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).context("timer")?;
        Ok(())
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Receives what is there, without waiting.
pub fn receive(fd: impl AsFd, into: &mut [u8]) -> Received {
    match rustix::net::recv(fd, into, RecvFlags::DONTWAIT) {
        Ok((0, _)) => Received::End,
        Ok((bytes, _)) => Received::Bytes(bytes),
        Err(Errno::AGAIN | Errno::INTR) => Received::Empty,
        Err(error) => Received::Broken(error),
    }
}

/// Sends what fits, without waiting; 0 when nothing fits.
///
/// # Errors
/// When the connection failed.
pub fn send(fd: impl AsFd, bytes: &[u8]) -> std::result::Result<usize, Errno> {
    match rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        other => other,
    }
}

/// Starts to connect; `true` when connected at once, as loopback does.
///
/// # Errors
/// When the connection was refused or no local port is free.
pub fn connect(to: SocketAddr) -> std::result::Result<(OwnedFd, bool), Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &to) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error),
    }
}

/// Accepts one connection if there is one.
pub fn accept(listener: impl AsFd) -> Option<OwnedFd> {
    rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC).ok()
}

/// A non-blocking listener on a free loopback port whose connections send large answers in one piece.
///
/// # Errors
/// When no port is free.
pub fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("listen")?;
    rustix::net::listen(&listener, 4096).context("backlog")?;
    listener.set_nonblocking(true)?;
    sockopt::set_socket_send_buffer_size(&listener, 1 << 20).context("SO_SNDBUF")?;
    Ok(listener)
}

/// A loopback address that was free a moment ago, for a proxy to listen on. Below the range the kernel takes local
/// ports of connections from: a listener that goes and comes back must not find its port taken by a client.
///
/// # Errors
/// When no port is free.
pub fn free_address() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id() as u16;
    for _ in 0..PROXY_PORTS.len() {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PROXY_PORTS.len() as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORTS.start + offset));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(Failure::new(format!("no port of {PROXY_PORTS:?} is free")))
}

/// Runs `work` with this thread on one core, so that a process it starts inherits the pinning; then puts the old
/// mask back.
///
/// # Errors
/// When the core does not exist.
pub fn pinned<T>(core: usize, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = rustix::thread::sched_getaffinity(None).context("read affinity")?;
    pin(core)?;
    let result = work();
    rustix::thread::sched_setaffinity(None, &before).context("restore affinity")?;
    result
}

/// Keeps this thread on one core.
///
/// # Errors
/// When the core does not exist or is not allowed.
pub fn pin(core: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(core);
    rustix::thread::sched_setaffinity(None, &cpus).context(format!("pin to core {core}"))
}

/// Takes the soft limit of open files up to the hard one and returns it.
pub fn raise_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if setrlimit(Resource::Nofile, wanted).is_ok() { limit.maximum } else { limit.current }
        .unwrap_or(u64::MAX)
}
