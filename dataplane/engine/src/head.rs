//! Heads as they are sent on: what is kept is copied in runs, what we change or add is written. Pure; the output is a reused scratch.

use std::net::IpAddr;

use ringway_policy::route::{MatchScratch, Request};
use ringway_policy::snapshot::Route;
use ringway_policy::spec::{self, ForwardPolicy, RequestIdPolicy};
use ringway_wire::forwarded::{self, Element, FieldPolicy};
use ringway_wire::h1::write;
use ringway_wire::http::{Field, FieldName, Framing, Method, RequestHead, ResponseHead, Version};

/// What a request head depends on besides itself.
pub(crate) struct RequestContext<'a> {
    pub(crate) http: &'a spec::Http,
    pub(crate) route: &'a Route,
    /// The connection's other end (or whom a PROXY protocol header named); `None` on unix sockets.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) request_id: &'a [u8],
    /// `Host` for a request that came without one (HTTP/1.0): every HTTP/1.1 request must have it (RFC 9112 section 3.2).
    pub(crate) own_host: &'a [u8],
    /// Pass the upgrade on.
    pub(crate) upgrade: bool,
    pub(crate) chunked: bool,
}

/// Writes the head of the forwarded request. `target` is scratch; `matching` is what chose the route.
pub(crate) fn request(
    out: &mut Vec<u8>,
    target: &mut Vec<u8>,
    request: &Request<'_>,
    matching: &MatchScratch,
    cx: &RequestContext<'_>,
) {
    let (head, bytes) = (request.head, request.bytes);
    out.clear();
    if cx.route.rewrites_target(request, matching) {
        target.clear();
        cx.route.write_target(request, matching, target);
        write::request_line(out, head.method_span.of(bytes), target);
    } else {
        write::request_line_of(out, bytes, head);
    }
    let host = cx.route.rewritten_host().map(str::as_bytes);
    let host = host.or_else(|| head.host.is_empty().then_some(cx.own_host));
    let new_host = host.or_else(|| head.host_overridden.then(|| head.host.of(bytes)));
    if let Some(host) = new_host {
        write::field(out, b"host", host);
    }
    let forward = forward_policy(cx.http.x_forwarded);
    let element = forward_policy(cx.http.forwarded);
    let request_id = request_id_policy(cx.http);
    // RFC 9110 section 7.6.2: forwarded one less; 0 was answered here.
    let max_forwards = head.max_forwards.filter(|_| head.method == Method::Options);
    let edits = &cx.route.request_edits;
    let skip = |field: &Field| match field.id {
        FieldName::Host => new_host.is_some(),
        FieldName::MaxForwards if max_forwards.is_some() => true,
        FieldName::XForwardedFor | FieldName::XForwardedProto | FieldName::XForwardedHost => {
            forward.drops_received() || edits.drops(field.id, field.name.of(bytes))
        }
        FieldName::Forwarded => element.drops_received() || edits.drops(field.id, field.name.of(bytes)),
        FieldName::XRequestId => request_id.drops_received() || edits.drops(field.id, field.name.of(bytes)),
        FieldName::Via => cx.http.via.is_some() || edits.drops(field.id, field.name.of(bytes)),
        id => edits.drops_any() && edits.drops(id, field.name.of(bytes)),
    };
    write::fields_kept(out, bytes, &head.fields, skip);
    if let Some(hops) = max_forwards {
        out.extend_from_slice(b"max-forwards: ");
        write::decimal(out, u64::from(hops.saturating_sub(1)));
        out.extend_from_slice(b"\r\n");
    }
    forwarding_fields(out, bytes, head, cx, forward, element);
    if request_id.drops_received() && !cx.request_id.is_empty() {
        write::field(out, b"x-request-id", cx.request_id);
    }
    if let Some(pseudonym) = &cx.http.via {
        forwarded::via(out, bytes, &head.fields, head.version, pseudonym.as_bytes(), FieldPolicy::Append);
    }
    if cx.upgrade
        && let Some(protocol) = head.upgrade
    {
        write::field(out, b"connection", b"upgrade");
        write::field(out, b"upgrade", protocol.of(bytes));
    }
    if cx.chunked {
        write::transfer_encoding_chunked(out);
    }
    out.extend_from_slice(edits.lines());
    write::end_of_head(out);
}

fn forwarding_fields(
    out: &mut Vec<u8>,
    bytes: &[u8],
    head: &RequestHead,
    cx: &RequestContext<'_>,
    forward: FieldPolicy,
    element: FieldPolicy,
) {
    if forward.drops_received() {
        if let Some(peer) = cx.peer {
            forwarded::x_forwarded_for(out, bytes, &head.fields, peer, forward);
        }
        forwarded::x_forwarded_proto(out, bytes, &head.fields, b"http", forward);
        forwarded::x_forwarded_host(out, bytes, &head.fields, head.host.of(bytes), forward);
    }
    if element.drops_received()
        && let Some(peer) = cx.peer
    {
        let host = head.host.of(bytes);
        forwarded::forwarded(
            out,
            bytes,
            &head.fields,
            &Element { peer, by: None, host, proto: b"http" },
            element,
        );
    }
}

/// What a response head depends on besides itself.
pub(crate) struct ResponseContext<'a> {
    pub(crate) route: Option<&'a Route>,
    pub(crate) via: Option<&'a str>,
    /// The client's version.
    pub(crate) version: Version,
    pub(crate) keep_alive: bool,
    pub(crate) chunked: bool,
    pub(crate) upgrade: bool,
}

/// Writes the head of the forwarded response.
pub(crate) fn response(out: &mut Vec<u8>, bytes: &[u8], head: &ResponseHead, cx: &ResponseContext<'_>) {
    out.clear();
    write::status_line(out, head.status, head.reason.of(bytes));
    let edits = cx.route.map(|r| &r.response_edits).filter(|e| !e.is_empty());
    match edits {
        Some(edits) => write::fields_kept(out, bytes, &head.fields, |field| {
            edits.drops(field.id, field.name.of(bytes)) || (cx.via.is_some() && field.id == FieldName::Via)
        }),
        None => write::fields_kept(out, bytes, &head.fields, |field| {
            cx.via.is_some() && field.id == FieldName::Via
        }),
    }
    if let Some(pseudonym) = cx.via {
        forwarded::via(out, bytes, &head.fields, head.version, pseudonym.as_bytes(), FieldPolicy::Append);
    }
    if cx.chunked {
        write::transfer_encoding_chunked(out);
    }
    if let (true, Some(protocol)) = (cx.upgrade, head.upgrade) {
        write::field(out, b"connection", b"upgrade");
        write::field(out, b"upgrade", protocol.of(bytes));
    } else if !cx.keep_alive {
        write::field(out, b"connection", b"close");
    } else if cx.version == Version::Http10 {
        write::field(out, b"connection", b"keep-alive");
    }
    if let Some(edits) = edits {
        out.extend_from_slice(edits.lines());
    }
    write::end_of_head(out);
}

/// Whether a response with this framing is sent to that client in chunks.
pub(crate) fn response_is_chunked(framing: Framing, client: Version) -> bool {
    matches!(framing, Framing::Chunked | Framing::UntilClose) && client == Version::Http11
}

fn forward_policy(policy: ForwardPolicy) -> FieldPolicy {
    match policy {
        ForwardPolicy::Remove => FieldPolicy::Off,
        ForwardPolicy::Preserve => FieldPolicy::Preserve,
        ForwardPolicy::Append => FieldPolicy::Append,
        ForwardPolicy::Overwrite => FieldPolicy::Replace,
    }
}

/// `generate` believes an id that came from a trusted hop only.
pub(crate) fn request_id_policy(http: &spec::Http) -> FieldPolicy {
    match http.request_id {
        RequestIdPolicy::Preserve => FieldPolicy::Preserve,
        RequestIdPolicy::Generate if http.trusted_hops > 0 => FieldPolicy::Append,
        RequestIdPolicy::Generate | RequestIdPolicy::Overwrite => FieldPolicy::Replace,
        RequestIdPolicy::Remove => FieldPolicy::Off,
    }
}
