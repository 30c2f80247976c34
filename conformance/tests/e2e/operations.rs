//! Running it: without io_uring, reloads and drains under load, bad configurations, exit codes, log rotation, the admin API.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ringway_conformance::PATIENCE;
use ringway_conformance::config::Config;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{Client, End, Upstream};
use ringway_conformance::process::{Ringway, binary, scratch_file};

use crate::support::python;

on_both_drivers!(
    reloads_under_load_fail_no_request,
    a_bad_reload_changes_nothing,
    a_kubernetes_volume_swap_is_a_reload,
    a_drain_under_load_answers_what_was_sent,
    a_drain_answers_one_more_request_of_an_idle_connection,
    a_drain_waits_for_a_tunnel_until_its_deadline,
    the_log_file_is_opened_again,
);

/// Runs a program without io_uring: io_uring_setup, _enter and _register (425 to 427) fail with EPERM, as in most containers.
const WITHOUT_URING: &str = r#"
import ctypes, os, struct, sys
LOAD_NR, JUMP_GE, JUMP_GT, RETURN = 0x20, 0x35, 0x25, 0x06
program = [(LOAD_NR, 0, 0, 0), (JUMP_GE, 0, 2, 425), (JUMP_GT, 1, 0, 427),
           (RETURN, 0, 0, 0x00050000 | 1), (RETURN, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_void_p)]
libc = ctypes.CDLL(None, use_errno=True)
filter = Program(len(program), ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, ctypes.byref(filter), 0, 0) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"#;

#[test]
fn where_io_uring_is_denied_it_runs_on_epoll_and_says_so() {
    let upstream = Upstream::ok();
    let python = python().get_program().to_string_lossy().into_owned();
    let wrapper = [python.as_str(), "-c", WITHOUT_URING];
    let file = scratch_file("ringway.yaml");
    std::fs::write(&file, Config::to([upstream.address]).yaml()).expect("writes");
    let mut ringway = Ringway::start_file(file, &["--driver", "auto"], &wrapper);
    let first = ringway.log()[0].clone();
    assert!(first.contains("driver=epoll (") && first.to_lowercase().contains("io_uring"), "{first}");
    let mut client = ringway.client("web");
    for _ in 0..100 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert!(ringway.admin("/metrics").contains("driver=\"epoll\""), "the admin API says so too");

    let file = scratch_file("ringway.yaml");
    std::fs::write(&file, Config::to([upstream.address]).yaml()).expect("writes");
    let mut forced = Command::new(&python);
    forced.args(["-c", WITHOUT_URING]).arg(binary()).args(["--driver", "uring", "--config"]).arg(&file);
    let output = forced.stdin(Stdio::null()).output().expect("python runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("io_uring"), "asked for, it is not replaced: {text}");
}

/// Clients that ask until they are told to stop; each answer is checked.
struct Load {
    stop: AtomicBool,
    answered: AtomicU64,
}

impl Load {
    /// Runs `work` under load: two kept connections and two that connect for each request.
    fn during(ringway: &Ringway, work: impl FnOnce(&Load)) -> u64 {
        let load = Load { stop: AtomicBool::new(false), answered: AtomicU64::new(0) };
        let address = ringway.address("web");
        std::thread::scope(|scope| {
            for keep in [true, false, true, false] {
                let load = &load;
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    while !load.stop.load(Ordering::Relaxed) {
                        assert_eq!(client.get("/").text(), "ok");
                        load.answered.fetch_add(1, Ordering::Relaxed);
                        if !keep {
                            client = Client::connect(address);
                        }
                    }
                });
            }
            load.answers(20);
            work(&load);
            load.answers(20);
            load.stop.store(true, Ordering::Relaxed);
        });
        load.answered.load(Ordering::Relaxed)
    }

    /// Waits for this many more answers.
    fn answers(&self, more: u64) {
        let (from, until) = (self.answered.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while self.answered.load(Ordering::Relaxed) < from + more {
            assert!(Instant::now() < until, "the load stands still");
            std::thread::yield_now();
        }
    }
}

fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("writes");
    std::fs::rename(&next, file).expect("replaces");
}

fn reloads_under_load_fail_no_request(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address]).top("workers: 2");
    let more = |n: u32| {
        let extra = config.clone().and_listener("extra", "address: \"127.0.0.1:0\"");
        extra
            .and_route(&format!("listeners: [extra], path: {{ exact: /n }}, respond: {{ body: \"{n}\" }}"))
            .yaml()
    };
    let mut ringway = Ringway::on(driver, &config);
    let file = ringway.config().clone();
    let mut reloads = Vec::new();
    for n in 0..10 {
        reloads.push(more(n));
        reloads.push(config.yaml());
    }
    let before = ringway.address("web");
    let answered = Load::during(&ringway, |load| {
        for (n, text) in reloads.iter().enumerate() {
            replace(&file, text);
            let generation = n as u64 + 2;
            ringway.wait_for_metric("ringway_config_generation", |now| now >= generation);
            load.answers(3);
        }
    });
    assert!(answered >= 60, "{answered}");
    assert_eq!(Client::connect(before).get("/").text(), "ok", "the same socket");
    ringway.wait_for_line("configuration reloaded: generation 21");
}

fn a_bad_reload_changes_nothing(driver: &str) {
    let upstream = Upstream::ok();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    assert_eq!(client.get("/").status(), 200);
    let good = std::fs::read_to_string(ringway.config()).expect("reads");
    replace(ringway.config(), &good.replace("clusters:", "clusterz:"));
    ringway.wait_for_line("reload refused");
    assert!(ringway.wait_for_line("clusterz").contains(":"), "the place is named");
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(ringway.client("web").get("/").status(), 200);
    replace(ringway.config(), &good.replace("cluster: app", "respond: { body: better }"));
    ringway.wait_for_line("configuration reloaded");
    // Each worker takes it between two turns: soon, and on the connection from before.
    answers_soon(&mut client, "/", "better");
}

fn answers_soon(client: &mut Client, path: &str, expected: &str) {
    let until = Instant::now() + PATIENCE;
    while client.get(path).text() != expected {
        assert!(Instant::now() < until, "not {expected}");
    }
}

fn a_kubernetes_volume_swap_is_a_reload(driver: &str) {
    use std::os::unix::fs::symlink;
    let folder = scratch_file("mount");
    let answer = |body: &str| {
        Config::to(["127.0.0.1:1"])
            .and_route(&format!("path: {{ exact: /v }}, respond: {{ body: {body} }}"))
            .yaml()
    };
    for (revision, body) in [("..1", "one"), ("..2", "two")] {
        std::fs::create_dir_all(folder.join(revision)).expect("makes a folder");
        std::fs::write(folder.join(revision).join("ringway.yaml"), answer(body)).expect("writes");
    }
    symlink("..1", folder.join("..data")).expect("links");
    symlink("..data/ringway.yaml", folder.join("ringway.yaml")).expect("links");
    let mut ringway = Ringway::start_file(folder.join("ringway.yaml"), &["--driver", driver], &[]);
    let mut client = ringway.client("web");
    assert_eq!(client.get("/v").text(), "one");
    symlink("..2", folder.join("..data_tmp")).expect("links");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("swaps");
    ringway.wait_for_line("configuration reloaded");
    answers_soon(&mut client, "/v", "two");
}

fn a_drain_under_load_answers_what_was_sent(driver: &str) {
    let upstream = Upstream::ok();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]).top("workers: 2"));
    let address = ringway.address("web");
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for keep in [true, false, true, false] {
            let answered = &answered;
            scope.spawn(move || {
                // Until the listener is closed: refused then, and only then.
                while let Some(mut client) = try_connect(address) {
                    loop {
                        let request = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
                        client.send(request.as_bytes()).expect("the connection was accepted");
                        let end = client.read_until(|bytes| bytes.ends_with(b"ok"));
                        let answer = client.answer();
                        assert_eq!(answer.text(), "ok", "{end:?}");
                        answered.fetch_add(1, Ordering::Relaxed);
                        if !keep || answer.field("connection") == Some("close") {
                            break;
                        }
                    }
                }
            });
        }
        let until = Instant::now() + PATIENCE;
        while answered.load(Ordering::Relaxed) < 60 {
            assert!(Instant::now() < until, "no load");
            std::thread::yield_now();
        }
        ringway.signal("TERM");
    });
    assert_eq!(ringway.wait().code(), Some(0));
}

fn a_drain_answers_one_more_request_of_an_idle_connection(driver: &str) {
    let upstream = Upstream::ok();
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]).top("workers: 1"));
    let (mut under_way, mut silent) = (ringway.client("web"), ringway.client("web"));
    assert_eq!((under_way.get("/").text(), silent.get("/").text()), ("ok".to_owned(), "ok".to_owned()));
    ringway.signal("TERM");
    ringway.wait_for_line("draining");
    // The drain has reached the worker when its listener takes no new connection.
    let until = Instant::now() + PATIENCE;
    let address = ringway.address("web");
    while std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(50)).is_ok() {
        assert!(Instant::now() < until, "still listening");
    }
    let answer = under_way.get("/");
    assert_eq!((answer.text().as_str(), answer.field("connection")), ("ok", Some("close")));
    assert_eq!(silent.read_to_end(), End::Closed);
    assert_eq!(ringway.wait().code(), Some(0));
}

/// A connection, unless nobody listens any more.
fn try_connect(address: std::net::SocketAddr) -> Option<Client> {
    std::net::TcpStream::connect(address).ok().map(Client::from_stream)
}

fn a_drain_waits_for_a_tunnel_until_its_deadline(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.read_to_end();
    });
    let config = Config::to([upstream.address])
        .top("drain: { timeout: 300ms }")
        .and_listener("l4", "address: \"127.0.0.1:0\", protocol: tcp, cluster: app");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("l4");
    client.send(b"x").expect("sends");
    ringway.wait_for_metric("ringway_tunnels_active", |active| active == 1);
    ringway.signal("TERM");
    client.expect_closed_or_reset();
    assert_eq!(ringway.wait().code(), Some(4));
    assert!(ringway.output_to_end().iter().any(|line| line.contains("\"LR\"")));
}

fn the_log_file_is_opened_again(driver: &str) {
    let upstream = Upstream::ok();
    let log = scratch_file("access.log");
    let config = Config::to([upstream.address])
        .top(&format!("access_log: {{ path: \"{}\", format: text }}", log.display()));
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    assert_eq!(client.get("/before").status(), 200);
    ringway.wait_for_metric("ringway_log_lines_total", |lines| lines == 1);
    let moved = log.with_extension("1");
    std::fs::rename(&log, &moved).expect("renames");
    ringway.signal("USR1");
    ringway.wait_for_line("access log opened again");
    assert_eq!(client.get("/after").status(), 200);
    ringway.signal("TERM");
    assert_eq!(ringway.wait().code(), Some(0));
    let (old, new) = (std::fs::read_to_string(moved), std::fs::read_to_string(log));
    let (old, new) = (old.expect("the old file"), new.expect("a new file"));
    assert!(old.contains("GET /before ") && new.contains("GET /after "), "{old}\n{new}");
    assert_eq!((old.lines().count(), new.lines().count()), (1, 1));
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let run = |arguments: &[&str]| {
        Command::new(binary()).args(arguments).stdin(Stdio::null()).output().expect("runs").status.code()
    };
    let good = Config::to(["127.0.0.1:1"]);
    let write = |text: &str| {
        let file = scratch_file("ringway.yaml");
        std::fs::write(&file, text).expect("writes");
        file.to_string_lossy().into_owned()
    };
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = held.local_addr().expect("bound");
    assert_eq!(run(&["check", &write(&good.yaml())]), Some(0));
    assert_eq!(run(&["--config", &write("version: 2\n")]), Some(1));
    assert_eq!(run(&["--no-such-option"]), Some(2));
    let twice = good.and_listener("taken", &format!("address: \"{taken}\"")).yaml();
    assert_eq!(run(&["--config", &write(&twice)]), Some(3));
}
