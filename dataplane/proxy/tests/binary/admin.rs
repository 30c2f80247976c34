//! The admin API and the telemetry listener.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::support::{
    Answer, Folder, Ringway, Upstream, ask, config, connect, connect_unix, get, wait_until,
};

fn started(folder: &Folder, upstream: &Upstream, admin: &str) -> Ringway {
    let file = folder.write("a.yaml", &config(upstream.address, ""));
    Ringway::start(&file, &["--admin", admin])
}

fn from(address: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
    ask(connect(address), method, path, fields)
}

#[test]
fn every_page_answers_and_only_known_ones_do() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let ringway = started(&folder, &upstream, "127.0.0.1:0");
    let admin = ringway.address("admin");
    assert_eq!(get(ringway.address("web"), "/").body, "up");
    for (path, part) in [
        ("/", "<h1>Ringway"),
        ("/ready", "ready"),
        ("/live", "live"),
        ("/metrics", "# TYPE ringway_requests_total counter"),
        ("/clusters", "picks=1"),
        ("/listeners", "web 127.0.0.1:"),
        ("/config_dump", "endpoints: [\"127.0.0.1:"),
    ] {
        let answer = get(admin, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.contains(part), "{part} in {path}:\n{}", answer.body);
        assert!(answer.head.contains("cache-control: no-store"), "{}", answer.head);
    }
    assert_eq!(get(admin, "/nothing").status, 404);
    assert_eq!(get(admin, "/ready/").status, 404);
}

#[test]
fn names_and_other_pages_are_kept_out() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let ringway = started(&folder, &upstream, "127.0.0.1:0");
    let admin = ringway.address("admin");
    assert_eq!(from(admin, "GET", "/config_dump", &[("Host", "rebound.example")]).status, 421);
    assert_eq!(from(admin, "GET", "/config_dump", &[]).status, 400);
    let host = admin.to_string();
    let drain = |fields: &[(&str, &str)]| from(admin, "POST", "/drain", fields).status;
    assert_eq!(drain(&[("Host", &host), ("Origin", "http://evil.example"), ("Content-Length", "0")]), 403);
    let by_get = get(admin, "/drain");
    assert_eq!(by_get.status, 405);
    assert!(by_get.head.contains("allow: post"), "{}", by_get.head);
    let change = from(admin, "POST", "/config_dump", &[("Host", &host), ("Content-Length", "0")]);
    assert_eq!(change.status, 405);
    assert_eq!(get(admin, "/ready").status, 200);
    assert_eq!(drain(&[("Host", &host), ("Content-Length", "0")]), 202);
    assert_eq!(ringway.exit_code(), 0);
}

#[test]
fn telemetry_reads_only() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let ringway = started(&folder, &upstream, "off");
    let telemetry = ringway.address("telemetry");
    for path in ["/ready", "/live", "/metrics"] {
        assert_eq!(from(telemetry, "GET", path, &[("Host", "pod-7.example")]).status, 200, "{path}");
    }
    for path in ["/", "/config_dump", "/clusters", "/listeners", "/drain"] {
        assert_eq!(get(telemetry, path).status, 404, "{path}");
    }
    let drain = from(telemetry, "POST", "/drain", &[("Host", "a"), ("Content-Length", "0")]);
    assert_eq!(drain.status, 404);
}

#[test]
fn the_admin_api_works_on_a_unix_socket() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let socket = folder.path("admin.sock");
    let ringway = started(&folder, &upstream, &format!("unix:{}", socket.display()));
    let clusters = ask(connect_unix(&socket), "GET", "/clusters", &[("Host", "whatever.example")]);
    assert!(clusters.body.contains(&upstream.address.to_string()), "{}", clusters.body);
    let drain = ask(connect_unix(&socket), "POST", "/drain", &[("Host", "x"), ("Content-Length", "0")]);
    assert_eq!(drain.status, 202);
    assert_eq!(ringway.exit_code(), 0);
    assert!(!socket.exists());
}

/// The text format: each sample belongs to a family with one HELP and one TYPE in front of it, and no series comes twice.
#[test]
fn metrics_are_well_formed_and_count() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let ringway = started(&folder, &upstream, "off");
    let telemetry = ringway.address("telemetry");
    for _ in 0..5 {
        assert_eq!(get(ringway.address("web"), "/").status, 200);
    }
    let metrics = get(telemetry, "/metrics").body;
    let (mut family, mut families, mut series) = (String::new(), BTreeSet::new(), BTreeSet::new());
    for line in metrics.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().expect("a name").to_string();
            assert!(families.insert(family.clone()), "{family} twice");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("name and kind");
            assert_eq!(name, family);
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            assert!(name.starts_with(&family), "{line} under {family}");
            assert!(series.insert(name), "{name} twice");
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    let upstream = upstream.address;
    for wanted in [
        "ringway_requests_total 5".to_string(),
        "ringway_responses_total{class=\"2xx\"} 5".to_string(),
        "ringway_listener_requests_total{listener=\"web\"} 5".to_string(),
        format!("ringway_endpoint_requests_total{{cluster=\"app\",endpoint=\"{upstream}\"}} 5"),
        "ringway_request_duration_seconds_count 5".to_string(),
        "ringway_driver_info{driver=\"epoll\",reason=\"asked for\"} 1".to_string(),
        "ringway_workers 2".to_string(),
        "ringway_config_reloads_total{result=\"failure\"} 0".to_string(),
        "ringway_ready 1".to_string(),
    ] {
        assert!(metrics.lines().any(|line| line == wanted), "{wanted} in\n{metrics}");
    }
}

#[test]
fn an_upstream_that_is_down_shows_in_flags_and_clusters() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let closed =
        std::net::TcpListener::bind(("127.0.0.1", 0)).expect("binds").local_addr().expect("is bound");
    let file = folder.write("a.yaml", &config(closed, ""));
    let ringway = Ringway::start(&file, &["--admin", "127.0.0.1:0"]);
    assert_eq!(get(ringway.address("web"), "/").status, 503);
    drop(upstream);
    let admin = ringway.address("admin");
    wait_until("the failure is counted", || {
        get(admin, "/metrics").body.contains("_flags_total{flag=\"UF\"} 1")
    });
    assert!(!get(admin, "/clusters").body.contains("connect_failures=0"), "{}", get(admin, "/clusters").body);
}
