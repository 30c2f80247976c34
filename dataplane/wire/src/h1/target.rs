//! The request target and authorities (RFC 9112 section 3.2, RFC 3986 section 3.2.2).

use super::error::ErrorKind;
use super::scan;
use crate::http::{Method, Span, Target, TargetForm};

/// Takes the target `buf[start..end]` apart. Its bytes are already known to be of the target class.
#[inline]
pub(super) fn parse_target(
    buf: &[u8],
    start: usize,
    end: usize,
    method: Method,
) -> Result<Target, ErrorKind> {
    let bytes = buf.get(start..end).unwrap_or(&[]);
    let raw = Span::new(start, end);
    if method == Method::Connect {
        return authority_form(bytes, raw);
    }
    match bytes {
        [b'/', ..] => {
            let (path, query, has_query) = path_and_query(bytes, start);
            Ok(Target { form: TargetForm::Origin, raw, path, query, has_query, ..Target::default() })
        }
        [b'*'] if method == Method::Options => {
            Ok(Target { form: TargetForm::Asterisk, raw, ..Target::default() })
        }
        _ => absolute_form(bytes, raw),
    }
}

/// Splits `bytes`, which start at offset `start`, at the first `?`.
#[inline]
fn path_and_query(bytes: &[u8], start: usize) -> (Span, Span, bool) {
    let end = start + bytes.len();
    match memchr::memchr(b'?', bytes) {
        Some(mark) => (Span::new(start, start + mark), Span::new(start + mark + 1, end), true),
        None => (Span::new(start, end), Span::EMPTY, false),
    }
}

/// CONNECT: `host:port`, both required (RFC 9112 section 3.2.3).
fn authority_form(bytes: &[u8], raw: Span) -> Result<Target, ErrorKind> {
    let port = bytes.iter().rposition(|&byte| byte == b':').and_then(|colon| bytes.get(colon + 1..));
    let has_port = port.is_some_and(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit));
    if !has_port || !is_valid_authority(bytes) {
        return Err(ErrorKind::TargetFormInvalid);
    }
    Ok(Target { form: TargetForm::Authority, raw, authority: raw, ..Target::default() })
}

/// `http://authority[/path][?query]` (RFC 9112 section 3.2.2).
#[cold]
fn absolute_form(bytes: &[u8], raw: Span) -> Result<Target, ErrorKind> {
    let scheme_len = bytes.iter().position(|&byte| byte == b':').ok_or(ErrorKind::TargetFormInvalid)?;
    let (scheme, rest) = bytes.split_at_checked(scheme_len).ok_or(ErrorKind::TargetFormInvalid)?;
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return Err(ErrorKind::TargetFormInvalid);
    }
    let rest = rest.strip_prefix(b"://").ok_or(ErrorKind::TargetFormInvalid)?;
    let authority_len = rest.iter().position(|&byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(authority_len).ok_or(ErrorKind::TargetFormInvalid)?;
    if authority.contains(&b'@') {
        return Err(ErrorKind::TargetUserinfo);
    }
    if !is_valid_authority(authority) {
        return Err(ErrorKind::TargetInvalid);
    }
    let start = raw.start as usize;
    let authority_start = start + scheme_len + 3;
    let tail_start = authority_start + authority_len;
    let (path, query, has_query) = path_and_query(tail, tail_start);
    Ok(Target {
        form: TargetForm::Absolute,
        raw,
        scheme: Span::new(start, start + scheme_len),
        authority: Span::new(authority_start, tail_start),
        path,
        query,
        has_query,
    })
}

/// Whether `bytes` are a `host[:port]` without userinfo: a reg-name, IPv4 address or bracketed IPv6 address, and a port
/// of at most 65535 (which may be empty). Percent-encoding and commas are refused: they have two readings.
pub fn is_valid_authority(bytes: &[u8]) -> bool {
    let rest = match bytes {
        [b'[', literal @ ..] => {
            let Some(close) = literal.iter().position(|&byte| byte == b']') else { return false };
            let Some((address, rest)) = literal.split_at_checked(close) else { return false };
            let parsed = std::str::from_utf8(address).ok().and_then(|text| text.parse().ok());
            let Some::<std::net::Ipv6Addr>(_) = parsed else { return false };
            rest.get(1..).unwrap_or(&[])
        }
        _ => {
            let len = scan::span_of(bytes, scan::HOST);
            if len == 0 {
                return false;
            }
            bytes.get(len..).unwrap_or(&[])
        }
    };
    match rest {
        [] => true,
        [b':', port @ ..] => is_valid_port(port),
        _ => false,
    }
}

/// `*DIGIT`, at most 65535 in at most five digits.
fn is_valid_port(port: &[u8]) -> bool {
    let number = port.iter().try_fold(0u32, |number, &byte| {
        byte.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
    });
    port.len() <= 5 && number.is_some_and(|number| number <= 65_535)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        let valid =
            ["a", "example.com", "example.com:80", "example.com:", "10.0.0.1:65535", "[::1]", "[::1]:8080"];
        for text in valid.into_iter().chain(["[2001:db8::1]:1", "_dmarc.x", "a!$&'()*+;=b"]) {
            assert!(is_valid_authority(text.as_bytes()), "{text}");
        }
        let invalid =
            ["", ":80", "a b", "a@b", "a/b", "a,b", "a:b", "a:65536", "a:000080", "a:80:80", "[::1", "::1"];
        for text in
            invalid.into_iter().chain(["[]", "[::1]x", "[fe80::1%25eth0]", "[v1.x]", "a%41", "é", "a:-1"])
        {
            assert!(!is_valid_authority(text.as_bytes()), "{text}");
        }
    }
}
