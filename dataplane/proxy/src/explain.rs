//! `ringway check` and `ringway explain`: what a configuration says, and what it would do with one request, by the code that
//! serves real ones. No name is looked up, nothing is bound.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use ringway_policy::path::Form;
use ringway_policy::route::{Criterion, MatchScratch, Outcome, Request};
use ringway_policy::snapshot::{Action, ClusterId, Listener, Route, Snapshot};
use ringway_policy::spec::{self, Address, Lb, Path as PathMatch, Protocol, Spec};
use ringway_wire::h1::{Limits, Relaxations, Status, parse_request};
use ringway_wire::http::RequestHead;

use crate::address::show;
use crate::source::{Loaded, Source};

/// Loads and compiles a file; the error is ready to be shown.
pub fn load(file: &Path) -> Result<Loaded, String> {
    let source = Source::File(file.to_path_buf());
    source.parse(&source.text(&[])?)
}

/// What `ringway check` prints of a good file.
pub fn summary(file: &Path, spec: &Spec) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let endpoints: usize = spec.clusters.iter().map(|cluster| cluster.endpoints.len()).sum();
    let mut out = format!(
        "{}: OK: {}, {}, {}, {}\n",
        file.display(),
        count(spec.listeners.len(), "listener"),
        count(spec.routes.len(), "route"),
        count(spec.clusters.len(), "cluster"),
        count(endpoints, "endpoint"),
    );
    for listener in &spec.listeners {
        let _ = writeln!(out, "  {} {} {}", listener.name, protocol(listener), show(&listener.address));
    }
    out
}

/// A request as asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The port it would come in on.
    pub port: Option<u16>,
    /// Value of Host.
    pub host: String,
    /// The head as a client would send it.
    pub head: String,
    /// As the user wrote it.
    pub shown: String,
}

/// Builds the request; the error is a usage error.
pub fn question(method: &str, url: &str, headers: &[(String, String)]) -> Result<Question, String> {
    let (default_port, rest) = match url.split_once("://") {
        Some(("http", rest)) => (80, rest),
        Some(("https", rest)) => (443, rest),
        _ => return Err(format!("{url:?} is no URL; expected http://host[:port]/path?query")),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let path = if target.starts_with('/') { target.to_string() } else { format!("/{target}") };
    let explicit = authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    // Without a port in the URL the request may come in on any listener, through a port mapping for instance.
    let port = explicit.or((default_port == 443).then_some(443));
    let target = if method == "CONNECT" { authority.to_string() } else { path };
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    let given = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = given.map_or(authority, |(_, value)| value).to_string();
    let _ = write!(head, "Host: {host}\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("\r\n");
    Ok(Question { port, host, head, shown: format!("{method} {url}") })
}

/// The whole answer.
pub fn report(loaded: &Loaded, question: &Question) -> String {
    let snapshot = &loaded.snapshot;
    let mut out = format!("request   {}\n", question.shown);
    let on_port = |listener: &Listener| match (&listener.spec.address, question.port) {
        (Address::Inet(address), Some(port)) => address.port() == port,
        _ => false,
    };
    let exact: Vec<&Arc<Listener>> = snapshot.listeners.iter().filter(|listener| on_port(listener)).collect();
    let http = snapshot.listeners.iter().filter(|listener| listener.tcp.is_none());
    let chosen: Vec<&Arc<Listener>> = if exact.is_empty() { http.collect() } else { exact };
    if let (Some(port), false) = (question.port, snapshot.listeners.iter().any(|listener| on_port(listener)))
    {
        let _ = writeln!(
            out,
            "          no listener has port {port}; each HTTP listener is shown as if the request came in there"
        );
    }
    for listener in &snapshot.listeners {
        if chosen.iter().any(|chosen| Arc::ptr_eq(chosen, listener)) {
            explain_listener(&mut out, snapshot, listener, question);
        } else {
            let why = if listener.tcp.is_some() && exact_is_empty(&chosen, &on_port) {
                "carries opaque TCP"
            } else {
                "has another address"
            };
            let _ = writeln!(
                out,
                "\nlistener  {} {}: lost, it {why}",
                listener.spec.name,
                show(&listener.spec.address)
            );
        }
    }
    if snapshot.listeners.is_empty() {
        out.push_str("\nthere is no listener: nothing is accepted\n");
    }
    out
}

fn exact_is_empty(chosen: &[&Arc<Listener>], on_port: &impl Fn(&Listener) -> bool) -> bool {
    !chosen.iter().any(|listener| on_port(listener))
}

fn explain_listener(out: &mut String, snapshot: &Snapshot, listener: &Listener, question: &Question) {
    let _ = writeln!(
        out,
        "\nlistener  {} {} {}",
        listener.spec.name,
        protocol(&listener.spec),
        show(&listener.spec.address)
    );
    match (&listener.spec.protocol, &listener.tcp) {
        (Protocol::Http(http), _) => explain_http(out, snapshot, listener, http, question),
        (Protocol::Tcp(_), Some(routes)) => {
            let name = question.host.rsplit_once(':').map_or(question.host.as_str(), |(name, _)| name);
            let _ = writeln!(out, "          opaque TCP: with the TLS server name {name:?} and no ALPN");
            match routes.find(Some(name.as_bytes()), std::iter::empty()) {
                Some(cluster) => explain_cluster(out, snapshot, cluster),
                None => out.push_str(
                    "          no rule matches and there is no default: the connection is closed\n",
                ),
            }
        }
        (Protocol::Tcp(_), None) => {}
    }
}

fn explain_http(
    out: &mut String,
    snapshot: &Snapshot,
    listener: &Listener,
    http: &spec::Http,
    question: &Question,
) {
    let limits = Limits {
        head_bytes_max: http.limits.head_bytes_max,
        target_bytes_max: http.limits.target_bytes_max,
        fields_max: http.limits.fields_max,
        ..Limits::DEFAULT
    };
    let relax = match http.dry_run {
        true => Relaxations::ALL,
        false => http
            .relax
            .iter()
            .filter_map(|n| Relaxations::from_name(n))
            .fold(Relaxations::NONE, |a, b| a.union(b)),
    };
    let bytes = question.head.as_bytes();
    let mut head = RequestHead::new();
    match parse_request(bytes, &mut 0, &limits, relax, &mut head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return out.push_str("          the request's head never ends\n"),
        Err(error) => {
            let _ = writeln!(
                out,
                "          the request itself is refused with {}: {error}",
                error.kind.status()
            );
            return;
        }
    }
    let request = Request { head: &head, bytes };
    let mut scratch = MatchScratch::new();
    let found = listener.routes.find(&request, &mut scratch);
    match found.map(|id| listener.routes.route(id)) {
        Some(route) => explain_route(out, snapshot, route, &request, &scratch),
        None if scratch.form() == Form::Refused => {
            out.push_str("route     none: the path reads as two different resources: 400\n");
        }
        None => out.push_str("route     none matches: 404, flag NR\n"),
    }
    explain_losers(out, listener, &request);
}

fn explain_route(
    out: &mut String,
    snapshot: &Snapshot,
    route: &Route,
    request: &Request<'_>,
    scratch: &MatchScratch,
) {
    let _ = writeln!(out, "route     {}  ({})", route.spec.name, conditions(&route.spec.matches));
    match &route.action {
        Action::Cluster(cluster) => {
            explain_forwarded(out, route, request, scratch);
            explain_cluster(out, snapshot, *cluster);
        }
        Action::Split(split) => {
            explain_forwarded(out, route, request, scratch);
            let shares: Vec<(ClusterId, u32)> = split.shares().collect();
            let total: f64 = shares.iter().map(|(_, weight)| f64::from(*weight)).sum();
            for (cluster, weight) in shares {
                let _ = writeln!(out, "split     {:.2} % go to", f64::from(weight) * 100.0 / total);
                explain_cluster(out, snapshot, cluster);
            }
        }
        Action::Redirect(redirect) => {
            let mut location = Vec::new();
            redirect.write_location(request, scratch, "http", &mut location);
            let location = String::from_utf8_lossy(&location);
            let _ = writeln!(out, "answer    redirect {} to {location}", redirect.status);
        }
        Action::Respond(_) => {
            if let spec::Action::Respond(respond) = &route.spec.action {
                let _ = writeln!(
                    out,
                    "answer    direct response {}, {} bytes",
                    respond.status,
                    respond.body.len()
                );
            }
        }
    }
}

fn explain_forwarded(out: &mut String, route: &Route, request: &Request<'_>, scratch: &MatchScratch) {
    let mut target = Vec::new();
    route.write_target(request, scratch, &mut target);
    let host = route.rewritten_host().map(|host| format!(" with Host {host}")).unwrap_or_default();
    if route.rewrites_target(request, scratch) || !host.is_empty() {
        let _ = writeln!(out, "forwarded as {}{host}", String::from_utf8_lossy(&target));
    }
}

fn explain_cluster(out: &mut String, snapshot: &Snapshot, id: ClusterId) {
    let cluster = &snapshot.cluster(id).spec;
    let policy = match cluster.lb {
        Lb::LeastRequest => "least_request",
        Lb::RoundRobin => "round_robin",
        Lb::Weighted => "weighted",
    };
    let _ = writeln!(out, "cluster   {}  ({policy})", cluster.name);
    for endpoint in &cluster.endpoints {
        let note = match (&endpoint.address, endpoint.weight) {
            (_, 0) => "  weight 0: gets nothing",
            (Address::Dns(..), _) => "  looked up when running",
            _ => "",
        };
        let _ = writeln!(out, "endpoint  {} weight {}{note}", show(&endpoint.address), endpoint.weight);
    }
    if cluster.endpoints.is_empty() {
        out.push_str("          it has no endpoint: 503, flag UH\n");
    }
}

fn explain_losers(out: &mut String, listener: &Listener, request: &Request<'_>) {
    for explanation in listener.routes.explain(request) {
        let route = listener.routes.route(explanation.route);
        let why = match &explanation.outcome {
            Outcome::Chosen => continue,
            Outcome::PathRefused => continue,
            Outcome::Fails(criterion) => format!("{} does not match", name(criterion)),
            Outcome::LessSpecific(Criterion::Order) => {
                "matches too, but is further down in the file".to_string()
            }
            Outcome::LessSpecific(criterion) => {
                format!("matches too, but is less specific by {}", name(criterion))
            }
        };
        let _ = writeln!(out, "lost      {}  ({}): {why}", route.spec.name, conditions(&route.spec.matches));
    }
}

fn name(criterion: &Criterion) -> String {
    match criterion {
        Criterion::Host => "the host".to_string(),
        Criterion::Path => "the path".to_string(),
        Criterion::Method => "the method".to_string(),
        Criterion::Header(Some(name)) => format!("the header {name}"),
        Criterion::Header(None) => "its number of header conditions".to_string(),
        Criterion::Query(Some(name)) => format!("the query parameter {name}"),
        Criterion::Query(None) => "its number of query conditions".to_string(),
        Criterion::Order => "its place in the file".to_string(),
    }
}

/// What a route matches, in one line.
fn conditions(matches: &spec::Match) -> String {
    let mut parts = vec![format!("host {}", matches.host.as_deref().unwrap_or("*"))];
    parts.push(match &matches.path {
        PathMatch::Exact(path) => format!("path = {path}"),
        PathMatch::Prefix(path) => format!("path {path}..."),
        PathMatch::Regex(pattern) => format!("path ~ {pattern}"),
    });
    if !matches.methods.is_empty() {
        parts.push(format!("method {}", matches.methods.join("|")));
    }
    parts.extend(matches.headers.iter().map(|header| format!("header {}", header.name)));
    parts.extend(matches.query.iter().map(|parameter| format!("query {}", parameter.name)));
    parts.join(", ")
}

fn protocol(listener: &spec::Listener) -> &'static str {
    match listener.protocol {
        Protocol::Http(_) => "http",
        Protocol::Tcp(_) => "tcp",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_requests() {
        let headers = [("X-User".to_string(), "me".to_string())];
        let asked = question("GET", "http://example.com:8080/a?b=c#d", &headers).expect("is a URL");
        assert_eq!(asked.head, "GET /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nX-User: me\r\n\r\n");
        assert_eq!(asked.port, Some(8080));
        let asked = question("GET", "http://[::1]?q", &[("host".into(), "other".into())]).expect("is a URL");
        assert_eq!((asked.head.as_str(), asked.port), ("GET /?q HTTP/1.1\r\nHost: other\r\n\r\n", None));
        let asked = question("CONNECT", "https://example.com:443", &[]).expect("is a URL");
        assert_eq!(asked.head, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n");
        for url in ["", "/path", "example.com", "ftp://example.com/"] {
            assert!(question("GET", url, &[]).is_err(), "{url}");
        }
    }
}
