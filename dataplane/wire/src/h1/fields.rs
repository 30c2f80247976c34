//! Field lines of heads and trailers: one line at a time, and what the lines together say about framing, routing and
//! persistence. Called by the request, response and chunked parsers.

use super::error::ErrorKind;
use super::limits::Limits;
use super::relax::Relaxations;
use super::scan;
use super::target::is_valid_authority;
use crate::http::{Field, FieldName, Fields, Span, Version};

/// One syntactically valid field line.
pub(super) struct Line {
    pub(super) name: Span,
    pub(super) value: Span,
    pub(super) line: Span,
    pub(super) folded: bool,
    pub(super) rewrite: bool,
}

/// What stands at an offset of a field section.
pub(super) enum Step {
    Field(Line),
    /// The empty line; the offset behind it.
    End(usize),
    Partial,
}

/// What is tolerated, and what had to be.
pub(super) struct Tolerance {
    pub(super) allowed: Relaxations,
    pub(super) used: Relaxations,
}

impl Tolerance {
    /// Notes that strictness would refuse with `refusal` here; refuses unless `relaxation` is allowed.
    #[cold]
    pub(super) fn permit(&mut self, relaxation: Relaxations, refusal: ErrorKind) -> Result<(), ErrorKind> {
        if !self.allowed.contains(relaxation) {
            return Err(refusal);
        }
        self.used |= relaxation;
        Ok(())
    }
}

/// Reads the field line or the empty line at `at`; at most `line_bytes_max` bytes of it.
#[inline]
pub(super) fn next_line(
    buf: &[u8],
    at: usize,
    line_bytes_max: u32,
    tolerance: &mut Tolerance,
) -> Result<Step, ErrorKind> {
    let rest = buf.get(at..).unwrap_or(&[]);
    let window = rest.get(..line_bytes_max as usize).unwrap_or(rest);
    let step = scan_line(window, at, tolerance)?;
    if matches!(step, Step::Partial) && window.len() < rest.len() {
        return Err(ErrorKind::FieldTooLarge);
    }
    Ok(step)
}

#[inline]
fn scan_line(rest: &[u8], at: usize, tolerance: &mut Tolerance) -> Result<Step, ErrorKind> {
    let name_len = scan::span_of(rest, scan::TOKEN);
    let mut colon = name_len;
    if rest.get(name_len) != Some(&b':') || name_len == 0 {
        match unusual_line(rest, name_len, at, tolerance)? {
            Unusual::Colon(found) => colon = found,
            Unusual::Step(step) => return Ok(step),
        }
    }
    let Some(value) = scan_value(rest, colon + 1, tolerance)? else { return Ok(Step::Partial) };
    Ok(Step::Field(Line {
        name: Span::new(at, at + name_len),
        value: Span::new(at + value.start, at + value.end),
        line: Span::new(at, at + value.line_end),
        folded: value.folded,
        rewrite: value.rewrite | (colon != name_len),
    }))
}

/// What a line is that does not begin with a name and a colon.
enum Unusual {
    Step(Step),
    /// Whitespace was tolerated; the colon is here.
    Colon(usize),
}

/// The end of the section, a line that is not whole, or an error.
fn unusual_line(
    rest: &[u8],
    name_len: usize,
    at: usize,
    tolerance: &mut Tolerance,
) -> Result<Unusual, ErrorKind> {
    let step = match rest.get(name_len..).unwrap_or(&[]) {
        [] => Step::Partial,
        [b'\r', b'\n', ..] if name_len == 0 => Step::End(at + 2),
        [b'\r'] if name_len == 0 => Step::Partial,
        [b'\r', ..] if name_len == 0 => return Err(ErrorKind::BareCr),
        [b'\n', ..] if name_len == 0 => {
            tolerance.permit(Relaxations::BARE_LF, ErrorKind::BareLf)?;
            Step::End(at + 1)
        }
        [b' ' | b'\t', ..] if name_len == 0 => return Err(ErrorKind::ObsFold),
        blank @ [b' ' | b'\t', ..] => {
            tolerance.permit(Relaxations::WHITESPACE_BEFORE_COLON, ErrorKind::WhitespaceBeforeColon)?;
            let colon = name_len + blank_len(blank);
            match rest.get(colon) {
                None => Step::Partial,
                Some(b':') => return Ok(Unusual::Colon(colon)),
                Some(_) => return Err(ErrorKind::FieldNameInvalid),
            }
        }
        _ => return Err(ErrorKind::FieldNameInvalid),
    };
    Ok(Unusual::Step(step))
}

/// Offsets of a value within its line.
struct Value {
    start: usize,
    end: usize,
    line_end: usize,
    folded: bool,
    rewrite: bool,
}

/// Reads the value from `from` (behind the colon) to its line ending; `None` if the line is not whole.
#[inline]
fn scan_value(rest: &[u8], from: usize, tolerance: &mut Tolerance) -> Result<Option<Value>, ErrorKind> {
    let mut start = from;
    while let Some(b' ' | b'\t') = rest.get(start) {
        start += 1;
    }
    let mut cursor = start;
    let mut folded = false;
    let mut rewrite = false;
    let line_end = loop {
        cursor += scan::text_len(rest.get(cursor..).unwrap_or(&[]));
        let line_end = match rest.get(cursor) {
            None => return Ok(None),
            Some(b'\r') => match rest.get(cursor + 1) {
                None => return Ok(None),
                Some(b'\n') => cursor + 2,
                Some(_) => return Err(ErrorKind::BareCr),
            },
            Some(b'\n') => {
                tolerance.permit(Relaxations::BARE_LF, ErrorKind::BareLf)?;
                rewrite = true;
                cursor + 1
            }
            Some(0) => return Err(ErrorKind::FieldValueInvalid),
            Some(_) => {
                tolerance.permit(Relaxations::CONTROL_IN_VALUE, ErrorKind::FieldValueInvalid)?;
                rewrite = true;
                cursor += 1;
                continue;
            }
        };
        if !tolerance.allowed.contains(Relaxations::OBS_FOLD) {
            break line_end;
        }
        // Whether the value goes on in the next line needs one byte more; a head has one, since it ends with an
        // empty line.
        match rest.get(line_end) {
            None => return Ok(None),
            Some(b' ' | b'\t') => {
                tolerance.permit(Relaxations::OBS_FOLD, ErrorKind::ObsFold)?;
                (folded, rewrite) = (true, true);
                cursor = line_end;
            }
            Some(_) => break line_end,
        }
    };
    let mut end = cursor;
    if folded {
        let text = rest.get(start..end).unwrap_or(&[]);
        start += text.len() - text.trim_ascii_start().len();
    }
    let blank = |byte: u8| matches!(byte, b' ' | b'\t') || (folded && matches!(byte, b'\r' | b'\n'));
    while end > start && rest.get(end - 1).is_some_and(|&byte| blank(byte)) {
        end -= 1;
    }
    Ok(Some(Value { start, end, line_end, folded, rewrite }))
}

/// How many leading bytes are SP or HTAB.
pub(super) fn blank_len(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| !matches!(byte, b' ' | b'\t')).unwrap_or(bytes.len())
}

/// What the field lines of one head say.
#[derive(Default)]
pub(super) struct Facts {
    /// Number of `Host` lines and the value of the first.
    pub(super) host: Option<Span>,
    pub(super) content_length: Option<u64>,
    pub(super) coding: Coding,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    upgrade_nominated: bool,
    /// `Connection` names a field that is not hop-by-hop by itself.
    nominations: bool,
    options: u32,
    upgrades: u32,
    upgrade: Span,
    pub(super) expect_continue: bool,
    pub(super) expect_unknown: bool,
    pub(super) te_trailers: bool,
    pub(super) max_forwards: Option<u32>,
}

/// What the `Transfer-Encoding` lines say, as one list.
#[derive(Default)]
pub(super) struct Coding {
    pub(super) seen: bool,
    chunked: bool,
    chunked_last: bool,
    unknown: bool,
}

/// Which direction a head goes; requests have fields that mean nothing in responses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

/// Reads all field lines from `at` into `fields`. `None`: the head is not whole yet; else the offset behind the empty
/// line.
pub(super) fn parse_section(
    buf: &[u8],
    mut at: usize,
    side: Side,
    limits: &Limits,
    tolerance: &mut Tolerance,
    fields: &mut Fields,
    facts: &mut Facts,
) -> Result<Option<usize>, ErrorKind> {
    if matches!(buf.get(at), Some(b' ' | b'\t')) {
        return Err(ErrorKind::WhitespaceBeforeField);
    }
    loop {
        let line = match next_line(buf, at, limits.field_bytes_max, tolerance)? {
            Step::Field(line) => line,
            Step::Partial => return Ok(None),
            Step::End(end) => {
                if facts.nominations {
                    drop_nominated(buf, fields)?;
                }
                return Ok(Some(end));
            }
        };
        if fields.len() >= limits.fields_max as usize {
            return Err(ErrorKind::TooManyFields);
        }
        at = line.line.end as usize;
        let id = FieldName::lookup(line.name.of(buf));
        let mut field = Field {
            name: line.name,
            value: line.value,
            line: line.line,
            id,
            hop: id.is_hop_by_hop() || (id == FieldName::Other && is_forgery(line.name.of(buf))),
            rewrite: line.rewrite,
        };
        if is_structural(id) {
            if line.rewrite {
                check_structural_value(line.value.of(buf), line.folded)?;
            }
            facts.note(buf, side, limits, tolerance, &mut field)?;
        }
        fields.push(field);
    }
}

/// No relaxation reaches into the value of a structural field.
#[cold]
fn check_structural_value(value: &[u8], folded: bool) -> Result<(), ErrorKind> {
    if folded {
        return Err(ErrorKind::ObsFold);
    }
    if scan::text_len(value) != value.len() {
        return Err(ErrorKind::FieldValueInvalid);
    }
    Ok(())
}

/// Whether a server that reads `_` as `-` would take this name for one that decides framing or routing, or for one that
/// proxies answer for (`X_Forwarded_For`). Such a field is never forwarded; other names with underscores are.
#[inline]
fn is_forgery(name: &[u8]) -> bool {
    let id = FieldName::shadowed(name);
    is_structural(id) || id.is_hop_by_hop() || id.is_written_by_proxies()
}

/// Whether a field decides framing, routing or persistence.
#[inline]
fn is_structural(id: FieldName) -> bool {
    matches!(
        id,
        FieldName::Host
            | FieldName::Connection
            | FieldName::ContentLength
            | FieldName::TransferEncoding
            | FieldName::Te
            | FieldName::Upgrade
            | FieldName::Expect
            | FieldName::MaxForwards
    )
}

impl Facts {
    /// Takes note of one structural field.
    fn note(
        &mut self,
        buf: &[u8],
        side: Side,
        limits: &Limits,
        tolerance: &mut Tolerance,
        field: &mut Field,
    ) -> Result<(), ErrorKind> {
        let value = field.value.of(buf);
        match field.id {
            FieldName::Host if side == Side::Request => self.note_host(value, field.value, tolerance),
            FieldName::Connection => self.note_connection(value, limits),
            FieldName::ContentLength => self.note_content_length(value, field, tolerance),
            FieldName::TransferEncoding => self.coding.note(value),
            FieldName::Te => {
                self.te_trailers |= list(value).any(|member| member.eq_ignore_ascii_case(b"trailers"));
                Ok(())
            }
            FieldName::Upgrade => {
                self.upgrades = self.upgrades.saturating_add(1);
                self.upgrade = field.value;
                Ok(())
            }
            FieldName::Expect if side == Side::Request => {
                let known = value.eq_ignore_ascii_case(b"100-continue");
                self.expect_continue |= known;
                self.expect_unknown |= !known;
                Ok(())
            }
            FieldName::MaxForwards if side == Side::Request => {
                if self.max_forwards.is_some() {
                    return Err(ErrorKind::MaxForwardsInvalid);
                }
                let count = digits(value).ok_or(ErrorKind::MaxForwardsInvalid)?;
                self.max_forwards = Some(u32::try_from(count).unwrap_or(u32::MAX));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn note_host(&mut self, value: &[u8], span: Span, tolerance: &mut Tolerance) -> Result<(), ErrorKind> {
        if self.host.is_some() {
            return Err(ErrorKind::HostDuplicate);
        }
        self.host = Some(span);
        if value.is_empty() {
            return tolerance.permit(Relaxations::HOST_MISSING, ErrorKind::HostMissing);
        }
        if is_valid_authority(value) { Ok(()) } else { Err(ErrorKind::HostInvalid) }
    }

    fn note_connection(&mut self, value: &[u8], limits: &Limits) -> Result<(), ErrorKind> {
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in list(value) {
            self.options += 1;
            if self.options > limits.connection_options_max
                || scan::span_of(option, scan::TOKEN) != option.len()
            {
                return Err(ErrorKind::ConnectionInvalid);
            }
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_nominated = true;
            } else {
                self.nominations = true;
            }
        }
        Ok(())
    }

    fn note_content_length(
        &mut self,
        value: &[u8],
        field: &mut Field,
        tolerance: &mut Tolerance,
    ) -> Result<(), ErrorKind> {
        let length = match digits(value) {
            Some(length) => length,
            None => {
                let (length, first_len) = repeated_length(value)?;
                tolerance.permit(Relaxations::DUPLICATE_CONTENT_LENGTH, ErrorKind::ContentLengthDuplicate)?;
                field.value.end = field.value.start + first_len;
                field.rewrite = true;
                length
            }
        };
        match self.content_length {
            None => self.content_length = Some(length),
            Some(earlier) if earlier != length => return Err(ErrorKind::ContentLengthConflict),
            Some(_) => {
                tolerance.permit(Relaxations::DUPLICATE_CONTENT_LENGTH, ErrorKind::ContentLengthDuplicate)?;
                field.hop = true;
            }
        }
        Ok(())
    }

    /// The value of a single `Upgrade` that `Connection` nominates; in HTTP/1.0 it is ignored (RFC 9110 section 7.8).
    pub(super) fn upgrade(&self, version: Version) -> Option<Span> {
        let valid = self.upgrade_nominated
            && self.upgrades == 1
            && version == Version::Http11
            && !self.upgrade.is_empty();
        valid.then_some(self.upgrade)
    }

    /// RFC 9112 section 9.3.
    pub(super) fn persistent(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// The framing the fields declare: `Some(None)` is chunked, `Some(Some(n))` a length, `None` neither
    /// (RFC 9112 section 6.3, every doubtful case refused).
    pub(super) fn declared_length(&self, version: Version) -> Result<Option<Option<u64>>, ErrorKind> {
        if !self.coding.seen {
            return Ok(self.content_length.map(Some));
        }
        if self.content_length.is_some() {
            return Err(ErrorKind::LengthAndEncoding);
        }
        if version == Version::Http10 {
            return Err(ErrorKind::TransferEncodingVersion);
        }
        if !self.coding.chunked_last {
            return Err(ErrorKind::TransferEncodingNotFinal);
        }
        if self.coding.unknown {
            return Err(ErrorKind::TransferEncodingUnknown);
        }
        Ok(Some(None))
    }
}

impl Coding {
    /// RFC 9112 section 6.1: a list of codings, `chunked` at most once. Empty members and parameters are refused.
    fn note(&mut self, value: &[u8]) -> Result<(), ErrorKind> {
        self.seen = true;
        if value.eq_ignore_ascii_case(b"chunked") && !self.chunked {
            (self.chunked, self.chunked_last) = (true, true);
            return Ok(());
        }
        for coding in value.split(|&byte| byte == b',') {
            let coding = scan::trim(coding);
            if coding.is_empty() || scan::span_of(coding, scan::TOKEN) != coding.len() {
                return Err(ErrorKind::TransferEncodingInvalid);
            }
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            if chunked && self.chunked {
                return Err(ErrorKind::TransferEncodingInvalid);
            }
            self.chunked |= chunked;
            self.unknown |= !chunked;
            self.chunked_last = chunked;
        }
        Ok(())
    }
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 section 5.6.1.2).
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(scan::trim).filter(|member| !member.is_empty())
}

/// `1*DIGIT` up to `i64::MAX`, which is what every peer can represent.
pub(crate) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
    }
    (number <= i64::MAX as u64).then_some(number)
}

/// The length repeated in a list of equal members, and how many bytes its first member has.
fn repeated_length(value: &[u8]) -> Result<(u64, u32), ErrorKind> {
    let mut first: Option<(u64, u32)> = None;
    for member in value.split(|&byte| byte == b',') {
        let member = scan::trim(member);
        let length = digits(member).ok_or(ErrorKind::ContentLengthInvalid)?;
        match first {
            None => first = Some((length, member.len() as u32)),
            Some((earlier, _)) if earlier != length => return Err(ErrorKind::ContentLengthConflict),
            Some(_) => {}
        }
    }
    first.ok_or(ErrorKind::ContentLengthInvalid)
}

/// Marks the fields that `Connection` names as not to be forwarded (RFC 9110 section 7.6.1). Bounded by
/// `connection_options_max` times `fields_max`.
#[cold]
fn drop_nominated(buf: &[u8], fields: &mut Fields) -> Result<(), ErrorKind> {
    let connections: Vec<Span> = fields.all(FieldName::Connection).map(|field| field.value).collect();
    for option in connections.iter().flat_map(|span| list(span.of(buf))) {
        let id = FieldName::lookup(option);
        if matches!(id, FieldName::Host | FieldName::ContentLength) {
            return Err(ErrorKind::ConnectionProtected);
        }
        for field in fields.iter_mut() {
            let named =
                field.id == id && (id != FieldName::Other || field.name.of(buf).eq_ignore_ascii_case(option));
            field.hop |= named;
        }
    }
    Ok(())
}
