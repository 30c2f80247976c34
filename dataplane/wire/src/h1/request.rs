//! The request head (RFC 9112 sections 3, 5, 6.3, 9.3).

use super::error::{ErrorKind, ParseError};
use super::fields::{self, Facts, Side, Tolerance};
use super::limits::Limits;
use super::relax::Relaxations;
use super::target::parse_target;
use super::{Status, scan};
use crate::http::{FieldName, Framing, Method, RequestHead, Span, TargetForm, Version};

/// Parses the request head at the start of `buf` into `head`; one empty line in front of it is ignored (RFC 9112
/// section 2.2).
///
/// `scanned` starts at 0 for each new message and is otherwise left alone by the caller between calls on the same,
/// growing bytes: it saves parsing again what cannot have become whole. On [`Status::Partial`] or an error the content of
/// `head` is unspecified. The answer does not depend on how the bytes were split over calls, except that an error in a
/// line that did not end yet may be told only when it ends. Spans are offsets in `buf`; the number returned is
/// `head.len`.
///
/// # Errors
/// The first rule broken, in the order of the bytes; see [`ErrorKind::status`] for the answer.
pub fn parse_request(
    buf: &[u8],
    scanned: &mut usize,
    limits: &Limits,
    relax: Relaxations,
    head: &mut RequestHead,
) -> Result<Status<usize>, ParseError> {
    let Some(window) = head_window(buf, *scanned, limits) else {
        *scanned = buf.len();
        return Ok(Status::Partial);
    };
    head.clear();
    let mut tolerance = Tolerance { allowed: relax, used: Relaxations::NONE };
    let parsed = parse(window, limits, &mut tolerance, head)?;
    head.tolerated = tolerance.used;
    match parsed {
        Some(len) => {
            head.len = len as u32;
            Ok(Status::Complete(len))
        }
        None if window.len() >= limits.head_bytes_max as usize => Err(ErrorKind::HeadTooLarge.into()),
        None => {
            *scanned = buf.len();
            Ok(Status::Partial)
        }
    }
}

/// The bytes to parse, bounded by the head limit, or `None` if nothing can have changed since the last look.
///
/// The first look at a message parses at once, which finds nearly every head whole. Later looks parse again only when a
/// line ended in the new bytes: at most `fields_max` times over at most `head_bytes_max` bytes.
#[inline]
pub(super) fn head_window<'b>(buf: &'b [u8], scanned: usize, limits: &Limits) -> Option<&'b [u8]> {
    let bounded = buf.get(..limits.head_bytes_max as usize);
    let line_ended = || memchr::memchr(b'\n', buf.get(scanned..).unwrap_or(&[])).is_some();
    (scanned == 0 || bounded.is_some() || line_ended()).then_some(bounded.unwrap_or(buf))
}

/// `None`: not whole yet.
fn parse(
    buf: &[u8],
    limits: &Limits,
    tolerance: &mut Tolerance,
    head: &mut RequestHead,
) -> Result<Option<usize>, ErrorKind> {
    let start = match buf {
        [b'\r', b'\n', ..] => 2,
        [b'\r', second, ..] if *second != b'\n' => return Err(ErrorKind::BareCr),
        [b'\r'] | [] => return Ok(None),
        [b'\n', ..] => {
            tolerance.permit(Relaxations::BARE_LF, ErrorKind::BareLf)?;
            1
        }
        _ => 0,
    };
    let Some(fields_start) = request_line(buf, start, limits, tolerance, head)? else { return Ok(None) };
    let mut facts = Facts::default();
    let end = fields::parse_section(
        buf,
        fields_start,
        Side::Request,
        limits,
        tolerance,
        &mut head.fields,
        &mut facts,
    )?;
    let Some(end) = end else { return Ok(None) };
    conclude(buf, &facts, tolerance, head)?;
    Ok(Some(end))
}

/// `method SP request-target SP HTTP-version CRLF`; the offset behind it.
#[inline]
fn request_line(
    buf: &[u8],
    start: usize,
    limits: &Limits,
    tolerance: &mut Tolerance,
    head: &mut RequestHead,
) -> Result<Option<usize>, ErrorKind> {
    let rest = buf.get(start..).unwrap_or(&[]);
    let method_len = scan::span_of(rest, scan::TOKEN);
    if method_len > limits.method_bytes_max as usize {
        return Err(ErrorKind::MethodTooLong);
    }
    match rest.get(method_len) {
        None => return Ok(None),
        Some(b' ') if method_len > 0 => {}
        Some(b'\r' | b'\n') if method_len > 0 => return Err(ErrorKind::RequestLineInvalid),
        Some(_) => return Err(ErrorKind::MethodInvalid),
    }
    let method_end = start + method_len;
    head.method_span = Span::new(start, method_end);
    head.method = Method::from_bytes(head.method_span.of(buf));

    let Some(target_start) = skip_space(buf, method_end, tolerance)? else { return Ok(None) };
    let Some(target_end) = target_end(buf, target_start, limits, tolerance)? else { return Ok(None) };
    head.target = parse_target(buf, target_start, target_end, head.method)?;

    let Some(version_start) = skip_space(buf, target_end, tolerance)? else { return Ok(None) };
    let Some(version) = parse_version(buf, version_start)? else { return Ok(None) };
    head.version = version;
    let mut line_end = version_start + VERSION_BYTES;
    if buf.get(line_end) == Some(&b' ') {
        tolerance.permit(Relaxations::REQUEST_LINE_WHITESPACE, ErrorKind::RequestLineInvalid)?;
        while buf.get(line_end) == Some(&b' ') {
            line_end += 1;
        }
    }
    end_of_line(buf, line_end, ErrorKind::VersionInvalid, tolerance)
}

/// Behind the single SP at `at`, or behind several if that is tolerated.
#[inline]
fn skip_space(buf: &[u8], at: usize, tolerance: &mut Tolerance) -> Result<Option<usize>, ErrorKind> {
    let mut next = at + 1;
    match buf.get(next) {
        None => return Ok(None),
        Some(b' ') => {}
        Some(_) => return Ok(Some(next)),
    }
    tolerance.permit(Relaxations::REQUEST_LINE_WHITESPACE, ErrorKind::RequestLineInvalid)?;
    while buf.get(next) == Some(&b' ') {
        next += 1;
    }
    Ok((next < buf.len()).then_some(next))
}

/// The end of the target that begins at `start`; a SP follows it.
#[inline]
fn target_end(
    buf: &[u8],
    start: usize,
    limits: &Limits,
    tolerance: &mut Tolerance,
) -> Result<Option<usize>, ErrorKind> {
    let rest = buf.get(start..).unwrap_or(&[]);
    // One byte more than allowed tells "too long" from "exactly the limit, the rest not here yet".
    let window = rest.get(..limits.target_bytes_max as usize + 1).unwrap_or(rest);
    let mut len = scan::span_of(window, scan::TARGET);
    if window.get(len).is_some_and(|&byte| scan::is(byte, scan::TARGET_RELAXED)) {
        tolerance.permit(Relaxations::TARGET_CHARACTERS, ErrorKind::TargetInvalid)?;
        len = scan::span_of(window, scan::TARGET_RELAXED);
    }
    if len > limits.target_bytes_max as usize {
        return Err(ErrorKind::TargetTooLong);
    }
    match window.get(len) {
        None => Ok(None),
        Some(b' ') if len > 0 => Ok(Some(start + len)),
        // A line without version is HTTP/0.9, which is not spoken here.
        Some(b'\r' | b'\n') => Err(ErrorKind::RequestLineInvalid),
        Some(_) => Err(ErrorKind::TargetInvalid),
    }
}

/// Bytes of `HTTP/1.1`.
pub(super) const VERSION_BYTES: usize = 8;

/// `HTTP/d.d` at `at` (RFC 9112 section 2.3). A higher minor version is taken as 1.1 (RFC 9110 section 6.2).
#[inline]
pub(super) fn parse_version(buf: &[u8], at: usize) -> Result<Option<Version>, ErrorKind> {
    let rest = buf.get(at..).unwrap_or(&[]);
    if rest.starts_with(b"HTTP/1.1") {
        return Ok(Some(Version::Http11));
    }
    for (index, &expected) in b"HTTP/0.0".iter().enumerate() {
        let Some(&byte) = rest.get(index) else { return Ok(None) };
        let fits = if expected == b'0' { byte.is_ascii_digit() } else { byte == expected };
        if !fits {
            return Err(ErrorKind::VersionInvalid);
        }
    }
    match rest.get(5..VERSION_BYTES) {
        Some(b"1.0") => Ok(Some(Version::Http10)),
        Some([b'1', ..]) => Ok(Some(Version::Http11)),
        _ => Err(ErrorKind::VersionUnsupported),
    }
}

/// CRLF (or, tolerated, LF) at `at`; the offset behind it.
#[inline]
pub(super) fn end_of_line(
    buf: &[u8],
    at: usize,
    refusal: ErrorKind,
    tolerance: &mut Tolerance,
) -> Result<Option<usize>, ErrorKind> {
    match buf.get(at) {
        None => Ok(None),
        Some(b'\r') => match buf.get(at + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some(at + 2)),
            Some(_) => Err(ErrorKind::BareCr),
        },
        Some(b'\n') => {
            tolerance.permit(Relaxations::BARE_LF, ErrorKind::BareLf)?;
            Ok(Some(at + 1))
        }
        Some(_) => Err(refusal),
    }
}

/// What the fields together mean for the request.
#[inline]
fn conclude(
    buf: &[u8],
    facts: &Facts,
    tolerance: &mut Tolerance,
    head: &mut RequestHead,
) -> Result<(), ErrorKind> {
    let version = head.version;
    // RFC 9112 section 3.2: 400 for any HTTP/1.1 request without Host, whatever the target form.
    if facts.host.is_none() && version == Version::Http11 {
        tolerance.permit(Relaxations::HOST_MISSING, ErrorKind::HostMissing)?;
    }
    head.host = facts.host.unwrap_or_default();
    if matches!(head.target.form, TargetForm::Absolute | TargetForm::Authority) {
        let authority = head.target.authority;
        head.host_overridden = head.host.of(buf) != authority.of(buf);
        head.host = authority;
    }
    head.framing = match facts.declared_length(version)? {
        None => Framing::Empty,
        Some(Some(length)) => Framing::Length(length),
        Some(None) => Framing::Chunked,
    };
    let has_body = !matches!(head.framing, Framing::Empty | Framing::Length(0));
    if has_body && head.method == Method::Trace {
        return Err(ErrorKind::TraceWithContent);
    }
    if facts.expect_unknown {
        return Err(ErrorKind::ExpectationUnknown);
    }
    head.keep_alive = facts.persistent(version);
    // RFC 9110 section 10.1.1: ignored in HTTP/1.0, meaningless without content.
    head.expect_continue = facts.expect_continue && has_body && version == Version::Http11;
    head.te_trailers = facts.te_trailers;
    head.max_forwards = facts.max_forwards;
    head.upgrade = facts.upgrade(version);
    head.websocket = head.method == Method::Get
        && !has_body
        && head.fields.has(FieldName::SecWebsocketKey)
        && head.upgrade.is_some_and(|value| value.of(buf).eq_ignore_ascii_case(b"websocket"));
    Ok(())
}
