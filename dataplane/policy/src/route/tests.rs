//! Routing by named cases, and against a linear scan by the documented rules.

use std::sync::Arc;

use proptest::prelude::*;
use ringway_wire::h1::{Limits, Relaxations, Status, parse_request};

use super::*;
use crate::compile::{CompileError, Resolved};
use crate::snapshot::Snapshot;
use crate::spec::{self, Match, Path, Spec, ValueIs, ValueMatch};

/// A parsed request and its bytes.
pub(crate) struct Parsed {
    bytes: Vec<u8>,
    head: RequestHead,
}

impl Parsed {
    pub(crate) fn new(text: &str) -> Parsed {
        Parsed::try_new(text).unwrap_or_else(|| panic!("{text:?} is refused by the parser"))
    }

    pub(crate) fn try_new(text: &str) -> Option<Parsed> {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        let mut head = RequestHead::new();
        let relax = Relaxations::HOST_MISSING | Relaxations::TARGET_CHARACTERS;
        let parsed = parse_request(&bytes, &mut 0, &Limits::DEFAULT, relax, &mut head);
        parsed.is_ok_and(|status| status == Status::Complete(bytes.len())).then_some(Parsed { bytes, head })
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
        try_idle_ms: None,
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

fn on_host(host: &str, path: Path) -> Match {
    Match { host: Some(host.into()), path, ..Match::default() }
}

fn condition(name: &str, value: ValueIs) -> ValueMatch {
    ValueMatch { name: name.into(), value, invert: false }
}

fn equal(name: &str, value: &str) -> ValueMatch {
    condition(name, ValueIs::Exact(value.into()))
}

#[test]
fn prefixes_end_at_segments_and_a_final_slash_does_not_count() {
    let table = table(vec![route("a", on_path(prefix("/a/b/"))), route("x", on_path(exact("/x/")))]);
    for (path, name) in [
        ("/a/b", Some("a")),
        ("/a/b/", Some("a")),
        ("/a/b/c", Some("a")),
        ("/a/b?q", Some("a")),
        ("/a/bc", None),
        ("/a", None),
        ("/x/", Some("x")),
        ("/x", None),
        ("/x/y", None),
    ] {
        assert_eq!(taken(&table, &Parsed::get("a", path)).as_deref(), name, "{path}");
    }
}

#[test]
fn an_exact_host_wins_over_a_longer_path_of_a_wider_host() {
    let table = table(vec![
        route("any", on_host("*", exact("/a/b"))),
        route("wide", on_host("*.com", prefix("/a"))),
        route("wild", on_host("*.example.com", prefix("/"))),
        route("host", on_host("a.example.com", prefix("/"))),
        route("literal", on_host("[::1]", prefix("/"))),
    ]);
    for (host, name) in [
        ("a.example.com", Some("host")),
        ("A.EXAMPLE.com:8080", Some("host")),
        ("a.example.com.", Some("host")),
        ("b.example.com", Some("wild")),
        ("b.a.example.com", Some("wild")),
        ("example.com", Some("wide")),
        ("example.org", Some("any")),
        ("[::1]:8080", Some("literal")),
    ] {
        assert_eq!(taken(&table, &Parsed::get(host, "/a/b")).as_deref(), name, "{host}");
    }
}

#[test]
fn a_request_that_fails_a_condition_falls_back_to_wider_routes() {
    let table = table(vec![
        route("post", Match { methods: vec!["POST".into()], ..on_host("a.com", exact("/x")) }),
        route("canary", Match { headers: vec![equal("x-canary", "1")], ..on_host("a.com", prefix("/x")) }),
        route("rest", on_host("*", prefix("/"))),
    ]);
    let head =
        |method: &str, field: &str| Parsed::new(&format!("{method} /x HTTP/1.1\nhost: a.com\n{field}\n"));
    assert_eq!(taken(&table, &head("POST", "")).as_deref(), Some("post"));
    assert_eq!(taken(&table, &head("GET", "X-Canary: 1\n")).as_deref(), Some("canary"));
    assert_eq!(taken(&table, &head("POST", "X-Canary: 1\n")).as_deref(), Some("post"));
    assert_eq!(taken(&table, &head("GET", "X-Canary: 2\n")).as_deref(), Some("rest"));
}

#[test]
fn method_then_headers_then_query_then_order_decide() {
    let routes = vec![
        route("first", Match { query: vec![equal("a", "1")], ..Match::default() }),
        route("second", Match { query: vec![equal("b", "1")], ..Match::default() }),
        route("header", Match { headers: vec![equal("h", "1")], ..Match::default() }),
        route("headers", Match { headers: vec![equal("h", "1"), equal("i", "1")], ..Match::default() }),
        route("method", Match { methods: vec!["GET".into(), "PURGE".into()], ..Match::default() }),
        route("none", Match::default()),
    ];
    let table = table(routes);
    let head = |method: &str, query: &str, fields: &str| {
        Parsed::new(&format!("{method} /?{query} HTTP/1.1\nhost: a\n{fields}\n"))
    };
    for (method, query, fields, name) in [
        ("GET", "a=1&b=1", "h: 1\ni: 1\n", "method"),
        ("PURGE", "", "", "method"),
        ("PUT", "a=1", "h: 1\ni: 1\n", "headers"),
        ("PUT", "a=1", "h: 1\n", "header"),
        ("PUT", "a=1&b=1", "", "first"),
        ("PUT", "b=1", "", "second"),
        ("get", "", "", "none"),
        ("PURGES", "", "", "none"),
    ] {
        assert_eq!(
            taken(&table, &head(method, query, fields)).as_deref(),
            Some(name),
            "{method} {query} {fields:?}"
        );
    }
}

#[test]
fn every_kind_of_value_condition() {
    let text = |text: &str| -> Arc<str> { text.into() };
    let cases = [
        (ValueIs::Present, true, true),
        (ValueIs::Exact(text("abc")), true, false),
        (ValueIs::Exact(text("ABC")), false, false),
        (ValueIs::Prefix(text("ab")), true, false),
        (ValueIs::Suffix(text("bc")), true, false),
        (ValueIs::Regex(text("a.c")), true, false),
        (ValueIs::Regex(text("b")), false, false),
        (ValueIs::Regex(text("")), false, true),
    ];
    for (value, holds, holds_for_empty) in cases {
        for invert in [false, true] {
            let condition = ValueMatch { name: "v".into(), value: value.clone(), invert };
            let by_field = Match { headers: vec![condition.clone()], ..Match::default() };
            let by_query = Match { query: vec![condition], ..Match::default() };
            let by_field = table(vec![route("r", by_field)]);
            let by_query = table(vec![route("r", by_query)]);
            for (field, query, holds) in [
                ("V: abc\n", "v=abc", holds),
                ("x: 1\nV: other\nv: abc\n", "x&v=other&v=abc", holds),
                ("v:\n", "v", holds_for_empty),
                ("v: \n", "a&v=", holds_for_empty),
                ("w: abc\n", "w=abc", false),
                ("", "", false),
            ] {
                let parsed = Parsed::new(&format!("GET / HTTP/1.1\nhost: a\n{field}\n"));
                assert_eq!(
                    taken(&by_field, &parsed).is_some(),
                    holds != invert,
                    "{field:?} {value:?} {invert}"
                );
                let parsed = Parsed::get("a", &format!("/?{query}"));
                assert_eq!(
                    taken(&by_query, &parsed).is_some(),
                    holds != invert,
                    "{query:?} {value:?} {invert}"
                );
            }
        }
    }
}

#[test]
fn query_parameters_are_compared_decoded() {
    let table = table(vec![
        route("space", Match { query: vec![equal("a b", "c&d")], ..Match::default() }),
        route("plus", Match { query: vec![equal("p", "1+1")], ..Match::default() }),
    ]);
    for (query, name) in [
        ("a%20b=c%26d", Some("space")),
        ("a%20b=c&d", None),
        ("p=1+1", Some("plus")),
        ("p=1%2b1", Some("plus")),
        ("p=1 1", None),
        ("p=1%2", None),
    ] {
        let query = query.replace(' ', "%20");
        assert_eq!(taken(&table, &Parsed::get("a", &format!("/?{query}"))).as_deref(), name, "{query}");
    }
}

#[test]
fn a_path_with_two_readings_takes_no_route() {
    let table = table(vec![route("all", Match::default())]);
    let parsed = Parsed::get("a", "/public/..%2fadmin");
    let mut scratch = MatchScratch::new();
    assert_eq!(table.find(&parsed.request(), &mut scratch), None);
    assert_eq!(scratch.form(), Form::Refused);
    assert_eq!(table.explain(&parsed.request())[0].outcome, Outcome::PathRefused);
    assert!(table.find(&Parsed::get("a", "/public").request(), &mut scratch).is_some());
    assert_eq!(scratch.form(), Form::Same);
}

#[test]
fn targets_without_a_path_are_matched_as_the_root() {
    let table = table(vec![
        route("connect", Match { methods: vec!["CONNECT".into()], ..on_host("db", prefix("/")) }),
        route("root", on_path(exact("/"))),
    ]);
    for (head, name) in [
        ("CONNECT db:5432 HTTP/1.1\nhost: db:5432\n\n", Some("connect")),
        ("OPTIONS * HTTP/1.1\nhost: a\n\n", Some("root")),
        ("GET http://a HTTP/1.1\nhost: a\n\n", Some("root")),
        ("GET http://a?x HTTP/1.1\nhost: a\n\n", Some("root")),
        ("GET http://db/ HTTP/1.1\nhost: a\n\n", Some("root")),
        ("GET / HTTP/1.0\n\n", Some("root")),
        ("GET /x HTTP/1.1\nhost: db\n\n", None),
    ] {
        assert_eq!(taken(&table, &Parsed::new(head)).as_deref(), name, "{head:?}");
    }
}

#[test]
fn explains_the_condition_that_failed_and_what_was_more_specific() {
    let table = table(vec![
        route("host", on_host("other", prefix("/"))),
        route("path", on_path(prefix("/other"))),
        route("method", Match { methods: vec!["POST".into()], ..Match::default() }),
        route("header", Match { headers: vec![equal("x", "1"), equal("missing", "1")], ..Match::default() }),
        route("query", Match { query: vec![equal("q", "1")], ..Match::default() }),
        route("wide", on_path(prefix("/"))),
        route("taken", on_path(prefix("/a"))),
        route("any method", Match { methods: vec!["GET".into()], ..on_path(prefix("/")) }),
    ]);
    let parsed = Parsed::new("GET /a HTTP/1.1\nhost: h\nx: 1\n\n");
    let outcomes: Vec<Outcome> = table.explain(&parsed.request()).into_iter().map(|e| e.outcome).collect();
    let expected = [
        Outcome::Fails(Criterion::Host),
        Outcome::Fails(Criterion::Path),
        Outcome::Fails(Criterion::Method),
        Outcome::Fails(Criterion::Header(Some("missing".into()))),
        Outcome::Fails(Criterion::Query(Some("q".into()))),
        Outcome::LessSpecific(Criterion::Path),
        Outcome::Chosen,
        Outcome::LessSpecific(Criterion::Path),
    ];
    assert_eq!(outcomes, expected);
}

#[test]
fn many_regular_expressions_under_one_host() {
    let numbered = |number| format!("/s{number:03}/[a-z]+/x{{1,3}}");
    let mut routes: Vec<spec::Route> =
        (0..300).map(|number| route(&format!("r{number}"), on_path(regex(&numbered(number))))).collect();
    let of_get = Match { methods: vec!["GET".into()], ..on_path(regex("/s[0-9]+/[a-z]+/xx*")) };
    routes.insert(0, route("shorter", on_path(regex("/s[0-9]+/[a-z]+/x+"))));
    routes.push(route("same length", of_get));
    routes.push(route("rest", on_path(prefix("/"))));
    let table = table(routes);
    for (method, path, name) in [
        ("PUT", "/s007/abc/xx", "r7"),
        ("GET", "/s007/abc/xx", "same length"),
        ("PUT", "/s299/z/x", "r299"),
        ("PUT", "/s300/z/x", "shorter"),
        ("GET", "/s007/abc/y", "rest"),
    ] {
        let parsed = Parsed::new(&format!("{method} {path} HTTP/1.1\nhost: a\n\n"));
        assert_eq!(taken(&table, &parsed).as_deref(), Some(name), "{method} {path}");
    }
}

// The reference: every condition written out again from the documented rules, and a linear scan for the most specific route.

fn host_of(request: &Request<'_>) -> String {
    let host = String::from_utf8_lossy(request.head.host.of(request.bytes)).to_lowercase();
    host.split(':').next().unwrap_or_default().to_owned()
}

fn reference_matches(matches: &Match, request: &Request<'_>) -> bool {
    let host = host_of(request);
    let host_fits = match matches.host.as_deref() {
        None | Some("*") => true,
        Some(pattern) => match pattern.strip_prefix('*') {
            Some(suffix) => host.ends_with(suffix) && host.len() > suffix.len(),
            None => host == pattern,
        },
    };
    let path = String::from_utf8_lossy(request.head.target.path.of(request.bytes)).into_owned();
    let path_fits = match &matches.path {
        Path::Exact(exact) => *path == **exact,
        Path::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            path == prefix || path.starts_with(&format!("{prefix}/"))
        }
        // The generated patterns are a literal, then `[ab]*`.
        Path::Regex(pattern) => {
            let literal = pattern.trim_end_matches("[ab]*");
            path.strip_prefix(literal)
                .is_some_and(|rest| rest.bytes().all(|byte| matches!(byte, b'a' | b'b')))
        }
    };
    let value_fits = |condition: &ValueMatch, values: Vec<String>| {
        let holds = values.iter().any(|value| match &condition.value {
            ValueIs::Exact(text) => **value == **text,
            ValueIs::Prefix(text) => value.starts_with(&**text),
            _ => true,
        });
        holds != condition.invert
    };
    let fields = |name: &str| -> Vec<String> {
        let lines = request.head.fields.iter();
        let named = lines.filter(|field| field.name.of(request.bytes).eq_ignore_ascii_case(name.as_bytes()));
        named.map(|field| String::from_utf8_lossy(field.value.of(request.bytes)).into_owned()).collect()
    };
    let query = String::from_utf8_lossy(request.head.target.query.of(request.bytes)).into_owned();
    let parameters = |name: &str| -> Vec<String> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).collect()
    };
    let method = String::from_utf8_lossy(request.head.method_span.of(request.bytes)).into_owned();
    host_fits
        && path_fits
        && (matches.methods.is_empty() || matches.methods.iter().any(|allowed| **allowed == *method))
        && matches.headers.iter().all(|condition| value_fits(condition, fields(&condition.name)))
        && matches.query.iter().all(|condition| value_fits(condition, parameters(&condition.name)))
}

/// The documented order, as numbers that rise with specificity.
fn reference_rank(matches: &Match, order: usize) -> Vec<i64> {
    let host = match matches.host.as_deref() {
        None | Some("*") => [0, 0],
        Some(pattern) if pattern.starts_with('*') => [1, pattern.len() as i64],
        Some(_) => [2, 0],
    };
    let path = match &matches.path {
        Path::Exact(_) => [2, 0],
        Path::Regex(pattern) => [1, pattern.len() as i64],
        Path::Prefix(prefix) => [0, prefix.trim_end_matches('/').len() as i64],
    };
    let counts =
        [i64::from(!matches.methods.is_empty()), matches.headers.len() as i64, matches.query.len() as i64];
    [host.as_slice(), &path, &counts, &[-(order as i64)]].concat()
}

fn any_value(name: &'static [&'static str]) -> impl Strategy<Value = ValueMatch> {
    let value = prop_oneof![
        Just(ValueIs::Present),
        "[ab]{0,2}".prop_map(|text| ValueIs::Exact(text.into())),
        "[ab]".prop_map(|text| ValueIs::Prefix(text.into())),
    ];
    (prop::sample::select(name), value, prop::bool::weighted(0.2))
        .prop_map(|(name, value, invert)| ValueMatch { name: name.into(), value, invert })
}

fn any_path() -> impl Strategy<Value = Path> {
    prop_oneof![
        2 => "/|(/[ab]{1,2}){1,3}/?".prop_map(|path| prefix(&path)),
        1 => "(/[ab]{1,2}){1,3}/?".prop_map(|path| exact(&path)),
        1 => "(/[ab]{1,2}){0,2}/".prop_map(|path| regex(&format!("{path}[ab]*"))),
    ]
}

fn any_match() -> impl Strategy<Value = Match> {
    let host = prop::sample::select(vec!["", "*", "a", "b", "*.a", "b.a", "*.b.a", "a.b.a"]);
    let methods = prop::sample::subsequence(vec!["GET", "POST", "PURGE"], 0..=2);
    let headers = prop::collection::vec(any_value(&["x", "Cookie", "accept"]), 0..=2);
    let query = prop::collection::vec(any_value(&["q", "r"]), 0..=1);
    (host, any_path(), methods, headers, query).prop_map(|(host, path, methods, headers, query)| Match {
        host: Some(host).filter(|host| !host.is_empty()).map(Arc::from),
        path,
        methods: methods.into_iter().map(Arc::from).collect(),
        headers,
        query,
    })
}

prop_compose! {
    fn any_request()(
        method in prop::sample::select(vec!["GET", "POST", "PURGE", "PUT"]),
        host in prop::sample::select(vec!["a", "b", "b.a", "A.b.a", "c.b.a", "x.a:8080", "z"]),
        path in "(/[ab]{1,2}){0,4}/?".prop_filter("a path", |path| path.starts_with('/')),
        query in "(\\?([qr](=[ab]{0,2})?&?){0,3})?",
        fields in prop::collection::vec(
            (prop::sample::select(vec!["X", "cookie", "Accept", "y"]), "[ab]{0,2}"), 0..4),
    ) -> String {
        let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        format!("{method} {path}{query} HTTP/1.1\nhost: {host}\n{fields}\n")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn agrees_with_a_linear_scan(
        matches in prop::collection::vec(any_match(), 1..40),
        heads in prop::collection::vec(any_request(), 1..40),
    ) {
        let mut routes = Vec::new();
        for (number, matches) in matches.into_iter().enumerate() {
            routes.push(route(&format!("r{number}"), matches));
            // Two routes that ask for the same are an error of the configuration: leave the second out.
            if compile(&spec_of(routes.clone())).is_err() {
                routes.pop();
            }
        }
        let table = table(routes.clone());
        let mut scratch = MatchScratch::new();
        for head in heads {
            let parsed = Parsed::new(&head);
            let request = parsed.request();
            let expected = (0..routes.len())
                .filter(|&order| reference_matches(&routes[order].matches, &request))
                .max_by_key(|&order| reference_rank(&routes[order].matches, order));
            let found = table.find(&request, &mut scratch);
            prop_assert_eq!(found.map(|id| id.0 as usize), expected, "{}", head);
            check_explanation(&table, &request, found);
        }
    }
}
