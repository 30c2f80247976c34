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
