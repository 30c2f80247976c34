//! Cases told step by step: what runs have found, and every time limit.

use ringway_driver::sim::{EndId, Fault, FaultPlan, Read, SimOptions};

use ringway_engine::{Command, Status};

use super::config;
use super::scene::Scene;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A client on `web` whose request has reached the upstream.
fn asked(scene: &mut Scene, request: &str) -> (EndId, EndId) {
    let client = scene.connect(&config::web());
    scene.send(client, request);
    let upstream = scene.accept();
    (client, upstream)
}

// --- what runs have found ---

/// A close with unread input is a reset, and a reset destroys what is on its way.
#[test]
fn an_answer_survives_a_request_that_nobody_will_read() {
    let mut scene = Scene::new();
    let client = scene.connect(&config::extra());
    scene.send(client, GET);
    let upstream = scene.accept();
    scene.send(client, GET);
    scene.publish(false, Vec::new());
    scene.pass(1_000);
    scene.send(upstream, OK);
    scene.pass(10_000);
    let answer = scene.read(client).to_ascii_lowercase();
    assert!(answer.contains("connection: close") && answer.ends_with("\r\n\r\nok"), "{answer:?}");
    assert_eq!(scene.state(client), Read::End);
}

#[test]
fn an_answer_in_the_middle_of_its_request_announces_the_end() {
    let mut scene = Scene::new();
    let (client, upstream) =
        asked(&mut scene, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf");
    scene.send(upstream, OK);
    scene.pass(1_000);
    let answer = scene.read(client).to_ascii_lowercase();
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer:?}");
    assert_eq!(scene.state(client), Read::End);
}

#[test]
fn an_answer_survives_the_failure_of_the_next_one() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, &format!("{GET}{GET}"));
    scene.send(client, GET);
    assert_eq!(scene.net.write(upstream, OK.as_bytes()), Ok(OK.len()));
    let mut first = String::new();
    scene.pass_until("the second request", |s| {
        first += &s.read(upstream);
        first.matches("GET").count() == 2
    });
    scene.send(upstream, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
    scene.net.close(upstream);
    scene.pass(10_000);
    let answers = scene.read(client);
    assert!(answers.contains("\r\n\r\nok") && answers.ends_with("short"), "{answers:?}");
    assert_eq!(scene.state(client), Read::End);
}

/// An endpoint that restarts ends all its connections at once: one repetition must be enough.
#[test]
fn a_request_is_repeated_on_a_connection_of_its_own() {
    let mut scene = Scene::new();
    let (one, first) = asked(&mut scene, GET);
    let (two, second) = asked(&mut scene, GET);
    for (client, upstream) in [(one, first), (two, second)] {
        scene.read(upstream);
        scene.send(upstream, OK);
        assert!(scene.read(client).ends_with("ok"));
    }
    assert_eq!(scene.net.write(one, GET.as_bytes()), Ok(GET.len()));
    // The request is sent at 100 us on the connection pooled last; its end arrives at 150, that of the other at 160.
    scene.pass(50);
    scene.net.close(second);
    scene.pass(10);
    scene.net.close(first);
    let third = scene.accept();
    scene.send(third, OK);
    scene.pass(1_000);
    assert!(scene.read(one).ends_with("ok"));
}

/// A graceful end keeps what a slow reader has not taken yet, however long that takes.
#[test]
fn an_answer_survives_a_reader_slower_than_the_lingering() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let body = "x".repeat(100_000);
    scene.read(upstream);
    scene.send(upstream, &format!("HTTP/1.1 200 OK\r\n\r\n{body}"));
    scene.net.close(upstream);
    scene.pass(5_000_000);
    assert!(scene.read(client).ends_with(&body));
    assert_eq!(scene.state(client), Read::End);
}

/// Accepting stops and is tried again after a while, not in every turn.
#[test]
fn without_descriptors_the_worker_does_not_spin() {
    let mut scene = Scene::with(SimOptions { socks_max: 2, ..SimOptions::default() });
    let (one, _two, three) =
        (scene.connect(&config::web()), scene.connect(&config::web()), scene.connect(&config::web()));
    scene.pass(1_000_000);
    assert_eq!(scene.usage(), (2, 0));
    assert!((1..=11).contains(&scene.shared.stats.worker.accept_paused_total.value()));
    scene.net.close(one);
    scene.send(three, "hello\r\n\r\n");
    scene.pass(150_000);
    assert!(scene.read(three).starts_with("HTTP/1.1 400 "));
}

// --- time limits ---

/// Asserts that something took its time limit, and hardly longer. Milliseconds.
fn took(us: u64, limit_ms: u64) {
    let ms = us / 1_000;
    assert!((limit_ms..limit_ms + 60).contains(&ms), "{ms} ms instead of {limit_ms}");
}

#[test]
fn a_head_that_never_ends_is_answered_408_in_time() {
    let mut scene = Scene::new();
    let client = scene.connect(&config::web());
    assert_eq!(scene.net.write(client, b"GET / HT"), Ok(8));
    took(scene.pass_until("an answer", |s| s.net.unread(client) > 0), config::HEADER_MS);
    assert!(scene.read(client).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_connection_without_a_request_is_closed_in_time() {
    let mut scene = Scene::new();
    let client = scene.connect(&config::web());
    took(scene.pass_until("the end", |s| s.state(client) == Read::End), config::HEADER_MS);
    scene.net.close(client);
    let (client, upstream) = asked(&mut scene, GET);
    scene.send(upstream, OK);
    scene.pass(1_000);
    assert!(scene.read(client).ends_with("ok"));
    scene.pass_until("the end", |s| s.state(client) == Read::End);
    scene.net.close(client);
    scene.pass(1_000);
    assert_eq!(scene.usage(), (0, 0));
}

#[test]
fn a_pooled_connection_is_closed_in_time() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, GET);
    scene.read(upstream);
    assert_eq!(scene.net.write(upstream, OK.as_bytes()), Ok(OK.len()));
    took(scene.pass_until("the end", |s| s.state(upstream) == Read::End), config::POOL_IDLE_MS);
    assert!(scene.read(client).ends_with("ok"));
}

#[test]
fn a_silent_upstream_is_answered_504_in_time() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, GET);
    scene.read(upstream);
    took(scene.pass_until("an answer", |s| s.net.unread(client) > 0) + 1_000, config::STREAM_IDLE_MS);
    assert!(scene.read(client).starts_with("HTTP/1.1 504 "));
    scene.pass(1_000);
    assert!(matches!(scene.state(upstream), Read::Failed(_)));
}

#[test]
fn an_upstream_that_only_says_wait_is_answered_504_in_time() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, GET);
    let (mut answer, mut next) = (String::new(), 0);
    let waited = scene.pass_until("an answer", |s| {
        if s.net.now() >= next {
            next = s.net.now() + 1_000_000;
            let _ = s.net.write(upstream, b"HTTP/1.1 103 Early Hints\r\n\r\n");
        }
        answer += &s.read(client);
        answer.contains(" 504 ")
    });
    took(waited + 1_000, config::TIMEOUT_MS);
}

#[test]
fn interim_answers_without_end_are_answered_502() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, GET);
    scene.read(upstream);
    scene.send(upstream, &"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100));
    assert!(scene.read(client).contains("\r\n\r\nHTTP/1.1 502 "));
    assert!(matches!(scene.state(upstream), Read::Failed(_)));
}

#[test]
fn a_body_that_stands_still_is_answered_408_in_time() {
    let mut scene = Scene::new();
    let (client, upstream) =
        asked(&mut scene, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf");
    scene.read(upstream);
    took(scene.pass_until("an answer", |s| s.net.unread(client) > 0) + 1_000, config::STREAM_IDLE_MS);
    assert!(scene.read(client).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_connect_without_an_answer_is_given_up_in_time() {
    let mut scene = Scene::new();
    let client = scene.connect(&config::web());
    scene.set_faults(FaultPlan::none().with(Fault::ConnectTimeout, 1_000_000));
    assert_eq!(scene.net.write(client, GET.as_bytes()), Ok(GET.len()));
    // Twice: the first attempt and its one repetition.
    took(scene.pass_until("an answer", |s| s.net.unread(client) > 0), 2 * config::CONNECT_MS);
    assert!(scene.read(client).starts_with("HTTP/1.1 503 "));
    assert_eq!(scene.usage(), (1, 0));
}

#[test]
fn a_drain_cuts_off_what_is_left_in_time() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, GET);
    scene.read(upstream);
    scene.shared.send(Command::Drain { timeout_ms: 2_000 });
    let (waited, status) = scene.finish();
    assert_eq!(status, Status::DrainTimedOut(1));
    took(waited, 2_000);
    scene.net.step(u64::MAX);
    assert!(matches!(scene.state(client), Read::Failed(_)));
}

#[test]
fn a_drain_lets_an_idle_client_ask_once_more_and_ends() {
    let mut scene = Scene::new();
    let (client, upstream) = asked(&mut scene, GET);
    scene.read(upstream);
    scene.send(upstream, OK);
    assert!(scene.read(client).ends_with("ok"));
    scene.shared.send(Command::Drain { timeout_ms: 2_000 });
    scene.pass(1_000);
    scene.send(client, GET);
    let answered_on = if scene.net.unread(upstream) > 0 { upstream } else { scene.accept() };
    scene.read(answered_on);
    scene.send(answered_on, OK);
    let answer = scene.read(client).to_ascii_lowercase();
    assert!(answer.contains("connection: close") && answer.ends_with("ok"), "{answer:?}");
    scene.net.close(client);
    assert_eq!(scene.finish().1, Status::Drained);
    assert_eq!(scene.usage(), (0, 0));
}

#[test]
fn a_stop_ends_at_once() {
    let mut scene = Scene::new();
    let _ = asked(&mut scene, GET);
    scene.shared.send(Command::Stop);
    let (waited, status) = scene.finish();
    assert_eq!((waited, status), (0, Status::Stopped));
}

#[test]
fn a_tunnel_that_stands_still_is_closed_in_time() {
    let mut scene = Scene::new();
    let listener = scene.net.listen(&config::tcp_endpoint());
    let client = scene.connect(&config::tcp());
    scene.pass_until("a connection", |s| s.net.waiting(listener) > 0);
    let (server, _) = scene.net.accept(listener).expect("one waits");
    scene.send(client, "hello");
    assert_eq!(scene.read(server), "hello");
    took(scene.pass_until("the end", |s| s.state(client) != Read::Empty) + 1_000, config::STREAM_IDLE_MS);
    scene.pass(1_000);
    assert_ne!(scene.state(server), Read::Empty);
    assert_eq!(scene.usage(), (0, 0));
}
