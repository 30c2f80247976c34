//! Routing by named cases, and against a linear scan by the documented rules.

use std::sync::Arc;

use ringway_wire::h1::{Limits, Relaxations, parse_request};

use super::*;
use crate::compile::{CompileError, Resolved};
use crate::snapshot::Snapshot;
use crate::spec::{self, Match, Path, Spec};

/// A parsed request and its bytes.
pub(crate) struct Parsed {
    bytes: Vec<u8>,
    head: RequestHead,
}

impl Parsed {
    pub(crate) fn new(text: &str) -> Parsed {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let mut head = RequestHead::new();
        let relax = Relaxations::HOST_MISSING | Relaxations::TARGET_CHARACTERS;
        parse_request(&bytes, &mut 0, &Limits::DEFAULT, relax, &mut head).unwrap();
        assert!(head.len > 0, "{text:?} is no whole head");
        Parsed { bytes, head }
    }

    pub(crate) fn get(host: &str, target: &str) -> Parsed {
        Parsed::new(&format!("GET {target} HTTP/1.1\nhost: {host}\n\n"))
    }

    pub(crate) fn request(&self) -> Request<'_> {
        Request { head: &self.head, bytes: &self.bytes }
    }
}

/// A route to cluster 0.
pub(crate) fn route(name: &str, matches: Match) -> spec::Route {
    spec::Route {
        name: name.into(),
        listeners: Vec::new(),
        matches,
        action: spec::Action::Cluster("app".into()),
        rewrite_path: None,
        rewrite_host: None,
        request_fields: spec::FieldEdits::default(),
        response_fields: spec::FieldEdits::default(),
        timeout_ms: 15_000,
        try_timeout_ms: None,
        idle_ms: None,
        duration_max_ms: None,
        retry: spec::Retry::default(),
        upgrade: Vec::new(),
    }
}

/// One HTTP listener `web`, one cluster `app`, these routes.
pub(crate) fn spec_of(routes: Vec<spec::Route>) -> Spec {
    let listener = spec::Listener {
        name: "web".into(),
        address: spec::Address::Inet(([127, 0, 0, 1], 8080).into()),
        proxy_protocol: spec::ProxyProtocolIn::Off,
        proxy_protocol_trusted: Vec::new(),
        protocol: spec::Protocol::Http(spec::Http::default()),
    };
    let endpoint = spec::Endpoint { address: spec::Address::Inet(([127, 0, 0, 1], 3000).into()), weight: 1 };
    let cluster = spec::Cluster { name: "app".into(), endpoints: vec![endpoint], ..spec::Cluster::default() };
    Spec { listeners: vec![listener], routes, clusters: vec![cluster], ..Spec::default() }
}

pub(crate) fn compile(spec: &Spec) -> Result<Snapshot, Vec<CompileError>> {
    Snapshot::compile(spec, &Resolved::new(), None, 1)
}

fn table(routes: Vec<spec::Route>) -> Arc<RouteTable> {
    compile(&spec_of(routes)).unwrap().listeners[0].routes.clone()
}

/// The name of the route that a request takes.
fn taken(table: &RouteTable, parsed: &Parsed) -> Option<String> {
    let request = parsed.request();
    let found = table.find(&request, &mut MatchScratch::new());
    check_explanation(table, &request, found);
    found.map(|id| table.route(id).spec.name.to_string())
}

/// The explanation, which does not use the index, must agree with it.
fn check_explanation(table: &RouteTable, request: &Request<'_>, found: Option<RouteId>) {
    let explained = table.explain(request);
    assert_eq!(explained.len(), table.routes().len());
    let chosen: Vec<RouteId> =
        explained.iter().filter(|e| e.outcome == Outcome::Chosen).map(|e| e.route).collect();
    assert_eq!(chosen, found.into_iter().collect::<Vec<_>>(), "{explained:?}");
}

fn on_path(path: Path) -> Match {
    Match { path, ..Match::default() }
}

fn exact(path: &str) -> Path {
    Path::Exact(path.into())
}

fn prefix(path: &str) -> Path {
    Path::Prefix(path.into())
}

fn regex(path: &str) -> Path {
    Path::Regex(path.into())
}

#[test]
fn exact_then_regex_then_longest_prefix_whatever_the_order() {
    let mut routes = vec![
        route("root", on_path(prefix("/"))),
        route("api", on_path(prefix("/api"))),
        route("v1", on_path(prefix("/api/v1/"))),
        route("short", on_path(regex("/api/.*"))),
        route("long", on_path(regex("/api/v1/[a-z]+"))),
        route("exact", on_path(exact("/api/v1/users"))),
    ];
    let cases = [
        ("/", "root"),
        ("/apis", "root"),
        ("/api", "api"),
        ("/api/", "short"),
        ("/api/v2/x", "short"),
        ("/api/v1/users", "exact"),
        ("/api/v1/users/", "short"),
        ("/api/v1/groups", "long"),
        ("/api/v1/42", "short"),
        ("/api/v1", "short"),
        ("/API/v1", "root"),
        ("//api", "api"),
        ("/x/../api", "api"),
    ];
    for _ in 0..2 {
        let table = table(routes.clone());
        for (path, name) in cases {
            assert_eq!(taken(&table, &Parsed::get("a", path)).as_deref(), Some(name), "{path}");
        }
        routes.reverse();
    }
}
