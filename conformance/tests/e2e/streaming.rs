//! Bodies under way: early answers, half-closes, cancelled exchanges, slow readers, large transfers byte for byte.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use ringway_conformance::PATIENCE;
use ringway_conformance::config::Config;
use ringway_conformance::http::{OK, with_body};
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{Client, End, Upstream};
use ringway_conformance::process::Ringway;

use crate::support::{outcome, pattern};

on_both_drivers!(
    an_early_answer_reaches_a_client_that_still_uploads,
    a_client_that_half_closes_gets_its_answer,
    a_client_that_leaves_cancels_the_upstream,
    a_client_that_leaves_amid_the_answer_cancels_the_upstream,
    a_client_that_stops_amid_its_body_cancels_the_upstream,
    an_upstream_that_ends_amid_the_answer_is_visible,
    large_bodies_are_byte_exact_both_ways_at_once,
    a_slow_reader_holds_little_memory,
    a_slow_upstream_holds_little_memory,
    bodies_over_the_limit_are_413,
);

fn an_early_answer_reaches_a_client_that_still_uploads(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.next_head();
        let _ = connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope");
        // Neither reads nor closes: the proxy must not depend on it.
        connection.read_until(|bytes| bytes.len() > 1 << 20);
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 100000000\r\n\r\n").expect("sends");
    client.read_until(|bytes| bytes.ends_with(b"nope"));
    for _ in 0..64 {
        if client.send(&[b'x'; 1024]).is_err() {
            break;
        }
    }
    let answer = client.answer();
    assert_eq!((answer.status(), answer.text().as_str()), (403, "nope"));
    assert_eq!(answer.field("connection"), Some("close"));
    assert_ne!(client.read_to_end(), End::Open, "RFC 9112 section 9.6: the connection does not go on");
}

fn a_client_that_half_closes_gets_its_answer(driver: &str) {
    let upstream = Upstream::serving(|request| with_body(&request.body));
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    for request in [
        "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabc",
        "GET / HTTP/1.0\r\nHost: test\r\n\r\n",
    ] {
        let mut client = ringway.client("web");
        client.send(request.as_bytes()).expect("sends");
        client.finish();
        assert_eq!(client.answer().status(), 200, "{request}");
        client.expect_closed();
    }
}

fn a_client_that_leaves_cancels_the_upstream(driver: &str) {
    let (arrived, requests) = channel();
    let (ended, ends) = channel();
    let upstream = Upstream::start(move |connection| {
        connection.next_message();
        let _ = arrived.send(());
        let _ = ended.send(connection.read_to_end());
    });
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]).route("timeout: off"));
    let mut client = ringway.client("web");
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    requests.recv_timeout(PATIENCE).expect("the request arrives");
    drop(client);
    assert_ne!(ends.recv_timeout(PATIENCE).expect("cancelled"), End::Open);
    let (_, flags, reason) = outcome(&mut ringway);
    assert_eq!(flags, "DC", "{reason}");
}

fn a_client_that_leaves_amid_the_answer_cancels_the_upstream(driver: &str) {
    let (ended, ends) = channel();
    let upstream = Upstream::start(move |connection| {
        connection.next_message();
        let _ = connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = [b"1000\r\n".to_vec(), vec![b'x'; 0x1000], b"\r\n".to_vec()].concat();
        while connection.send(&chunk).is_ok() {}
        let _ = ended.send(());
    });
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    client.read_until(|bytes| bytes.len() > 1 << 20);
    drop(client);
    ends.recv_timeout(PATIENCE).expect("cancelled");
    let (status, flags, _) = outcome(&mut ringway);
    assert_eq!((status, flags.as_str()), (200, "DC"));
}

fn a_client_that_stops_amid_its_body_cancels_the_upstream(driver: &str) {
    let (ended, ends) = channel();
    let upstream = Upstream::start(move |connection| {
        let _ = ended.send(connection.read_to_end());
    });
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345").expect("sends");
    client.finish();
    assert_ne!(ends.recv_timeout(PATIENCE).expect("cancelled"), End::Open);
    assert_eq!(outcome(&mut ringway).1, "DC");
}

fn an_upstream_that_ends_amid_the_answer_is_visible(driver: &str) {
    let upstream = Upstream::start(|connection| {
        let Some(request) = connection.next_message() else { return };
        let head = match request.start().split(' ').nth(1) {
            Some("/length") => "Content-Length: 10",
            _ => "Transfer-Encoding: chunked",
        };
        let _ = connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n3\r\nabc\r\n").as_bytes());
    });
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    for path in ["/length", "/chunked"] {
        let mut client = ringway.client("web");
        let answer = client.get(path);
        assert_eq!((answer.status(), answer.whole), (200, false), "RFC 9112 section 8: {path}");
        assert!(answer.text().starts_with("3\r\nabc"), "{path}");
        assert_eq!(
            outcome(&mut ringway),
            (200, "UC".to_owned(), "upstream_closed_early".to_owned()),
            "{path}"
        );
    }
    // To an HTTP/1.0 client the end of the connection is the end of the body: only a reset says that it is not whole.
    let mut old = ringway.client("web");
    old.send(b"GET /chunked HTTP/1.0\r\nHost: test\r\n\r\n").expect("sends");
    assert_eq!(old.read_to_end(), End::Reset);
}

fn large_bodies_are_byte_exact_both_ways_at_once(driver: &str) {
    const LEN: usize = 24 << 20;
    // Echoes while it reads: both directions are busy at once.
    let upstream = Upstream::start(|connection| {
        connection.next_head();
        let _ = connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LEN}\r\n\r\n").as_bytes());
        let mut left = LEN;
        while left > 0 {
            let part = std::mem::take(&mut connection.received);
            left -= part.len();
            if connection.send(&part).is_err()
                || connection.read_until(|bytes| !bytes.is_empty()) != End::Open
            {
                break;
            }
        }
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let body = pattern(LEN, 7);
    let mut stream = TcpStream::connect(ringway.address("web")).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
    let mut writer = stream.try_clone().expect("a second handle");
    let sent = body.clone();
    let upload = std::thread::spawn(move || {
        writer.write_all(
            format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {LEN}\r\n\r\n").as_bytes(),
        )?;
        writer.write_all(&sent)
    });
    let mut received = vec![0; LEN];
    read_head(&mut stream);
    stream.read_exact(&mut received).expect("the whole body");
    assert!(received == body, "not the same bytes");
    assert!(upload.join().expect("no panic").is_ok());
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Writes until the other side takes nothing for a while, and returns how much it took. `None`: it never stopped.
fn write_until_blocked(stream: &mut TcpStream, max: usize) -> Option<usize> {
    let chunk = vec![b'x'; 64 << 10];
    stream.set_write_timeout(Some(Duration::from_millis(400))).expect("not zero");
    let mut written = 0;
    while written < max {
        match stream.write(&chunk) {
            Ok(n) => written += n,
            Err(_) => return Some(written),
        }
    }
    None
}

/// Kernel buffers of two connections (send and receive side), as far as Linux lets them grow by itself, and ours.
const BUFFERED_MAX: usize = 48 << 20;

fn a_slow_reader_holds_little_memory(driver: &str) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let ringway = Ringway::on(driver, &Config::to([address]));
    let mut client = ringway.client("web");
    client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
    let (mut upstream, _) = listener.accept().expect("the proxy connects");
    read_head(&mut upstream);
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").expect("sends");
    let written = write_until_blocked(&mut upstream, BUFFERED_MAX).expect("the upstream is held back");
    assert!(ringway.metric("ringway_buffer_bytes") <= 1 << 20, "{written}");
    assert_eq!(client.read_until(|bytes| bytes.len() > written / 2), End::Open, "and it goes on");
    drop(client);
    // What was paused is cancelled all the same.
    let mut rest = Vec::new();
    let _ = upstream.set_read_timeout(Some(PATIENCE));
    assert!(
        !matches!(upstream.read_to_end(&mut rest), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    );
}

fn a_slow_upstream_holds_little_memory(driver: &str) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let ringway = Ringway::on(driver, &Config::to([address]));
    let mut client = TcpStream::connect(ringway.address("web")).expect("connects");
    client.write_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000000\r\n\r\n").expect("sends");
    let (mut upstream, _) = listener.accept().expect("the proxy connects");
    let written = write_until_blocked(&mut client, BUFFERED_MAX).expect("the client is held back");
    assert!(ringway.metric("ringway_buffer_bytes") <= 1 << 20, "{written}");
    read_head(&mut upstream);
    let mut taken = vec![0; written / 2];
    upstream.read_exact(&mut taken).expect("and it goes on");
    assert!(taken.iter().all(|byte| *byte == b'x'));
    let _ = client.shutdown(Shutdown::Both);
}

fn bodies_over_the_limit_are_413(driver: &str) {
    let upstream = Upstream::serving(|_| OK.to_vec());
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]).listener("limits: { body: 10B }"));
    let mut ask = |request: &str| {
        let mut client: Client = ringway.client("web");
        let answer = client.ask(request);
        (answer.status(), outcome(&mut ringway).1)
    };
    let dpe = || (413, "DPE".to_owned());
    assert_eq!(
        ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n0123456789"),
        (200, String::new())
    );
    assert_eq!(ask("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 11\r\n\r\n"), dpe());
    let chunked = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(ask(&format!("{chunked}6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n")), (200, String::new()));
    assert_eq!(ask(&format!("{chunked}6\r\n012345\r\n5\r\n6789a\r\n0\r\n\r\n")), dpe());
}
