//! The built-in sample services behind the demonstration: two tiny HTTP servers on ports the kernel chooses, which say who they
//! are and what reached them.

use std::convert::Infallible;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// Names of the sample services.
pub const NAMES: [&str; 2] = ["one", "two"];

/// The wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Starts both and returns their addresses. Must be called on the runtime.
pub fn start() -> std::io::Result<Vec<SocketAddr>> {
    NAMES.into_iter().map(start_one).collect()
}

fn start_one(name: &'static str) -> std::io::Result<SocketAddr> {
    let listener = crate::sockets::listen_inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of descriptors: some may be free by then.
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            };
            let service =
                hyper::service::service_fn(move |request| async move { answer(name, address, &request) });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    Ok(address)
}

fn answer(
    name: &str,
    at: SocketAddr,
    request: &Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!("Hello from sample {name} ({at}), through Ringway.\n\nWhat reached it:\n");
    let _ = writeln!(text, "  {} {}", request.method(), request.uri());
    for (field, value) in request.headers() {
        let _ = writeln!(text, "  {field}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    let mut response = Response::new(Full::new(Bytes::from(text)));
    let plain = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    Ok(response)
}
