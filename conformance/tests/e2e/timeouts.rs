//! Every time limit: what it measures, what the client and the upstream see, and what the log says.

use std::sync::mpsc::channel;

use ringway_conformance::PATIENCE;
use ringway_conformance::config::Config;
use ringway_conformance::http::OK;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{End, Upstream};
use ringway_conformance::process::Ringway;

use crate::support::{outcome, unanswering};

on_both_drivers!(
    a_slow_head_is_408,
    a_client_that_says_nothing_is_closed_quietly,
    an_idle_connection_is_closed,
    an_old_connection_is_closed_behind_its_answer,
    a_slow_body_is_408_and_the_upstream_is_cancelled,
    a_slow_answer_is_504_and_the_upstream_is_cancelled,
    a_slow_attempt_is_504,
    an_answer_that_stalls_is_cut_off,
    an_upload_that_stalls_is_408,
    a_connect_that_takes_too_long_is_503,
    an_exchange_that_lasts_too_long_is_cut_off,
    an_unused_upstream_connection_is_closed,
);

fn expected(status: u64, flags: &str, reason: &str) -> (u64, String, String) {
    (status, flags.to_owned(), reason.to_owned())
}

fn a_slow_head_is_408(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address]).listener("timeouts: { header: 200ms }");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    client.send(b"GET / HTTP/1.1\r\nHost: te").expect("sends");
    // Slowloris: a byte now and then does not buy more time.
    let mut end = End::Open;
    while end == End::Open && client.received.is_empty() {
        let _ = client.send(b"x");
        end = client.watch();
    }
    assert_eq!(client.answer().status(), 408);
    assert_eq!(outcome(&mut ringway), expected(408, "RT", "header_timeout"));
    // The same on a connection that was used before.
    let mut client = ringway.client("web");
    assert_eq!(client.get("/").status(), 200);
    client.send(b"GET / HT").expect("sends");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
    client.expect_closed();
}

fn a_client_that_says_nothing_is_closed_quietly(driver: &str) {
    let upstream = Upstream::ok();
    // With a PROXY header in front the connection is accepted before the request.
    let config =
        Config::to([upstream.address]).listener("proxy_protocol: optional, timeouts: { header: 200ms }");
    let ringway = Ringway::on(driver, &config);
    ringway.client("web").expect_closed_or_reset();
}

fn an_idle_connection_is_closed(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address]).listener("timeouts: { idle: 200ms }");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    assert_eq!(client.get("/").status(), 200);
    client.expect_closed();
}

fn an_old_connection_is_closed_behind_its_answer(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address]).listener("timeouts: { connection_age: 150ms }");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let mut requests = 0;
    while client.get("/").field("connection") != Some("close") {
        requests += 1;
        assert_eq!(client.watch(), End::Open);
    }
    assert!((1..=10).contains(&requests), "{requests}");
    client.expect_closed();
}

/// An upstream that swallows what comes and reports how its connection ended.
fn swallowing() -> (Upstream, std::sync::mpsc::Receiver<End>) {
    let (ended, ends) = channel();
    let upstream = Upstream::start(move |connection| {
        let _ = ended.send(connection.read_to_end());
    });
    (upstream, ends)
}

fn a_slow_body_is_408_and_the_upstream_is_cancelled(driver: &str) {
    let (upstream, ends) = swallowing();
    let config = Config::to([upstream.address]).listener("timeouts: { body: 200ms }");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345").expect("sends");
    let answer = client.answer();
    assert_eq!((answer.status(), answer.field("connection")), (408, Some("close")));
    assert_ne!(ends.recv_timeout(PATIENCE).expect("cancelled"), End::Open);
    assert_eq!(outcome(&mut ringway), expected(408, "RT", "body_timeout"));
}

fn a_slow_answer_is_504_and_the_upstream_is_cancelled(driver: &str) {
    let (upstream, ends) = swallowing();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]).route("timeout: 200ms"));
    let mut client = ringway.client("web");
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.field("connection")), (504, None));
    assert_ne!(ends.recv_timeout(PATIENCE).expect("cancelled"), End::Open);
    assert_eq!(outcome(&mut ringway), expected(504, "UT", "response_timeout"));
    assert_eq!(client.get("/").status(), 504, "the client's connection goes on");
}

fn a_slow_attempt_is_504(driver: &str) {
    let (upstream, _ends) = swallowing();
    let config = Config::to([upstream.address]).route("timeout: 1m, try_timeout: 200ms");
    let mut ringway = Ringway::on(driver, &config);
    assert_eq!(ringway.client("web").get("/").status(), 504);
    assert_eq!(outcome(&mut ringway), expected(504, "UT", "try_timeout"));
}

fn an_answer_that_stalls_is_cut_off(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.next_message();
        let _ = connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345");
        connection.read_to_end();
    });
    let config = Config::to([upstream.address]).route("idle_timeout: 200ms");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.whole, answer.text().as_str()), (200, false, "12345"));
    assert_eq!(outcome(&mut ringway), expected(200, "SI", "stream_idle_timeout"));
}

fn an_upload_that_stalls_is_408(driver: &str) {
    let (upstream, _ends) = swallowing();
    let config = Config::to([upstream.address]).listener("timeouts: { stream_idle: 200ms }");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345").expect("sends");
    assert_eq!(client.answer().status(), 408);
    assert_eq!(outcome(&mut ringway), expected(408, "SI", "stream_idle_timeout"));
}

fn a_connect_that_takes_too_long_is_503(driver: &str) {
    let (_held, address) = unanswering();
    let mut ringway = Ringway::on(
        driver,
        &Config::to([address]).cluster("connect_timeout: 200ms").route("retry: { max: 0 }"),
    );
    assert_eq!(ringway.client("web").get("/").status(), 503);
    assert_eq!(outcome(&mut ringway), expected(503, "UF", "connect_timeout"));
}

fn an_exchange_that_lasts_too_long_is_cut_off(driver: &str) {
    let upstream = Upstream::start(|connection| {
        let request = connection.next_message();
        if request.is_some_and(|request| request.start().contains("/begun")) {
            let _ = connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            // Always something moving: only the whole duration can end it.
            while connection.send(b"1\r\nx\r\n").is_ok() && connection.watch() == End::Open {}
            return;
        }
        connection.read_to_end();
    });
    let config = Config::to([upstream.address]).route("duration_max: 250ms, timeout: off");
    let mut ringway = Ringway::on(driver, &config);
    let answer = ringway.client("web").get("/");
    assert_eq!(answer.status(), 504);
    assert_eq!(outcome(&mut ringway), expected(504, "DT", "duration_timeout"));
    let answer = ringway.client("web").get("/begun");
    assert_eq!((answer.status(), answer.whole), (200, false));
    assert_eq!(outcome(&mut ringway), expected(200, "DT", "duration_timeout"));
}

fn an_unused_upstream_connection_is_closed(driver: &str) {
    let (ended, ends) = channel();
    let upstream = Upstream::start(move |connection| {
        while connection.next_message().is_some() && connection.send(OK).is_ok() {}
        let _ = ended.send(());
    });
    let config = Config::to([upstream.address]).cluster("idle_timeout: 200ms");
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    assert_eq!(client.get("/").status(), 200);
    ends.recv_timeout(PATIENCE).expect("closed when it was idle for long enough");
    assert_eq!(client.get("/").status(), 200);
}
