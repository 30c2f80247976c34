//! The chunked coding (RFC 9112 section 7.1), strict: no bare LF, no padding, bounded extensions and trailers.
//! A byte-level state machine: it never needs a byte twice, so the caller may drop whatever was consumed.

use super::body::BodyEvent;
use super::error::{ErrorKind, ParseError};
use super::fields::{Step, Tolerance, next_line};
use super::limits::Limits;
use super::relax::Relaxations;
use super::scan;
use crate::http::FieldName;
use std::ops::Range;

/// Where in the coding the next byte stands.
///
/// ```text
/// Size -> (SizeBlank | Extension..)* -> SizeLf -> Data -> DataCr -> DataLf -> Size
///                                          `-> TrailerStart -> (Trailer)* | EndLf -> Done
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Size,
    SizeBlank,
    ExtensionStart,
    ExtensionName,
    ExtensionNameBlank,
    ExtensionValueStart,
    ExtensionValue,
    ExtensionQuoted,
    ExtensionEscape,
    ExtensionQuotedEnd,
    ExtensionValueBlank,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    EndLf,
    Done,
}

/// Decodes one chunked body. Allocates only for trailers, which are rare.
#[derive(Clone, Debug)]
pub struct ChunkedDecoder {
    state: State,
    /// Hex digits of the current size seen so far.
    size_digits: u8,
    extension_bytes_max: u32,
    /// Extension bytes not yet outweighed by data.
    extension_bytes: u32,
    trailer_bytes_max: u32,
    trailer_fields_max: u32,
    /// Size being read, then bytes of the chunk still to come.
    remaining: u64,
    /// Raw trailer lines while they arrive, then the section in normal form. Empty, and not allocated, without trailers.
    trailers: Vec<u8>,
}

/// What [`ChunkedDecoder::decode_in_place`] did to a buffer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The data of all chunks in the buffer, moved together. It begins where the first data byte stood; behind it, up
    /// to `consumed`, is free room. When the body ended here and `data` is not empty that is at least 7 bytes: enough
    /// for `CRLF 0 CRLF CRLF`.
    pub data: Range<usize>,
    /// Bytes of the buffer used up; fewer than given only if `done`.
    pub consumed: usize,
    /// The body ended, trailers included.
    pub done: bool,
}

impl ChunkedDecoder {
    /// At the start of a body.
    pub fn new(limits: &Limits) -> ChunkedDecoder {
        ChunkedDecoder {
            state: State::Size,
            size_digits: 0,
            extension_bytes_max: limits.chunk_extension_bytes_max,
            extension_bytes: 0,
            trailer_bytes_max: limits.trailer_bytes_max,
            trailer_fields_max: limits.trailer_fields_max,
            remaining: 0,
            trailers: Vec::new(),
        }
    }

    /// Whether the last chunk and the trailer section were read.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailer section once [`ChunkedDecoder::is_done`]: whole lines in normal form, without the empty line, fields
    /// that must not be trailers left out (RFC 9110 section 6.5.1). Fit for [`super::write::last_chunk`].
    pub fn trailers(&self) -> &[u8] {
        if self.is_done() { &self.trailers } else { &[] }
    }

    /// Reads up to the next piece of data, the end of the body, or the end of `input`.
    ///
    /// # Errors
    /// A body that is not in strict chunked coding, or exceeds a limit. The decoder must not be used again.
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<BodyEvent, ParseError> {
        let mut at = 0;
        loop {
            at += self.skip_plain_framing(input.get(at..).unwrap_or(&[]));
            if self.state == State::Data {
                let available = input.len() - at.min(input.len());
                if available == 0 {
                    return Ok(BodyEvent::NeedMore { consumed: at });
                }
                let len = usize::try_from(self.remaining).map_or(available, |left| left.min(available));
                self.remaining -= len as u64;
                if self.remaining == 0 {
                    self.state = State::DataCr;
                }
                return Ok(BodyEvent::Data { start: at, end: at + len });
            }
            if self.state == State::Trailer {
                let rest = input.get(at..).unwrap_or(&[]);
                at += self.collect_trailer(rest)?;
            }
            if self.state == State::Done {
                return Ok(BodyEvent::End { consumed: at });
            }
            let Some(&byte) = input.get(at) else { return Ok(BodyEvent::NeedMore { consumed: at }) };
            if self.state != State::TrailerStart || byte == b'\r' {
                at += 1;
            }
            self.state = self.step(byte)?;
        }
    }

    /// Decodes all of `buf` and moves the data of its chunks together, so that it can be sent as one chunk: prefix
    /// written in front of `data`, suffix behind.
    ///
    /// # Errors
    /// As [`ChunkedDecoder::decode`].
    pub fn decode_in_place(&mut self, buf: &mut [u8]) -> Result<Progress, ParseError> {
        let mut consumed = 0;
        let mut data = 0..0;
        loop {
            match self.decode(buf.get(consumed..).unwrap_or(&[]))? {
                BodyEvent::Data { start, end } => {
                    let piece = consumed + start..consumed + end;
                    consumed = piece.end;
                    if data.is_empty() {
                        data = piece;
                    } else {
                        let len = piece.len();
                        buf.copy_within(piece, data.end);
                        data.end += len;
                    }
                }
                BodyEvent::End { consumed: last } => {
                    return Ok(Progress { data, consumed: consumed + last, done: true });
                }
                BodyEvent::NeedMore { consumed: last } => {
                    return Ok(Progress { data, consumed: consumed + last, done: false });
                }
            }
        }
    }

    /// The short way over what nearly every chunk has: the CRLF behind data and a whole line with nothing but a size.
    /// Returns the bytes used; whatever looks otherwise, or is not whole, is left to [`ChunkedDecoder::step`].
    #[inline]
    fn skip_plain_framing(&mut self, input: &[u8]) -> usize {
        let (mut rest, mut used) = (input, 0);
        if self.state == State::DataCr
            && let [b'\r', b'\n', tail @ ..] = rest
        {
            (self.state, self.size_digits) = (State::Size, 0);
            (rest, used) = (tail, 2);
        }
        if self.state != State::Size || self.size_digits > 0 {
            return used;
        }
        let mut size = 0u64;
        for (index, &byte) in rest.iter().take(PLAIN_SIZE_DIGITS_MAX + 1).enumerate() {
            if let Some(digit) = char::from(byte).to_digit(16) {
                size = size << 4 | u64::from(digit);
                continue;
            }
            if index > 0 && byte == b'\r' && rest.get(index + 1) == Some(&b'\n') {
                self.remaining = size;
                self.state = self.behind_size();
                return used + index + 2;
            }
            break;
        }
        used
    }

    /// The transition table for one byte outside data and trailer lines.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<State, ErrorKind> {
        match self.state {
            State::Size => match byte {
                b'\r' if self.size_digits > 0 => Ok(State::SizeLf),
                b';' if self.size_digits > 0 => Ok(State::ExtensionStart),
                b' ' | b'\t' if self.size_digits > 0 => Ok(State::SizeBlank),
                b'\n' => Err(ErrorKind::BareLf),
                _ => self.size_digit(byte),
            },
            State::SizeLf => self.end_of_size(byte),
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => {
                self.size_digits = 0;
                Ok(State::Size)
            }
            // RFC 9112 section 7.1: the data is as long as the size says, then CRLF.
            State::DataCr | State::DataLf => Err(ErrorKind::ChunkDataInvalid),
            State::TrailerStart if byte == b'\r' => Ok(State::EndLf),
            State::TrailerStart => Ok(State::Trailer),
            State::EndLf if byte == b'\n' => Ok(State::Done),
            State::EndLf => Err(ErrorKind::BareCr),
            State::Data | State::Trailer | State::Done => Ok(self.state),
            _ => {
                self.extension_bytes += 1;
                if self.extension_bytes > self.extension_bytes_max {
                    return Err(ErrorKind::ChunkExtensionTooLarge);
                }
                extension_step(self.state, byte)
            }
        }
    }

    #[inline]
    fn size_digit(&mut self, byte: u8) -> Result<State, ErrorKind> {
        let digit = char::from(byte).to_digit(16).ok_or(ErrorKind::ChunkSizeInvalid)?;
        self.size_digits += 1;
        self.remaining = self.remaining << 4 | u64::from(digit);
        if self.size_digits > SIZE_DIGITS_MAX || self.remaining > i64::MAX as u64 {
            return Err(ErrorKind::ChunkSizeTooLarge);
        }
        Ok(State::Size)
    }

    #[inline]
    fn end_of_size(&mut self, byte: u8) -> Result<State, ErrorKind> {
        if byte == b'\n' { Ok(self.behind_size()) } else { Err(ErrorKind::BareCr) }
    }

    /// Behind a size line whose size is in `remaining`.
    #[inline]
    fn behind_size(&mut self) -> State {
        if self.remaining == 0 {
            return State::TrailerStart;
        }
        let outweighed = u32::try_from(self.remaining).unwrap_or(u32::MAX);
        self.extension_bytes = self.extension_bytes.saturating_sub(outweighed);
        State::Data
    }

    /// Collects trailer lines up to the empty line; returns the bytes used of `input`.
    #[cold]
    fn collect_trailer(&mut self, input: &[u8]) -> Result<usize, ErrorKind> {
        let trailers = &mut self.trailers;
        let mut used = 0;
        while let Some(rest) = input.get(used..).filter(|rest| !rest.is_empty()) {
            let line_feed = memchr::memchr(b'\n', rest);
            let piece = rest.get(..line_feed.map_or(rest.len(), |index| index + 1)).unwrap_or(rest);
            if trailers.len() + piece.len() > self.trailer_bytes_max as usize {
                return Err(ErrorKind::TrailerTooLarge);
            }
            trailers.extend_from_slice(piece);
            used += piece.len();
            if trailers.ends_with(b"\n\r\n") || trailers.ends_with(b"\n\n") || trailers.starts_with(b"\n") {
                *trailers = normalised_trailers(trailers, self.trailer_fields_max)?;
                self.state = State::Done;
                return Ok(used);
            }
        }
        Ok(used)
    }
}

/// A size of more digits is too large or padded with zeros beyond reason.
const SIZE_DIGITS_MAX: u8 = 16;

/// Sizes of more digits take the long way, where they are checked.
const PLAIN_SIZE_DIGITS_MAX: usize = 8;

/// `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` (RFC 9112 section 7.1.1).
fn extension_step(state: State, byte: u8) -> Result<State, ErrorKind> {
    let blank = matches!(byte, b' ' | b'\t');
    let token = scan::is(byte, scan::TOKEN);
    let text = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    let next = match (state, byte) {
        (State::SizeBlank, _) if blank => State::SizeBlank,
        (State::SizeBlank, b';') => State::ExtensionStart,
        (State::ExtensionStart, _) if blank => State::ExtensionStart,
        (State::ExtensionStart | State::ExtensionName, _) if token => State::ExtensionName,
        (State::ExtensionName, b'\r') => State::SizeLf,
        (State::ExtensionName | State::ExtensionNameBlank, b'=') => State::ExtensionValueStart,
        (State::ExtensionName | State::ExtensionNameBlank, b';') => State::ExtensionStart,
        (State::ExtensionName | State::ExtensionNameBlank, _) if blank => State::ExtensionNameBlank,
        (State::ExtensionValueStart, b'"') => State::ExtensionQuoted,
        (State::ExtensionValueStart, _) if blank => State::ExtensionValueStart,
        (State::ExtensionValueStart | State::ExtensionValue, _) if token => State::ExtensionValue,
        (State::ExtensionQuoted, b'"') => State::ExtensionQuotedEnd,
        (State::ExtensionQuoted, b'\\') => State::ExtensionEscape,
        (State::ExtensionQuoted | State::ExtensionEscape, _) if text => State::ExtensionQuoted,
        (State::ExtensionValue | State::ExtensionQuotedEnd, b'\r') => State::SizeLf,
        (State::ExtensionValue | State::ExtensionQuotedEnd | State::ExtensionValueBlank, b';') => {
            State::ExtensionStart
        }
        (State::ExtensionValue | State::ExtensionQuotedEnd | State::ExtensionValueBlank, _) if blank => {
            State::ExtensionValueBlank
        }
        _ => return Err(ErrorKind::ChunkExtensionInvalid),
    };
    Ok(next)
}

/// Validates a whole trailer section and writes what may be forwarded in normal form.
fn normalised_trailers(section: &[u8], fields_max: u32) -> Result<Vec<u8>, ErrorKind> {
    let mut kept = Vec::with_capacity(section.len());
    let mut strict = Tolerance { allowed: Relaxations::NONE, used: Relaxations::NONE };
    let mut at = 0;
    let mut count = 0;
    loop {
        // The section is whole and bounded, so a line that is not is one with a stray line ending.
        match next_line(section, at, u32::MAX, &mut strict)? {
            Step::End(_) => return Ok(kept),
            Step::Partial => return Err(ErrorKind::FieldNameInvalid),
            Step::Field(line) => {
                count += 1;
                if count > fields_max {
                    return Err(ErrorKind::TooManyFields);
                }
                at = line.line.end as usize;
                if is_trailer_allowed(FieldName::lookup(line.name.of(section))) {
                    kept.extend_from_slice(line.name.of(section));
                    kept.extend_from_slice(b": ");
                    kept.extend_from_slice(line.value.of(section));
                    kept.extend_from_slice(b"\r\n");
                }
            }
        }
    }
}

/// Fields for framing, routing, authentication, request modifiers, response control and content processing must not
/// come as trailers (RFC 9110 section 6.5.1). Unknown names may.
pub(crate) fn is_trailer_allowed(id: FieldName) -> bool {
    matches!(
        id,
        FieldName::Other
            | FieldName::Etag
            | FieldName::LastModified
            | FieldName::Server
            | FieldName::GrpcStatus
            | FieldName::Traceparent
            | FieldName::Tracestate
    )
}
