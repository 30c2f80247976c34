//! What is tried again, and what is not: never work that an upstream may have done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ringway_conformance::config::Config;
use ringway_conformance::http::OK;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::Upstream;
use ringway_conformance::process::Ringway;

use crate::support::{log_line, outcome, refusing};

on_both_drivers!(
    a_refused_connect_goes_to_the_other_endpoint,
    a_refused_connect_is_503_when_nobody_is_left,
    a_pooled_connection_that_ends_under_a_get_is_replaced,
    a_pooled_connection_that_ends_under_a_post_is_not,
    a_fresh_connection_that_ends_is_not_tried_again,
    a_connection_that_ended_while_idle_is_not_used,
    a_connection_with_bytes_nobody_asked_for_is_not_used,
);

fn a_refused_connect_goes_to_the_other_endpoint(driver: &str) {
    let (_held, nobody) = refusing();
    let upstream = Upstream::ok();
    let config = Config::to([nobody, upstream.address]).cluster("lb: round_robin, idle_max: 0");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let mut attempts = 0;
    for _ in 0..6 {
        let body = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(client.ask(body).status(), 200, "nothing was sent: a POST may go elsewhere too");
        attempts += log_line(&mut ringway)["attempts"].as_u64().expect("a number");
    }
    assert!((7..=12).contains(&attempts), "{attempts}");
    assert_eq!(u64::from(u32::try_from(attempts - 6).expect("few")), ringway.metric("ringway_retries_total"));
}

fn a_refused_connect_is_503_when_nobody_is_left(driver: &str) {
    let (_held, nobody) = refusing();
    let mut ringway = Ringway::on(driver, &Config::to([nobody]));
    let mut client = ringway.client("web");
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.field("connection")), (503, None));
    assert!(answer.text().contains("connect_refused"), "{}", answer.text());
    assert_eq!(outcome(&mut ringway), (503, "UF,URX".to_owned(), "connect_refused".to_owned()));
    assert_eq!(client.get("/").status(), 503);
}

/// Answers the first request of its first connection, and ends that connection at the second; others are served.
fn ends_at_the_second_request() -> (Upstream, Arc<AtomicU32>) {
    let requests = Arc::new(AtomicU32::new(0));
    let (seen, first) = (requests.clone(), AtomicU32::new(0));
    let upstream = Upstream::start(move |connection| {
        let first = first.fetch_add(1, Ordering::SeqCst) == 0;
        while connection.next_message().is_some() {
            if seen.fetch_add(1, Ordering::SeqCst) == 1 && first {
                return;
            }
            let _ = connection.send(OK);
        }
    });
    (upstream, requests)
}

fn a_pooled_connection_that_ends_under_a_get_is_replaced(driver: &str) {
    let (upstream, requests) = ends_at_the_second_request();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(requests.load(Ordering::SeqCst), 3);
    log_line(&mut ringway);
    assert_eq!(log_line(&mut ringway)["attempts"], 2);
}

fn a_pooled_connection_that_ends_under_a_post_is_not(driver: &str) {
    let (upstream, requests) = ends_at_the_second_request();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").status(), 502);
    assert_eq!(requests.load(Ordering::SeqCst), 2, "RFC 9110 section 9.2.2");
    outcome(&mut ringway);
    assert_eq!(outcome(&mut ringway), (502, "UC".to_owned(), "upstream_closed".to_owned()));
}

fn a_fresh_connection_that_ends_is_not_tried_again(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.next_message();
    });
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    assert_eq!(ringway.client("web").get("/").status(), 502);
    assert_eq!(log_line(&mut ringway)["attempts"], 1);
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 1);
}

fn a_connection_that_ended_while_idle_is_not_used(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.next_message();
        let _ = connection.send(OK);
    });
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    for _ in 0..3 {
        let answer = client.ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(answer.status(), 200);
        assert_eq!(log_line(&mut ringway)["attempts"], 1);
        ringway.wait_for_metric("ringway_upstream_connections_active", |open| open == 0);
    }
}

fn a_connection_with_bytes_nobody_asked_for_is_not_used(driver: &str) {
    let upstream = Upstream::start(|connection| {
        while connection.next_message().is_some() {
            let poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
            let _ = connection.send(&[OK, poison].concat());
        }
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok", "RFC 9112 section 9.2");
    }
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 3);
}
