//! Opaque TLS routed by server name: OpenSSL's server behind, curl and replayed ClientHellos in front.

use std::io::Read;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ringway_conformance::config::Config;
use ringway_conformance::http::with_body;
use ringway_conformance::on_both_drivers;
use ringway_conformance::peer::{End, Upstream};
use ringway_conformance::process::{Ringway, scratch_file};

use crate::support::{Peer, python};

on_both_drivers!(
    real_tls_goes_where_its_server_name_says,
    a_client_hello_may_come_in_any_pieces,
    what_is_not_tls_goes_to_the_default_or_nowhere,
    a_client_hello_that_never_comes_is_given_up,
);

/// A TLS server that answers every request with its name.
const SERVER: &str = r#"
import http.server, ssl, sys
name, cert, key = sys.argv[1:4]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(name)))
        self.end_headers()
        self.wfile.write(name.encode())
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A certificate and key of this run.
fn certificate() -> (PathBuf, PathBuf) {
    let (cert, key) = (scratch_file("cert.pem"), scratch_file("key.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-subj", "/CN=test", "-days", "2", "-keyout"]).arg(&key).arg("-out").arg(&cert);
    let made = openssl.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(made.is_ok_and(|status| status.success()), "openssl req");
    (cert, key)
}

fn server(name: &str, (cert, key): &(PathBuf, PathBuf)) -> (Peer, String) {
    let peer = Peer::start(python().args(["-c", SERVER, name]).arg(cert).arg(key), "ready");
    let port = peer.first.rsplit(' ').next().expect("a port").to_owned();
    (peer, format!("127.0.0.1:{port}"))
}

fn real_tls_goes_where_its_server_name_says(driver: &str) {
    let pair = certificate();
    let (servers, addresses): (Vec<_>, Vec<_>) =
        ["exact", "wild", "h2", "default"].map(|n| server(n, &pair)).into_iter().unzip();
    let sni = "[{ host: www.example.com, cluster: exact }, { host: \"*.example.com\", cluster: wild }, \
               { host: www.example.com, alpn: h2, cluster: h2 }]";
    let mut config = Config::to(["127.0.0.1:1"]).and_listener(
        "tls",
        &format!("address: \"127.0.0.1:0\", protocol: tcp, cluster: default, sni: {sni}"),
    );
    for (name, address) in ["exact", "wild", "h2", "default"].iter().zip(&addresses) {
        config = config.and_cluster(name, [address]);
    }
    let ringway = Ringway::on(driver, &config);
    let port = ringway.address("tls").port();
    let ask = |host: &str, alpn: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "--max-time", "10", alpn]);
        curl.args(["--connect-to", &format!("{host}:443:127.0.0.1:{port}"), &format!("https://{host}/")]);
        let output = curl.output().expect("curl: `.ci/install packages` installs it");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    assert_eq!(ask("www.example.com", "--http1.1"), "exact");
    assert_eq!(ask("WWW.Example.COM", "--http1.1"), "exact");
    assert_eq!(ask("a.b.example.com", "--no-alpn"), "wild");
    assert_eq!(ask("other.test", "--http1.1"), "default");
    // The server knows no HTTP/2; that it was chosen at all is what counts.
    assert_eq!(ask("www.example.com", "--http2"), "h2");
    drop(servers);
}

/// The ClientHello that OpenSSL sends for this name.
fn client_hello(name: &str) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &address, "-servername", name]);
    let mut child =
        openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("openssl");
    let (mut stream, _) = listener.accept().expect("openssl connects");
    let mut record = vec![0; 5];
    stream.read_exact(&mut record).expect("a record header");
    let len = usize::from(u16::from_be_bytes([record[3], record[4]]));
    record.resize(5 + len, 0);
    stream.read_exact(&mut record[5..]).expect("a record");
    let _ = child.kill();
    let _ = child.wait();
    record
}

fn a_client_hello_may_come_in_any_pieces(driver: &str) {
    let hello = client_hello("www.example.com");
    let len = hello.len();
    let expected = hello.clone();
    let upstream = Upstream::start(move |connection| {
        connection.read_until(|bytes| bytes.len() >= len);
        let same = connection.received == expected;
        let _ = connection.send(if same { b"same" } else { b"else" });
        connection.read_to_end();
    });
    let config = Config::to(["127.0.0.1:1"]).and_cluster("named", [upstream.address]).and_listener(
        "tls",
        "address: \"127.0.0.1:0\", protocol: tcp, sni: [{ host: www.example.com, cluster: named }]",
    );
    let ringway = Ringway::on(driver, &config);
    for piece in [1, 5, 100, len] {
        let mut client = ringway.client("tls");
        for part in hello.chunks(piece) {
            client.send(part).expect("sends");
        }
        client.read_until(|bytes| bytes.len() >= 4);
        assert_eq!(client.received, b"same", "pieces of {piece}");
    }
    // The same handshake message in several records (RFC 8446 section 5.1).
    let mut records = Vec::new();
    for part in hello[5..].chunks(40) {
        records.extend_from_slice(&[22, 3, 1, 0, part.len() as u8]);
        records.extend_from_slice(part);
    }
    let mut client = ringway.client("tls");
    client.send(&records).expect("sends");
    client.read_until(|bytes| bytes.len() >= 4);
    assert_eq!(client.received, b"else", "routed, and passed on as it came");
}

fn what_is_not_tls_goes_to_the_default_or_nowhere(driver: &str) {
    let upstream = Upstream::serving(|request| with_body(request.start()));
    let sni = "protocol: tcp, sni: [{ host: www.example.com, cluster: app }]";
    let config = Config::to([upstream.address])
        .and_listener("with", &format!("address: \"127.0.0.1:0\", {sni}, cluster: app"))
        .and_listener("without", &format!("address: \"127.0.0.1:0\", {sni}"));
    let ringway = Ringway::on(driver, &config);
    assert_eq!(ringway.client("with").get("/plain").text(), "GET /plain HTTP/1.1");
    let mut client = ringway.client("without");
    let _ = client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    client.expect_closed_or_reset();
    let mut client = ringway.client("without");
    let _ = client.send(&client_hello("other.test"));
    client.expect_closed_or_reset();
    assert_eq!(ringway.metric("ringway_sni_unmatched_total"), 2);
}

fn a_client_hello_that_never_comes_is_given_up(driver: &str) {
    let upstream = Upstream::ok();
    let config = Config::to([upstream.address]).and_listener(
        "tls",
        "address: \"127.0.0.1:0\", protocol: tcp, hello_timeout: 200ms, sni: [{ host: a.test, cluster: app }]",
    );
    let ringway = Ringway::on(driver, &config);
    let mut client = ringway.client("tls");
    client.send(&client_hello("a.test")[..20]).expect("sends");
    assert_ne!(client.read_to_end(), End::Open);
    assert_eq!(ringway.metric("ringway_timeouts_total"), 1);
}
