//! Writing heads, chunks and local replies into a reused scratch buffer. Nothing here allocates unless the buffer grows.
//! Values must hold no CR, LF or NUL: the parser refuses them and configuration rejects them before they get here.

use crate::http::{Field, Fields, RequestHead, TargetForm};

/// `method SP target SP HTTP/1.1 CRLF`.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8]) {
    debug_assert!(is_clean(method) && is_clean(target));
    out.extend_from_slice(method);
    out.push(b' ');
    out.extend_from_slice(target);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// The request line of `head` as a reverse proxy sends it on: origin-form from absolute-form, `/` for an empty path, `*`
/// for OPTIONS on a whole server (RFC 9112 sections 3.2.1, 3.2.4). A tunnel target stays as it is.
pub fn request_line_of(out: &mut Vec<u8>, bytes: &[u8], head: &RequestHead) {
    out.extend_from_slice(head.method_span.of(bytes));
    out.push(b' ');
    let target = &head.target;
    match target.form {
        TargetForm::Origin | TargetForm::Asterisk | TargetForm::Authority => {
            out.extend_from_slice(target.raw.of(bytes));
        }
        TargetForm::Absolute => {
            if target.path.is_empty() {
                let whole_server = head.method == crate::http::Method::Options && !target.has_query;
                out.push(if whole_server { b'*' } else { b'/' });
            }
            out.extend_from_slice(target.path.of(bytes));
            if target.has_query {
                out.push(b'?');
                out.extend_from_slice(target.query.of(bytes));
            }
        }
    }
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// `HTTP/1.1 SP status SP reason CRLF`.
pub fn status_line(out: &mut Vec<u8>, status: u16, reason: &[u8]) {
    debug_assert!((100..1000).contains(&status) && is_clean(reason));
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason);
    out.extend_from_slice(b"\r\n");
}

/// `name: value CRLF`.
#[inline]
pub fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_clean(name) && is_clean(value));
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// One parsed line in normal form: no whitespace before the colon, control characters and line breaks of the value as SP
/// (RFC 9110 section 5.5, RFC 9112 section 5.2), CRLF.
pub fn field_line(out: &mut Vec<u8>, bytes: &[u8], field: &Field) {
    out.extend_from_slice(field.name.of(bytes));
    out.extend_from_slice(b": ");
    let value = field.value.of(bytes);
    out.extend(value.iter().map(|&byte| if byte < b' ' || byte == 0x7f { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

/// All fields that may be forwarded and that `skip` does not name, in order and case as received. Neighbours are copied
/// as one run.
#[inline]
pub fn fields_kept(out: &mut Vec<u8>, bytes: &[u8], fields: &Fields, skip: impl Fn(&Field) -> bool) {
    let mut run = crate::http::Span::EMPTY;
    for field in fields {
        if field.hop || skip(field) {
            continue;
        }
        if field.rewrite {
            out.extend_from_slice(run.of(bytes));
            run = crate::http::Span::EMPTY;
            field_line(out, bytes, field);
        } else if field.line.start == run.end {
            run.end = field.line.end;
        } else {
            out.extend_from_slice(run.of(bytes));
            run = field.line;
        }
    }
    out.extend_from_slice(run.of(bytes));
}

/// `content-length: n CRLF`.
#[inline]
pub fn content_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, length);
    out.extend_from_slice(b"\r\n");
}

/// `transfer-encoding: chunked CRLF`.
#[inline]
pub fn transfer_encoding_chunked(out: &mut Vec<u8>) {
    out.extend_from_slice(b"transfer-encoding: chunked\r\n");
}

/// The empty line that ends a head.
#[inline]
pub fn end_of_head(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// `number` in decimal.
#[inline]
pub fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0u8; DECIMAL_BYTES_MAX];
    let mut rest = number;
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(DECIMAL_BYTES_MAX - used..).unwrap_or(&[]));
}

/// Digits of `u64::MAX`.
const DECIMAL_BYTES_MAX: usize = 20;

/// Room a chunk prefix may need: 16 hex digits and CRLF.
pub const CHUNK_PREFIX_BYTES_MAX: usize = 18;

/// The line in front of a chunk's data, in a small array: see [`ChunkPrefix::as_bytes`].
#[derive(Clone, Copy, Debug)]
pub struct ChunkPrefix {
    bytes: [u8; CHUNK_PREFIX_BYTES_MAX],
    start: u8,
}

impl ChunkPrefix {
    /// `size CRLF`, to stand directly in front of the data.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(usize::from(self.start)..).unwrap_or(&[])
    }
}

/// The prefix of a chunk of `len` bytes. `len` must not be 0: that is the last chunk.
#[inline]
pub fn chunk_prefix(len: usize) -> ChunkPrefix {
    debug_assert!(len > 0);
    let mut bytes = [0u8; CHUNK_PREFIX_BYTES_MAX];
    let mut rest = len as u64;
    let mut start = CHUNK_PREFIX_BYTES_MAX;
    for (index, slot) in bytes.iter_mut().enumerate().rev() {
        *slot = match CHUNK_PREFIX_BYTES_MAX - index {
            1 => b'\n',
            2 => b'\r',
            _ => {
                let digit = (rest & 15) as u8;
                rest >>= 4;
                if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }
            }
        };
        start = index;
        if rest == 0 {
            break;
        }
    }
    ChunkPrefix { bytes, start: start as u8 }
}

/// What follows a chunk's data.
#[inline]
pub fn chunk_suffix() -> &'static [u8] {
    b"\r\n"
}

/// The last chunk without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The last chunk with a trailer section in the form of [`super::ChunkedDecoder::trailers`].
pub fn last_chunk(out: &mut Vec<u8>, trailers: &[u8]) {
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(trailers);
    out.extend_from_slice(b"\r\n");
}

/// A whole response made here.
#[derive(Clone, Copy, Debug)]
pub struct LocalReply<'a> {
    /// 200..=599.
    pub status: u16,
    /// Media type of the body; no field is written for an empty one.
    pub content_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// Further fields as whole lines with CRLF.
    pub fields: &'a [u8],
    /// Announce that the connection ends behind this response.
    pub close: bool,
    /// The request was HEAD: length announced, body left out (RFC 9110 section 9.3.2).
    pub head_only: bool,
}

/// Writes `reply`. 204 and 304 get neither length nor body (RFC 9110 sections 8.6, 15.3.5).
pub fn local_reply(out: &mut Vec<u8>, reply: &LocalReply<'_>) {
    let bodyless = matches!(reply.status, 204 | 304);
    status_line(out, reply.status, reason_phrase(reply.status).as_bytes());
    out.extend_from_slice(reply.fields);
    if !bodyless {
        if !reply.content_type.is_empty() {
            field(out, b"content-type", reply.content_type.as_bytes());
        }
        content_length(out, reply.body.len() as u64);
    }
    if reply.close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    end_of_head(out);
    if !bodyless && !reply.head_only {
        out.extend_from_slice(reply.body);
    }
}

/// The standard reason phrase (RFC 9110 section 15, IANA registry); empty for an unknown status.
pub fn reason_phrase(status: u16) -> &'static str {
    REASONS
        .binary_search_by_key(&status, |row| row.0)
        .ok()
        .and_then(|at| REASONS.get(at))
        .map_or("", |row| row.1)
}

const REASONS: &[(u16, &str)] = &[
    (100, "Continue"),
    (101, "Switching Protocols"),
    (102, "Processing"),
    (103, "Early Hints"),
    (200, "OK"),
    (201, "Created"),
    (202, "Accepted"),
    (203, "Non-Authoritative Information"),
    (204, "No Content"),
    (205, "Reset Content"),
    (206, "Partial Content"),
    (207, "Multi-Status"),
    (208, "Already Reported"),
    (226, "IM Used"),
    (300, "Multiple Choices"),
    (301, "Moved Permanently"),
    (302, "Found"),
    (303, "See Other"),
    (304, "Not Modified"),
    (305, "Use Proxy"),
    (307, "Temporary Redirect"),
    (308, "Permanent Redirect"),
    (400, "Bad Request"),
    (401, "Unauthorized"),
    (402, "Payment Required"),
    (403, "Forbidden"),
    (404, "Not Found"),
    (405, "Method Not Allowed"),
    (406, "Not Acceptable"),
    (407, "Proxy Authentication Required"),
    (408, "Request Timeout"),
    (409, "Conflict"),
    (410, "Gone"),
    (411, "Length Required"),
    (412, "Precondition Failed"),
    (413, "Content Too Large"),
    (414, "URI Too Long"),
    (415, "Unsupported Media Type"),
    (416, "Range Not Satisfiable"),
    (417, "Expectation Failed"),
    (421, "Misdirected Request"),
    (422, "Unprocessable Content"),
    (423, "Locked"),
    (424, "Failed Dependency"),
    (425, "Too Early"),
    (426, "Upgrade Required"),
    (428, "Precondition Required"),
    (429, "Too Many Requests"),
    (431, "Request Header Fields Too Large"),
    (451, "Unavailable For Legal Reasons"),
    (500, "Internal Server Error"),
    (501, "Not Implemented"),
    (502, "Bad Gateway"),
    (503, "Service Unavailable"),
    (504, "Gateway Timeout"),
    (505, "HTTP Version Not Supported"),
    (506, "Variant Also Negotiates"),
    (507, "Insufficient Storage"),
    (508, "Loop Detected"),
    (511, "Network Authentication Required"),
];

/// No byte that could end a line.
fn is_clean(bytes: &[u8]) -> bool {
    !bytes.iter().any(|&byte| matches!(byte, b'\r' | b'\n' | 0))
}
