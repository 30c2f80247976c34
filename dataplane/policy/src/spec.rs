//! The configuration as plain data, names not yet resolved: what `config` (and later xDS) produces and [`crate::snapshot`]
//! compiles. Every default is stated here, once. Durations are milliseconds, sizes bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// An address to listen on or to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with port.
    Inet(SocketAddr),
    /// Path of a unix socket.
    Unix(Arc<str>),
    /// A name to be resolved by the control thread, with a port (endpoints only).
    Dns(Arc<str>, u16),
}

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Spec {
    /// Process-wide settings.
    pub process: Process,
    /// Listeners, in file order; names are unique.
    pub listeners: Vec<Listener>,
    /// Routes, in file order; the most specific wins, file order breaks ties.
    pub routes: Vec<Route>,
    /// Clusters; names are unique.
    pub clusters: Vec<Cluster>,
}

/// How a worker waits when it has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Idle {
    /// Sleep in the kernel.
    #[default]
    Wait,
    /// Spin up to 20 us while an upstream answer is outstanding, then sleep.
    Spin,
    /// Hold `/dev/cpu_dma_latency` open at 0 so that no core halts (machine-wide; dedicated machines only).
    Poll,
}

/// Process-wide settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Worker threads; `None` = the CPUs this process may use.
    pub workers: Option<u32>,
    /// `auto`, `uring` or `epoll`.
    pub driver: DriverChoice,
    /// How workers wait.
    pub idle: Idle,
    /// Steer connections to the worker on the CPU that took the packet (SO_ATTACH_REUSEPORT_CBPF) instead of by kernel hash.
    pub cpu_steering: bool,
    /// Admin address; `None` = off.
    pub admin: Option<Address>,
    /// Read-only telemetry address; `None` = off.
    pub telemetry: Option<Address>,
    /// Drain on SIGTERM, SIGINT or `POST /drain`.
    pub drain: Drain,
    /// Downstream connections of the whole process; `None` = from RLIMIT_NOFILE.
    pub connections_max: Option<u64>,
    /// Bytes of buffers and sessions of the whole process before load is shed; `None` = no such limit.
    pub memory_max: Option<u64>,
    /// Access log; `None` = off.
    pub access_log: Option<AccessLog>,
}

impl Default for Process {
    fn default() -> Self {
        Process {
            workers: None,
            driver: DriverChoice::Auto,
            idle: Idle::Wait,
            cpu_steering: false,
            admin: None,
            telemetry: None,
            drain: Drain::default(),
            connections_max: None,
            memory_max: None,
            access_log: None,
        }
    }
}

/// Which I/O driver to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// io_uring where its self-test passes, else epoll.
    #[default]
    Auto,
    /// io_uring or fail.
    Uring,
    /// epoll.
    Epoll,
}

/// Drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Listeners stay open this long after readiness fails.
    pub delay_ms: u64,
    /// After this, what is still active is cut off.
    pub timeout_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { delay_ms: 0, timeout_ms: 30_000 }
    }
}

/// Access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// `None` = standard output.
    pub path: Option<Arc<str>>,
    /// Line format.
    pub format: LogFormat,
}

/// Access log line format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One line of space-separated values.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: Arc<str>,
    /// Where to listen.
    pub address: Address,
    /// PROXY protocol expected from the peer.
    pub proxy_protocol: ProxyProtocolIn,
    /// Peers allowed to send a PROXY protocol header (and whose forwarding fields count as trusted); empty = any peer.
    pub proxy_protocol_trusted: Vec<Cidr>,
    /// What is spoken on it.
    pub protocol: Protocol,
}

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// Network address.
    pub ip: IpAddr,
    /// Prefix length.
    pub bits: u8,
}

/// Whether a PROXY protocol header opens a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyProtocolIn {
    /// Never; such bytes are the client's own.
    #[default]
    Off,
    /// Read when there.
    Optional,
    /// A connection without it is closed.
    Required,
}

/// What a listener speaks.
#[derive(Clone, Debug, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1 (and 1.0), routed.
    Http(Http),
    /// Opaque TCP.
    Tcp(Tcp),
}

/// An HTTP listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Limits of the codec.
    pub limits: HttpLimits,
    /// Time limits.
    pub timeouts: HttpTimeouts,
    /// Names of strictness rules relaxed on this listener (see `wire::h1::Relaxations`).
    pub relax: Vec<Arc<str>>,
    /// Count what strictness would refuse instead of refusing it.
    pub dry_run: bool,
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    pub x_forwarded: ForwardPolicy,
    /// `Forwarded` (RFC 7239).
    pub forwarded: ForwardPolicy,
    /// `X-Request-Id`.
    pub request_id: RequestIdPolicy,
    /// Proxies in front of us whose forwarding fields are believed, counted from the right.
    pub trusted_hops: u32,
    /// Pseudonym for `Via`; `None` = off.
    pub via: Option<Arc<str>>,
    /// Allow CONNECT (to clusters that routes name).
    pub connect: bool,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            limits: HttpLimits::default(),
            timeouts: HttpTimeouts::default(),
            relax: Vec::new(),
            dry_run: false,
            x_forwarded: ForwardPolicy::Append,
            forwarded: ForwardPolicy::Preserve,
            request_id: RequestIdPolicy::Generate,
            trusted_hops: 0,
            via: None,
            connect: false,
        }
    }
}

/// What happens to a forwarding field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardPolicy {
    /// Removed, none added.
    Remove,
    /// Passed on as it came.
    Preserve,
    /// Our element is appended.
    Append,
    /// Replaced by ours alone.
    Overwrite,
}

/// What happens to `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestIdPolicy {
    /// Passed on, none made.
    Preserve,
    /// Passed on from trusted hops (`trusted_hops` > 0), made otherwise.
    Generate,
    /// Always made anew.
    Overwrite,
    /// Removed.
    Remove,
}

/// Limits of HTTP messages on a listener. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Request head. Beyond: 431.
    pub head_bytes_max: u32,
    /// Request target. Beyond: 414.
    pub target_bytes_max: u32,
    /// Field lines. Beyond: 431.
    pub fields_max: u32,
    /// Request body. Beyond: 413. `None` = no limit.
    pub body_bytes_max: Option<u64>,
    /// Requests on one connection, then it closes. `None` = no limit.
    pub requests_per_connection_max: Option<u64>,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            head_bytes_max: 60 << 10,
            target_bytes_max: 8 << 10,
            fields_max: 100,
            body_bytes_max: None,
            requests_per_connection_max: None,
        }
    }
}

/// Time limits of downstream HTTP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpTimeouts {
    /// From the first byte of a request (or the accept) to the end of its head. Then: 408.
    pub header_ms: u64,
    /// Between requests.
    pub idle_ms: u64,
    /// No byte of an exchange moved in either direction. Then: 504 or 408, or the connection is closed.
    pub stream_idle_ms: u64,
    /// A whole connection; it closes after the exchange in progress. `None` = no limit.
    pub connection_age_ms: Option<u64>,
    /// From the end of the head to the end of the request body. `None` = no limit but `stream_idle_ms`.
    pub body_ms: Option<u64>,
    /// How long a closing connection is drained (lingering close).
    pub linger_ms: u64,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        HttpTimeouts {
            header_ms: 10_000,
            idle_ms: 3_600_000,
            stream_idle_ms: 300_000,
            connection_age_ms: None,
            body_ms: None,
            linger_ms: 1_000,
        }
    }
}

/// An opaque TCP listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// Where connections go when no SNI rule matches; `None` = they are closed.
    pub cluster: Option<Arc<str>>,
    /// Routing of TLS connections by server name, without terminating TLS.
    pub sni: Vec<SniRule>,
    /// No byte in either direction for this long closes both sides.
    pub idle_ms: u64,
    /// With `sni`: how long the ClientHello may take.
    pub hello_ms: u64,
    /// Move bytes inside the kernel (splice) where the driver can.
    pub splice: bool,
    /// The client speaks first: the socket is handed to us only when bytes are there (TCP_DEFER_ACCEPT). Off for
    /// server-first protocols.
    pub client_first: bool,
}

impl Default for Tcp {
    fn default() -> Self {
        Tcp {
            cluster: None,
            sni: Vec::new(),
            idle_ms: 3_600_000,
            hello_ms: 10_000,
            splice: false,
            client_first: false,
        }
    }
}

/// One server-name rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SniRule {
    /// Exact name or `*.example.com`, lower case.
    pub host: Arc<str>,
    /// Also require this ALPN protocol among those offered.
    pub alpn: Option<Arc<str>>,
    /// Where it goes.
    pub cluster: Arc<str>,
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// For logs and `explain`; made from the match when the file gives none.
    pub name: Arc<str>,
    /// Listeners it applies to; empty = all HTTP listeners.
    pub listeners: Vec<Arc<str>>,
    /// What it matches.
    pub matches: Match,
    /// What happens.
    pub action: Action,
    /// Path prefix replacement (only with a prefix match) or whole-path replacement (exact match).
    pub rewrite_path: Option<Arc<str>>,
    /// Host replacement.
    pub rewrite_host: Option<Arc<str>>,
    /// Edits of the forwarded request.
    pub request_fields: FieldEdits,
    /// Edits of the answer.
    pub response_fields: FieldEdits,
    /// Whole exchange from the end of the request to the end of the answer's head; 0 = none. Then: 504.
    pub timeout_ms: u64,
    /// One attempt, likewise. `None` = no limit but `timeout_ms`.
    pub try_timeout_ms: Option<u64>,
    /// While one attempt's answer is awaited or arriving, the upstream may be silent this long. `None` = the stream's idle time.
    pub try_idle_ms: Option<u64>,
    /// Overrides the listener's `stream_idle_ms`.
    pub idle_ms: Option<u64>,
    /// Longest life of an exchange, bodies and tunnels included. `None` = no limit.
    pub duration_max_ms: Option<u64>,
    /// Attempts beyond the first.
    pub retry: Retry,
    /// Protocols an Upgrade may switch to, lower case. Default: `websocket`.
    pub upgrade: Vec<Arc<str>>,
}

impl Route {
    /// A route for every request, with all defaults.
    pub fn to(action: Action) -> Route {
        Route {
            name: "".into(),
            listeners: Vec::new(),
            matches: Match::default(),
            action,
            rewrite_path: None,
            rewrite_host: None,
            request_fields: FieldEdits::default(),
            response_fields: FieldEdits::default(),
            timeout_ms: 15_000,
            try_timeout_ms: None,
            try_idle_ms: None,
            idle_ms: None,
            duration_max_ms: None,
            retry: Retry::default(),
            upgrade: vec!["websocket".into()],
        }
    }
}

/// Attempts beyond the first: connect failure, refused, or a reset before any response byte on a reused connection; only
/// idempotent requests or ones of which nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How many; 0 = none.
    pub max: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { max: 1 }
    }
}

/// What a route matches; all parts must.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Match {
    /// `None` or `*` = any; `example.com`; `*.example.com` (one or more labels). Lower case, without port.
    pub host: Option<Arc<str>>,
    /// Path.
    pub path: Path,
    /// Methods; empty = any. Case-sensitive.
    pub methods: Vec<Arc<str>>,
    /// Field conditions.
    pub headers: Vec<ValueMatch>,
    /// Query parameter conditions.
    pub query: Vec<ValueMatch>,
}

/// A path condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Path {
    /// The path is exactly this.
    Exact(Arc<str>),
    /// The path is this or continues behind a `/`.
    Prefix(Arc<str>),
    /// The whole path matches this regular expression (linear time).
    Regex(Arc<str>),
}

impl Default for Path {
    fn default() -> Self {
        Path::Prefix("/".into())
    }
}

/// A condition on a field or a query parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueMatch {
    /// Field name (lower case) or parameter name.
    pub name: Arc<str>,
    /// What its value must be.
    pub value: ValueIs,
    /// Matches when the condition does not hold.
    pub invert: bool,
}

/// What a value must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueIs {
    /// There, whatever its value.
    Present,
    /// Equal.
    Exact(Arc<str>),
    /// Beginning.
    Prefix(Arc<str>),
    /// End.
    Suffix(Arc<str>),
    /// Whole value matches (linear time).
    Regex(Arc<str>),
}

/// What happens to a matched request.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Forwarded.
    Cluster(Arc<str>),
    /// Forwarded to one of several, by weight.
    Split(Vec<(Arc<str>, u32)>),
    /// 3xx.
    Redirect(Redirect),
    /// Answered here.
    Respond(Respond),
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Replaces the scheme.
    pub scheme: Option<Arc<str>>,
    /// Replaces the host.
    pub host: Option<Arc<str>>,
    /// Replaces the port; `None` keeps it (dropped when the scheme changes).
    pub port: Option<u16>,
    /// Replaces the matched prefix or the whole path; `None` keeps it.
    pub path: Option<Arc<str>>,
    /// Drops the query.
    pub strip_query: bool,
}

impl Default for Redirect {
    /// 302, because browsers keep a permanent redirect long after its configuration is corrected.
    fn default() -> Self {
        Redirect { status: 302, scheme: None, host: None, port: None, path: None, strip_query: false }
    }
}

/// A direct response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Respond {
    /// 200–599.
    pub status: u16,
    /// Body.
    pub body: Arc<str>,
    /// Content-Type; `None` = `text/plain; charset=utf-8`.
    pub content_type: Option<Arc<str>>,
}

impl Default for Respond {
    fn default() -> Self {
        Respond { status: 200, body: "".into(), content_type: None }
    }
}

/// Edits of a head. Order: remove, set, add. Hop-by-hop, framing and Host fields cannot be named (config refuses).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FieldEdits {
    /// Replace all lines of that name by one.
    pub set: Vec<(Arc<str>, Arc<str>)>,
    /// One more line.
    pub add: Vec<(Arc<str>, Arc<str>)>,
    /// Drop all lines of that name (lower case).
    pub remove: Vec<Arc<str>>,
}

/// A cluster: endpoints that serve the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Unique name.
    pub name: Arc<str>,
    /// Where it is served.
    pub endpoints: Vec<Endpoint>,
    /// How one is picked.
    pub lb: Lb,
    /// Connecting, resolution excluded.
    pub connect_ms: u64,
    /// An idle connection in the pool.
    pub idle_ms: u64,
    /// Idle connections kept per endpoint and worker.
    pub idle_max: u32,
    /// Requests on one upstream connection. `None` = no limit.
    pub requests_per_connection_max: Option<u64>,
    /// PROXY protocol header sent first (connections are then never shared between clients).
    pub proxy_protocol: ProxyProtocolOut,
    /// Limits of response heads. Beyond: 502.
    pub head_bytes_max: u32,
    /// Lowest time between two look-ups of the same name; the records' TTL is followed above it.
    pub dns_min_ttl_ms: u64,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster {
            name: "".into(),
            endpoints: Vec::new(),
            lb: Lb::LeastRequest,
            connect_ms: 5_000,
            idle_ms: 60_000,
            idle_max: 1_024,
            requests_per_connection_max: None,
            proxy_protocol: ProxyProtocolOut::Off,
            head_bytes_max: 60 << 10,
            dns_min_ttl_ms: 1_000,
        }
    }
}

/// One place that serves a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// Share among its siblings; 0 gets nothing.
    pub weight: u32,
}

/// Load balancing policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Lb {
    /// Of two random endpoints, the one with fewer requests in flight for its weight.
    #[default]
    LeastRequest,
    /// In turn, from a random start per worker; weights are ignored.
    RoundRobin,
    /// In turn by weight, smoothly interleaved.
    Weighted,
}

/// PROXY protocol towards an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyProtocolOut {
    /// None.
    #[default]
    Off,
    /// Text form.
    V1,
    /// Binary form.
    V2,
}
