//! What becomes of a request on its way: forwarding fields, edits, rewrites, redirects, direct answers, shares.

use std::collections::BTreeMap;

use ringway_conformance::config::Config;
use ringway_conformance::http::with_body;
use ringway_conformance::message::Message;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::Upstream;
use ringway_conformance::process::Ringway;

on_both_drivers!(
    forwarding_fields_follow_their_policies,
    request_ids_are_made_kept_or_removed,
    the_log_names_the_client_that_trusted_hops_name,
    via_is_added_both_ways,
    fields_are_edited_both_ways,
    paths_and_hosts_are_rewritten,
    redirects_and_direct_answers_keep_the_connection,
    the_most_specific_route_wins,
    shares_are_kept_and_zero_gets_nothing,
    weights_of_endpoints_are_kept,
);

/// What the upstream saw of a request with forwarding fields of its own, under these keys of the listener.
fn seen(driver: &str, keys: &str) -> Message {
    let upstream = Upstream::echo();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]).listener(keys));
    let answer = ringway.client("web").ask(
        "GET / HTTP/1.1\r\nHost: test:81\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: first\r\nForwarded: for=3.3.3.3\r\nX-Request-Id: mine\r\n\
         Via: 1.0 fred\r\n\r\n",
    );
    Message { head: answer.text(), body: Vec::new(), whole: true, len: 0 }
}

fn forwarding_fields_follow_their_policies(driver: &str) {
    let seen_with = |policy: &str| {
        let seen = seen(driver, &format!("x_forwarded: {policy}, forwarded: {policy}"));
        ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"]
            .map(|name| seen.fields(name).join(", "))
    };
    let preserved = ["1.1.1.1, 2.2.2.2", "https", "first", "for=3.3.3.3"].map(str::to_owned);
    assert_eq!(seen_with("preserve"), preserved);
    assert_eq!(seen_with("remove"), [""; 4].map(str::to_owned));
    let [list, _, _, forwarded] = seen_with("append");
    assert_eq!(list, "1.1.1.1, 2.2.2.2, 127.0.0.1");
    assert!(forwarded.starts_with("for=3.3.3.3, for=127.0.0.1"), "{forwarded}");
    let [list, proto, host, forwarded] = seen_with("overwrite");
    assert_eq!((list.as_str(), proto.as_str(), host.as_str()), ("127.0.0.1", "http", "test:81"));
    assert!(forwarded.starts_with("for=127.0.0.1;"), "{forwarded}");
}

fn request_ids_are_made_kept_or_removed(driver: &str) {
    let id = |keys: &str| seen(driver, keys).fields("x-request-id");
    assert_eq!(id("request_id: preserve"), ["mine"]);
    assert_eq!(id("request_id: remove"), [""; 0]);
    assert_eq!(id("request_id: generate, trusted_hops: 1"), ["mine"]);
    for made in [id("request_id: generate"), id("request_id: overwrite")] {
        assert!(made.len() == 1 && made[0].len() == 36 && made[0].as_bytes()[14] == b'4', "{made:?}");
    }
}

fn the_log_names_the_client_that_trusted_hops_name(driver: &str) {
    let client = |hops: u32| {
        let upstream = Upstream::serving(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
        let config = Config::to([upstream.address]).listener(&format!("trusted_hops: {hops}"));
        let mut ringway = Ringway::on(driver, &config.top("access_log: { path: stdout, format: json }"));
        let request = "GET / HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n\r\n";
        ringway.client("web").ask(request);
        ringway.output_line()
    };
    assert!(client(0).contains("\"client\":\"127.0.0.1:"));
    assert!(client(1).contains("\"client\":\"2.2.2.2\""));
    assert!(client(2).contains("\"client\":\"1.1.1.1\""));
    assert!(client(3).contains("\"client\":\"127.0.0.1\""), "a list too short is not believed");
}

fn via_is_added_both_ways(driver: &str) {
    let upstream = Upstream::serving(|request| {
        let body = request.fields("via").join("|");
        format!("HTTP/1.1 200 OK\r\nVia: 1.0 back\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .into_bytes()
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]).listener("via: edge"));
    let answer = ringway.client("web").ask("GET / HTTP/1.1\r\nHost: test\r\nVia: 1.0 fred\r\n\r\n");
    assert_eq!(answer.text(), "1.0 fred, 1.1 edge", "RFC 9110 section 7.6.3");
    assert_eq!(answer.fields("via").join("|"), "1.0 back, 1.1 edge");
    assert_eq!(seen(driver, "via: off").fields("via"), ["1.0 fred"], "off: passed on, nothing added");
}

fn fields_are_edited_both_ways(driver: &str) {
    let upstream = Upstream::serving(|request| {
        let head = "HTTP/1.1 200 OK\r\nX-Gone: 1\r\nX-Set: old\r\nX-Set: older\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{}", request.head.len(), request.head).into_bytes()
    });
    let edits = "{ remove: [x-gone], set: { X-Set: new }, add: { X-Add: [a, b] } }";
    let config =
        Config::to([upstream.address]).route(&format!("request_headers: {edits}, response_headers: {edits}"));
    let ringway = Ringway::on(driver, &config);
    let answer = ringway
        .client("web")
        .ask("GET / HTTP/1.1\r\nHost: test\r\nX-GONE: 1\r\nx-set: 1\r\nX-Add: 0\r\n\r\n");
    let request = Message { head: answer.text(), body: Vec::new(), whole: true, len: 0 };
    assert_eq!((request.fields("x-gone").len(), request.fields("x-set")), (0, vec!["new".to_owned()]));
    assert_eq!(request.fields("x-add"), ["0", "a", "b"]);
    assert_eq!((answer.fields("x-gone").len(), answer.fields("x-set")), (0, vec!["new".to_owned()]));
    assert_eq!(answer.fields("x-add"), ["a", "b"]);
}

fn paths_and_hosts_are_rewritten(driver: &str) {
    let upstream = Upstream::echo();
    let config = Config::to([upstream.address])
        .and_route("path: { prefix: /api }, cluster: app, rewrite: { path: /v2, host: inner.test }")
        .and_route("path: { exact: /one }, cluster: app, rewrite: { path: /two }");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let mut ask = |path: &str| client.get(path).text();
    let seen = ask("/api/x/y?q=1");
    assert!(seen.starts_with("GET /v2/x/y?q=1 HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nhost: inner.test\r\n") && !seen.contains("Host: test"), "{seen}");
    assert!(ask("/api").starts_with("GET /v2 HTTP/1.1\r\n"));
    assert!(ask("/one?x").starts_with("GET /two?x HTTP/1.1\r\n"));
    assert!(ask("/apis").starts_with("GET /apis HTTP/1.1\r\n"), "a prefix ends at a slash");
}

fn redirects_and_direct_answers_keep_the_connection(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address])
        .and_route("path: { prefix: /old }, redirect: { status: 308, path: /new, scheme: https }, response_headers: { set: { Date: never }, remove: [content-type] }")
        .and_route("path: { exact: /hi }, respond: { status: 203, body: hello, content_type: text/x }, response_headers: { set: { X-A: b } }");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let answer = client.get("/old/page?x=1");
    assert_eq!((answer.status(), answer.field("location")), (308, Some("https://test/new/page?x=1")));
    assert_eq!(
        (answer.fields("date"), answer.field("content-type")),
        (vec!["never".to_owned()], None),
        "edits of a redirect"
    );
    let answer = client.get("/hi");
    assert_eq!((answer.status(), answer.text().as_str()), (203, "hello"));
    assert_eq!((answer.field("content-type"), answer.field("x-a")), (Some("text/x"), Some("b")));
    assert!(answer.field("date").is_some(), "RFC 9110 section 6.6.1");
    let old = client.ask("GET /hi HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((old.field("connection"), old.text().as_str()), (Some("keep-alive"), "hello"));
    let answer = client.ask("HEAD /hi HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!((answer.field("content-length"), answer.body.len()), (Some("5"), 0));
    assert_eq!(client.get("/").text(), "ok");
    // A request with a body is answered at once; the body is read over, or the connection ends.
    let answer = client.ask("POST /hi HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(answer.text(), "hello");
    assert_eq!(client.get("/").text(), "ok");
}

fn the_most_specific_route_wins(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address])
        .and_route("path: { prefix: /a }, respond: { body: prefix }")
        .and_route("path: { exact: /a/b }, respond: { body: exact }")
        .and_route("path: { prefix: /a/b }, methods: [PUT], respond: { body: put }")
        .and_route("host: \"*.example.com\", respond: { body: wildcard }")
        .and_route("host: www.example.com, respond: { body: host }")
        .and_route(
            "path: { prefix: /a }, headers: [{ name: x-canary, exact: \"1\" }], respond: { body: canary }",
        )
        .and_route("path: { prefix: /a }, query: [{ name: v, exact: \"2\" }], respond: { body: query }");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let mut ask = |method: &str, path: &str, host: &str, more: &str| {
        client.ask(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n")).text()
    };
    assert_eq!(ask("GET", "/a/b", "test", ""), "exact");
    assert_eq!(ask("GET", "/a/c", "test", ""), "prefix");
    assert_eq!(ask("PUT", "/a/b/c", "test", ""), "put");
    assert_eq!(ask("GET", "/", "www.example.com", ""), "host");
    assert_eq!(ask("GET", "/", "WWW.Example.COM:80", ""), "host", "case and port do not count");
    assert_eq!(ask("GET", "/", "x.y.example.com", ""), "wildcard");
    assert_eq!(ask("GET", "/a/c", "test", "X-Canary: 1\r\n"), "canary");
    assert_eq!(ask("GET", "/a/c?v=2", "test", ""), "query");
    assert_eq!(ask("GET", "/", "test", ""), "ok");
}

fn shares(driver: &str, route: &str, requests: usize) -> BTreeMap<String, usize> {
    let upstreams = ["a", "b", "c"].map(|name| Upstream::serving(move |_| with_body(name)));
    let mut config = Config::to([upstreams[0].address]).and_route(route);
    for (upstream, name) in upstreams.iter().zip(["a", "b", "c"]) {
        config = config.and_cluster(name, [upstream.address]);
    }
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let mut shares = BTreeMap::new();
    for _ in 0..requests {
        *shares.entry(client.get("/s").text()).or_default() += 1;
    }
    shares
}

fn shares_are_kept_and_zero_gets_nothing(driver: &str) {
    let split = |a: u32, b: u32, c: u32| {
        format!(
            "path: {{ prefix: /s }}, split: [{{ cluster: a, weight: {a} }}, {{ cluster: b, weight: {b} }}, {{ cluster: c, weight: {c} }}]"
        )
    };
    let found = shares(driver, &split(70, 30, 0), 200);
    let (a, b) = (found["a"], found["b"]);
    assert!(a.abs_diff(140) <= 3 && b.abs_diff(60) <= 3, "low discrepancy: {found:?}");
    assert_eq!(found.get("c"), None);
    assert_eq!(shares(driver, &split(0, 100, 0), 30), BTreeMap::from([("b".to_owned(), 30)]));
}

fn weights_of_endpoints_are_kept(driver: &str) {
    let upstreams = ["a", "b", "c"].map(|name| Upstream::serving(move |_| with_body(name)));
    let [a, b, c] = upstreams.each_ref().map(|upstream| upstream.address);
    let keys = format!(
        "lb: weighted, endpoints: [{{ address: \"{a}\", weight: 3 }}, {{ address: \"{b}\" }}, {{ address: \"{c}\", weight: 0 }}]"
    );
    let config = Config::to([a]).and_cluster_of("w", &keys).and_route("path: { prefix: /w }, cluster: w");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let mut shares: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..40 {
        *shares.entry(client.get("/w").text()).or_default() += 1;
    }
    assert!(shares["a"].abs_diff(30) <= 1 && shares["b"].abs_diff(10) <= 1, "{shares:?}");
    assert_eq!(shares.get("c"), None);
}
