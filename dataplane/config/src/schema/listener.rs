//! Listeners. The file has one flat mapping; keys that do not belong to the listener's protocol are errors.

use std::sync::Arc;

use ringway_policy::Relaxations;
use ringway_policy::spec::{
    Address, Cidr, ForwardPolicy, Http, HttpLimits, HttpTimeouts, Listener, Protocol, ProxyProtocolIn,
    RequestIdPolicy, SniRule, Tcp,
};

use super::cluster::no_address;
use super::read::Seen;
use super::{Choice, Form, Key, Kind, Only, Reader, Section, Shape, Target, index, names, pick, rules, show};
use crate::json::Json;
use crate::nearest::nearest;
use crate::tree::shorten;
use crate::units::Place;

const DAY_MS: u64 = 86_400_000;
/// Enough for the start line and the fields every browser sends.
pub(super) const HEAD_BYTES_MIN: u64 = 1 << 10;
/// A head lies in one buffer.
pub(super) const HEAD_BYTES_MAX: u64 = 128 << 10;

/// A listener as the file has it: both protocols, of which one applies.
pub(super) struct Draft {
    name: Arc<str>,
    address: Address,
    protocol: Spoken,
    proxy_protocol: ProxyProtocolIn,
    proxy_protocol_trusted: Vec<Cidr>,
    http: Http,
    tcp: Tcp,
}

/// What a listener speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Http,
    Tcp,
}

impl Choice for Spoken {
    const TABLE: &'static [(&'static str, Self)] = &[("http", Spoken::Http), ("tcp", Spoken::Tcp)];
}

impl Choice for ProxyProtocolIn {
    const TABLE: &'static [(&'static str, Self)] = &[
        ("off", ProxyProtocolIn::Off),
        ("optional", ProxyProtocolIn::Optional),
        ("required", ProxyProtocolIn::Required),
    ];
}

impl Choice for ForwardPolicy {
    const TABLE: &'static [(&'static str, Self)] = &[
        ("remove", ForwardPolicy::Remove),
        ("preserve", ForwardPolicy::Preserve),
        ("append", ForwardPolicy::Append),
        ("overwrite", ForwardPolicy::Overwrite),
    ];
}

impl Choice for RequestIdPolicy {
    const TABLE: &'static [(&'static str, Self)] = &[
        ("preserve", RequestIdPolicy::Preserve),
        ("generate", RequestIdPolicy::Generate),
        ("overwrite", RequestIdPolicy::Overwrite),
        ("remove", RequestIdPolicy::Remove),
    ];
}

const RELAXATION: rules::Rule = rules::Rule {
    what: "the name of a rule",
    pattern: None,
    names: Some(relaxations),
    check: |text| {
        let names = relaxations();
        if names.contains(&text) {
            return Ok(text.into());
        }
        let near = nearest(text, names.iter().copied()).map(str::to_owned);
        let all = if near.is_none() { format!("; there are: {}", names.join(", ")) } else { String::new() };
        Err((format!("`{}` is no rule{all}", shorten(text)), near))
    },
};

fn relaxations() -> Vec<&'static str> {
    Relaxations::TABLE.iter().map(|row| row.1).collect()
}

impl Draft {
    pub(super) fn set_name(&mut self, name: Arc<str>) {
        self.name = name;
    }

    pub(super) fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    pub(super) fn into_spec(self) -> Listener {
        let protocol = match self.protocol {
            Spoken::Http => Protocol::Http(self.http),
            Spoken::Tcp => Protocol::Tcp(self.tcp),
        };
        Listener {
            name: self.name,
            address: self.address,
            proxy_protocol: self.proxy_protocol,
            proxy_protocol_trusted: self.proxy_protocol_trusted,
            protocol,
        }
    }

    pub(super) fn of(listener: &Listener) -> Draft {
        let (protocol, http, tcp) = match &listener.protocol {
            Protocol::Http(http) => (Spoken::Http, http.clone(), Tcp::default()),
            Protocol::Tcp(tcp) => (Spoken::Tcp, Http::default(), tcp.clone()),
        };
        Draft {
            name: listener.name.clone(),
            address: listener.address.clone(),
            protocol,
            proxy_protocol: listener.proxy_protocol,
            proxy_protocol_trusted: listener.proxy_protocol_trusted.clone(),
            http,
            tcp,
        }
    }
}

impl Section for Draft {
    const ID: &'static str = "listener";
    const DOC: &'static str = "A listening socket. Keys of the other protocol are errors.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "address",
            Kind::Address(Place::Listen),
            |listener, value| listener.address = value.opt_address().unwrap_or_else(no_address),
            |listener| (&listener.address).into(),
            "`ip:port`, `[ipv6]:port` (`[::]` takes IPv4 too) or `unix:/path`. Port 0 takes any free one.",
        )
        .required(),
        Key::<Self>::leaf(
            "protocol",
            Kind::Choice(names::<Spoken>),
            |listener, value| listener.protocol = pick(value),
            |listener| index(listener.protocol),
            "`http`: HTTP/1.1 and 1.0, routed by `routes`; `tcp`: opaque bytes.",
        ),
        Key::<Self>::leaf(
            "proxy_protocol",
            Kind::Choice(names::<ProxyProtocolIn>),
            |listener, value| listener.proxy_protocol = pick(value),
            |listener| index(listener.proxy_protocol),
            "Whether a PROXY protocol header (v1 or v2) opens a connection. `off`: such bytes are the client's own; \
             `optional`: read when there; `required`: a connection without one is closed.",
        ),
        Key::<Self>::leaf(
            "proxy_protocol_trusted",
            Kind::List(&Kind::Cidr),
            |listener, value| listener.proxy_protocol_trusted = value.cidrs(),
            |listener| (&listener.proxy_protocol_trusted).into(),
            "Peers allowed to send that header; empty = any. With `optional`, anybody who may send it may claim any \
             address.",
        ),
        Key::<Self>::nested(
            "limits",
            Shape::of::<HttpLimits>(Form::One),
            |listener, node, reader| reader.section(node, &mut listener.http.limits),
            |listener| Some(show(&listener.http.limits)),
            "Limits of requests.",
        )
        .only(Only::Http),
        Key::<Self>::nested(
            "timeouts",
            Shape::of::<HttpTimeouts>(Form::One),
            |listener, node, reader| reader.section(node, &mut listener.http.timeouts),
            |listener| Some(show(&listener.http.timeouts)),
            "Time limits of client connections.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "relax",
            Kind::List(&Kind::Text(&RELAXATION)),
            |listener, value| listener.http.relax = value.texts(),
            |listener| (&listener.http.relax).into(),
            "Rules of strict parsing that are relaxed for odd clients (see below).",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "dry_run",
            Kind::Bool,
            |listener, value| listener.http.dry_run = value.bool(),
            |listener| listener.http.dry_run.into(),
            "Count what strict parsing would refuse instead of refusing it.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "x_forwarded",
            Kind::Choice(names::<ForwardPolicy>),
            |listener, value| listener.http.x_forwarded = pick(value),
            |listener| index(listener.http.x_forwarded),
            "`X-Forwarded-For`, `-Proto` and `-Host`: removed, passed on, extended by ours, or replaced by ours.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "forwarded",
            Kind::Choice(names::<ForwardPolicy>),
            |listener, value| listener.http.forwarded = pick(value),
            |listener| index(listener.http.forwarded),
            "`Forwarded` (RFC 7239), likewise.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "request_id",
            Kind::Choice(names::<RequestIdPolicy>),
            |listener, value| listener.http.request_id = pick(value),
            |listener| index(listener.http.request_id),
            "`X-Request-Id`. `preserve`: passed on, none made; `generate`: passed on from trusted hops, made \
             otherwise; `overwrite`: always made anew; `remove`: removed.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "trusted_hops",
            Kind::Int { min: 0, max: 100 },
            |listener, value| listener.http.trusted_hops = value.int32(),
            |listener| listener.http.trusted_hops.into(),
            "Proxies in front of this one whose forwarding fields are believed, counted from the right.",
        )
        .only(Only::Http),
        Key::<Self>::optional(
            "via",
            Kind::Text(&rules::VIA),
            "off",
            |listener, value| listener.http.via = value.opt_text(),
            |listener| listener.http.via.as_ref().into(),
            "Pseudonym to add to `Via`.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "connect",
            Kind::Bool,
            |listener, value| listener.http.connect = value.bool(),
            |listener| listener.http.connect.into(),
            "Allow CONNECT, to the clusters that routes name.",
        )
        .only(Only::Http),
        Key::<Self>::leaf(
            "cluster",
            Kind::Reference(Target::Cluster),
            |listener, value| listener.tcp.cluster = value.opt_text(),
            |listener| listener.tcp.cluster.as_ref().into(),
            "Where connections go that no `sni` rule takes; absent: they are closed.",
        )
        .only(Only::Tcp),
        Key::<Self>::nested(
            "sni",
            Shape::of::<SniRule>(Form::List),
            |listener, node, reader| listener.tcp.sni = reader.sections(node),
            |listener| Some(Json::List(listener.tcp.sni.iter().map(show).collect())),
            "Routing of TLS connections by server name, without terminating TLS.",
        )
        .only(Only::Tcp),
        Key::<Self>::leaf(
            "idle_timeout",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            |listener, value| listener.tcp.idle_ms = value.int(),
            |listener| listener.tcp.idle_ms.into(),
            "No byte in either direction for this long closes both sides.",
        )
        .only(Only::Tcp),
        Key::<Self>::leaf(
            "hello_timeout",
            Kind::Duration { min: 1, max: DAY_MS },
            |listener, value| listener.tcp.hello_ms = value.int(),
            |listener| listener.tcp.hello_ms.into(),
            "With `sni`: how long the ClientHello may take.",
        )
        .only(Only::Tcp),
        Key::<Self>::leaf(
            "splice",
            Kind::Bool,
            |listener, value| listener.tcp.splice = value.bool(),
            |listener| listener.tcp.splice.into(),
            "Move bytes inside the kernel where the driver can.",
        )
        .only(Only::Tcp),
        Key::<Self>::leaf(
            "client_first",
            Kind::Bool,
            |listener, value| listener.tcp.client_first = value.bool(),
            |listener| listener.tcp.client_first.into(),
            "The client speaks first: a connection is accepted only when bytes are there. Not for protocols in which \
             the server speaks first.",
        )
        .only(Only::Tcp),
    ];

    fn blank() -> Self {
        Draft {
            name: "".into(),
            address: no_address(),
            protocol: Spoken::Http,
            proxy_protocol: ProxyProtocolIn::default(),
            proxy_protocol_trusted: Vec::new(),
            http: Http::default(),
            tcp: Tcp::default(),
        }
    }

    fn applies(&self, only: Only) -> bool {
        match only {
            Only::Http => self.protocol == Spoken::Http,
            Only::Tcp => self.protocol == Spoken::Tcp,
            _ => true,
        }
    }

    fn undecided(seen: &Seen) -> bool {
        seen.failed("protocol")
    }

    fn finish(&mut self, seen: &Seen, reader: &mut Reader) {
        if let Some(span) = seen.span("protocol").filter(|_| self.protocol == Spoken::Tcp)
            && seen.span("cluster").is_none()
            && (seen.span("sni").is_none() || self.tcp.sni.is_empty() && !seen.failed("sni"))
        {
            let message = "a listener with `protocol: tcp` needs `cluster` or `sni`".into();
            reader.problem_at("protocol", span, message, None);
        }
        if let Some(span) = seen.span("proxy_protocol_trusted").filter(|_| !seen.failed("proxy_protocol"))
            && self.proxy_protocol == ProxyProtocolIn::Off
            && !self.proxy_protocol_trusted.is_empty()
        {
            let message = "means nothing without `proxy_protocol: optional` or `required`".into();
            reader.problem_at("proxy_protocol_trusted", span, message, None);
        }
    }
}

impl Section for HttpLimits {
    const ID: &'static str = "http_limits";
    const DOC: &'static str = "Limits of requests on a listener.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "head",
            Kind::Size { min: HEAD_BYTES_MIN, max: HEAD_BYTES_MAX },
            |limits, value| limits.head_bytes_max = value.int32(),
            |limits| limits.head_bytes_max.into(),
            "Request line and fields together. Beyond: 431.",
        ),
        Key::<Self>::leaf(
            "target",
            Kind::Size { min: 64, max: HEAD_BYTES_MAX },
            |limits, value| limits.target_bytes_max = value.int32(),
            |limits| limits.target_bytes_max.into(),
            "Request target. Beyond: 414.",
        ),
        Key::<Self>::leaf(
            "fields",
            Kind::Int { min: 1, max: 10_000 },
            |limits, value| limits.fields_max = value.int32(),
            |limits| limits.fields_max.into(),
            "Field lines. Beyond: 431.",
        ),
        Key::<Self>::optional(
            "body",
            Kind::Size { min: 0, max: i64::MAX as u64 },
            "off",
            |limits, value| limits.body_bytes_max = value.opt_int(),
            |limits| limits.body_bytes_max.into(),
            "Request body. Beyond: 413.",
        ),
        Key::<Self>::optional(
            "requests_per_connection",
            Kind::Int { min: 1, max: u32::MAX as u64 },
            "off",
            |limits, value| limits.requests_per_connection_max = value.opt_int(),
            |limits| limits.requests_per_connection_max.into(),
            "Requests on one connection, then it closes.",
        ),
    ];

    fn blank() -> Self {
        HttpLimits::default()
    }
}

impl Section for HttpTimeouts {
    const ID: &'static str = "http_timeouts";
    const DOC: &'static str = "Time limits of client connections.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "header",
            Kind::Duration { min: 1, max: DAY_MS },
            |timeouts, value| timeouts.header_ms = value.int(),
            |timeouts| timeouts.header_ms.into(),
            "From the first byte of a request (or the accept) to the end of its head. Then: 408.",
        ),
        Key::<Self>::leaf(
            "idle",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            |timeouts, value| timeouts.idle_ms = value.int(),
            |timeouts| timeouts.idle_ms.into(),
            "Between requests.",
        ),
        Key::<Self>::leaf(
            "stream_idle",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            |timeouts, value| timeouts.stream_idle_ms = value.int(),
            |timeouts| timeouts.stream_idle_ms.into(),
            "No byte of an exchange moved in either direction. Then: 504 or 408, or the connection closes.",
        ),
        Key::<Self>::optional(
            "connection_age",
            Kind::Duration { min: 1, max: 365 * DAY_MS },
            "off",
            |timeouts, value| timeouts.connection_age_ms = value.opt_int(),
            |timeouts| timeouts.connection_age_ms.into(),
            "A whole connection; it closes after the exchange in progress.",
        ),
        Key::<Self>::optional(
            "body",
            Kind::Duration { min: 1, max: 30 * DAY_MS },
            "off",
            |timeouts, value| timeouts.body_ms = value.opt_int(),
            |timeouts| timeouts.body_ms.into(),
            "From the end of the head to the end of the request body.",
        ),
        Key::<Self>::leaf(
            "linger",
            Kind::Duration { min: 0, max: 60_000 },
            |timeouts, value| timeouts.linger_ms = value.int(),
            |timeouts| timeouts.linger_ms.into(),
            "How long a closing connection is drained, so that the client can read the last answer.",
        ),
    ];

    fn blank() -> Self {
        HttpTimeouts::default()
    }
}

impl Section for SniRule {
    const ID: &'static str = "sni_rule";
    const DOC: &'static str =
        "One server name. Exact names win over wildcards, longer wildcards over shorter ones.";
    const KEYS: &'static [Key<Self>] = &[
        Key::<Self>::leaf(
            "host",
            Kind::Text(&rules::SERVER_NAME),
            |rule, value| rule.host = value.text(),
            |rule| (&rule.host).into(),
            "Server name, or `*.` and a name.",
        )
        .required(),
        Key::<Self>::leaf(
            "alpn",
            Kind::Text(&rules::NOT_EMPTY),
            |rule, value| rule.alpn = value.opt_text(),
            |rule| rule.alpn.as_ref().into(),
            "Only when the client offers this ALPN protocol.",
        ),
        Key::<Self>::leaf(
            "cluster",
            Kind::Reference(Target::Cluster),
            |rule, value| rule.cluster = value.text(),
            |rule| (&rule.cluster).into(),
            "Where it goes.",
        )
        .required(),
    ];

    fn blank() -> Self {
        SniRule { host: "".into(), alpn: None, cluster: "".into() }
    }
}
