//! A whole worker at work: the production `Worker` over the simulated network, with a client that asks and a server that
//! answers. No socket, no clock: an exchange is the same instructions every time.

use std::sync::Arc;

use ringway_driver::sim::{EndId, Network, NetworkOptions, Notice, Sim};
use ringway_driver::{Addr, Handle, Micros};
use ringway_engine::{Command, Shared, Worker, WorkerConfig};
use ringway_policy::spec::{Address, Spec};

use crate::codec::RESPONSE;
use crate::routing::{By, compile, request, spec};

/// Bytes of the answer's body, as its head says.
pub const BODY_BYTES: usize = 1024;
/// Ends the answer and stands nowhere else in it.
const LAST_BYTE: u8 = b'$';
const SEED: u64 = 7;
/// Turns an exchange may take; it takes about four.
const TURNS_MAX: usize = 1_000;

/// One client connection through one worker to one server.
pub struct Rig {
    net: Network,
    worker: Worker<Sim>,
    client: EndId,
    requests: Vec<Vec<u8>>,
    answer: Vec<u8>,
    /// The server's listening socket.
    origin: u64,
    received_by_client: Vec<u8>,
    received_by_server: Vec<u8>,
}

impl Rig {
    /// A worker with `services` routes and clusters, all served by one server; nothing has been asked yet.
    pub fn new(services: usize, by: By) -> Self {
        let net = Network::new(SEED, NetworkOptions { latency_us: (1, 1), ..NetworkOptions::default() });
        let spec = spec(services, 1, by);
        let (at, served_at) = addresses(&spec);
        let origin = net.listen(&served_at);
        let shared = Arc::new(Shared::default());
        let config =
            WorkerConfig { id: 0, seed: SEED, connections_max: 1_000, memory_max: u64::MAX, spin: false };
        let mut worker = Worker::new(Sim::new(&net), config, shared.clone());
        let listeners = vec![(spec.listeners[0].name.clone(), Handle::Sim(net.bind(&at)))];
        shared.send(Command::Publish { snapshot: Arc::new(compile(&spec)), listeners });
        let client = net.connect(&at);
        while net.connected(client).is_none() {
            worker.turn(Micros::MAX);
        }
        Self {
            client,
            net,
            worker,
            requests: (0..services).map(|service| request(service, by)).collect(),
            answer: [RESPONSE, &[b'x'; BODY_BYTES - 1], &[LAST_BYTE]].concat(),
            origin,
            received_by_client: Vec::new(),
            received_by_server: Vec::new(),
        }
    }

    /// One exchange with that service: the request in, through to the server, the answer back. Bytes of the answer.
    #[inline(never)]
    pub fn exchange(&mut self, service: usize) -> usize {
        self.received_by_client.clear();
        let request = &self.requests[service];
        let written = self.net.write(self.client, request);
        assert_eq!(written, Ok(request.len()), "the client's connection is open");
        for _ in 0..TURNS_MAX {
            self.worker.turn(Micros::MAX);
            while let Some(notice) = self.net.next_notice() {
                self.react(notice);
            }
            if self.received_by_client.last() == Some(&LAST_BYTE) {
                return self.received_by_client.len();
            }
        }
        panic!("no answer after {TURNS_MAX} turns");
    }

    fn react(&mut self, notice: Notice) {
        match notice {
            Notice::End(end) if end == self.client => {
                self.net.read(end, usize::MAX, &mut self.received_by_client);
            }
            Notice::End(end) => {
                self.net.read(end, usize::MAX, &mut self.received_by_server);
                if self.received_by_server.ends_with(b"\r\n\r\n") {
                    self.received_by_server.clear();
                    let written = self.net.write(end, &self.answer);
                    assert_eq!(written, Ok(self.answer.len()), "the worker's connection is open");
                }
            }
            Notice::Listener(_) => while self.net.accept(self.origin).is_some() {},
            Notice::Port(_) | Notice::Timer(_) => {}
        }
    }
}

/// Where the worker listens and where all endpoints are.
fn addresses(spec: &Spec) -> (Addr, Addr) {
    let inet = |address: &Address| match address {
        Address::Inet(socket) => Addr::Inet(*socket),
        other => panic!("not an IP address: {other:?}"),
    };
    (inet(&spec.listeners[0].address), inet(&spec.clusters[0].endpoints[0].address))
}
