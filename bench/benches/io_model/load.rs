//! What stands around the worker under test: the client, the origin, the pinning, and the clock that counts the worker's
//! CPU time. All of it is plain readiness code on the second core and the same for every model.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::thread::{CpuSet, gettid, sched_setaffinity};

/// Size of request and answer.
pub(crate) const MESSAGE_BYTES: usize = 1024;
pub(crate) const EVENTS_MAX: usize = 256;
const ORIGIN_THREAD: &str = "origin";
const CPU_OF_WORKER: usize = 0;
const CPU_OF_OTHERS: usize = 1;

/// Puts the calling thread on the worker's core.
pub(crate) fn pin_worker() {
    pin(CPU_OF_WORKER);
}

/// Puts the calling thread on the core of client and origin.
pub(crate) fn pin_client() {
    pin(CPU_OF_OTHERS);
}

fn pin(cpu: usize) {
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        let mut set = CpuSet::new();
        set.set(cpu);
        sched_setaffinity(None, &set).expect("two allowed CPUs, 0 and 1");
    }
}

/// CPU time of all threads of this process but the client's and the origin's: what only the worker under test and the
/// kernel threads working for it can have spent.
pub(crate) struct CpuClock {
    at_start: Duration,
}

impl CpuClock {
    pub(crate) fn start() -> Self {
        Self { at_start: workers_cpu() }
    }

    pub(crate) fn stop(self) -> Duration {
        workers_cpu().saturating_sub(self.at_start)
    }
}

fn workers_cpu() -> Duration {
    let own = gettid().as_raw_nonzero().to_string();
    let tasks = fs::read_dir("/proc/self/task").expect("/proc is mounted").flatten();
    let others = tasks.filter(|task| task.file_name().to_string_lossy() != own);
    let cpu_ns = others.filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        let is_origin = name.trim_end() == ORIGIN_THREAD;
        (!is_origin).then(|| stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("schedstat"))
    });
    Duration::from_nanos(cpu_ns.sum())
}

/// A closed loop: every connection has one request under way.
pub(crate) struct Client {
    connections: Vec<Connection>,
    poller: OwnedFd,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the present answer that have arrived.
    received: usize,
}

impl Client {
    pub(crate) fn connect(worker: SocketAddr, connections: usize) -> Self {
        let poller = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let connections = (0..connections)
            .map(|i| {
                let stream = TcpStream::connect(worker).expect("the worker listens");
                prepare(&stream);
                watch(&poller, &stream, i);
                Connection { stream, received: 0 }
            })
            .collect();
        Self { connections, poller }
    }

    /// Runs this many exchanges to their end.
    pub(crate) fn exchange(&mut self, exchanges: u64) {
        let (mut started, mut finished) = (0, 0);
        for connection in self.connections.iter_mut().take(usize::try_from(exchanges).unwrap_or(usize::MAX)) {
            connection.request();
            started += 1;
        }
        let mut events = Vec::with_capacity(EVENTS_MAX);
        while finished < exchanges {
            wait(&self.poller, &mut events);
            for event in events.drain(..) {
                let connection = &mut self.connections[index(&event)];
                if connection.receive() {
                    finished += 1;
                    if started < exchanges {
                        started += 1;
                        connection.request();
                    }
                }
            }
        }
    }
}

impl Connection {
    fn request(&mut self) {
        self.stream.write_all(&[b'q'; MESSAGE_BYTES]).expect("room for one request");
    }

    /// Reads once; true when the answer is complete.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; MESSAGE_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(0) => panic!("the worker closed a connection"),
            Ok(n) => self.received += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("the worker broke a connection: {e}"),
        }
        let is_complete = self.received >= MESSAGE_BYTES;
        if is_complete {
            self.received -= MESSAGE_BYTES;
        }
        is_complete
    }
}

/// Starts the origin, which sends back what it gets, for as long as the process lives.
pub(crate) fn start_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let serve = move || {
        pin_client();
        echo(&listener);
    };
    thread::Builder::new().name(ORIGIN_THREAD.to_owned()).spawn(serve).expect("a thread");
    address
}

fn echo(listener: &TcpListener) {
    const LISTENER: usize = usize::MAX;
    let poller = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    watch(&poller, listener, LISTENER);
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS_MAX);
    let mut buffer = [0; 4 * MESSAGE_BYTES];
    loop {
        wait(&poller, &mut events);
        for event in events.drain(..) {
            if index(&event) == LISTENER {
                let (stream, _) = listener.accept().expect("a connection");
                prepare(&stream);
                watch(&poller, &stream, streams.len());
                streams.push(stream);
                continue;
            }
            let mut stream = &streams[index(&event)];
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => stream.write_all(&buffer[..n]).expect("room for one answer"),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                _ => epoll::delete(&poller, stream).expect("was added"),
            }
        }
    }
}

pub(crate) fn prepare(stream: &TcpStream) {
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_nonblocking(true).expect("a socket");
}

pub(crate) fn watch(poller: &OwnedFd, fd: impl std::os::fd::AsFd, index: usize) {
    let data = epoll::EventData::new_u64(index as u64);
    epoll::add(poller, fd, data, epoll::EventFlags::IN).expect("a descriptor to poll");
}

pub(crate) fn wait(poller: &OwnedFd, events: &mut Vec<epoll::Event>) {
    loop {
        match epoll::wait(poller, spare_capacity(events), None) {
            Ok(_) => return,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => panic!("epoll_wait: {e}"),
        }
    }
}

pub(crate) fn index(event: &epoll::Event) -> usize {
    usize::try_from(event.data.u64()).expect("an index")
}
