//! Every class of error ends with its status, its response flag and its reason in the access log, as text and as JSON.

use std::io::{Read, Write};

use ringway_conformance::PATIENCE;
use ringway_conformance::config::Config;
use ringway_conformance::http::OK;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{Client, End, Upstream};
use ringway_conformance::process::Ringway;
use serde_json::Value;

use crate::support::refusing;

on_both_drivers!(
    every_class_has_its_flag_as_json,
    every_class_has_its_flag_as_text,
    malformed_answers_are_502
);

/// Request, status, flags, reason. A status of 0: there is no answer.
type Class = (&'static str, u64, &'static str, &'static str);

const CLASSES: &[Class] = &[
    ("GET /fine", 200, "", ""),
    ("GET /uf", 503, "UF", "connect_refused"),
    ("GET /uh", 503, "UH", "no_endpoint"),
    ("GET /nowhere", 404, "NR", "no_route"),
    ("GET /uc", 502, "UC", "upstream_closed"),
    ("POST /ur", 502, "UR", "upstream_reset"),
    ("GET /upe", 502, "UPE", ""),
    ("GET /ut", 504, "UT", "response_timeout"),
    ("GET /si", 504, "SI", "stream_idle_timeout"),
    ("GET /dt", 504, "DT", "duration_timeout"),
    ("BAD", 400, "DPE", ""),
    ("SLOW", 408, "RT", "header_timeout"),
    ("GET /dr", 204, "DR", "direct_response"),
    ("LEAVE /leave", 0, "DC", ""),
];

fn upstream() -> Upstream {
    Upstream::start(|connection| {
        while let Some(head) = connection.next_head() {
            match head.start().split(' ').nth(1) {
                Some("/fine") => drop(connection.send(OK)),
                Some("/uc") => return,
                Some("/ur") => {
                    let unread = connection.stream();
                    let _ = unread.set_read_timeout(Some(PATIENCE));
                    let _ = unread.peek(&mut [0]);
                    return;
                }
                Some("/upe") => drop(connection.send(b"HTTP/1.1 abc\r\n\r\n")),
                _ => drop(connection.read_to_end()),
            }
        }
    })
}

fn config(format: &str, upstream: &Upstream, nobody: std::net::SocketAddr) -> Config {
    Config::to([upstream.address])
        .top(&format!("access_log: {{ path: stdout, format: {format} }}"))
        .top("drain: { timeout: 300ms }")
        .listener("timeouts: { header: 300ms }")
        .cluster("idle_max: 0")
        .route("path: { exact: /fine }")
        .and_cluster("nobody", [nobody])
        .and_cluster("empty", ["no-such-name.invalid:80"])
        .and_route("path: { exact: /uf }, cluster: nobody, retry: { max: 0 }")
        .and_route("path: { exact: /uh }, cluster: empty")
        .and_route("path: { exact: /uc }, cluster: app")
        .and_route("path: { exact: /ur }, cluster: app")
        .and_route("path: { exact: /upe }, cluster: app")
        .and_route("path: { exact: /leave }, cluster: app")
        .and_route("path: { exact: /lr }, cluster: app")
        .and_route("path: { exact: /ut }, cluster: app, timeout: 100ms")
        .and_route("path: { exact: /si }, cluster: app, idle_timeout: 100ms")
        .and_route("path: { exact: /dt }, cluster: app, duration_max: 100ms")
        .and_route("path: { exact: /dr }, respond: { status: 204 }")
}

/// Status, flags, reason of one line.
type Line = fn(&str) -> (u64, String, String);

fn run(driver: &str, format: &str, read: Line) {
    let (_held, nobody) = refusing();
    let upstream = upstream();
    let mut ringway = Ringway::on(driver, &config(format, &upstream, nobody));
    for (request, status, flags, reason) in CLASSES {
        let mut client = ringway.client("web");
        let (method, path) = request.split_once(' ').unwrap_or((request, ""));
        let sent = match method {
            "BAD" => "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
            "SLOW" => "GET / HT".to_owned(),
            "POST" => format!(
                "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: 300000\r\n\r\n{}",
                "x".repeat(300_000)
            ),
            _ => format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"),
        };
        let _ = client.send(sent.as_bytes());
        if *status == 0 {
            ringway.wait_for_metric("ringway_requests_active", |active| active == 1);
            drop(client);
        } else {
            assert_eq!(u64::from(client.answer().status()), *status, "{request}");
        }
        let line = ringway.output_line();
        let found = read(&line);
        let expected_reason = if reason.is_empty() { found.2.clone() } else { (*reason).to_owned() };
        assert_eq!(found, (*status, (*flags).to_owned(), expected_reason), "{request}: {line}");
        assert_eq!(found.2.is_empty(), flags.is_empty(), "a reason where there is a flag: {line}");
        let counted = flags.split(',').all(|f| {
            f.is_empty() || ringway.metric(&format!("ringway_response_flags_total{{flag=\"{f}\"}}")) == 1
        });
        assert!(counted, "{request}");
    }
    let mut client = ringway.client("web");
    client.send(b"GET /lr HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    ringway.wait_for_metric("ringway_requests_active", |active| active == 1);
    ringway.signal("TERM");
    assert_ne!(client.read_to_end(), End::Open);
    assert_eq!(ringway.wait().code(), Some(4));
    let lines = ringway.output_to_end();
    assert!(
        lines.iter().any(|line| read(line) == (0, "LR".to_owned(), "drain_deadline".to_owned())),
        "{lines:?}"
    );
}

fn every_class_has_its_flag_as_json(driver: &str) {
    run(driver, "json", |line| {
        let value: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| value[key].as_str().expect("a text").to_owned();
        (value["status"].as_u64().expect("a number"), text("flags"), text("reason"))
    });
}

fn every_class_has_its_flag_as_text(driver: &str) {
    run(driver, "text", |line| {
        let rest = line.splitn(3, '"').nth(2).expect("a quoted request");
        let mut words = rest.split_whitespace().map(|word| word.trim_matches('-').to_owned());
        let mut next = || words.next().expect("a value");
        (next().parse().expect("a number"), next(), next())
    });
}

fn malformed_answers_are_502(driver: &str) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let mut ringway = Ringway::on(driver, &Config::to([address]));
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
    ];
    for bytes in answers {
        let mut client: Client = ringway.client("web");
        client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
        let (mut upstream, _) = listener.accept().expect("a connection of its own each time");
        upstream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        let _ = upstream.read(&mut [0; 4096]);
        upstream.write_all(bytes).expect("sends");
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(client.answer().status(), 502, "{shown}");
        assert_eq!(crate::support::outcome(&mut ringway).1, "UPE", "{shown}");
    }
}
