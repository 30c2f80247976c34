//! No allocation per request in the steady state: counted over real sockets, inside the worker's turns alone.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "the peers of the worker use plain sockets"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use ringway_driver::{Choice, Driver, DriverConfig, Handle, OsDriver, Waker};
use ringway_engine::{Command, Shared, Worker, WorkerConfig};
use ringway_policy::compile::Resolved;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec::{self, Address, Spec};

const REQUEST: &[u8] =
    b"GET /a/b?c=d HTTP/1.1\r\nHost: example.com\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n";
const POST: &[u8] = b"POST /p HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: test\r\n\r\nworld";

struct Rig {
    worker: Worker<OsDriver>,
    shared: Arc<Shared>,
    upstream: TcpListener,
    server: Option<TcpStream>,
    client: TcpStream,
}

impl Rig {
    fn new(log: bool) -> Rig {
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        let access_log = spec::AccessLog { path: None, format: spec::LogFormat::Json };
        let spec = Spec {
            process: spec::Process { access_log: log.then_some(access_log), ..spec::Process::default() },
            listeners: vec![spec::Listener {
                name: "web".into(),
                address: Address::Inet(at),
                proxy_protocol: spec::ProxyProtocolIn::Off,
                proxy_protocol_trusted: Vec::new(),
                protocol: spec::Protocol::Http(spec::Http::default()),
            }],
            routes: vec![spec::Route::to(spec::Action::Cluster("app".into()))],
            clusters: vec![spec::Cluster {
                name: "app".into(),
                endpoints: vec![spec::Endpoint {
                    address: Address::Inet(upstream.local_addr().unwrap()),
                    weight: 1,
                }],
                ..spec::Cluster::default()
            }],
        };
        let snapshot = Snapshot::compile(&spec, &Resolved::default(), None, 1).unwrap();
        let (driver, _) = OsDriver::open(Choice::Epoll, &DriverConfig::default()).unwrap();
        let shared = Arc::new(Shared::default());
        shared.enable_log(Waker::new(|| {}));
        let config = WorkerConfig { id: 0, seed: 1, connections_max: 100, memory_max: u64::MAX, spin: false };
        let mut worker = Worker::new(driver, config, shared.clone());
        let listeners = vec![("web".into(), Handle::Fd(listener.into()))];
        shared.send(Command::Publish { snapshot: Arc::new(snapshot), listeners });
        worker.turn(0);
        let client = TcpStream::connect(at).unwrap();
        client.set_nonblocking(true).unwrap();
        Rig { worker, shared, upstream, server: None, client }
    }

    fn turn(&mut self, counted: &mut u64) {
        let until = self.worker.driver().now() + 1_000;
        *counted += allocation_counter::measure(|| {
            self.worker.turn(until);
        })
        .count_total;
    }

    /// One exchange; returns the allocations of the worker.
    fn exchange(&mut self, request: &[u8]) -> u64 {
        let mut counted = 0;
        self.client.write_all(request).unwrap();
        if self.server.is_none() {
            self.worker.turn(self.worker.driver().now() + 100_000);
            self.worker.turn(self.worker.driver().now() + 1_000);
            let server = self.upstream.accept().unwrap().0;
            server.set_nonblocking(true).unwrap();
            self.server = Some(server);
        }
        let mut seen = Vec::new();
        while !(seen.ends_with(b"\r\n\r\n") && (request == REQUEST || seen.ends_with(b"0\r\n\r\n"))) {
            self.turn(&mut counted);
            read_some(self.server.as_mut().unwrap(), &mut seen);
        }
        self.server.as_mut().unwrap().write_all(ANSWER).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"world") {
            self.turn(&mut counted);
            read_some(&mut self.client, &mut answer);
        }
        while let Some(block) = self.shared.take_log_block() {
            self.shared.recycle_log_block(block);
        }
        counted
    }
}

fn read_some(from: &mut TcpStream, into: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    match from.read(&mut chunk) {
        Ok(0) => panic!("closed"),
        Ok(n) => into.extend_from_slice(&chunk[..n]),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
}

fn steady_state_allocations(log: bool, request: &[u8]) -> u64 {
    let mut rig = Rig::new(log);
    for _ in 0..300 {
        rig.exchange(request);
    }
    (0..200).map(|_| rig.exchange(request)).sum()
}

#[test]
fn a_request_allocates_nothing() {
    assert_eq!(steady_state_allocations(false, REQUEST), 0);
}

#[test]
fn a_chunked_request_allocates_nothing() {
    assert_eq!(steady_state_allocations(false, POST), 0);
}

#[test]
fn the_access_log_allocates_nothing_per_request() {
    // Blocks of 32 KiB are exchanged with the writer; a handful of lines allocate when the queue of spares runs dry.
    let allocated = steady_state_allocations(true, REQUEST);
    assert!(allocated <= 2, "{allocated} allocations in 200 requests");
}

#[test]
fn the_counter_counts() {
    assert!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(1)))).count_total > 0);
}
