//! Targets and locations by named cases, and that nothing from the client can start a line.

use proptest::prelude::*;

use super::*;
use crate::route::tests::{Parsed, compile, route, spec_of};
use crate::snapshot::Action;
use crate::spec::{Match, Path};

fn on(path: Path) -> Match {
    Match { path, ..Match::default() }
}

/// The target forwarded for `target`, `None` if it goes as received.
fn forwarded(path: Path, rewrite: Option<&str>, head: &str) -> Option<String> {
    let mut rewritten = route("r", on(path));
    rewritten.rewrite_path = rewrite.map(Arc::from);
    let snapshot = compile(&spec_of(vec![rewritten])).unwrap();
    let table = &snapshot.listeners[0].routes;
    let parsed = Parsed::new(head);
    let request = parsed.request();
    let mut scratch = MatchScratch::new();
    let route = table.route(table.find(&request, &mut scratch).unwrap());
    let mut out = Vec::new();
    route.write_target(&request, &scratch, &mut out);
    route.rewrites_target(&request, &scratch).then(|| String::from_utf8(out).unwrap())
}

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\nhost: a\n\n")
}

#[test]
fn prefixes_are_replaced_at_segment_borders() {
    // The table of the Gateway API (HTTPPathModifier), and the root on either side.
    for (prefix, replacement, target, expected) in [
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo/", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "/xyz/", "/foo", "/xyz/"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo", "/"),
        ("/foo", "/", "/foo/", "/"),
        ("/", "/api", "/x", "/api/x"),
        ("/", "/api", "/", "/api"),
        ("/", "/api/", "/", "/api/"),
        ("/foo", "/xyz", "/foo?q=/foo", "/xyz?q=/foo"),
        ("/foo", "/xyz", "/foo/a%2Fb?", "/xyz/a%2Fb?"),
        ("/foo", "/", "/foo//evil.example", "/evil.example"),
        ("/foo", "/xyz", "/foo/../foo/./a", "/xyz/a"),
        ("/ü", "/ö", "/%c3%bc/x", "/%C3%B6/x"),
    ] {
        let path = Path::Prefix(prefix.into());
        assert_eq!(
            forwarded(path, Some(replacement), &get(target)).as_deref(),
            Some(expected),
            "{prefix} -> {replacement}: {target}"
        );
    }
}

#[test]
fn a_whole_path_is_replaced_and_the_query_kept() {
    let path = Path::Exact("/old".into());
    assert_eq!(forwarded(path, Some("/new/"), &get("/old?a=1")).as_deref(), Some("/new/?a=1"));
}

#[test]
fn without_rewrite_the_path_goes_as_received_unless_it_had_dot_segments() {
    for (target, expected) in [
        ("/a/b?c", None),
        ("/a//b", None),
        ("/%61", None),
        ("/a/../b?c=../d", Some("/b?c=../d")),
        ("/a/%2e%2e/b", Some("/b")),
    ] {
        assert_eq!(forwarded(Path::default(), None, &get(target)).as_deref(), expected, "{target}");
    }
}

#[test]
fn connect_and_options_keep_their_target() {
    for head in ["CONNECT a:80 HTTP/1.1\nhost: a:80\n\n", "OPTIONS * HTTP/1.1\nhost: a\n\n"] {
        assert_eq!(forwarded(Path::default(), Some("/x"), head), None, "{head:?}");
    }
    let absolute = "GET http://a?q HTTP/1.1\nhost: a\n\n";
    assert_eq!(forwarded(Path::default(), Some("/x"), absolute).as_deref(), Some("/x?q"));
}

fn redirect() -> spec::Redirect {
    spec::Redirect { status: 308, scheme: None, host: None, port: None, path: None, strip_query: false }
}

fn location(path: Path, redirect: spec::Redirect, head: &str) -> String {
    let mut redirecting = route("r", on(path));
    redirecting.action = spec::Action::Redirect(redirect);
    let snapshot = compile(&spec_of(vec![redirecting])).unwrap();
    let table = &snapshot.listeners[0].routes;
    let parsed = Parsed::new(head);
    let request = parsed.request();
    let mut scratch = MatchScratch::new();
    let id = table.find(&request, &mut scratch).unwrap();
    let Action::Redirect(redirect) = &table.route(id).action else { panic!("no redirect") };
    let mut out = Vec::new();
    redirect.write_location(&request, &scratch, "http", &mut out);
    String::from_utf8(out).unwrap()
}

/// Redirects `host` + `target` on the root path.
fn located(redirect: spec::Redirect, host: &str, target: &str) -> String {
    location(Path::default(), redirect, &format!("GET {target} HTTP/1.1\nhost: {host}\n\n"))
}

#[test]
fn ports_of_locations() {
    let https = || spec::Redirect { scheme: Some("https".into()), ..redirect() };
    let port = |port: u16| spec::Redirect { port: Some(port), ..redirect() };
    assert_eq!(located(https(), "a", "/x?q"), "https://a/x?q");
    assert_eq!(located(https(), "a:8080", "/"), "https://a/", "another scheme drops the port");
    let same_scheme = spec::Redirect { scheme: Some("http".into()), path: Some("/n".into()), ..redirect() };
    assert_eq!(located(same_scheme, "a:81", "/x"), "http://a:81/n/x");
    assert_eq!(located(spec::Redirect { port: Some(8443), ..https() }, "a:80", "/"), "https://a:8443/");
    assert_eq!(located(spec::Redirect { port: Some(443), ..https() }, "a", "/"), "https://a/");
    assert_eq!(located(port(80), "a:81", "/"), "http://a/");
    assert_eq!(
        located(spec::Redirect { strip_query: true, ..port(82) }, "[::1]:1", "/?q"),
        "http://[::1]:82/"
    );
}

#[test]
fn hosts_of_locations() {
    let host = |host: &str| spec::Redirect { host: Some(host.into()), ..redirect() };
    assert_eq!(located(host("b.example"), "a:81", "/x"), "http://b.example:81/x");
    assert_eq!(located(host("b.example:82"), "a:81", "/x"), "http://b.example:82/x");
    assert_eq!(located(host("[::2]:82"), "[::1]", "/"), "http://[::2]:82/");
    assert_eq!(located(host("b.example"), "a", "//x/../y"), "http://b.example/y");
}

#[test]
fn paths_of_locations() {
    let to = || spec::Redirect { path: Some("/new".into()), ..redirect() };
    assert_eq!(location(Path::Prefix("/old".into()), to(), &get("/old/x?q")), "http://a/new/x?q");
    assert_eq!(location(Path::Exact("/old".into()), to(), &get("/old?q")), "http://a/new?q");
    assert_eq!(location(Path::Regex("/o.*".into()), to(), &get("/old")), "http://a/new");
}

#[test]
fn a_location_without_any_host_cannot_name_another() {
    let head = "GET //evil.example/x HTTP/1.0\n\n";
    let redirect = spec::Redirect { scheme: Some("https".into()), ..redirect() };
    assert_eq!(location(Path::default(), redirect, head), "/evil.example/x");
}

#[test]
fn upgrades() {
    let mut upgrading = route("r", Match::default());
    upgrading.upgrade = vec!["websocket".into()];
    let snapshot = compile(&spec_of(vec![upgrading])).unwrap();
    let route = &snapshot.listeners[0].routes.routes()[0];
    assert!(route.allows_upgrade(b"WebSocket"));
    assert!(!route.allows_upgrade(b"h2c") && !route.allows_upgrade(b""));
}

proptest! {
    #[test]
    fn whatever_the_client_sends_stays_in_its_line(
        target in "/[!$-;=?-Z_a-z~\"<>\\\\\u{80}-\u{ff}]{0,20}",
        rewrite in prop::option::of("/[a-z]{0,3}/?"),
    ) {
        let path = Path::Prefix("/".into());
        let mut routed = route("r", on(path.clone()));
        routed.rewrite_path = rewrite.clone().map(Arc::from);
        let snapshot = compile(&spec_of(vec![routed])).unwrap();
        let Some(parsed) = Parsed::try_new(&get(&target)) else { return Err(TestCaseError::reject("no target")) };
        let mut scratch = MatchScratch::new();
        let table = &snapshot.listeners[0].routes;
        if let Some(id) = table.find(&parsed.request(), &mut scratch) {
            let mut out = Vec::new();
            table.route(id).write_target(&parsed.request(), &scratch, &mut out);
            prop_assert!(out.starts_with(b"/") && !out.iter().any(|&byte| byte <= b' '));
            prop_assert!(rewrite.is_none() || !out.starts_with(b"//"));
            let to_https = spec::Redirect { scheme: Some("https".into()), ..redirect() };
            let location = location(path, to_https, &get(&target));
            prop_assert!(location.starts_with("https://a/") && location.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
