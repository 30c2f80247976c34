//! What is sent on or answered in place of what was received: request target, host, redirects. Everything is appended to a buffer of the
//! caller. Nothing from the client reaches a line of a head unencoded, so none of this can start a new one.

use std::sync::Arc;

use ringway_wire::http::TargetForm;

use crate::host::bare_host;
use crate::path::{Form, is_unsafe, push_encoded};
use crate::route::{MatchScratch, Request};
use crate::snapshot::Route;
use crate::spec;

/// A compiled path replacement; what is inserted is in matched form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// The first bytes of the matched path give way to another prefix (without final `/`, so empty for `/`).
    Prefix {
        /// Bytes of the prefix that the route matches; 0 for `/`.
        matched: usize,
        /// What comes in its place.
        replacement: Box<[u8]>,
        /// The replacement was written with a final `/`: a path that is the prefix alone gets it too.
        slash: bool,
    },
    /// The whole path.
    Whole(Box<[u8]>),
}

/// A compiled redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    scheme: Option<Arc<str>>,
    /// Without port.
    host: Option<Arc<str>>,
    port: Option<u16>,
    path: Option<PathRewrite>,
    strip_query: bool,
}

impl PathRewrite {
    /// Compiles a replacement in matched form for a route that matches `prefix` (without final `/`), or a whole path for `None`.
    pub(crate) fn new(prefix: Option<&[u8]>, replacement: &[u8]) -> PathRewrite {
        let Some(prefix) = prefix else { return PathRewrite::Whole(replacement.into()) };
        let trimmed = replacement.strip_suffix(b"/");
        PathRewrite::Prefix {
            matched: prefix.len(),
            replacement: trimmed.unwrap_or(replacement).into(),
            slash: trimmed.is_some(),
        }
    }

    /// Appends what `path` (in matched form) becomes; never empty, never beginning with `//`.
    pub(crate) fn write(&self, path: &[u8], out: &mut Vec<u8>) {
        match self {
            PathRewrite::Whole(whole) => out.extend_from_slice(whole),
            PathRewrite::Prefix { matched, replacement, slash } => {
                let rest = path.get(*matched..).unwrap_or(&[]);
                // A prefix of `/` is the whole of the path `/`: nothing is left behind it.
                let rest = if *matched == 0 && rest == b"/" { &[] } else { rest };
                out.extend_from_slice(replacement);
                out.extend_from_slice(rest);
                if rest.is_empty() && (*slash || replacement.is_empty()) {
                    out.push(b'/');
                }
            }
        }
    }
}

impl Route {
    /// Whether the target to forward differs from the one received by more than its form (see
    /// `ringway_wire::h1::write::request_line_of`): it has to be written by [`Route::write_target`].
    #[inline]
    pub fn rewrites_target(&self, request: &Request<'_>, scratch: &MatchScratch) -> bool {
        (self.path_rewrite.is_some() || scratch.form() == Form::Resolved) && has_path(request)
    }

    /// Appends the request target to forward, in origin-form; CONNECT and `OPTIONS *` keep theirs. `scratch` must come from the
    /// [`crate::route::RouteTable::find`] that chose this route for this request. The query stays as it was received.
    pub fn write_target(&self, request: &Request<'_>, scratch: &MatchScratch, out: &mut Vec<u8>) {
        let target = &request.head.target;
        if !has_path(request) {
            out.extend_from_slice(target.raw.of(request.bytes));
            return;
        }
        match &self.path_rewrite {
            Some(rewrite) => rewrite.write(scratch.matched_path(request), out),
            None if scratch.form() == Form::Resolved => out.extend_from_slice(scratch.matched_path(request)),
            None if target.path.is_empty() => out.push(b'/'),
            None => out.extend_from_slice(target.path.of(request.bytes)),
        }
        if target.has_query {
            out.push(b'?');
            out.extend_from_slice(target.query.of(request.bytes));
        }
    }

    /// The value of `Host` to forward in place of the received one.
    #[inline]
    pub fn rewritten_host(&self) -> Option<&str> {
        self.spec.rewrite_host.as_deref()
    }

    /// Whether an Upgrade may switch to `protocol` (one element of the field, RFC 9110 section 7.8; compared without regard to case).
    pub fn allows_upgrade(&self, protocol: &[u8]) -> bool {
        self.spec.upgrade.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(protocol))
    }
}

impl Redirect {
    /// Compiles a redirect; `path` is its compiled replacement.
    pub(crate) fn new(redirect: &spec::Redirect, path: Option<PathRewrite>) -> Redirect {
        let (host, port) = match redirect.host.as_deref() {
            Some(authority) => {
                let (host, port) = split_port(authority.as_bytes());
                (authority.get(..host.len()).map(Arc::from), port)
            }
            None => (None, None),
        };
        Redirect {
            status: redirect.status,
            scheme: redirect.scheme.clone(),
            host,
            port: redirect.port.or(port),
            path,
            strip_query: redirect.strip_query,
        }
    }

    /// Appends the value of `Location` (RFC 9110 section 10.2.2). `scheme` is the one the client used. The answer is absolute unless the
    /// request named no host and the redirect names none.
    pub fn write_location(
        &self,
        request: &Request<'_>,
        scratch: &MatchScratch,
        scheme: &str,
        out: &mut Vec<u8>,
    ) {
        let authority = request.head.host.of(request.bytes);
        let (received_host, received_port) = split_port(authority);
        let host = self.host.as_deref().map_or(received_host, str::as_bytes);
        if !host.is_empty() {
            let new_scheme = self.scheme.as_deref().unwrap_or(scheme);
            let kept_port = received_port.filter(|_| new_scheme.eq_ignore_ascii_case(scheme));
            out.extend_from_slice(new_scheme.as_bytes());
            out.extend_from_slice(b"://");
            push_safe(host, out);
            if let Some(port) = self.port.or(kept_port).filter(|&port| Some(port) != default_port(new_scheme))
            {
                out.push(b':');
                out.extend_from_slice(port.to_string().as_bytes());
            }
        }
        let start = out.len();
        match &self.path {
            Some(rewrite) => rewrite.write(scratch.matched_path(request), out),
            None => out.extend_from_slice(scratch.matched_path(request)),
        }
        let target = &request.head.target;
        if target.has_query && !self.strip_query {
            out.push(b'?');
            out.extend_from_slice(target.query.of(request.bytes));
        }
        encode_unsafe(out, start);
    }
}

/// CONNECT and `OPTIONS *` have no path to rewrite.
#[inline]
fn has_path(request: &Request<'_>) -> bool {
    matches!(request.head.target.form, TargetForm::Origin | TargetForm::Absolute)
}

/// Host (final dot kept) and port of an authority; an empty or wrong port is none.
fn split_port(authority: &[u8]) -> (&[u8], Option<u16>) {
    let bare = bare_host(authority).len();
    let dot = usize::from(authority.get(bare) == Some(&b'.'));
    let (host, rest) = authority.split_at(bare + dot);
    let port = rest.strip_prefix(b":").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    (host, port)
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

fn push_safe(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(bytes);
    encode_unsafe(out, start);
}

/// Percent-encodes what may not stand in a URI, from `start` on: the parser lets some of it through.
fn encode_unsafe(out: &mut Vec<u8>, start: usize) {
    let Some(first) = out[start..].iter().position(|&byte| is_unsafe(byte)) else { return };
    let tail = out.split_off(start + first);
    for byte in tail {
        if is_unsafe(byte) {
            push_encoded(byte, out);
        } else {
            out.push(byte);
        }
    }
}

#[cfg(test)]
mod tests;
