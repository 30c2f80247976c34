//! The TLS ClientHello (RFC 8446 section 4.1.2), read in passing to route opaque TCP by server name and ALPN.
//! It may be split over any number of records and reads. Nothing is decrypted and nothing is answered here.

pub use crate::h1::Status;

/// Bounds of a ClientHello.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelloLimits {
    /// Bytes of the handshake message without record headers. Post-quantum key shares make 1.8 KiB usual.
    pub message_bytes_max: u32,
    /// Bytes on the wire, record headers included.
    pub wire_bytes_max: u32,
}

impl HelloLimits {
    /// 32 KiB of message in 64 KiB on the wire.
    pub const DEFAULT: HelloLimits = HelloLimits { message_bytes_max: 32 * 1024, wire_bytes_max: 64 * 1024 };
}

impl Default for HelloLimits {
    fn default() -> HelloLimits {
        HelloLimits::DEFAULT
    }
}

/// Why a ClientHello was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum HelloError {
    /// The bytes are no TLS handshake: plain text, or a protocol where the server speaks first.
    NotTls,
    /// Beyond [`HelloLimits`].
    TooLarge,
    /// TLS, but not a well-formed ClientHello.
    Malformed,
}

impl HelloError {
    /// A stable snake_case word for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            HelloError::NotTls => "not_tls",
            HelloError::TooLarge => "client_hello_too_large",
            HelloError::Malformed => "client_hello_malformed",
        }
    }
}

impl std::fmt::Display for HelloError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.reason())
    }
}

impl std::error::Error for HelloError {}

/// What a ClientHello says. One per worker, reused: the message is put together in its scratch.
#[derive(Default, Debug)]
pub struct ClientHello {
    message: Vec<u8>,
    server_name: (usize, usize),
    alpn: (usize, usize),
    versions: (usize, usize),
    legacy_version: u16,
}

impl ClientHello {
    /// Empty; its scratch grows with the first message.
    pub fn new() -> ClientHello {
        ClientHello::default()
    }

    /// The server name (RFC 6066 section 3) as sent, `None` without the extension. Visible ASCII; case is the client's.
    pub fn server_name(&self) -> Option<&str> {
        let name = self.part(self.server_name);
        std::str::from_utf8(name).ok().filter(|name| !name.is_empty())
    }

    /// The application protocols offered, in order of preference (RFC 7301 section 3.1).
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.part(self.alpn);
        std::iter::from_fn(move || vector8(&mut rest))
    }

    /// The versions offered: `supported_versions` (RFC 8446 section 4.2.1), else the legacy version alone.
    pub fn versions(&self) -> impl Iterator<Item = u16> {
        let listed = self.part(self.versions);
        let legacy = listed.is_empty().then_some(self.legacy_version);
        listed.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).chain(legacy)
    }

    fn part(&self, (start, end): (usize, usize)) -> &[u8] {
        self.message.get(start..end).unwrap_or(&[])
    }

    fn clear(&mut self) {
        let mut message = std::mem::take(&mut self.message);
        message.clear();
        *self = ClientHello { message, ..ClientHello::default() };
    }
}

/// Reads the ClientHello at the start of `buf`, which holds everything received so far. The number returned is its
/// length on the wire. On [`Status::Partial`] or an error the content of `hello` is unspecified.
///
/// # Errors
/// See [`HelloError`]. [`HelloError::NotTls`] comes with the first byte that gives it away.
pub fn parse(buf: &[u8], limits: &HelloLimits, hello: &mut ClientHello) -> Result<Status<usize>, HelloError> {
    hello.clear();
    let bounded = buf.get(..limits.wire_bytes_max as usize);
    let window = bounded.unwrap_or(buf);
    match assemble(window, limits, &mut hello.message)? {
        Status::Complete(len) => {
            read_message(hello).ok_or(HelloError::Malformed)?;
            Ok(Status::Complete(len))
        }
        Status::Partial if bounded.is_some() => Err(HelloError::TooLarge),
        Status::Partial => Ok(Status::Partial),
    }
}

const RECORD_HEADER_BYTES: usize = 5;
const RECORD_BYTES_MAX: usize = 1 << 14;
const CONTENT_HANDSHAKE: u8 = 22;
const HANDSHAKE_CLIENT_HELLO: u8 = 1;
const MESSAGE_HEADER_BYTES: usize = 4;

/// Joins the fragments of the records in `buf` until the message they carry is whole (RFC 8446 section 5.1). The message
/// must end with a record: nothing may follow it before the server answered.
fn assemble(buf: &[u8], limits: &HelloLimits, message: &mut Vec<u8>) -> Result<Status<usize>, HelloError> {
    let mut rest = buf;
    loop {
        let first = rest.len() == buf.len();
        check_record_start(rest, first)?;
        let Some((&[_, _, _, high, low], payload)) = rest.split_first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(Status::Partial);
        };
        let record_len = usize::from(u16::from_be_bytes([high, low]));
        if record_len == 0 || record_len > RECORD_BYTES_MAX {
            return Err(if first { HelloError::NotTls } else { HelloError::Malformed });
        }
        let whole = payload.get(..record_len);
        message.extend_from_slice(whole.unwrap_or(payload));
        check_message_start(message, limits)?;
        let Some(payload) = whole else { return Ok(Status::Partial) };
        rest = rest.get(RECORD_HEADER_BYTES + payload.len()..).unwrap_or(&[]);
        let Some(&[_, high, mid, low]) = message.first_chunk::<MESSAGE_HEADER_BYTES>() else { continue };
        let message_len = MESSAGE_HEADER_BYTES + u32::from_be_bytes([0, high, mid, low]) as usize;
        if message.len() > message_len {
            return Err(HelloError::Malformed);
        }
        if message.len() == message_len {
            return Ok(Status::Complete(buf.len() - rest.len()));
        }
    }
}

/// The first three bytes of a record, as far as they are there: handshake, version 3.x.
fn check_record_start(record: &[u8], first: bool) -> Result<(), HelloError> {
    let wrong = if first { HelloError::NotTls } else { HelloError::Malformed };
    match record {
        [] | [CONTENT_HANDSHAKE] | [CONTENT_HANDSHAKE, 3, ..] => Ok(()),
        _ => Err(wrong),
    }
}

/// The message header, as far as it is there.
fn check_message_start(message: &[u8], limits: &HelloLimits) -> Result<(), HelloError> {
    match message {
        [kind, ..] if *kind != HANDSHAKE_CLIENT_HELLO => Err(HelloError::Malformed),
        [_, high, mid, low, ..] => {
            let len = u32::from_be_bytes([0, *high, *mid, *low]);
            if len > limits.message_bytes_max { Err(HelloError::TooLarge) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// Reads the whole message in `hello.message`; `None` if it is malformed.
fn read_message(hello: &mut ClientHello) -> Option<()> {
    let message = hello.message.as_slice();
    let mut rest = message.get(MESSAGE_HEADER_BYTES..)?;
    let legacy_version = take_u16(&mut rest)?;
    let random = 32;
    rest = rest.get(random..)?;
    let session_id = vector8(&mut rest)?;
    let cipher_suites = vector16(&mut rest)?;
    let compressions = vector8(&mut rest)?;
    let lists_valid = session_id.len() <= 32
        && cipher_suites.len() >= 2
        && cipher_suites.len() % 2 == 0
        && !compressions.is_empty();
    if !lists_valid {
        return None;
    }
    let mut found = Extensions { message_len: message.len(), ..Extensions::default() };
    // TLS 1.2 and older may leave the extensions out altogether.
    if !rest.is_empty() {
        let mut extensions = vector16(&mut rest)?;
        let behind = rest.len();
        while !extensions.is_empty() {
            let kind = take_u16(&mut extensions)?;
            let body = vector16(&mut extensions)?;
            found.note(kind, body, extensions.len() + behind)?;
        }
        if behind > 0 {
            return None;
        }
    }
    hello.legacy_version = legacy_version;
    hello.server_name = found.server_name.unwrap_or_default();
    hello.alpn = found.alpn.unwrap_or_default();
    hello.versions = found.versions.unwrap_or_default();
    Some(())
}

/// The extensions of interest, as ranges of the message.
#[derive(Default)]
struct Extensions {
    message_len: usize,
    server_name: Option<(usize, usize)>,
    alpn: Option<(usize, usize)>,
    versions: Option<(usize, usize)>,
}

const EXTENSION_SERVER_NAME: u16 = 0;
const EXTENSION_ALPN: u16 = 16;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 43;

impl Extensions {
    /// Notes one extension; `behind` is the number of message bytes behind its body. None may come twice (RFC 8446
    /// section 4.2).
    fn note(&mut self, kind: u16, body: &[u8], behind: usize) -> Option<()> {
        let (part, slot) = match kind {
            EXTENSION_SERVER_NAME => (host_name(body)?, &mut self.server_name),
            EXTENSION_ALPN => (protocol_list(body)?, &mut self.alpn),
            EXTENSION_SUPPORTED_VERSIONS => (version_list(body)?, &mut self.versions),
            _ => return Some(()),
        };
        if slot.is_some() {
            return None;
        }
        // Each part is the tail of its extension body.
        let end = self.message_len - behind;
        *slot = Some((end - part.len(), end));
        Some(())
    }
}

/// A list of exactly one `host_name` (RFC 6066 section 3: no two names of one type, and there is only one type).
fn host_name(body: &[u8]) -> Option<&[u8]> {
    const NAME_BYTES_MAX: usize = 255;
    let mut body = body;
    let mut list = vector16(&mut body)?;
    let kind = take_u8(&mut list)?;
    let name = vector16(&mut list)?;
    let valid = kind == 0
        && body.is_empty()
        && list.is_empty()
        && (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(u8::is_ascii_graphic);
    valid.then_some(name)
}

/// A list of at least one non-empty protocol name (RFC 7301 section 3.1).
fn protocol_list(body: &[u8]) -> Option<&[u8]> {
    let mut body = body;
    let list = vector16(&mut body)?;
    let mut rest = list;
    while !rest.is_empty() {
        vector8(&mut rest).filter(|name| !name.is_empty())?;
    }
    (body.is_empty() && !list.is_empty()).then_some(list)
}

fn version_list(body: &[u8]) -> Option<&[u8]> {
    let mut body = body;
    let list = vector8(&mut body)?;
    (body.is_empty() && !list.is_empty() && list.len() % 2 == 0).then_some(list)
}

fn take_u8(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(byte)
}

fn take_u16(rest: &mut &[u8]) -> Option<u16> {
    let (&pair, tail) = rest.split_first_chunk::<2>()?;
    *rest = tail;
    Some(u16::from_be_bytes(pair))
}

/// A vector with a length of one byte (RFC 8446 section 3.4).
fn vector8<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, tail) = rest.split_first()?;
    split(rest, tail, usize::from(len))
}

/// A vector with a length of two bytes.
fn vector16<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&len, tail) = rest.split_first_chunk::<2>()?;
    split(rest, tail, usize::from(u16::from_be_bytes(len)))
}

fn split<'a>(rest: &mut &'a [u8], tail: &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (vector, tail) = tail.split_at_checked(len)?;
    *rest = tail;
    Some(vector)
}

#[cfg(test)]
mod tests;
