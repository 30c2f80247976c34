//! Opaque TCP: ends and resets of both sides, time limits, bulk, PROXY protocol in and out, unix sockets, IPv6.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};

use ringway_conformance::PATIENCE;
use ringway_conformance::config::Config;
use ringway_conformance::http::OK;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{Client, End, Upstream};
use ringway_conformance::process::{Ringway, scratch_file};

use crate::support::{log_line, pattern, refusing, unanswering};

on_both_drivers!(
    ends_pass_in_each_direction_by_themselves,
    resets_pass_in_both_directions,
    the_server_may_speak_first,
    a_quiet_connection_is_closed,
    a_connection_to_nobody_is_reset,
    bulk_is_byte_exact_both_ways_at_once,
    bulk_is_byte_exact_with_splice,
    proxy_headers_are_read_by_trust_and_mode,
    proxy_headers_are_written_for_tcp,
    proxy_headers_are_written_for_http,
    unix_sockets_serve_both_sides,
    ipv6_serves_both_sides,
);

fn tcp(endpoint: impl std::fmt::Display, keys: &str) -> Config {
    Config::to(["127.0.0.1:1"])
        .and_cluster("raw", [endpoint])
        .and_listener("l4", &format!("address: \"127.0.0.1:0\", protocol: tcp, cluster: raw{keys}"))
}

/// A tunnel with both of its ends in hand.
fn tunnel(driver: &str, keys: &str) -> (Ringway, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let ringway = Ringway::on(driver, &tcp(listener.local_addr().expect("bound"), keys));
    let client = TcpStream::connect(ringway.address("l4")).expect("connects");
    let (upstream, _) = listener.accept().expect("the proxy connects");
    for stream in [&client, &upstream] {
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
    }
    (ringway, client, upstream)
}

fn text_of(stream: &mut TcpStream, len: usize) -> String {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).expect("bytes");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn rest_of(stream: &mut TcpStream) -> String {
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("an orderly end");
    rest
}

fn ends_pass_in_each_direction_by_themselves(driver: &str) {
    let (mut ringway, mut client, mut upstream) = tunnel(driver, "");
    client.write_all(b"question").expect("sends");
    client.shutdown(Shutdown::Write).expect("half-closes");
    assert_eq!(rest_of(&mut upstream), "question");
    upstream.write_all(b"answer behind the end").expect("sends");
    drop(upstream);
    assert_eq!(rest_of(&mut client), "answer behind the end");
    let line = log_line(&mut ringway);
    assert_eq!((&line["protocol"], &line["flags"]), (&"TCP".into(), &"".into()));
    assert_eq!((&line["bytes_received"], &line["bytes_sent"]), (&8.into(), &21.into()));

    let (_ringway, mut client, mut upstream) = tunnel(driver, "");
    upstream.write_all(b"first").expect("sends");
    upstream.shutdown(Shutdown::Write).expect("half-closes");
    assert_eq!(rest_of(&mut client), "first");
    client.write_all(b"second").expect("sends");
    drop(client);
    assert_eq!(rest_of(&mut upstream), "second");
}

/// Closing a socket with unread bytes resets the connection.
fn reset(near: TcpStream, far: &mut TcpStream) {
    far.write_all(b"never read").expect("sends");
    let _ = near.set_read_timeout(Some(PATIENCE));
    assert!(near.peek(&mut [0]).is_ok_and(|n| n == 1));
}

fn resets_pass_in_both_directions(driver: &str) {
    for client_resets in [true, false] {
        let (mut ringway, client, upstream) = tunnel(driver, "");
        let (near, mut far) = if client_resets { (client, upstream) } else { (upstream, client) };
        reset(near, &mut far);
        let error = far.read(&mut [0]).expect_err("a reset, not an end");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        let flags = if client_resets { "DC" } else { "UR" };
        assert_eq!(log_line(&mut ringway)["flags"], flags);
    }
}

fn the_server_may_speak_first(driver: &str) {
    let (_ringway, mut client, mut upstream) = tunnel(driver, "");
    upstream.write_all(b"220 ready").expect("sends");
    assert_eq!(text_of(&mut client, 9), "220 ready");
    client.write_all(b"QUIT").expect("sends");
    assert_eq!(text_of(&mut upstream, 4), "QUIT");
}

fn a_quiet_connection_is_closed(driver: &str) {
    let (mut ringway, mut client, mut upstream) = tunnel(driver, ", idle_timeout: 250ms");
    for _ in 0..3 {
        client.write_all(b"x").expect("sends");
        assert_eq!(text_of(&mut upstream, 1), "x");
    }
    for stream in [&mut client, &mut upstream] {
        let end = stream.read(&mut [0]);
        assert!(matches!(&end, Ok(0)) || end.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
    }
    assert_eq!(log_line(&mut ringway)["flags"], "SI");
}

/// Closed or reset without a byte; a reset may come before connect(2) has returned.
fn expect_turned_away(ringway: &Ringway, listener: &str) {
    match TcpStream::connect(ringway.address(listener)) {
        Ok(stream) => Client::from_stream(stream).expect_closed_or_reset(),
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
    }
}

fn a_connection_to_nobody_is_reset(driver: &str) {
    let (_held, nobody) = refusing();
    let mut ringway = Ringway::on(driver, &tcp(nobody, ""));
    expect_turned_away(&ringway, "l4");
    let line = log_line(&mut ringway);
    assert_eq!((&line["flags"], &line["attempts"]), (&"UF".into(), &2.into()));
    drop(ringway);

    let (_held, silent) = unanswering();
    let config = tcp("127.0.0.1:1", "")
        .and_cluster_of("slow", &format!("endpoints: [\"{silent}\"], connect_timeout: 150ms"))
        .and_listener("slow", "address: \"127.0.0.1:0\", protocol: tcp, cluster: slow");
    let mut ringway = Ringway::on(driver, &config);
    expect_turned_away(&ringway, "slow");
    assert_eq!(log_line(&mut ringway)["flags"], "UF");
}

fn bulk(driver: &str, keys: &str) {
    const LEN: usize = 32 << 20;
    let (ringway, client, upstream) = tunnel(driver, keys);
    let (up, down) = (pattern(LEN, 3), pattern(LEN - 1, 4));
    std::thread::scope(|scope| {
        for (stream, sent, expected) in [(&client, &up, &down), (&upstream, &down, &up)] {
            scope.spawn(move || {
                let mut writer: &TcpStream = stream;
                writer.write_all(sent).expect("sends");
                stream.shutdown(Shutdown::Write).expect("half-closes");
            });
            scope.spawn(move || {
                let (mut reader, mut received): (&TcpStream, _) = (stream, Vec::with_capacity(LEN));
                reader.read_to_end(&mut received).expect("an orderly end");
                assert!(received == **expected, "{} bytes, not the same", received.len());
            });
        }
    });
    ringway.wait_for_metric("ringway_tunnels_active", |active| active == 0);
    assert_eq!(ringway.metric("ringway_downstream_bytes_received_total"), LEN as u64);
    assert_eq!(ringway.metric("ringway_downstream_bytes_sent_total"), LEN as u64 - 1);
}

fn bulk_is_byte_exact_both_ways_at_once(driver: &str) {
    bulk(driver, "");
}

fn bulk_is_byte_exact_with_splice(driver: &str) {
    bulk(driver, ", splice: true");
}

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1111 443\r\n";

fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&[192, 0, 2, 1, 192, 0, 2, 2]);
    header.extend_from_slice(&[4, 87, 1, 187]);
    header
}

fn proxy_headers_are_read_by_trust_and_mode(driver: &str) {
    let upstream = Upstream::echo();
    let listener = |keys: &str| format!("address: \"127.0.0.1:0\", {keys}");
    let config = Config::to([upstream.address])
        .and_listener("optional", &listener("proxy_protocol: optional"))
        .and_listener("required", &listener("proxy_protocol: required"))
        .and_listener("far", &listener("proxy_protocol: required, proxy_protocol_trusted: [10.0.0.0/8]"))
        .and_listener("near", &listener("proxy_protocol: optional, proxy_protocol_trusted: [127.0.0.0/8]"));
    let ringway = Ringway::on(driver, &config);
    let request = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    let client_seen = |listener: &str, header: &[u8], piece: usize| {
        let mut client = ringway.client(listener);
        for part in [header, request].concat().chunks(piece) {
            client.send(part).expect("sends");
        }
        let text = client.answer().text().to_lowercase();
        text.split("x-forwarded-for: ").nth(1).and_then(|rest| rest.lines().next()).map(str::to_owned)
    };
    for listener in ["optional", "required", "near"] {
        for header in [V1, &v2()] {
            for piece in [1, 7, 1000] {
                assert_eq!(
                    client_seen(listener, header, piece).as_deref(),
                    Some("192.0.2.1"),
                    "{listener} {piece}"
                );
            }
        }
    }
    assert_eq!(client_seen("optional", b"", 1000).as_deref(), Some("127.0.0.1"));
    for (listener, header) in [("required", &b""[..]), ("far", V1), ("optional", b"PROXY TCP4 nonsense\r\n")]
    {
        let mut client = ringway.client(listener);
        let _ = client.send(&[header, request].concat());
        client.expect_closed_or_reset();
    }
    // Without the mode such bytes are the client's own, and no HTTP.
    let mut client = ringway.client("web");
    let _ = client.send(&[V1, &request[..]].concat());
    assert_eq!(client.answer().status(), 400);
    assert_eq!(ringway.metric("ringway_proxy_protocol_errors_total"), 3);
}

fn proxy_headers_are_written_for_tcp(driver: &str) {
    for version in ["v1", "v2"] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let config = Config::to(["127.0.0.1:1"])
            .and_cluster_of("raw", &format!("endpoints: [\"{address}\"], proxy_protocol: {version}"))
            .and_listener("l4", "address: \"127.0.0.1:0\", protocol: tcp, cluster: raw, splice: true");
        let ringway = Ringway::on(driver, &config);
        let mut client = TcpStream::connect(ringway.address("l4")).expect("connects");
        let (mut upstream, _) = listener.accept().expect("the proxy connects");
        upstream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        client.write_all(b"hello").expect("sends");
        let (from, to) = (client.local_addr().expect("bound"), ringway.address("l4"));
        let mut expected = match version {
            "v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port()).into_bytes(),
            _ => {
                let mut header = v2()[..16].to_vec();
                header.extend_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
                header.extend_from_slice(&[from.port().to_be_bytes(), to.port().to_be_bytes()].concat());
                header
            }
        };
        expected.extend_from_slice(b"hello");
        let mut received = vec![0; expected.len()];
        upstream.read_exact(&mut received).expect("header and bytes");
        assert_eq!(received, expected, "{version}");
    }
}

fn proxy_headers_are_written_for_http(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.read_until(|bytes| bytes.ends_with(b"\r\n\r\n"));
        let first = String::from_utf8_lossy(&connection.received).lines().next().map(str::to_owned);
        connection.received.clear();
        let _ = connection.send(&ringway_conformance::http::with_body(first.unwrap_or_default()));
        connection.read_to_end();
    });
    let config = Config::to([upstream.address]).cluster("proxy_protocol: v1");
    let ringway = Ringway::on(driver, &config);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let text = ringway.client("web").get("/").text();
        assert!(text.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{text}");
        seen.insert(text);
    }
    assert_eq!(seen.len(), 2, "never shared between clients");
}

fn unix_sockets_serve_both_sides(driver: &str) {
    let (front, back) = (scratch_file("front.sock"), scratch_file("back.sock"));
    let listener = UnixListener::bind(&back).expect("binds");
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().expect("the proxy connects");
        for _ in 0..2 {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).expect("a request");
                request.push(byte[0]);
            }
            connection.write_all(OK).expect("sends");
        }
    });
    let config = Config::to([format!("unix:{}", back.display())])
        .and_listener("local", &format!("address: \"unix:{}\"", front.display()));
    let mut ringway = Ringway::on(driver, &config);
    let mut client = UnixStream::connect(&front).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("not zero");
    for _ in 0..2 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("sends");
        let mut answer = vec![0; OK.len()];
        client.read_exact(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
    serving.join().expect("two requests on one connection");
    assert_eq!(log_line(&mut ringway)["upstream"], format!("unix:{}", back.display()));
    ringway.signal("TERM");
    assert_eq!(ringway.wait().code(), Some(0));
    assert!(!front.exists(), "the socket's file goes with it");
}

fn ipv6_serves_both_sides(driver: &str) {
    let Ok(listener) = TcpListener::bind("[::1]:0") else {
        println!("skipped: no IPv6 here");
        return;
    };
    let address = listener.local_addr().expect("bound");
    let config = Config::to([address])
        .and_listener("six", "address: \"[::1]:0\"")
        .and_listener("dual", "address: \"[::]:0\"");
    let ringway = Ringway::on(driver, &config);
    let serving = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the proxy connects");
        let mut bytes = Vec::new();
        let mut seen = Vec::new();
        let mut stream = stream;
        while seen.len() < 2 {
            let mut chunk = [0; 4096];
            let n = stream.read(&mut chunk).expect("a request");
            bytes.extend_from_slice(&chunk[..n]);
            if bytes.ends_with(b"\r\n\r\n") {
                seen.push(String::from_utf8_lossy(&std::mem::take(&mut bytes)).into_owned());
                stream.write_all(OK).expect("sends");
            }
        }
        seen
    });
    assert_eq!(ringway.client("six").get("/").status(), 200);
    let port = ringway.address("dual").port();
    let mut client = Client::connect(([127, 0, 0, 1], port).into());
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(client.watch(), End::Open);
    let seen = serving.join().expect("two requests");
    assert!(seen[0].contains("x-forwarded-for: ::1\r\n"), "{}", seen[0]);
    assert!(seen[1].contains("x-forwarded-for: 127.0.0.1\r\n"), "no mapped addresses: {}", seen[1]);
}
