//! Finding a route, splitting, picking an endpoint and rewriting allocate nothing once their storage has grown.

use std::sync::Arc;

use allocation_counter::measure;
use ringway_policy::compile::Resolved;
use ringway_policy::lb::Balancer;
use ringway_policy::rng::Rng;
use ringway_policy::route::{MatchScratch, Request};
use ringway_policy::snapshot::{Action, Snapshot};
use ringway_policy::spec::{
    self, Address, Endpoint, Lb, Match, Path, Protocol, Route, Spec, ValueIs, ValueMatch,
};
use ringway_wire::h1::{Limits, Relaxations, parse_request};
use ringway_wire::http::RequestHead;

fn route(name: &str, matches: Match) -> Route {
    let action = spec::Action::Split(vec![("one".into(), 3), ("two".into(), 1)]);
    Route { name: name.into(), matches, ..Route::to(action) }
}

fn on(host: &str, path: Path) -> Match {
    Match { host: Some(host.into()), path, ..Match::default() }
}

fn cluster(name: &str, lb: Lb) -> spec::Cluster {
    let endpoint = |last: u8| Endpoint {
        address: Address::Inet(([10, 0, 0, last], 80).into()),
        weight: 1 + u32::from(last % 3),
    };
    spec::Cluster { name: name.into(), endpoints: (1..=9).map(endpoint).collect(), lb, ..Default::default() }
}

/// One route of each kind, with a pattern that is too large for a dense automaton.
fn snapshot() -> Snapshot {
    let condition = |name: &str, value: ValueIs| ValueMatch { name: name.into(), value, invert: false };
    let mut rewritten = route("rewritten", on("*.example.org", Path::Prefix("/old".into())));
    rewritten.rewrite_path = Some("/new".into());
    let conditional = Match {
        methods: vec!["GET".into(), "PURGE".into()],
        headers: vec![condition("x-user", ValueIs::Regex("[a-z]+[0-9]*".into()))],
        query: vec![condition("a b", ValueIs::Exact("c d".into()))],
        ..on("example.org", Path::Prefix("/".into()))
    };
    let listener = spec::Listener {
        name: "web".into(),
        address: Address::Inet(([127, 0, 0, 1], 8080).into()),
        proxy_protocol: spec::ProxyProtocolIn::Off,
        proxy_protocol_trusted: Vec::new(),
        protocol: Protocol::Http(spec::Http::default()),
    };
    let spec = Spec {
        listeners: vec![listener],
        routes: vec![
            rewritten,
            route("conditional", conditional),
            route("exact", on("example.org", Path::Exact("/a/b".into()))),
            route("regex", on("example.org", Path::Regex("/r/[a-z]+".into()))),
            route("large", on("example.org", Path::Regex("/l/(a|b)*a(a|b){20}".into()))),
            route("rest", Match::default()),
        ],
        clusters: vec![cluster("one", Lb::LeastRequest), cluster("two", Lb::Weighted)],
        ..Spec::default()
    };
    Snapshot::compile(&spec, &Resolved::new(), None, 1).expect("a valid configuration")
}

fn parse(text: &str) -> (Vec<u8>, RequestHead) {
    let bytes = text.as_bytes().to_vec();
    let mut head = RequestHead::new();
    parse_request(&bytes, &mut 0, &Limits::DEFAULT, Relaxations::NONE, &mut head).expect("a valid request");
    (bytes, head)
}

const REQUESTS: [(&str, &str); 8] = [
    ("GET /a/b HTTP/1.1\r\nHost: Example.org:80\r\n\r\n", "exact"),
    ("GET /a/../a/%62 HTTP/1.1\r\nHost: example.org\r\n\r\n", "exact"),
    ("GET /r/abc HTTP/1.1\r\nHost: example.org\r\n\r\n", "regex"),
    ("GET /l/baaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: example.org\r\n\r\n", "large"),
    ("PURGE /x?x&a%20b=c%20d HTTP/1.1\r\nHost: example.org\r\nX-User: ab12\r\n\r\n", "conditional"),
    ("GET /old/x?q HTTP/1.1\r\nHost: a.b.example.org\r\n\r\n", "rewritten"),
    ("GET /nothing HTTP/1.1\r\nHost: example.com\r\n\r\n", "rest"),
    ("GET /x HTTP/1.1\r\nHost: example.org\r\nX-User: 12\r\n\r\n", "rest"),
];

#[test]
fn nothing_is_allocated_per_request() {
    let snapshot = snapshot();
    let table = Arc::clone(&snapshot.listeners[0].routes);
    let parsed: Vec<_> = REQUESTS.iter().map(|(text, _)| parse(text)).collect();
    let mut scratch = MatchScratch::new();
    let mut target = Vec::with_capacity(1_024);
    let mut rng = Rng::new(1);
    let mut balancers: Vec<Balancer> =
        snapshot.clusters.iter().map(|cluster| Balancer::new(cluster, rng.next_u64())).collect();
    let mut split_state = rng.next_u64();
    let active = [0u32; 9];

    let mut round = |check: bool| {
        for ((bytes, head), (_, name)) in parsed.iter().zip(REQUESTS) {
            let request = Request { head, bytes };
            let id = table.find(&request, &mut scratch).expect("a route");
            let route = table.route(id);
            if check {
                assert_eq!(&*route.spec.name, name);
            }
            target.clear();
            route.write_target(&request, &scratch, &mut target);
            let Action::Split(split) = &route.action else { panic!("no split") };
            let cluster = split.pick(&mut split_state);
            let balancer = &mut balancers[cluster.0 as usize];
            let picked = balancer.pick(snapshot.cluster(cluster), &active, &mut rng, Some(0));
            assert!(picked.is_some_and(|picked| picked != 0));
        }
    };
    round(true);
    let counted = measure(|| (0..100).for_each(|_| round(false)));
    assert_eq!(counted.count_total, 0, "{counted:?}");
    // The counter counts.
    assert!(measure(|| drop(std::hint::black_box(Box::new(1)))).count_total > 0);
}
