//! The response head (RFC 9112 sections 4, 5, 6.3, 9.3), as strict as the request's.

use super::error::{ErrorKind, ParseError};
use super::fields::{self, Facts, Side, Tolerance};
use super::limits::Limits;
use super::relax::Relaxations;
use super::request::{VERSION_BYTES, end_of_line, head_window, parse_version};
use super::{Status, scan};
use crate::http::{FieldName, Framing, Method, ResponseHead, Span};

/// Parses the response head at the start of `buf` into `head`. `request_method` decides the framing together with the
/// status (RFC 9112 section 6.3). For `scanned`, `head` and the result see [`super::parse_request`].
///
/// Interim responses are complete heads of their own: hand them on, then parse the next one behind `head.len`.
///
/// # Errors
/// The first rule broken, in the order of the bytes. The answer to the client is 502 whatever [`ErrorKind::status`] says.
pub fn parse_response(
    buf: &[u8],
    scanned: &mut usize,
    limits: &Limits,
    relax: Relaxations,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Status<usize>, ParseError> {
    let Some(window) = head_window(buf, *scanned, limits) else {
        *scanned = buf.len();
        return Ok(Status::Partial);
    };
    head.clear();
    let mut tolerance = Tolerance { allowed: relax, used: Relaxations::NONE };
    let parsed = parse(window, limits, &mut tolerance, request_method, head)?;
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

fn parse(
    buf: &[u8],
    limits: &Limits,
    tolerance: &mut Tolerance,
    request_method: Method,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ErrorKind> {
    let Some(fields_start) = status_line(buf, tolerance, head)? else { return Ok(None) };
    let mut facts = Facts::default();
    let end = fields::parse_section(
        buf,
        fields_start,
        Side::Response,
        limits,
        tolerance,
        &mut head.fields,
        &mut facts,
    )?;
    let Some(end) = end else { return Ok(None) };
    conclude(&facts, request_method, head)?;
    Ok(Some(end))
}

/// `HTTP-version SP status-code SP [ reason-phrase ] CRLF`; the offset behind it. The SP before an absent reason may be
/// missing: many servers leave it out, it has one reading, and the line is written anew.
#[inline]
fn status_line(
    buf: &[u8],
    tolerance: &mut Tolerance,
    head: &mut ResponseHead,
) -> Result<Option<usize>, ErrorKind> {
    let Some(version) = parse_version(buf, 0)? else { return Ok(None) };
    head.version = version;
    let mut status = 0u16;
    for (index, at) in (VERSION_BYTES..VERSION_BYTES + 4).enumerate() {
        match buf.get(at) {
            None => return Ok(None),
            Some(b' ') if index == 0 => {}
            Some(digit) if index > 0 && digit.is_ascii_digit() => {
                status = status * 10 + u16::from(digit - b'0');
            }
            Some(_) => return Err(ErrorKind::StatusLineInvalid),
        }
    }
    head.status = status;
    match status {
        100..=599 => {}
        600.. => tolerance.permit(Relaxations::STATUS_RANGE, ErrorKind::StatusInvalid)?,
        _ => return Err(ErrorKind::StatusInvalid),
    }
    let mut at = VERSION_BYTES + 4;
    if buf.get(at) == Some(&b' ') {
        at += 1;
        let len = scan::text_len(buf.get(at..).unwrap_or(&[]));
        head.reason = Span::new(at, at + len);
        at += len;
    }
    end_of_line(buf, at, ErrorKind::StatusLineInvalid, tolerance)
}

/// What status, method and fields together mean for the response.
#[inline]
fn conclude(facts: &Facts, request_method: Method, head: &mut ResponseHead) -> Result<(), ErrorKind> {
    let declared = facts.declared_length(head.version)?;
    head.keep_alive = facts.persistent(head.version);
    head.upgrade = facts.upgrade(head.version);
    let status = head.status;
    let tunnel_by_connect = request_method == Method::Connect && (200..300).contains(&status);
    head.tunnel = status == 101 || tunnel_by_connect;
    if status == 101 && head.upgrade.is_none() {
        return Err(ErrorKind::UpgradeInvalid);
    }
    if (100..200).contains(&status) || status == 204 || tunnel_by_connect {
        // RFC 9110 section 8.6, RFC 9112 section 6.1: no framing field may stand here. Drop it, and where it announces
        // bytes do not trust the connection with another exchange.
        head.framing = Framing::Empty;
        if !matches!(declared, None | Some(Some(0))) {
            head.keep_alive = false;
        }
        if declared.is_some() {
            drop_content_length(head);
        }
        return Ok(());
    }
    head.framing = match declared {
        _ if status == 304 || request_method == Method::Head => Framing::Empty,
        Some(Some(length)) => Framing::Length(length),
        Some(None) => Framing::Chunked,
        None => Framing::UntilClose,
    };
    if head.framing == Framing::UntilClose {
        head.keep_alive = false;
    }
    Ok(())
}

#[cold]
fn drop_content_length(head: &mut ResponseHead) {
    for field in head.fields.iter_mut() {
        field.hop |= field.id == FieldName::ContentLength;
    }
}
