//! Signals, drain and exit codes.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;

use crate::support::{Folder, Ringway, Upstream, config, connect, get, read_answer, wait_until};

fn held_request(web: SocketAddr, upstream: &Upstream) -> TcpStream {
    let mut stream = connect(web);
    stream.write_all(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").expect("sends");
    upstream.wait_for_held();
    stream
}

#[test]
fn the_first_line_tells_version_driver_workers_and_addresses() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let file = folder.write("a.yaml", &config(upstream.address, ""));
    let ringway = Ringway::start(&file, &[]);
    let line = &ringway.first_line;
    for part in
        [concat!("ringway ", env!("CARGO_PKG_VERSION")), "driver=epoll (asked for)", "workers=2", "admin=off"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(get(ringway.address("web"), "/").body, "up");
    assert_eq!(get(ringway.address("telemetry"), "/live").status, 200);
}

#[test]
fn a_drain_answers_what_it_accepted_and_ends_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let (folder, upstream) = (Folder::new(), Upstream::start("up"));
        let file = folder.write("a.yaml", &config(upstream.address, ""));
        let ringway = Ringway::start(&file, &[]);
        let (web, telemetry) = (ringway.address("web"), ringway.address("telemetry"));
        let stream = held_request(web, &upstream);
        ringway.signal(signal);
        wait_until("readiness fails", || get(telemetry, "/ready").status == 503);
        assert_eq!(get(telemetry, "/live").status, 200);
        wait_until("the listener is closed", || TcpStream::connect(web).is_err());
        upstream.release();
        let answer = read_answer(stream);
        assert_eq!((answer.status, answer.body.as_str()), (200, "up"));
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        ringway.wait_for_log("drained: every exchange was finished");
        assert_eq!(ringway.exit_code(), 0);
    }
}

#[test]
fn during_the_delay_requests_are_still_served() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let file = folder.write("a.yaml", &config(upstream.address, "drain: { delay: 1h }\n"));
    let ringway = Ringway::start(&file, &[]);
    let telemetry = ringway.address("telemetry");
    ringway.signal(Signal::TERM);
    wait_until("readiness fails", || get(telemetry, "/ready").status == 503);
    assert_eq!(get(ringway.address("web"), "/").body, "up");
    ringway.signal(Signal::TERM);
    assert_eq!(ringway.exit_code(), 4);
}

#[test]
fn a_second_signal_ends_at_once_with_4() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let file = folder.write("a.yaml", &config(upstream.address, "drain: { timeout: 1h }\n"));
    let ringway = Ringway::start(&file, &[]);
    let _held = held_request(ringway.address("web"), &upstream);
    ringway.signal(Signal::TERM);
    ringway.wait_for_log("draining");
    ringway.signal(Signal::INT);
    assert_eq!(ringway.exit_code(), 4);
}

#[test]
fn the_drain_deadline_cuts_off_with_4() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let file = folder.write("a.yaml", &config(upstream.address, "drain: { timeout: 200ms }\n"));
    let ringway = Ringway::start(&file, &[]);
    let _held = held_request(ringway.address("web"), &upstream);
    ringway.signal(Signal::TERM);
    ringway.wait_for_log("1 connection was cut off");
    assert_eq!(ringway.exit_code(), 4);
}

#[test]
fn the_access_log_is_written_and_opened_again_on_sigusr1() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let log = folder.path("access.log");
    let more = format!("access_log: {{ path: \"{}\" }}\n", log.display());
    let file = folder.write("a.yaml", &config(upstream.address, &more));
    let ringway = Ringway::start(&file, &[]);
    let web = ringway.address("web");
    let lines_with = |name: &str, what: &str| {
        std::fs::read_to_string(folder.path(name))
            .map_or(0, |text| text.lines().filter(|line| line.contains(what)).count())
    };
    get(web, "/first");
    wait_until("the line is written", || lines_with("access.log", "\"GET /first HTTP/1.1\" 200") == 1);
    std::fs::rename(&log, folder.path("access.log.1")).expect("renames");
    ringway.signal(Signal::USR1);
    wait_until("the file is there again", || log.exists());
    get(web, "/second");
    wait_until("the line is in the new file", || lines_with("access.log", "/second") == 1);
    assert_eq!((lines_with("access.log", "/first"), lines_with("access.log.1", "/second")), (0, 0));
    // What was logged last is written before the process ends.
    get(web, "/last");
    ringway.signal(Signal::TERM);
    assert_eq!(ringway.exit_code(), 0);
    assert_eq!(lines_with("access.log", "/last"), 1);
}

#[test]
fn a_unix_listener_serves_and_its_file_goes_with_it() {
    let (folder, upstream) = (Folder::new(), Upstream::start("up"));
    let socket = folder.path("web.sock");
    let text = config(upstream.address, "")
        .replace("127.0.0.1:0\" }\nroutes", &format!("unix:{}\" }}\nroutes", socket.display()));
    let ringway = Ringway::start(&folder.write("a.yaml", &text), &[]);
    let stream = crate::support::connect_unix(&socket);
    assert_eq!(crate::support::ask(stream, "GET", "/", &[("Host", "a")]).body, "up");
    ringway.signal(Signal::TERM);
    assert_eq!(ringway.exit_code(), 0);
    assert!(!socket.exists());
}
