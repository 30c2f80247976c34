//! Routing and picking at work: configurations of one and of many services, compiled as the proxy compiles them, and a
//! request that both can route.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use ringway_policy::compile::Resolved;
use ringway_policy::lb::Balancer;
use ringway_policy::rng::Rng;
use ringway_policy::route::{MatchScratch, Request};
use ringway_policy::snapshot::{RouteTable, Snapshot};
use ringway_policy::spec::{self, Action, Address, Cluster, Endpoint, Lb, Match, Path, Route, Spec};
use ringway_wire::h1::{self, Limits, Relaxations};
use ringway_wire::http::RequestHead;

/// Services have names of this many digits, so that requests are of one length whatever the number of services.
const NAME_DIGITS: usize = 4;
/// Where the endpoints of the benches listen; nothing is ever sent there but in the simulator.
const ENDPOINT_PORT: u16 = 3000;

/// How requests are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A host name per service.
    Host,
    /// A path prefix per service, on one host.
    Path,
    /// A regular expression per service, on one host.
    Regex,
}

/// A configuration of `services` routes and as many clusters, with `endpoints` endpoints each.
pub fn spec(services: usize, endpoints: usize, by: By) -> Spec {
    let listener = spec::Listener {
        name: "web".into(),
        address: Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))),
        proxy_protocol: spec::ProxyProtocolIn::Off,
        proxy_protocol_trusted: Vec::new(),
        protocol: spec::Protocol::Http(spec::Http::default()),
    };
    Spec {
        process: spec::Process::default(),
        listeners: vec![listener],
        routes: (0..services).map(|service| route(service, by)).collect(),
        clusters: (0..services)
            .map(|service| cluster(&service_name(service), endpoints, Lb::default()))
            .collect(),
    }
}

/// The request that goes to that service.
pub fn request(service: usize, by: By) -> Vec<u8> {
    let (host, path) = match by {
        By::Host => (host_name(service), "/api/v1/items/42".to_owned()),
        By::Path => ("example.org".to_owned(), format!("/{}/v1/items/42", service_name(service))),
        By::Regex => ("example.org".to_owned(), format!("/{}/v1/items/42", service_name(service))),
    };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

/// A compiled table and a parsed request.
pub struct Routing {
    snapshot: Snapshot,
    head: RequestHead,
    bytes: Vec<u8>,
    scratch: MatchScratch,
}

impl Routing {
    /// A table of `services`, and the request for the last of them.
    pub fn new(services: usize, by: By) -> Self {
        let bytes = request(services - 1, by);
        let mut head = RequestHead::new();
        h1::parse_request(&bytes, &mut 0, &Limits::DEFAULT, Relaxations::NONE, &mut head)
            .expect("a valid request");
        Self { snapshot: compile(&spec(services, 1, by)), head, bytes, scratch: MatchScratch::new() }
    }

    /// Finds the request's route. Its number.
    #[inline(never)]
    pub fn find(&mut self) -> u32 {
        let request = Request { head: &self.head, bytes: &self.bytes };
        let table: &RouteTable = &self.snapshot.listeners[0].routes;
        table.find(&request, &mut self.scratch).expect("the request has a route").0
    }
}

/// A cluster, a balancer, and requests in flight.
pub struct Picking {
    snapshot: Snapshot,
    balancer: Balancer,
    active: Vec<u32>,
    rng: Rng,
}

impl Picking {
    /// A cluster of `endpoints` under that policy; endpoint `i` has `i % 7` requests in flight.
    pub fn new(endpoints: usize, lb: Lb) -> Self {
        let mut spec = spec(1, endpoints, By::Host);
        spec.clusters = vec![cluster(&service_name(0), endpoints, lb)];
        let snapshot = compile(&spec);
        let balancer = Balancer::new(&snapshot.clusters[0], SEED);
        let active = (0_u32..).take(endpoints).map(|endpoint| endpoint % 7).collect();
        Self { snapshot, balancer, active, rng: Rng::new(SEED) }
    }

    /// Picks an endpoint. Its number.
    #[inline(never)]
    pub fn pick(&mut self) -> u32 {
        let cluster = &self.snapshot.clusters[0];
        self.balancer.pick(cluster, &self.active, &mut self.rng, None).expect("the cluster has endpoints")
    }
}

/// Compiles a configuration without names to resolve.
pub fn compile(spec: &Spec) -> Snapshot {
    Snapshot::compile(spec, &Resolved::new(), None, 1).expect("a valid configuration")
}

fn route(service: usize, by: By) -> Route {
    let name: Arc<str> = service_name(service).into();
    let (host, path) = match by {
        By::Host => (Some(host_name(service).into()), Path::Prefix("/api".into())),
        By::Path => (Some("example.org".into()), Path::Prefix(format!("/{name}").into())),
        By::Regex => (Some("example.org".into()), Path::Regex(format!("/{name}/v[0-9]+/.*").into())),
    };
    let action = Action::Cluster(name.clone());
    Route { name, matches: Match { host, path, ..Match::default() }, ..Route::to(action) }
}

fn cluster(name: &str, endpoints: usize, lb: Lb) -> Cluster {
    let endpoint = |address: Ipv4Addr| Endpoint {
        address: Address::Inet(SocketAddr::from((address, ENDPOINT_PORT))),
        weight: 1 + u32::from(address.octets()[3] % 3),
    };
    let first = u32::from(Ipv4Addr::new(10, 0, 0, 1));
    let endpoints = (first..).take(endpoints).map(|address| endpoint(Ipv4Addr::from(address))).collect();
    Cluster { name: name.into(), endpoints, lb, ..Cluster::default() }
}

fn service_name(service: usize) -> String {
    format!("service-{service:0NAME_DIGITS$}")
}

fn host_name(service: usize) -> String {
    format!("{}.example.org", service_name(service))
}

const SEED: u64 = 7;
