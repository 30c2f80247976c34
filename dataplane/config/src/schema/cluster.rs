//! Clusters and their endpoints.

use ringway_policy::spec::{Address, Cluster, Endpoint, Lb, ProxyProtocolOut};

use super::read::Seen;
use super::{Choice, Form, Key, Kind, Reader, Section, Shape, Value, index, names, pick, show};
use crate::json::Json;
use crate::tree::{Data, Node};
use crate::units::{Place, show_address};

const DAY_MS: u64 = 86_400_000;
/// Weights are relative; this keeps sums of 1,000 endpoints within 32 bits.
pub(super) const WEIGHT_MAX: u64 = 1_000_000;

impl Choice for Lb {
    const TABLE: &'static [(&'static str, Self)] =
        &[("least_request", Lb::LeastRequest), ("round_robin", Lb::RoundRobin), ("weighted", Lb::Weighted)];
}

impl Choice for ProxyProtocolOut {
    const TABLE: &'static [(&'static str, Self)] =
        &[("off", ProxyProtocolOut::Off), ("v1", ProxyProtocolOut::V1), ("v2", ProxyProtocolOut::V2)];
}

/// Stands where an address is required but missing, which is an error of its own.
pub(super) fn no_address() -> Address {
    Address::Inet(std::net::SocketAddr::from(([0, 0, 0, 0], 0)))
}

impl Section for Cluster {
    const ID: &'static str = "cluster";
    const DOC: &'static str = "Endpoints that serve the same, and how connections to them are made.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::nested(
            "endpoints",
            Shape::of::<Endpoint>(Form::List).or(Kind::Address(Place::Connect)),
            |cluster, node, reader| cluster.endpoints = read_endpoints(node, reader),
            |cluster| Some(Json::List(cluster.endpoints.iter().map(show_endpoint).collect())),
            "Where it is served. Names are resolved outside of the workers and follow their TTL.",
        )
        .required(),
        Key::<Self>::leaf(
            "lb",
            Kind::Choice(names::<Lb>),
            |cluster, value| cluster.lb = pick(value),
            |cluster| index(cluster.lb),
            "`least_request`: of two random endpoints the one with fewer requests in flight for its weight; \
             `round_robin`: in turn, weights ignored; `weighted`: in turn by weight, smoothly interleaved.",
        ),
        Key::<Self>::leaf(
            "connect_timeout",
            Kind::Duration { min: 1, max: DAY_MS },
            |cluster, value| cluster.connect_ms = value.int(),
            |cluster| cluster.connect_ms.into(),
            "Connecting, name resolution excluded.",
        ),
        Key::<Self>::leaf(
            "idle_timeout",
            Kind::Duration { min: 1, max: DAY_MS },
            |cluster, value| cluster.idle_ms = value.int(),
            |cluster| cluster.idle_ms.into(),
            "How long an unused connection is kept.",
        ),
        Key::<Self>::leaf(
            "idle_max",
            Kind::Int { min: 0, max: 1_000_000 },
            |cluster, value| cluster.idle_max = value.int32(),
            |cluster| cluster.idle_max.into(),
            "Unused connections kept for each endpoint and worker; 0 = every request has its own connection.",
        ),
        Key::<Self>::optional(
            "requests_per_connection",
            Kind::Int { min: 1, max: u32::MAX as u64 },
            "off",
            |cluster, value| cluster.requests_per_connection_max = value.opt_int(),
            |cluster| cluster.requests_per_connection_max.into(),
            "Requests on one connection, then it closes.",
        ),
        Key::<Self>::leaf(
            "proxy_protocol",
            Kind::Choice(names::<ProxyProtocolOut>),
            |cluster, value| cluster.proxy_protocol = pick(value),
            |cluster| index(cluster.proxy_protocol),
            "PROXY protocol header sent first, as text (`v1`) or binary (`v2`); connections are then never shared \
             between clients.",
        ),
        Key::<Self>::nested(
            "limits",
            Shape::of::<Limits>(Form::One),
            |cluster, node, reader| {
                let mut limits = Limits { head: cluster.head_bytes_max };
                reader.section(node, &mut limits);
                cluster.head_bytes_max = limits.head;
            },
            |cluster| Some(show(&Limits { head: cluster.head_bytes_max })),
            "Limits of answers.",
        ),
        Key::<Self>::nested(
            "dns",
            Shape::of::<Dns>(Form::One),
            |cluster, node, reader| {
                let mut dns = Dns { min_ttl_ms: cluster.dns_min_ttl_ms };
                reader.section(node, &mut dns);
                cluster.dns_min_ttl_ms = dns.min_ttl_ms;
            },
            |cluster| Some(show(&Dns { min_ttl_ms: cluster.dns_min_ttl_ms })),
            "Name resolution of endpoints.",
        ),
    ];

    fn blank() -> Self {
        Cluster::default()
    }

    fn finish(&mut self, seen: &Seen, reader: &mut Reader) {
        let Some(span) = seen.span("endpoints").filter(|_| !seen.failed("endpoints")) else { return };
        if self.endpoints.is_empty() {
            reader.problem_at("endpoints", span, "a cluster needs at least one endpoint".into(), None);
        } else if self.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
            reader.problem_at(
                "endpoints",
                span,
                "every endpoint has weight 0, so none is ever used".into(),
                None,
            );
        }
    }
}

/// Each an address or a section; none twice.
fn read_endpoints(node: &Node, reader: &mut Reader) -> Vec<Endpoint> {
    let mut known = std::collections::HashSet::new();
    reader.list(node, |item, reader| {
        let mut endpoint = Endpoint::blank();
        let before = reader.problems.len();
        if let Data::Map(_) = item.data {
            reader.section(item, &mut endpoint);
        } else if let Some(Value::Address(address)) = reader.leaf(Kind::Address(Place::Connect), None, item) {
            endpoint.address = address;
        }
        if reader.problems.len() == before && !known.insert(endpoint.address.clone()) {
            let message = format!("duplicate endpoint `{}`", show_address(&endpoint.address));
            reader.problem(item.span, message, None);
        }
        endpoint
    })
}

fn show_endpoint(endpoint: &Endpoint) -> Json {
    if endpoint.weight == 1 { Json::text(show_address(&endpoint.address)) } else { show(endpoint) }
}

impl Section for Endpoint {
    const ID: &'static str = "endpoint";
    const DOC: &'static str = "One place that serves a cluster. An address alone is short for a weight of 1.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "address",
            Kind::Address(Place::Connect),
            |endpoint, value| endpoint.address = value.opt_address().unwrap_or_else(no_address),
            |endpoint| (&endpoint.address).into(),
            "`ip:port`, `[ipv6]:port`, `name:port` or `unix:/path`.",
        )
        .required(),
        Key::<Self>::leaf(
            "weight",
            Kind::Int { min: 0, max: WEIGHT_MAX },
            |endpoint, value| endpoint.weight = value.int32(),
            |endpoint| endpoint.weight.into(),
            "Share among its siblings; 0 gets nothing.",
        ),
    ];

    fn blank() -> Self {
        Endpoint { address: no_address(), weight: 1 }
    }
}

/// The `limits` of a cluster.
struct Limits {
    head: u32,
}

impl Section for Limits {
    const ID: &'static str = "cluster_limits";
    const DOC: &'static str = "Limits of answers from this cluster.";
    const KEYS: &'static [Key<Self>] = &[Key::<Self>::leaf(
        "head",
        Kind::Size { min: super::listener::HEAD_BYTES_MIN, max: super::listener::HEAD_BYTES_MAX },
        |limits, value| limits.head = value.int32(),
        |limits| limits.head.into(),
        "The head of an answer. Beyond: 502.",
    )];

    fn blank() -> Self {
        Limits { head: Cluster::default().head_bytes_max }
    }
}

/// The `dns` of a cluster.
struct Dns {
    min_ttl_ms: u64,
}

impl Section for Dns {
    const ID: &'static str = "dns";
    const DOC: &'static str = "Name resolution of the endpoints of this cluster.";
    const KEYS: &'static [Key<Self>] = &[Key::<Self>::leaf(
        "min_ttl",
        Kind::Duration { min: 100, max: DAY_MS },
        |dns, value| dns.min_ttl_ms = value.int(),
        |dns| dns.min_ttl_ms.into(),
        "Lowest time between two look-ups of the same name; above it the TTL of the records is followed.",
    )];

    fn blank() -> Self {
        Dns { min_ttl_ms: Cluster::default().dns_min_ttl_ms }
    }
}
