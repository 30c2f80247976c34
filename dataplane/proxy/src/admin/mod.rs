//! The admin API and the read-only telemetry listener: HTTP on the control thread, so that a probe, a scrape or a dump never
//! takes a turn from a worker. Changes by POST only; the Host field is checked, so that no web page can reach it by a name.

mod guard;
mod page;
mod views;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use ringway_policy::spec::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc::UnboundedSender};

use crate::sockets::UnixFile;
use crate::state::State;

/// Connections of one admin or telemetry listener; further ones wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 64;
/// A request's head must be complete after this long.
const HEADER_MAX: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// The wait after a connection could not be accepted.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What a caller may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything, from this machine.
    Admin,
    /// `/ready`, `/live` and `/metrics`, from anywhere.
    Telemetry,
}

/// What the admin API asks of the control loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Drain, then end.
    Drain,
}

/// A bound admin or telemetry listener.
pub struct Server {
    listener: Listener,
    role: Role,
}

enum Listener {
    Inet(TcpListener),
    /// With the file, which goes when the listener does.
    Unix(UnixListener, UnixFile),
}

impl Server {
    /// Binds. Must be called on the runtime.
    pub fn bind(address: &Address, role: Role) -> std::io::Result<Server> {
        let listener = match address {
            Address::Inet(address) => {
                Listener::Inet(TcpListener::from_std(crate::sockets::listen_inet(*address)?)?)
            }
            Address::Unix(path) => {
                let socket = crate::sockets::unix_socket(path, false)?;
                let listener = UnixListener::from_std(OwnedFd::from(socket).into())?;
                Listener::Unix(listener, UnixFile::of(path.clone())?)
            }
            Address::Dns(..) => return Err(std::io::ErrorKind::InvalidInput.into()),
        };
        Ok(Server { listener, role })
    }

    /// Where it really listens.
    pub fn address(&self) -> std::io::Result<Address> {
        Ok(match &self.listener {
            Listener::Inet(listener) => Address::Inet(listener.local_addr()?),
            Listener::Unix(_, file) => Address::Unix(file.path().clone()),
        })
    }

    /// Serves for ever. Must be called in a `LocalSet`.
    pub async fn serve(self, state: Rc<State>, asks: UnboundedSender<Ask>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (state, asks, role) = (state.clone(), asks.clone(), self.role);
            let accepted = match &self.listener {
                Listener::Inet(listener) => listener.accept().await.map(|(stream, _)| {
                    let local = stream.local_addr().ok();
                    let served = serve_connection(stream, Caller { role, local }, state, asks);
                    tokio::task::spawn_local(async move { (served.await, drop(place)) });
                }),
                Listener::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                    let served = serve_connection(stream, Caller { role, local: None }, state, asks);
                    tokio::task::spawn_local(async move { (served.await, drop(place)) });
                }),
            };
            if accepted.is_err() {
                // Out of descriptors: some may be free by then.
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// How a connection came in.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    /// Which listener.
    role: Role,
    /// The address it was made to; `None` on a unix socket.
    local: Option<SocketAddr>,
}

async fn serve_connection<S>(stream: S, caller: Caller, state: Rc<State>, asks: UnboundedSender<Ask>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let reply = answer(&caller, request.method(), request.uri().path(), request.headers(), &state, &asks);
        async move { Ok::<_, Infallible>(reply) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_MAX).max_buf_size(HEAD_BYTES_MAX);
    // A client that breaks off is its own business.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(
    caller: &Caller,
    method: &Method,
    path: &str,
    fields: &hyper::HeaderMap,
    state: &State,
    asks: &UnboundedSender<Ask>,
) -> Response<Full<Bytes>> {
    if let Err((status, why)) = guard::check(caller, method, fields) {
        return reply(status, PLAIN, format!("{why}\n"));
    }
    let Some(entry) =
        ENTRIES.iter().find(|entry| entry.path == path && (entry.telemetry || caller.role == Role::Admin))
    else {
        return not_found(caller.role);
    };
    match (entry.change, method) {
        (false, &Method::GET | &Method::HEAD) => (entry.answer)(state, asks),
        (true, &Method::POST) => (entry.answer)(state, asks),
        (change, _) => {
            let allowed = if change { "POST" } else { "GET, HEAD" };
            let mut refusal =
                reply(StatusCode::METHOD_NOT_ALLOWED, PLAIN, format!("{path} takes {allowed} only\n"));
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            refusal
        }
    }
}

/// One path of the API.
struct Entry {
    path: &'static str,
    /// Also on the telemetry listener.
    telemetry: bool,
    /// By POST only.
    change: bool,
    /// For the index page.
    help: &'static str,
    answer: fn(&State, &UnboundedSender<Ask>) -> Response<Full<Bytes>>,
}

const ENTRIES: &[Entry] = &[
    Entry {
        path: "/",
        telemetry: false,
        change: false,
        help: "This page.",
        answer: |state, _| reply(StatusCode::OK, HTML, page::index(state)),
    },
    Entry {
        path: "/ready",
        telemetry: true,
        change: false,
        help: "200 when ready to be sent traffic, 503 while starting or draining.",
        answer: |state, _| match state.ready() {
            Ok(()) => reply(StatusCode::OK, PLAIN, views::ready(state)),
            Err(why) => reply(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("{why}\n")),
        },
    },
    Entry {
        path: "/live",
        telemetry: true,
        change: false,
        help: "200 as long as the process answers at all.",
        answer: |_, _| reply(StatusCode::OK, PLAIN, "live\n".to_string()),
    },
    Entry {
        path: "/metrics",
        telemetry: true,
        change: false,
        help: "All numbers, in the Prometheus text format.",
        answer: |state, _| reply(StatusCode::OK, PROMETHEUS, crate::metrics::text(state)),
    },
    Entry {
        path: "/clusters",
        telemetry: false,
        change: false,
        help: "Clusters and their endpoints: load, connections, errors.",
        answer: |state, _| reply(StatusCode::OK, PLAIN, views::clusters(state)),
    },
    Entry {
        path: "/listeners",
        telemetry: false,
        change: false,
        help: "Listeners and the addresses they are bound to.",
        answer: |state, _| reply(StatusCode::OK, PLAIN, views::listeners(state)),
    },
    Entry {
        path: "/config_dump",
        telemetry: false,
        change: false,
        help: "The configuration in force, with every default.",
        answer: |state, _| reply(StatusCode::OK, PLAIN, views::config_dump(state)),
    },
    Entry {
        path: "/drain",
        telemetry: false,
        change: true,
        help: "Finish what is active, then end, as on SIGTERM.",
        answer: |_, asks| match asks.send(Ask::Drain) {
            Ok(()) => reply(StatusCode::ACCEPTED, PLAIN, "draining\n".to_string()),
            Err(_) => reply(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "ending already\n".to_string()),
        },
    },
];

const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn not_found(role: Role) -> Response<Full<Bytes>> {
    let known = ENTRIES.iter().filter(|entry| entry.telemetry || role == Role::Admin).map(|entry| entry.path);
    let known: Vec<&str> = known.collect();
    reply(StatusCode::NOT_FOUND, PLAIN, format!("nothing here; there is {}\n", known.join(" ")))
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    fields.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if kind == HTML {
        let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
        fields.insert("content-security-policy", HeaderValue::from_static(policy));
    }
    response
}
