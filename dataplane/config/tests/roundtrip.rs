//! Any specification that a file can give is dumped, as YAML and as JSON, to a file that gives the same specification; and
//! the dumps have every key of the schema, so a key whose setter and getter disagree cannot hide.
#![allow(clippy::unwrap_used)]

mod random;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use random::Random;
use ringway_config::{ConfigError, Format, dump_json, dump_yaml, json_schema, parse};
use ringway_policy::spec::*;
use serde_json::Value;

/// Texts that a careless writer of YAML gets wrong.
const TEXTS: &[&str] = &[
    "a",
    "true",
    "no",
    "null",
    "~",
    "1",
    "1.10",
    "0x1F",
    "1e3",
    "",
    " a ",
    "a: b",
    "a #b",
    "- a",
    "[a]",
    "{a}",
    "\"",
    "'",
    "\\",
    "&a",
    "*a",
    "!a",
    "|",
    ">",
    "%a",
    "@a",
    "`a`",
    "é",
    "\u{1f600}",
    "a\nb",
    "a\n",
    "\ta",
    "\u{85}",
    "\u{2028}",
    "\u{feff}x",
    "=",
    "<<",
    "?",
    "1s",
    "10KiB",
    ".inf",
    "2026-01-01",
    "off",
    "auto",
    "a,b",
    "---",
    "...",
];
const NAMES: &[&str] =
    &["web", "a.b", "true", "80", "a b", "é", "\"q\"", "x: y", "[0]", "~", "web2", "#1", "null", "-"];

impl Random {
    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    fn some<T>(&mut self, most: u64, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    fn text(&mut self) -> Arc<str> {
        self.pick(TEXTS).into()
    }

    fn full_text(&mut self) -> Arc<str> {
        let text = self.pick(TEXTS);
        if text.is_empty() { "x".into() } else { text.into() }
    }

    /// From a few tokens; `taken` keeps lists free of duplicates.
    fn token(&mut self, taken: &mut Vec<Arc<str>>, tokens: &[&str]) -> Option<Arc<str>> {
        let token: Arc<str> = self.pick(tokens).into();
        if taken.contains(&token) {
            return None;
        }
        taken.push(token.clone());
        Some(token)
    }

    fn tokens(&mut self, tokens: &[&str]) -> Vec<Arc<str>> {
        let mut taken = Vec::new();
        for _ in 0..self.below(4) {
            self.token(&mut taken, tokens);
        }
        taken
    }

    fn ms(&mut self) -> u64 {
        self.pick(&[1, 250, 999, 1_000, 1_001, 59_000, 60_000, 90_000, 3_600_000, 86_400_000])
    }

    fn bytes(&mut self) -> u64 {
        self.pick(&[1 << 10, 1025, 4096, 60 << 10, 65_535, 100_000, 128 << 10])
    }

    fn listen(&mut self, unique: u16) -> Address {
        match self.below(3) {
            0 => Address::Inet(SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), unique))),
            1 => Address::Inet(SocketAddr::from((Ipv6Addr::LOCALHOST, unique))),
            _ => Address::Unix(format!("/run/x y/{unique}.sock").into()),
        }
    }
}

fn process(random: &mut Random) -> Process {
    Process {
        workers: random.maybe(|r| r.below(1024) as u32 + 1),
        driver: random.pick(&[DriverChoice::Auto, DriverChoice::Uring, DriverChoice::Epoll]),
        idle: random.pick(&[Idle::Wait, Idle::Spin, Idle::Poll]),
        cpu_steering: random.flag(),
        admin: random.maybe(|r| r.listen(1)),
        telemetry: random.maybe(|r| r.listen(2)),
        drain: Drain { delay_ms: random.ms() - 1, timeout_ms: random.ms() },
        connections_max: random.maybe(|r| r.below(1000) + 1),
        memory_max: random.maybe(|r| (1 << 20) + r.bytes()),
        access_log: random.maybe(|r| AccessLog {
            path: r.maybe(|r| r.pick(&["/var/log/a.log", "/a b: c", "/é"]).into()),
            format: r.pick(&[LogFormat::Text, LogFormat::Json]),
        }),
    }
}

fn http(random: &mut Random) -> Http {
    let policies =
        [ForwardPolicy::Remove, ForwardPolicy::Preserve, ForwardPolicy::Append, ForwardPolicy::Overwrite];
    let ids = [
        RequestIdPolicy::Preserve,
        RequestIdPolicy::Generate,
        RequestIdPolicy::Overwrite,
        RequestIdPolicy::Remove,
    ];
    Http {
        limits: HttpLimits {
            head_bytes_max: random.bytes() as u32,
            target_bytes_max: random.bytes() as u32,
            fields_max: random.below(10_000) as u32 + 1,
            body_bytes_max: random.maybe(|r| r.bytes() - 1024),
            requests_per_connection_max: random.maybe(|r| r.below(1000) + 1),
        },
        timeouts: HttpTimeouts {
            header_ms: random.ms(),
            idle_ms: random.ms(),
            stream_idle_ms: random.ms(),
            connection_age_ms: random.maybe(Random::ms),
            body_ms: random.maybe(Random::ms),
            linger_ms: random.below(60_000),
        },
        relax: random.tokens(&["bare_lf", "obs_fold", "host_missing"]),
        dry_run: random.flag(),
        x_forwarded: random.pick(&policies),
        forwarded: random.pick(&policies),
        request_id: random.pick(&ids),
        trusted_hops: random.below(101) as u32,
        via: random.maybe(|r| r.pick(&["edge-1", "true", "10.0.0.1:80", "1"]).into()),
        connect: random.flag(),
    }
}

fn tcp(random: &mut Random, clusters: &[Arc<str>]) -> Tcp {
    let mut hosts = Vec::new();
    let mut sni = Vec::new();
    for _ in 0..random.below(4) {
        if let Some(host) =
            random.token(&mut hosts, &["a.example", "*.example", "xn--e.example", "1.2.example"])
        {
            let alpn = random.maybe(|r| r.pick(&["h2", "true", "http/1.1"]).into());
            sni.push(SniRule { host, alpn, cluster: one(random, clusters) });
        }
    }
    let cluster = if sni.is_empty() || random.flag() { Some(one(random, clusters)) } else { None };
    Tcp {
        cluster,
        sni,
        idle_ms: random.ms(),
        hello_ms: random.ms(),
        splice: random.flag(),
        client_first: random.flag(),
    }
}

fn one(random: &mut Random, names: &[Arc<str>]) -> Arc<str> {
    names[random.below(names.len() as u64) as usize].clone()
}

fn listener(random: &mut Random, name: Arc<str>, place: u16, clusters: &[Arc<str>]) -> Listener {
    let proxy_protocol =
        random.pick(&[ProxyProtocolIn::Off, ProxyProtocolIn::Optional, ProxyProtocolIn::Required]);
    let ranges = [
        Cidr { ip: Ipv4Addr::new(10, 0, 0, 0).into(), bits: 8 },
        Cidr { ip: Ipv4Addr::UNSPECIFIED.into(), bits: 0 },
        Cidr { ip: Ipv6Addr::LOCALHOST.into(), bits: 128 },
    ];
    let trusted = if proxy_protocol == ProxyProtocolIn::Off { 0 } else { random.below(4) as usize };
    Listener {
        name,
        address: random.listen(100 + place),
        proxy_protocol,
        proxy_protocol_trusted: ranges[..trusted].to_vec(),
        protocol: if place == 0 || random.flag() {
            Protocol::Http(http(random))
        } else {
            Protocol::Tcp(tcp(random, clusters))
        },
    }
}

fn conditions(random: &mut Random, field: bool) -> Vec<ValueMatch> {
    random.some(3, |r| ValueMatch {
        name: if field { r.pick(&["x-a", "true", "1"]).into() } else { r.full_text() },
        value: match r.below(5) {
            0 => ValueIs::Present,
            1 => ValueIs::Exact(r.text()),
            2 => ValueIs::Prefix(r.full_text()),
            3 => ValueIs::Suffix(r.full_text()),
            _ => ValueIs::Regex(r.full_text()),
        },
        invert: r.flag(),
    })
}

fn edits(random: &mut Random) -> FieldEdits {
    const FIELDS: &[&str] = &["X-A", "true", "server", "1", "null"];
    const VALUES: &[&str] = &["", "a", "true", "1", "a: b", "é", "\"", "a\tb", "#x", "[a]"];
    let pairs = |r: &mut Random, most: u64| -> Vec<(Arc<str>, Arc<str>)> {
        let mut pairs = Vec::new();
        for name in r.tokens(FIELDS) {
            for _ in 0..=r.below(most) {
                pairs.push((name.clone(), r.pick(VALUES).into()));
            }
        }
        pairs
    };
    FieldEdits {
        set: pairs(random, 1),
        add: pairs(random, 3),
        remove: random.tokens(&["x-b", "true", "server", "2"]),
    }
}

fn route(random: &mut Random, place: usize, listeners: &[Arc<str>], clusters: &[Arc<str>]) -> Route {
    const PATHS: &[&str] = &["/", "/a", "/a:b", "/é", "/a,b", "/[x]", "/true"];
    let action = match random.below(4) {
        0 => Action::Cluster(one(random, clusters)),
        1 => {
            let mut shares = vec![(clusters[0].clone(), random.below(10_000) as u32 + 1)];
            shares.extend(clusters[1..].iter().map(|name| (name.clone(), random.below(2) as u32)));
            Action::Split(shares)
        }
        2 => Action::Redirect(Redirect {
            status: random.pick(&[301, 302, 303, 307, 308]),
            scheme: random.maybe(|r| r.pick(&["http", "https"]).into()),
            host: random.maybe(|r| r.pick(&["a.example", "[::1]:80", "10.0.0.1"]).into()),
            port: random.maybe(|r| r.below(65_535) as u16 + 1),
            path: random.maybe(|r| r.pick(PATHS).into()),
            strip_query: random.flag(),
        }),
        _ => Action::Respond(Respond {
            status: random.pick(&[200, 404, 599]),
            body: random.text(),
            content_type: random.maybe(|r| r.pick(&["text/html", "true"]).into()),
        }),
    };
    let forwards = matches!(action, Action::Cluster(_) | Action::Split(_));
    let path = match random.below(3) {
        0 => ringway_policy::spec::Path::Exact(random.pick(PATHS).into()),
        1 => ringway_policy::spec::Path::Prefix(random.pick(PATHS).into()),
        _ => ringway_policy::spec::Path::Regex(random.full_text()),
    };
    let rewritable = forwards && !matches!(path, ringway_policy::spec::Path::Regex(_));
    let listeners: Vec<_> = listeners.iter().filter(|_| random.flag()).cloned().collect();
    let mut route = Route {
        name: format!("{place}{}", random.pick(NAMES)).into(),
        listeners,
        matches: Match {
            host: random.maybe(|r| r.pick(&["a.example", "*.a.example", "10.0.0.1", "[::1]"]).into()),
            path,
            methods: random.tokens(&["GET", "POST", "PURGE", "1"]),
            headers: conditions(random, true),
            query: conditions(random, false),
        },
        response_fields: edits(random),
        ..Route::to(action)
    };
    if forwards {
        route.rewrite_path = random.maybe(|r| r.pick(PATHS).into()).filter(|_| rewritable);
        route.rewrite_host = random.maybe(|r| r.pick(&["b.example", "b.example:81"]).into());
        route.request_fields = edits(random);
        route.timeout_ms = random.pick(&[0, 1, 15_000, 90_000]);
        route.try_timeout_ms = random.maybe(Random::ms);
        route.try_idle_ms = random.maybe(Random::ms);
        route.idle_ms = random.maybe(Random::ms);
        route.duration_max_ms = random.maybe(Random::ms);
        route.retry = Retry { max: random.below(11) as u32 };
        route.upgrade = random.tokens(&["websocket", "tls/1.2", "true"]);
    }
    route
}

fn cluster(random: &mut Random, name: Arc<str>) -> Cluster {
    let mut endpoints = vec![Endpoint { address: Address::Dns("a.example".into(), 80), weight: 1 }];
    for place in 0..random.below(3) as u16 {
        endpoints.push(Endpoint { address: random.listen(300 + place), weight: random.below(3) as u32 });
    }
    Cluster {
        name,
        endpoints,
        lb: random.pick(&[Lb::LeastRequest, Lb::RoundRobin, Lb::Weighted]),
        connect_ms: random.ms(),
        idle_ms: random.ms(),
        idle_max: random.below(1000) as u32,
        requests_per_connection_max: random.maybe(|r| r.below(1000) + 1),
        proxy_protocol: random.pick(&[ProxyProtocolOut::Off, ProxyProtocolOut::V1, ProxyProtocolOut::V2]),
        head_bytes_max: random.bytes() as u32,
        dns_min_ttl_ms: 100 + random.ms() / 2,
    }
}

fn spec(seed: u64) -> Spec {
    let mut random = Random::new(seed);
    let random = &mut random;
    let names = |random: &mut Random| -> Vec<Arc<str>> {
        let mut names = random.tokens(NAMES);
        if names.is_empty() {
            names.push("app".into());
        }
        names
    };
    let clusters = names(random);
    let process = process(random);
    let mut listeners = Vec::new();
    for (place, name) in names(random).into_iter().enumerate() {
        listeners.push(listener(random, name, place as u16, &clusters));
    }
    let http: Vec<Arc<str>> = listeners
        .iter()
        .filter(|listener| matches!(listener.protocol, Protocol::Http(_)))
        .map(|listener| listener.name.clone())
        .collect();
    let routes = (0..random.below(4) as usize).map(|place| route(random, place, &http, &clusters)).collect();
    let clusters = clusters.into_iter().map(|name| cluster(random, name)).collect();
    Spec { process, listeners, routes, clusters }
}

fn shown(errors: Vec<ConfigError>) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn dumps_are_read_back_to_the_same_specification() {
    for seed in 0..1_000 {
        let spec = spec(seed);
        for dump in [dump_yaml(&spec), dump_json(&spec)] {
            let again = parse("dump", &dump, Format::Yaml)
                .unwrap_or_else(|errors| panic!("seed {seed}\n{}\n{dump}", shown(errors)));
            assert_eq!(again.spec, spec, "seed {seed}\n{dump}");
        }
    }
}

#[test]
fn both_forms_of_a_dump_are_the_same_value() {
    for seed in 0..50 {
        let spec = spec(seed);
        let json: Value =
            serde_json::from_str(&dump_json(&spec)).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(json["version"], 1, "seed {seed}");
        assert_eq!(json["clusters"].as_object().unwrap().len(), spec.clusters.len(), "seed {seed}");
    }
}

/// The keys of `value` as `definition.key`, by the definitions of the schema.
fn collect(schema: &Value, definition: &Value, id: &str, value: &Value, keys: &mut BTreeSet<String>) {
    if let Some(reference) = definition["$ref"].as_str() {
        let target = schema.pointer(&reference[1..]).unwrap();
        return collect(schema, target, reference.rsplit('/').next().unwrap(), value, keys);
    }
    for alternative in definition["anyOf"].as_array().into_iter().flatten() {
        if value.is_object() && alternative["$ref"].is_string() {
            collect(schema, alternative, id, value, keys);
        }
    }
    for (key, child) in value.as_object().into_iter().flatten() {
        if definition["properties"][key].is_object() {
            keys.insert(format!("{id}.{key}"));
            collect(schema, &definition["properties"][key], id, child, keys);
        } else if definition["additionalProperties"].is_object() {
            collect(schema, &definition["additionalProperties"], id, child, keys);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        collect(schema, &definition["items"], id, item, keys);
    }
}

#[test]
fn every_key_of_the_schema_is_in_some_dump() {
    let schema: Value = serde_json::from_str(&json_schema()).unwrap();
    let mut found = BTreeSet::new();
    for seed in 0..300 {
        let dump: Value = serde_json::from_str(&dump_json(&spec(seed))).unwrap();
        collect(&schema, &schema, "file", &dump, &mut found);
    }
    let mut all = BTreeSet::new();
    let definitions =
        schema["$defs"].as_object().unwrap().iter().map(|(id, definition)| (id.as_str(), definition));
    for (id, definition) in definitions.chain([("file", &schema)]) {
        all.extend(definition["properties"].as_object().unwrap().keys().map(|key| format!("{id}.{key}")));
    }
    assert!(all.len() > 100, "{}", all.len());
    assert_eq!(all.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new());
}
