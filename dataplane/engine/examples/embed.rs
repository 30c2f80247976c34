//! A program of your own with a Ringway worker inside: listens on a free port and proxies to the address given.
//!
//! `cargo run -p ringway-engine --example embed -- 127.0.0.1:3000`

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "the program around the worker does its own I/O"
)]

use std::net::TcpListener;
use std::sync::Arc;

use ringway_driver::{Choice, DriverConfig, Handle, OsDriver};
use ringway_engine::{Command, Shared, Status, Worker, WorkerConfig};
use ringway_policy::compile::Resolved;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec::{self, Spec};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let to = std::env::args().nth(1).unwrap_or("127.0.0.1:3000".into()).parse()?;
    let socket = TcpListener::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    println!("http://{} -> http://{to}", socket.local_addr()?);

    // The configuration as data: one listener, one route to one cluster. Names are ours to choose.
    let spec = Spec {
        listeners: vec![spec::Listener {
            name: "web".into(),
            address: spec::Address::Inet(socket.local_addr()?),
            proxy_protocol: spec::ProxyProtocolIn::Off,
            proxy_protocol_trusted: Vec::new(),
            protocol: spec::Protocol::Http(spec::Http::default()),
        }],
        routes: vec![spec::Route::to(spec::Action::Cluster("app".into()))],
        clusters: vec![spec::Cluster {
            name: "app".into(),
            endpoints: vec![spec::Endpoint { address: spec::Address::Inet(to), weight: 1 }],
            ..spec::Cluster::default()
        }],
        ..Spec::default()
    };
    let snapshot =
        Snapshot::compile(&spec, &Resolved::default(), None, 1).map_err(|errors| format!("{errors:?}"))?;

    // A worker belongs to the thread it runs on; commands may come from any other.
    let (driver, selected) =
        OsDriver::open(Choice::Auto, &DriverConfig::default()).map_err(|e| format!("{e:?}"))?;
    println!("driver: {selected:?}");
    let shared = Arc::new(Shared::default());
    let config = WorkerConfig { id: 0, seed: 1, connections_max: 1_000, memory_max: u64::MAX, spin: false };
    let mut worker = Worker::new(driver, config, shared.clone());
    let listeners = vec![("web".into(), Handle::Fd(socket.into()))];
    shared.send(Command::Publish { snapshot: Arc::new(snapshot), listeners });
    match worker.run() {
        Status::Drained | Status::Stopped => Ok(()),
        status => Err(format!("{status:?}").into()),
    }
}
