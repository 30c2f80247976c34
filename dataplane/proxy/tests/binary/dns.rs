//! Names as endpoints, against a DNS server in this process.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use ringway::exit::Exit;
use ringway::source::Source;

use crate::demo::Inside;
use crate::support::{Folder, Upstream, get, wait_until};

/// What the server says.
#[derive(Clone, Copy)]
enum Zone {
    /// One A record, no AAAA record.
    Address(Ipv4Addr),
    /// SERVFAIL.
    Broken,
}

/// A server that answers every query with the same, TTL 0.
fn start_server(zone: Zone) -> (SocketAddr, Arc<Mutex<Zone>>) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("binds");
    let address = socket.local_addr().expect("is bound");
    let zone = Arc::new(Mutex::new(zone));
    let shared = zone.clone();
    std::thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, peer)) = socket.recv_from(&mut query) {
            let zone = *shared.lock().expect("no panic");
            let _ = socket.send_to(&answer(&query[..length], zone), peer);
        }
    });
    (address, zone)
}

/// RFC 1035 section 4.1: header, question as asked, at most one answer.
fn answer(query: &[u8], zone: Zone) -> Vec<u8> {
    let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).expect("a name") + 1;
    let question = &query[12..name_end + 4];
    let is_a = question[question.len() - 4..question.len() - 2] == [0, 1];
    let (code, address) = match zone {
        Zone::Address(address) => (0, is_a.then_some(address)),
        Zone::Broken => (2, None),
    };
    let mut out = query[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1, 0, u8::from(address.is_some()), 0, 0, 0, 0]);
    out.extend(question);
    if let Some(address) = address {
        // A pointer to the name in the question, type A, class IN, TTL 0, 4 bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        out.extend(address.octets());
    }
    out
}

/// Two upstreams with the same port on different addresses.
fn two_upstreams() -> (Upstream, Upstream) {
    loop {
        let first = TcpListener::bind(("127.0.0.1", 0)).expect("binds");
        let port = first.local_addr().expect("is bound").port();
        if let Ok(second) = TcpListener::bind(("127.0.0.2", port)) {
            return (Upstream::on(first, "first"), Upstream::on(second, "second"));
        }
    }
}

#[test]
fn a_name_is_followed_and_kept_when_the_server_fails() {
    let folder = Folder::new();
    let (first, _second) = two_upstreams();
    let (server, zone) = start_server(Zone::Address(Ipv4Addr::new(127, 0, 0, 1)));
    let config = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [{{ path: {{ prefix: \"/\" }}, cluster: app }}]\n\
         clusters: {{ app: {{ endpoints: [\"app.ringway.test:{}\"], dns: {{ min_ttl: 100ms }} }} }}\n",
        first.address.port()
    );
    let source = Source::File(folder.write("a.yaml", &config));
    let ringway = Inside::start(&folder, source, |options| options.dns_servers = Some(vec![server]));
    let web = ringway.web();
    // The first look-up is waited for: no request is lost to an empty cluster.
    assert_eq!(get(web, "/").body, "first");
    *zone.lock().expect("no panic") = Zone::Address(Ipv4Addr::new(127, 0, 0, 2));
    wait_until("the new address serves", || get(web, "/").body == "second");
    *zone.lock().expect("no panic") = Zone::Broken;
    wait_until("a look-up has failed", || {
        !ringway.admin("/metrics").contains("dns_lookups_total{result=\"failure\"} 0")
    });
    assert_eq!(get(web, "/").body, "second");
    assert!(ringway.admin("/clusters").contains("127.0.0.2:"), "{}", ringway.admin("/clusters"));
    assert_eq!(ringway.drain(), Exit::Done);
}

#[test]
fn a_name_nobody_knows_does_not_stop_the_rest() {
    let folder = Folder::new();
    let (server, zone) = start_server(Zone::Broken);
    let (first, _second) = two_upstreams();
    let port = first.address.port();
    let config = format!(
        "version: 1\nlisteners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes:\n  - {{ path: {{ prefix: \"/\" }}, cluster: known }}\n  - {{ path: {{ prefix: \"/un\" }}, cluster: unknown }}\n\
         clusters:\n  known: {{ endpoints: [\"127.0.0.1:{port}\"] }}\n\
         \x20 unknown: {{ endpoints: [\"app.ringway.test:{port}\"], dns: {{ min_ttl: 100ms }} }}\n"
    );
    let source = Source::File(folder.write("a.yaml", &config));
    let ringway = Inside::start(&folder, source, |options| options.dns_servers = Some(vec![server]));
    let web = ringway.web();
    assert_eq!(get(web, "/").body, "first");
    let answer = get(web, "/un");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(
        ringway.admin("/clusters").contains("app.ringway.test has no address"),
        "{}",
        ringway.admin("/clusters")
    );
    // It comes in as soon as the server knows it.
    *zone.lock().expect("no panic") = Zone::Address(Ipv4Addr::LOCALHOST);
    wait_until("the name serves", || get(web, "/un").body == "first");
    assert_eq!(ringway.drain(), Exit::Done);
}
