//! Upgrades and CONNECT: Python's websockets on both ends, and scripted peers for what must not be switched.

use std::process::Stdio;

use ringway_conformance::config::Config;
use ringway_conformance::http::OK;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{End, Upstream};
use ringway_conformance::process::Ringway;

use crate::support::{Peer, log_line, outcome, python, refusing};

on_both_drivers!(
    real_websockets_echo_large_messages_and_close,
    an_upgrade_that_no_route_allows_is_passed_on_without_it,
    an_upgrade_carries_bytes_at_once_in_both_directions,
    a_switch_nobody_asked_for_is_refused,
    an_upgrade_that_is_declined_is_an_ordinary_answer,
    connect_opens_a_tunnel_where_it_is_enabled,
);

const SERVER: &str = r#"
import asyncio, websockets
async def echo(socket, path=None):
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosedError:
        pass
async def main():
    async with websockets.serve(echo, "127.0.0.1", 0, max_size=None) as server:
        print("ready", server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()
asyncio.run(main())
"#;

const CLIENT: &str = r#"
import asyncio, os, sys, websockets
async def main():
    async with websockets.connect(sys.argv[1], max_size=None, compression=None) as socket:
        for message in ["hello", "", "x" * 70000, os.urandom(3 << 20), b""]:
            await socket.send(message)
            assert await socket.recv() == message, len(message)
        await (await socket.ping())
        many = [os.urandom(i * 37) for i in range(200)]
        for message in many:
            await socket.send(message)
        for message in many:
            assert await socket.recv() == message
        await socket.close(4001, "enough")
        assert socket.close_code == 4001, socket.close_code
    print("all echoed")
asyncio.run(main())
"#;

fn real_websockets_echo_large_messages_and_close(driver: &str) {
    let server = Peer::start(python().args(["-c", SERVER]), "ready");
    let port = server.first.rsplit(' ').next().expect("a port");
    let mut ringway = Ringway::on(driver, &Config::to([format!("127.0.0.1:{port}")]));
    let url = format!("ws://{}/chat", ringway.address("web"));
    let output = python().args(["-c", CLIENT, &url]).stdin(Stdio::null()).output().expect("python runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("all echoed"), "{text}");
    let line = log_line(&mut ringway);
    assert_eq!((&line["status"], &line["flags"]), (&101.into(), &"".into()));
    assert!(line["bytes_sent"].as_u64().is_some_and(|n| n > 3 << 20), "{line}");
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                       Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const SWITCH: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

fn an_upgrade_that_no_route_allows_is_passed_on_without_it(driver: &str) {
    let upstream = Upstream::echo();
    let ringway = Ringway::on(driver, &Config::to([upstream.address]).route("upgrade: []"));
    let mut client = ringway.client("web");
    let answer = client.ask(UPGRADE);
    assert_eq!(answer.status(), 200, "RFC 9110 section 7.8: a server may ignore it");
    let seen = answer.text().to_lowercase();
    assert!(!seen.contains("upgrade") && seen.contains("sec-websocket-key"), "{seen}");
    assert_eq!(client.get("/").status(), 200);
}

fn an_upgrade_carries_bytes_at_once_in_both_directions(driver: &str) {
    let upstream = Upstream::start(|connection| {
        let Some(head) = connection.next_head() else { return };
        assert_eq!(head.field("upgrade"), Some("websocket"));
        let _ = connection.send(&[SWITCH, b"down at once"].concat());
        connection.read_until(|bytes| bytes.ends_with(b"up at once"));
        let _ = connection.send(b", and then the end");
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    client.send(&[UPGRADE.as_bytes(), b"up at once"].concat()).expect("sends");
    let head = client.next_head().expect("a head");
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")));
    assert_eq!(client.read_to_end(), End::Closed);
    assert_eq!(String::from_utf8_lossy(&client.received), "down at once, and then the end");
}

fn a_switch_nobody_asked_for_is_refused(driver: &str) {
    let upstream = Upstream::serving(|_| SWITCH.to_vec());
    let mut ringway = Ringway::on(driver, &Config::to([upstream.address]));
    assert_eq!(ringway.client("web").get("/").status(), 502, "RFC 9110 section 15.2.2");
    assert_eq!(outcome(&mut ringway).1, "UPE");
}

fn an_upgrade_that_is_declined_is_an_ordinary_answer(driver: &str) {
    let upstream = Upstream::serving(|request| match request.field("upgrade") {
        Some(_) => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec(),
        None => OK.to_vec(),
    });
    let ringway = Ringway::on(driver, &Config::to([upstream.address]));
    let mut client = ringway.client("web");
    assert_eq!(client.ask(UPGRADE).status(), 403);
    assert_eq!(client.get("/").status(), 200);
}

fn connect_opens_a_tunnel_where_it_is_enabled(driver: &str) {
    let upstream = Upstream::start(|connection| {
        connection.read_until(|bytes| bytes.ends_with(b"ping"));
        let _ = connection.send(b"pong");
        connection.read_to_end();
    });
    let (_held, nobody) = refusing();
    let config = Config::to([upstream.address])
        .listener("connect: true")
        .and_cluster("dead", [nobody])
        .and_route("host: dead.test, cluster: dead");
    let mut ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("web");
    client.send(b"CONNECT inner.test:443 HTTP/1.1\r\nHost: inner.test:443\r\n\r\nping").expect("sends");
    let head = client.next_head().expect("a head");
    assert_eq!(head.status(), 200);
    assert_eq!(
        (head.field("content-length"), head.field("transfer-encoding")),
        (None, None),
        "RFC 9110 section 9.3.6"
    );
    client.read_until(|bytes| bytes.len() >= 4);
    assert_eq!(client.received, b"pong");
    client.received.clear();
    client.finish();
    client.expect_closed();
    assert_eq!(log_line(&mut ringway)["method"], "CONNECT");
    let answer = ringway.client("web").ask("CONNECT dead.test:443 HTTP/1.1\r\nHost: dead.test:443\r\n\r\n");
    assert_eq!(answer.status(), 503);
}
