//! Errors with their key paths, names that resolve, and pages that survive.

use std::net::SocketAddr;

use super::*;
use crate::route::tests::{route, spec_of};
use crate::snapshot::Action;
use crate::spec::{Address, Endpoint, FieldEdits, Match, Path, Protocol, SniRule, Tcp, ValueIs, ValueMatch};

fn compile(spec: &Spec, previous: Option<&Snapshot>) -> Result<Snapshot, Vec<CompileError>> {
    Snapshot::compile(spec, &Resolved::new(), previous, 1)
}

/// The errors as `path: message`, and the suggestions apart.
fn errors(spec: &Spec) -> Vec<String> {
    compile(spec, None).unwrap_err().iter().map(CompileError::to_string).collect()
}

/// The errors of one route beside a good one.
fn route_errors(change: impl FnOnce(&mut spec::Route)) -> Vec<String> {
    let mut changed = route("changed", Match::default());
    changed.matches.path = Path::Prefix("/changed".into());
    change(&mut changed);
    errors(&spec_of(vec![route("good", Match::default()), changed]))
}

fn cluster(name: &str, ports: &[u16]) -> spec::Cluster {
    let endpoint = |port: &u16| Endpoint { address: inet(*port), weight: 1 };
    spec::Cluster {
        name: name.into(),
        endpoints: ports.iter().map(endpoint).collect(),
        ..spec::Cluster::default()
    }
}

fn inet(port: u16) -> Address {
    Address::Inet(SocketAddr::from(([127, 0, 0, 1], port)))
}

fn listener(name: &str, port: u16, protocol: Protocol) -> spec::Listener {
    spec::Listener {
        name: name.into(),
        address: inet(port),
        proxy_protocol: spec::ProxyProtocolIn::Off,
        proxy_protocol_trusted: Vec::new(),
        protocol,
    }
}

fn tcp(cluster: Option<&str>, sni: Vec<SniRule>) -> Protocol {
    Protocol::Tcp(Tcp { cluster: cluster.map(Arc::from), sni, ..Tcp::default() })
}

fn sni(host: &str, cluster: &str) -> SniRule {
    SniRule { host: host.into(), alpn: None, cluster: cluster.into() }
}

#[test]
fn references_that_do_not_resolve_name_what_was_meant() {
    let mut spec = spec_of(vec![route("a", Match::default())]);
    spec.routes[0].action = spec::Action::Cluster("ap".into());
    spec.routes[0].listeners = vec!["wed".into()];
    spec.listeners.push(listener("db", 5432, tcp(Some("appp"), vec![sni("x.example", "zzz")])));
    assert_eq!(
        errors(&spec),
        [
            "routes[0].listeners[0]: there is no listener `wed` (did you mean `web`?)",
            "routes[0].cluster: there is no cluster `ap` (did you mean `app`?)",
            "listeners.db.cluster: there is no cluster `appp` (did you mean `app`?)",
            "listeners.db.sni[0].cluster: there is no cluster `zzz`",
        ]
    );
}

#[test]
fn what_is_there_twice() {
    let mut spec = spec_of(vec![route("r", Match::default()), route("r", Match::default())]);
    spec.listeners.push(listener("web", 1, tcp(Some("app"), Vec::new())));
    spec.listeners.push(listener(
        "same",
        8080,
        tcp(Some("app"), vec![sni("a.b", "app"), sni("A.b.", "app")]),
    ));
    spec.clusters.push(cluster("app", &[1, 2, 1]));
    assert_eq!(
        errors(&spec),
        [
            "listeners.web: there are two listeners `web`",
            "listeners.same.address: listener `web` has the same address",
            "routes[1].name: there are two routes `r`",
            "routes[1]: asks for exactly what routes[0] (`r`) asks for: it is never used",
            "clusters.app: there are two clusters `app`",
            "clusters.app.endpoints[2]: is the same address as endpoint 0; use `weight` to give it a larger share",
            "listeners.same.sni[1].host: rule 0 has the same host and ALPN: this one is never used",
        ]
    );
}

#[test]
fn a_route_is_unreachable_only_if_an_earlier_one_covers_its_listeners() {
    let mut spec = spec_of(vec![route("one", Match::default()), route("two", Match::default())]);
    spec.listeners.push(listener("other", 8081, Protocol::Http(spec::Http::default())));
    spec.routes[0].listeners = vec!["web".into()];
    assert!(compile(&spec, None).is_ok(), "on `other` only the second is there");
    spec.routes[1].listeners = vec!["web".into()];
    assert_eq!(errors(&spec).len(), 1);
    spec.routes[1].matches.path = Path::Prefix("/a".into());
    spec.routes[0].matches.path = Path::Prefix("/a/".into());
    assert_eq!(errors(&spec).len(), 1, "a final slash of a prefix does not count");
}

#[test]
fn listeners_need_an_address_and_somewhere_to_go() {
    let mut spec = spec_of(Vec::new());
    spec.process.admin = Some(inet(8080));
    spec.listeners.push(listener("named", 0, tcp(None, Vec::new())));
    spec.listeners[1].address = Address::Dns("localhost".into(), 80);
    spec.listeners[1].proxy_protocol_trusted = vec![spec::Cidr { ip: [10, 0, 0, 0].into(), bits: 33 }];
    if let Protocol::Http(http) = &mut spec.listeners[0].protocol {
        http.relax = vec!["bare_fl".into()];
    }
    spec.routes = vec![route("r", Match::default())];
    spec.routes[0].listeners = vec!["named".into()];
    assert_eq!(
        errors(&spec),
        [
            "listeners.web.address: is the same address as `admin`",
            "listeners.web.relax[0]: there is no relaxation `bare_fl` (did you mean `bare_lf`?)",
            "listeners.named.address: `localhost:80` is a name; listen on an IP address or `unix:/path`",
            "listeners.named.proxy_protocol_trusted[0]: `/33` is longer than an address of 32 bits",
            "routes[0].listeners[0]: listener `named` speaks opaque TCP: it has no routes",
            "listeners.named: needs a `cluster` or `sni` rules",
        ]
    );
}

#[test]
fn ports_left_to_the_kernel_are_never_the_same() {
    let mut spec = spec_of(Vec::new());
    spec.listeners = vec![
        listener("one", 0, tcp(Some("app"), Vec::new())),
        listener("two", 0, tcp(Some("app"), Vec::new())),
    ];
    assert!(compile(&spec, None).is_ok());
}

#[test]
fn conditions_that_cannot_hold() {
    let found = route_errors(|route| {
        route.matches = Match {
            host: Some("a:80".into()),
            path: Path::Regex("(".into()),
            methods: vec!["get".into(), "a b".into()],
            headers: vec![
                ValueMatch { name: "a b".into(), value: ValueIs::Present, invert: false },
                ValueMatch { name: "x".into(), value: ValueIs::Regex("[".into()), invert: false },
            ],
            query: vec![ValueMatch {
                name: "q".into(),
                value: ValueIs::Regex("\\p{Greek}".into()),
                invert: false,
            }],
        };
        route.rewrite_path = Some("x".into());
        route.rewrite_host = Some("a b".into());
    });
    let starts = [
        "routes[1].host: `a:80` must not have a port",
        "routes[1].path.regex: `(`: ",
        "routes[1].methods[0]: `get`: methods are case-sensitive (did you mean `GET`?)",
        "routes[1].methods[1]: `a b` is not a method",
        "routes[1].headers[0].name: `a b` is not a field name",
        "routes[1].headers[1].regex: `[`: ",
        "routes[1].query[0].regex: `\\p{Greek}`: ",
        "routes[1].rewrite.path: `x` must begin with `/`",
        "routes[1].rewrite.path: needs a match by `prefix` or `exact`",
        "routes[1].rewrite.host: `a b` is not a host",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (error, start) in found.iter().zip(starts) {
        assert!(error.starts_with(start), "{error}");
    }
    assert_eq!(
        route_errors(|route| route.matches.path = Path::Exact("/a?b".into())),
        ["routes[1].path.exact: `/a?b` must not hold `?` or `#`: a path ends before them"]
    );
}

#[test]
fn edits_of_fields_that_belong_to_the_proxy() {
    let found = route_errors(|route| {
        route.request_fields = FieldEdits {
            set: vec![("Host".into(), "x".into()), ("x-a".into(), "a\r\nb: c".into())],
            add: vec![("content-length".into(), "0".into()), (":path".into(), "/".into())],
            remove: vec!["connection".into(), "x y".into()],
        };
        route.response_fields.remove = vec!["transfer-encoding".into()];
    });
    assert_eq!(
        found,
        [
            "routes[1].request_headers.remove[0]: `connection` concerns one connection only and is never forwarded",
            "routes[1].request_headers.remove[1]: `x y` is not a field name",
            "routes[1].request_headers.set.Host: `Host` is changed by `rewrite_host`, not by an edit",
            "routes[1].request_headers.set.x-a: `x-a` has a value with a control character",
            "routes[1].request_headers.add.content-length: `content-length` decides where a message ends and belongs to the proxy",
            "routes[1].request_headers.add.:path: `:path` is a pseudo-field; use the keys of the route instead",
            "routes[1].response_headers.remove[0]: `transfer-encoding` decides where a message ends and belongs to the proxy",
        ]
    );
}

#[test]
fn splits_that_give_nothing() {
    let split = |choices: &[(&str, u32)]| {
        let choices = choices.iter().map(|&(name, weight)| (name.into(), weight)).collect();
        route_errors(|route| route.action = spec::Action::Split(choices))
    };
    assert_eq!(split(&[("app", 0)]), ["routes[1].split: no cluster has a weight above 0"]);
    assert_eq!(
        split(&[("app", 1), ("apq", 1)]),
        ["routes[1].split[1].cluster: there is no cluster `apq` (did you mean `app`?)"]
    );
    assert_eq!(
        split(&[("app", u32::MAX), ("app", 1)]),
        [
            "routes[1].split[1].cluster: cluster `app` is there twice",
            "routes[1].split: the sum of the weights is above 2147483648"
        ]
    );
}

#[test]
fn answers_that_cannot_be_given() {
    let redirect =
        spec::Redirect { status: 200, scheme: None, host: None, port: None, path: None, strip_query: true };
    assert_eq!(
        route_errors(|route| route.action = spec::Action::Redirect(redirect.clone())),
        [
            "routes[1].redirect.status: `200` is none of 301, 302, 303, 307, 308",
            "routes[1].redirect: leads back to the same place: the client would come for ever",
        ]
    );
    let redirect = spec::Redirect {
        status: 301,
        scheme: Some("htps".into()),
        host: Some("a/b".into()),
        port: Some(0),
        path: Some("b".into()),
        strip_query: false,
    };
    assert_eq!(
        route_errors(|route| route.action = spec::Action::Redirect(redirect.clone())),
        [
            "routes[1].redirect.scheme: `htps` is neither `http` nor `https` (did you mean `https`?)",
            "routes[1].redirect.host: `a/b` is not a host",
            "routes[1].redirect.port: must not be 0",
            "routes[1].redirect.path: `b` must begin with `/`",
        ]
    );
    let respond = |status: u16, body: &str| spec::Respond {
        status,
        body: body.into(),
        content_type: Some("a\r\nb: c".into()),
    };
    assert_eq!(
        route_errors(|route| route.action = spec::Action::Respond(respond(199, ""))),
        [
            "routes[1].respond.status: `199` is not between 200 and 599",
            "routes[1].respond.content_type: has a value with a control character",
        ]
    );
    let found = route_errors(|route| route.action = spec::Action::Respond(respond(204, "x")));
    assert_eq!(found[0], "routes[1].respond.body: a response of status 204 has no content");
}

#[test]
fn names_become_their_addresses() {
    let mut spec = spec_of(Vec::new());
    let named = |name: &str, weight: u32| Endpoint { address: Address::Dns(name.into(), 80), weight };
    spec.clusters[0].endpoints = vec![
        Endpoint { address: inet(80), weight: 1 },
        named("two", 3),
        named("nowhere", 1),
        named("off", 0),
        Endpoint { address: Address::Unix("/run/x".into()), weight: 2 },
    ];
    let mut resolved = Resolved::new();
    let [one, two]: [SocketAddr; 2] = [([127, 0, 0, 1], 80).into(), ([10, 0, 0, 1], 80).into()];
    resolved.insert("two".into(), 80, vec![one, two, one]);
    resolved.insert("off".into(), 80, vec![([10, 0, 0, 9], 80).into()]);
    let snapshot = Snapshot::compile(&spec, &resolved, None, 1).unwrap();
    let endpoints: Vec<(Address, u32)> = snapshot.clusters[0]
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address.clone(), endpoint.weight))
        .collect();
    // The address that is there by number and by name has both weights.
    assert_eq!(endpoints, [(inet(80), 4), (Address::Inet(two), 3), (Address::Unix("/run/x".into()), 2)]);

    // The order in which a resolver gives addresses changes nothing.
    let mut rotated = Resolved::new();
    rotated.insert("two".into(), 80, vec![two, one]);
    let again = Snapshot::compile(&spec, &rotated, Some(&snapshot), 2).unwrap();
    assert!(Arc::ptr_eq(&again.clusters[0], &snapshot.clusters[0]));
}

#[test]
fn endpoints_must_be_addresses_to_connect_to() {
    let mut spec = spec_of(Vec::new());
    spec.clusters[0].endpoints[0].address = inet(0);
    assert_eq!(errors(&spec), ["clusters.app.endpoints[0]: `127.0.0.1:0` is no address to connect to"]);
}

/// Three clusters, two HTTP listeners with the same routes, one TCP listener.
fn large_spec() -> Spec {
    let mut spec = spec_of(vec![route("a", Match::default())]);
    spec.clusters = vec![cluster("app", &[1]), cluster("db", &[2]), cluster("old", &[3])];
    spec.listeners.push(listener("second", 8081, Protocol::Http(spec::Http::default())));
    spec.listeners.push(listener("db", 5432, tcp(Some("db"), vec![sni("x.example", "old")])));
    let mut split = route("split", Match { path: Path::Prefix("/s".into()), ..Match::default() });
    split.action = spec::Action::Split(vec![("app".into(), 90), ("old".into(), 10)]);
    spec.routes.push(split);
    spec
}

#[test]
fn an_endpoint_that_goes_costs_one_cluster_page() {
    let mut spec = large_spec();
    spec.clusters[0].endpoints.push(Endpoint { address: inet(9), weight: 1 });
    let before = compile(&spec, None).unwrap();
    assert!(
        Arc::ptr_eq(&before.listeners[0].routes, &before.listeners[1].routes),
        "shared by both listeners"
    );
    spec.clusters[0].endpoints.pop();
    let after = compile(&spec, Some(&before)).unwrap();
    assert!(!Arc::ptr_eq(&before.clusters[0], &after.clusters[0]));
    for place in 1..3 {
        assert!(Arc::ptr_eq(&before.clusters[place], &after.clusters[place]), "cluster {place}");
    }
    for place in 0..3 {
        assert!(Arc::ptr_eq(&before.listeners[place], &after.listeners[place]), "listener {place}");
    }
    assert!(Arc::ptr_eq(&before.process, &after.process));
}

#[test]
fn a_changed_route_costs_its_table_and_a_changed_listener_itself() {
    let mut spec = large_spec();
    let before = compile(&spec, None).unwrap();
    spec.routes[0].timeout_ms += 1;
    let after = compile(&spec, Some(&before)).unwrap();
    assert!(!Arc::ptr_eq(&before.listeners[0].routes, &after.listeners[0].routes));
    assert!(Arc::ptr_eq(&after.listeners[0].routes, &after.listeners[1].routes));
    assert!(Arc::ptr_eq(&before.listeners[2], &after.listeners[2]), "TCP has no routes");
    assert!(before.clusters.iter().zip(&after.clusters).all(|(before, after)| Arc::ptr_eq(before, after)));
    if let Protocol::Http(http) = &mut spec.listeners[1].protocol {
        http.trusted_hops = 1;
    }
    let last = compile(&spec, Some(&after)).unwrap();
    assert!(Arc::ptr_eq(&after.listeners[0], &last.listeners[0]));
    assert!(!Arc::ptr_eq(&after.listeners[1], &last.listeners[1]));
    assert!(Arc::ptr_eq(&after.listeners[1].routes, &last.listeners[1].routes));
}

#[test]
fn a_cluster_keeps_its_number_while_the_table_has_no_gap() {
    let mut spec = large_spec();
    let before = compile(&spec, None).unwrap();
    spec.clusters.insert(0, cluster("new", &[4]));
    spec.clusters.reverse();
    let more = compile(&spec, Some(&before)).unwrap();
    let name = |snapshot: &Snapshot, id: u32| snapshot.cluster(ClusterId(id)).spec.name.to_string();
    for id in 0..3 {
        assert_eq!(name(&more, id), name(&before, id));
    }
    assert_eq!(name(&more, 3), "new");
    assert!(Arc::ptr_eq(&before.listeners[0].routes, &more.listeners[0].routes), "no reference changed");

    // Without `db` the last takes its place, and what refers to it is compiled again.
    spec.clusters.retain(|cluster| &*cluster.name != "db");
    spec.listeners.retain(|listener| &*listener.name != "db");
    let fewer = compile(&spec, Some(&more)).unwrap();
    assert_eq!([name(&fewer, 0), name(&fewer, 1), name(&fewer, 2)], ["app", "new", "old"]);
    spec.clusters.retain(|cluster| &*cluster.name != "app");
    spec.routes[0].action = spec::Action::Cluster("new".into());
    spec.routes[1].action = spec::Action::Cluster("old".into());
    let last = compile(&spec, Some(&fewer)).unwrap();
    for (route, cluster) in last.listeners[0].routes.routes().iter().zip(["new", "old"]) {
        let Action::Cluster(id) = route.action else { panic!("no cluster") };
        assert_eq!(name(&last, id.0), cluster);
    }
}

#[test]
fn routes_apply_to_the_listeners_they_name() {
    let mut spec = large_spec();
    spec.routes[1].listeners = vec!["second".into()];
    let snapshot = compile(&spec, None).unwrap();
    let count = |name: &str| snapshot.listener_named(name).unwrap().routes.routes().len();
    assert_eq!([count("web"), count("second"), count("db")], [1, 2, 0]);
}

#[test]
fn who_is_trusted() {
    let mut spec = large_spec();
    spec.listeners[0].proxy_protocol_trusted = vec![spec::Cidr { ip: [10, 0, 0, 0].into(), bits: 8 }];
    let snapshot = compile(&spec, None).unwrap();
    let trusts = |name: &str, ip: [u8; 4]| snapshot.listener_named(name).unwrap().trusts(Some(ip.into()));
    assert!(trusts("web", [10, 1, 1, 1]) && !trusts("web", [11, 1, 1, 1]));
    assert!(trusts("second", [11, 1, 1, 1]), "no list: any peer");
    assert!(snapshot.listener_named("web").unwrap().trusts(None), "a unix socket");
}
