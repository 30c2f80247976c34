//! The configurations a run goes through: the same names and places, with more or fewer listeners and endpoints.

use std::sync::Arc;

use ringway_driver::Addr;
use ringway_driver::sim::Rng;
use ringway_policy::compile::Resolved;
use ringway_policy::snapshot::Snapshot;
use ringway_policy::spec;

use super::tcp::Introduces;

/// What varies from one configuration to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Endpoints of the HTTP cluster, by number.
    pub endpoints: Vec<u16>,
    /// The second HTTP listener exists.
    pub extra: bool,
    /// The TCP listener relays inside the driver.
    pub splice: bool,
    /// Requests on one client connection, and on one upstream connection.
    pub requests_max: Option<u64>,
    /// Connections in the pool of an endpoint.
    pub pool_max: u32,
    pub lb: spec::Lb,
    /// The TCP listener takes PROXY protocol headers; TCP servers get them. Never changes in a run.
    pub proxy_in: bool,
    pub proxy_out: Introduces,
}

impl Shape {
    /// All endpoints, every default.
    pub fn plain() -> Shape {
        Shape {
            endpoints: vec![0, 1, 2],
            extra: true,
            splice: false,
            requests_max: None,
            pool_max: 1_024,
            lb: spec::Lb::LeastRequest,
            proxy_in: false,
            proxy_out: Introduces::Not,
        }
    }

    /// Something else.
    pub fn draw(rng: &mut Rng) -> Shape {
        Shape {
            endpoints: vec![0, 1, 2],
            extra: rng.chance(500_000),
            splice: rng.chance(500_000),
            requests_max: rng.chance(200_000).then(|| rng.between(1, 12)),
            pool_max: *rng.pick(&[0, 1, 2, 1_024, 1_024, 1_024]),
            lb: *rng.pick(&[spec::Lb::LeastRequest, spec::Lb::RoundRobin, spec::Lb::Weighted]),
            proxy_in: rng.chance(300_000),
            proxy_out: *rng.pick(&[Introduces::Not, Introduces::Not, Introduces::V1, Introduces::V2]),
        }
    }
}

/// Limits of time in every run. Milliseconds.
pub const HEADER_MS: u64 = 3_000;
pub const IDLE_MS: u64 = 60_000;
pub const STREAM_IDLE_MS: u64 = 4_000;
pub const TIMEOUT_MS: u64 = 6_000;
pub const CONNECT_MS: u64 = 1_000;
pub const POOL_IDLE_MS: u64 = 10_000;

pub fn web() -> Addr {
    place(8080)
}

pub fn extra() -> Addr {
    place(8081)
}

pub fn tcp() -> Addr {
    place(9000)
}

/// The address of an HTTP endpoint.
pub fn endpoint(number: u16) -> Addr {
    place(3000 + number)
}

pub fn tcp_endpoint() -> Addr {
    place(4000)
}

pub fn upgrade_endpoint() -> Addr {
    place(4001)
}

fn place(port: u16) -> Addr {
    Addr::Inet(([127, 0, 0, 1], port).into())
}

/// The configuration of that shape.
pub fn spec(shape: &Shape) -> spec::Spec {
    let http = || {
        let timeouts = spec::HttpTimeouts {
            header_ms: HEADER_MS,
            idle_ms: IDLE_MS,
            stream_idle_ms: STREAM_IDLE_MS,
            ..spec::HttpTimeouts::default()
        };
        let limits = spec::HttpLimits {
            requests_per_connection_max: shape.requests_max,
            ..spec::HttpLimits::default()
        };
        spec::Protocol::Http(spec::Http { timeouts, limits, ..spec::Http::default() })
    };
    let tcp_protocol = spec::Tcp {
        cluster: Some("raw".into()),
        idle_ms: STREAM_IDLE_MS,
        splice: shape.splice,
        ..spec::Tcp::default()
    };
    let mut listeners =
        vec![listener("web", web(), http()), listener("tcp", tcp(), spec::Protocol::Tcp(tcp_protocol))];
    if shape.proxy_in {
        listeners[1].proxy_protocol = spec::ProxyProtocolIn::Optional;
    }
    if shape.extra {
        listeners.push(listener("extra", extra(), http()));
    }
    let proxy_protocol = match shape.proxy_out {
        Introduces::Not => spec::ProxyProtocolOut::Off,
        Introduces::V1 => spec::ProxyProtocolOut::V1,
        Introduces::V2 => spec::ProxyProtocolOut::V2,
    };
    let access_log = Some(spec::AccessLog { path: None, format: spec::LogFormat::Json });
    spec::Spec {
        process: spec::Process { access_log, ..spec::Process::default() },
        listeners,
        routes: vec![
            route("all", "/", "app"),
            spec::Route { upgrade: vec!["websocket".into()], ..route("upgrades", "/ws", "ws") },
        ],
        clusters: vec![
            spec::Cluster {
                lb: shape.lb,
                idle_max: shape.pool_max,
                requests_per_connection_max: shape.requests_max.map(|n| n * 3),
                ..cluster("app", shape.endpoints.iter().map(|n| endpoint(*n)).collect())
            },
            cluster("ws", vec![upgrade_endpoint()]),
            spec::Cluster { proxy_protocol, ..cluster("raw", vec![tcp_endpoint()]) },
        ],
    }
}

/// The compiled configuration of that shape.
pub fn snapshot(
    shape: &Shape,
    previous: Option<&Snapshot>,
    generation: u64,
) -> Result<Arc<Snapshot>, String> {
    let compiled = Snapshot::compile(&spec(shape), &Resolved::default(), previous, generation);
    compiled.map(Arc::new).map_err(|errors| format!("the harness's configuration is wrong: {errors:?}"))
}

fn listener(name: &str, address: Addr, protocol: spec::Protocol) -> spec::Listener {
    spec::Listener {
        name: name.into(),
        address: address_of(&address),
        proxy_protocol: spec::ProxyProtocolIn::Off,
        proxy_protocol_trusted: Vec::new(),
        protocol,
    }
}

fn route(name: &str, prefix: &str, cluster: &str) -> spec::Route {
    spec::Route {
        name: name.into(),
        matches: spec::Match { path: spec::Path::Prefix(prefix.into()), ..spec::Match::default() },
        timeout_ms: TIMEOUT_MS,
        ..spec::Route::to(spec::Action::Cluster(cluster.into()))
    }
}

fn cluster(name: &str, endpoints: Vec<Addr>) -> spec::Cluster {
    let endpoints = endpoints.iter().map(|a| spec::Endpoint { address: address_of(a), weight: 1 }).collect();
    spec::Cluster {
        name: name.into(),
        endpoints,
        connect_ms: CONNECT_MS,
        idle_ms: POOL_IDLE_MS,
        ..spec::Cluster::default()
    }
}

fn address_of(addr: &Addr) -> spec::Address {
    match addr {
        Addr::Inet(a) => spec::Address::Inet(*a),
        Addr::Unix(path) => spec::Address::Unix(path.clone()),
    }
}
