//! Message bodies of all framings behind one decoder.

use super::chunked::ChunkedDecoder;
use super::error::ParseError;
use super::limits::Limits;
use crate::http::Framing;

/// Decodes the body that follows a head. Input is consumed piece by piece; the caller keeps the bytes.
#[derive(Clone, Debug)]
pub enum Body {
    /// Nothing follows.
    Empty,
    /// `Content-Length`.
    Length {
        /// Bytes still to come.
        remaining: u64,
    },
    /// Chunked coding.
    Chunked(ChunkedDecoder),
    /// Everything up to the end of the connection.
    UntilClose,
}

/// One step of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyEvent {
    /// `input[start..end]` is body data; `end` bytes are consumed.
    Data {
        /// Offset of the first data byte.
        start: usize,
        /// Offset behind the last; never equal to `start`.
        end: usize,
    },
    /// The body is over behind `consumed` bytes; what follows is the next message. Trailers: [`Body::trailers`].
    End {
        /// Bytes of the input that belonged to the body.
        consumed: usize,
    },
    /// All of the input is used; `consumed` is its length.
    NeedMore {
        /// Bytes of the input used up.
        consumed: usize,
    },
}

impl Body {
    /// The decoder for the body of a head with this framing.
    pub fn from_framing(framing: Framing, limits: &Limits) -> Body {
        match framing {
            Framing::Empty => Body::Empty,
            Framing::Length(length) => Body::Length { remaining: length },
            Framing::Chunked => Body::Chunked(ChunkedDecoder::new(limits)),
            Framing::UntilClose => Body::UntilClose,
        }
    }

    /// Whether no further byte belongs to this body. Never true for [`Body::UntilClose`].
    #[inline]
    pub fn is_done(&self) -> bool {
        match self {
            Body::Empty | Body::Length { remaining: 0 } => true,
            Body::Length { .. } | Body::UntilClose => false,
            Body::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Whether the body is whole if the peer closes now (RFC 9112 section 8).
    #[inline]
    pub fn is_whole_at_close(&self) -> bool {
        matches!(self, Body::UntilClose) || self.is_done()
    }

    /// The next piece of `input`. Call again with the rest behind what was consumed.
    ///
    /// # Errors
    /// Only chunked bodies have any: see [`ChunkedDecoder::decode`].
    #[inline]
    pub fn decode(&mut self, input: &[u8]) -> Result<BodyEvent, ParseError> {
        match self {
            Body::Empty | Body::Length { remaining: 0 } => Ok(BodyEvent::End { consumed: 0 }),
            Body::Chunked(decoder) => decoder.decode(input),
            Body::Length { .. } | Body::UntilClose if input.is_empty() => {
                Ok(BodyEvent::NeedMore { consumed: 0 })
            }
            Body::Length { remaining } => {
                let end = usize::try_from(*remaining).map_or(input.len(), |left| left.min(input.len()));
                *remaining -= end as u64;
                Ok(BodyEvent::Data { start: 0, end })
            }
            Body::UntilClose => Ok(BodyEvent::Data { start: 0, end: input.len() }),
        }
    }

    /// The trailer section in normal form, as [`ChunkedDecoder::trailers`]; empty for other framings.
    pub fn trailers(&self) -> &[u8] {
        match self {
            Body::Chunked(decoder) => decoder.trailers(),
            _ => &[],
        }
    }
}
