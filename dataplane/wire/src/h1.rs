//! HTTP/1.1 by RFC 9112, strict in both directions: heads, body framing, and writing.
//! Anything two parsers might read differently is refused, or normalised under a named relaxation; never forwarded.

mod body;
mod chunked;
mod error;
mod fields;
mod limits;
mod relax;
mod request;
mod response;
mod scan;
mod target;
pub mod write;

pub use body::{Body, BodyEvent};
pub use chunked::{ChunkedDecoder, Progress};
pub use error::{ErrorKind, ParseError};
pub(crate) use fields::list as list_members;
pub use limits::Limits;
pub use relax::Relaxations;
pub use request::parse_request;
pub use response::parse_response;
pub use target::is_valid_authority;

/// The outcome of parsing a prefix of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status<T> {
    /// The item is whole.
    Complete(T),
    /// More bytes are needed; nothing was wrong so far.
    Partial,
}

/// Whether `bytes` are a `token` (RFC 9110 section 5.6.2): fit for a field name or method.
pub fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && scan::span_of(bytes, scan::TOKEN) == bytes.len()
}

/// Whether `bytes` may stand as a field value (RFC 9110 section 5.5): no control character but HTAB, no surrounding
/// whitespace. Configuration checks what it adds with this.
pub fn is_field_value(bytes: &[u8]) -> bool {
    scan::text_len(bytes) == bytes.len() && scan::trim(bytes).len() == bytes.len()
}
