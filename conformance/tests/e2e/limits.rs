//! Named limits and what happens at them: heads, requests per connection, connections, descriptors, memory.

use std::time::{Duration, Instant};

use ringway_conformance::PATIENCE;
use ringway_conformance::config::Config;
use ringway_conformance::http::OK;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{Client, Upstream};
use ringway_conformance::process::{Ringway, scratch_file};

use crate::support::outcome;

on_both_drivers!(
    heads_over_a_limit_are_refused_by_name,
    requests_per_connection_end_it_in_order,
    at_the_connection_limit_the_oldest_idle_one_goes,
    at_the_connection_limit_busy_ones_stay_and_others_wait,
    without_descriptors_it_neither_spins_nor_stops_serving,
    over_the_memory_limit_requests_are_503,
);

fn heads_over_a_limit_are_refused_by_name(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address]).listener("limits: { head: 2KiB, target: 100B, fields: 5 }");
    let mut ringway = Ringway::on(driver, &config);
    let mut ask = |request: String| {
        let answer = ringway.client("web").ask(request);
        assert_eq!((answer.status() >= 400).then_some("close"), answer.field("connection"));
        (answer.status(), outcome(&mut ringway).1)
    };
    let head =
        |target: usize, more: &str| format!("GET /{} HTTP/1.1\r\nHost: t\r\n{more}\r\n", "a".repeat(target));
    let dpe = |status: u16| (status, "DPE".to_owned());
    assert_eq!(ask(head(99, "")), (200, String::new()));
    assert_eq!(ask(head(100, "")), dpe(414));
    assert_eq!(ask(head(1, &"A: b\r\n".repeat(4))), (200, String::new()));
    assert_eq!(ask(head(1, &"A: b\r\n".repeat(5))), dpe(431));
    assert_eq!(ask(head(1, &format!("A: {}\r\n", "b".repeat(1900)))), (200, String::new()));
    assert_eq!(ask(head(1, &format!("A: {}\r\n", "b".repeat(2048)))), dpe(431));
}

fn requests_per_connection_end_it_in_order(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address])
        .listener("limits: { requests_per_connection: 3 }")
        .cluster("requests_per_connection: 2");
    let ringway = Ringway::on(driver, &config);
    for _ in 0..2 {
        let mut client = ringway.client("web");
        for expected in [None, None, Some("close")] {
            assert_eq!(client.get("/").field("connection"), expected);
        }
        client.expect_closed();
    }
    assert_eq!(ringway.metric("ringway_upstream_connections_total"), 3);
}

fn at_the_connection_limit_the_oldest_idle_one_goes(driver: &str) {
    let upstream = Upstream::ok();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]).top("limits: { connections: 4 }"));
    let mut idle: Vec<Client> = Vec::new();
    for _ in 0..3 {
        let mut client = ringway.client("web");
        assert_eq!(client.get("/").status(), 200);
        idle.push(client);
    }
    // The second is the one used longest ago.
    assert_eq!(idle[0].get("/").status(), 200);
    let mut fourth = ringway.client("web");
    assert_eq!(fourth.get("/").status(), 200);
    idle[1].expect_closed();
    for client in [&mut idle[0], &mut fourth] {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(ringway.metric("ringway_shed_connections_total"), 1);
}

/// An upstream that answers when it is told to: `/wait` stays open until a byte comes on the channel.
fn waiting() -> (Upstream, std::sync::mpsc::Sender<()>) {
    let (go, gates) = std::sync::mpsc::channel();
    let gates = std::sync::Mutex::new(gates);
    let upstream = Upstream::start(move |connection| {
        while let Some(request) = connection.next_message() {
            if request.start().contains("/wait") {
                let _ = gates.lock().expect("not poisoned").recv_timeout(PATIENCE);
            }
            if connection.send(OK).is_err() {
                return;
            }
        }
    });
    (upstream, go)
}

fn at_the_connection_limit_busy_ones_stay_and_others_wait(driver: &str) {
    let (upstream, go) = waiting();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]).top("limits: { connections: 3 }"));
    let mut busy: Vec<Client> = (0..3).map(|_| ringway.client("web")).collect();
    for client in &mut busy {
        client.send(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    }
    ringway.wait_for_metric("ringway_requests_active", |active| active == 3);
    let mut late = ringway.client("web");
    late.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    late.expect_open();
    assert!(ringway.metric("ringway_accept_paused_total") >= 1);
    for _ in 0..3 {
        go.send(()).expect("the upstream waits");
    }
    for client in &mut busy {
        assert_eq!(client.answer().status(), 200);
    }
    assert_eq!(late.answer().status(), 200, "accepting starts again when there is room");
}

/// Processor time used so far, in clock ticks of 10 ms.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

fn without_descriptors_it_neither_spins_nor_stops_serving(driver: &str) {
    let (upstream, go) = waiting();
    let file = scratch_file("ringway.yaml");
    // The limit asks for more than the descriptors allow: 16 are accepted, and each needs an upstream connection too.
    let config = Config::to([upstream.address]).route("timeout: off").yaml();
    std::fs::write(&file, config).expect("writes");
    let ringway = Ringway::start_file(file, &["--driver", driver], &["prlimit", "--nofile=40:40"]);
    let mut clients: Vec<Client> = (0..60).map(|_| ringway.client("web")).collect();
    for client in &mut clients {
        client.send(b"GET /wait HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    }
    let (before, since) = (ticks(ringway.pid()), Instant::now());
    // One that is left waiting for this long measures the time.
    let stream = clients[59].stream();
    stream.set_read_timeout(Some(Duration::from_millis(700))).expect("not zero");
    let _ = stream.peek(&mut [0]);
    let (used, wall) = (ticks(ringway.pid()) - before, since.elapsed().as_millis() as u64 / 10);
    assert!(used * 4 <= wall.max(70), "{used} of {wall} ticks: it spins");
    for _ in 0..60 {
        let _ = go.send(());
    }
    let mut answered = 0;
    for client in &mut clients {
        let answer = client.answer();
        assert!(matches!(answer.status(), 200 | 503), "{}", answer.head);
        answered += usize::from(answer.status() == 200);
        client.finish();
    }
    assert!(answered >= 10, "{answered}");
    drop(clients);
    assert_eq!(ringway.client("web").get("/").status(), 200);
}

fn over_the_memory_limit_requests_are_503(driver: &str) {
    let upstream = Upstream::ok();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]).top("limits: { memory: 1MiB }"));
    // Each head that is not whole holds a buffer, on a connection that nobody sheds.
    let mut begun: Vec<Client> = Vec::new();
    while ringway.metric("ringway_accept_paused_total") == 0 {
        assert!(begun.len() < 1000, "no shortage behind {} half heads", begun.len());
        for _ in 0..20 {
            let mut client = ringway.client("web");
            client.send(b"GET / HTTP/1.1\r\nHo").expect("sends");
            begun.push(client);
        }
    }
    let first = &mut begun[0];
    first.send(b"st: test\r\n\r\n").expect("sends");
    let answer = first.answer();
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("overload"));
    assert_eq!(outcome(&mut ringway), (503, "OM".to_owned(), "overload".to_owned()));
    drop(begun);
    assert_eq!(ringway.client("web").get("/").status(), 200, "it goes on when there is room again");
}
