//! The version-neutral message head: method, target, status and field lines as ranges into one buffer.
//! It owns no bytes and parses nothing; `h1` fills it in, policy and engine read it.

use crate::h1::Relaxations;

mod names;
pub use names::FieldName;

/// A range of bytes in the buffer the head was parsed from.
///
/// `u32` because a head is bounded far below 4 GiB by [`crate::h1::Limits::head_bytes_max`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// The empty range at offset 0.
    pub const EMPTY: Span = Span { start: 0, end: 0 };

    /// The range `start..end`; offsets beyond `u32::MAX` saturate, which no bounded head reaches.
    #[inline]
    pub fn new(start: usize, end: usize) -> Span {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Span { start: start as u32, end: end as u32 }
    }

    /// The bytes of this range in `bytes`, which must be the buffer the head was parsed from; empty if it is shorter.
    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or(&[])
    }

    /// Length in bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether the range holds no byte.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// The request method (RFC 9110 section 9, PATCH from RFC 5789). Methods are case-sensitive; the bytes of an
/// [`Method::Extension`] are in [`RequestHead::method_span`].
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Connect,
    Options,
    Trace,
    Patch,
    /// Any other token.
    Extension,
}

impl Method {
    /// The method of these bytes; any unknown token is an [`Method::Extension`].
    #[inline]
    pub fn from_bytes(bytes: &[u8]) -> Method {
        match bytes {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"CONNECT" => Method::Connect,
            b"OPTIONS" => Method::Options,
            b"TRACE" => Method::Trace,
            b"PATCH" => Method::Patch,
            _ => Method::Extension,
        }
    }

    /// The name on the wire; empty for [`Method::Extension`].
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Connect => "CONNECT",
            Method::Options => "OPTIONS",
            Method::Trace => "TRACE",
            Method::Patch => "PATCH",
            Method::Extension => "",
        }
    }

    /// RFC 9110 section 9.2.1.
    pub fn is_safe(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options | Method::Trace)
    }

    /// RFC 9110 section 9.2.2: may be repeated without asking. Unknown methods may not.
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

/// The HTTP/1 version. A higher minor version is processed as 1.1 (RFC 9110 section 6.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Hash)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// The form of the request target (RFC 9112 section 3.2).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://authority/path?query`
    Absolute,
    /// `host:port`, CONNECT only.
    Authority,
    /// `*`, OPTIONS only.
    Asterisk,
}

/// The request target, taken apart.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Target {
    /// Which of the four forms was received.
    pub form: TargetForm,
    /// The whole target as received.
    pub raw: Span,
    /// Scheme without `:`; empty unless absolute-form.
    pub scheme: Span,
    /// `host[:port]` of absolute-form and authority-form; else empty.
    pub authority: Span,
    /// Path as received; empty for authority-form, asterisk-form and `http://host?query` (which means `/`).
    pub path: Span,
    /// Query without the `?`; empty when absent.
    pub query: Span,
    /// Whether there was a `?`.
    pub has_query: bool,
}

/// One field line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// The name, in the case received.
    pub name: Span,
    /// The value without surrounding whitespace. May contain line breaks only if `rewrite` is set (relaxed obs-fold).
    pub value: Span,
    /// The whole line with its line ending; adjacent kept fields are adjacent in memory and are copied as one run.
    pub line: Span,
    /// Which well-known name it is.
    pub id: FieldName,
    /// Hop-by-hop, or nominated by `Connection`, or made void by normalisation: never forwarded
    /// (RFC 9110 section 7.6.1).
    pub hop: bool,
    /// The line was tolerated by a relaxation and must not be copied raw; [`crate::h1::write::field_line`] writes it
    /// in normal form.
    pub rewrite: bool,
}

/// The field lines of one head, in order. The storage is reused from message to message.
#[derive(Default, Debug)]
pub struct Fields {
    list: Vec<Field>,
    /// One bit for each [`FieldName`] that occurs.
    present: u64,
}

impl Fields {
    /// Empty, with room for `capacity` lines before it allocates again.
    pub fn with_capacity(capacity: usize) -> Fields {
        Fields { list: Vec::with_capacity(capacity), present: 0 }
    }

    /// Forgets all lines, keeps the storage.
    #[inline]
    pub fn clear(&mut self) {
        self.list.clear();
        self.present = 0;
    }

    /// Appends one line.
    #[inline]
    pub fn push(&mut self, field: Field) {
        self.present |= field.id.bit();
        self.list.push(field);
    }

    /// Number of lines.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is no line.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All lines in order, hop-by-hop ones included.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// All lines, for marking them as dropped.
    #[inline]
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Field> {
        self.list.iter_mut()
    }

    /// Whether a well-known field occurs. O(1). For [`FieldName::Other`]: whether any unknown name occurs.
    #[inline]
    pub fn has(&self, id: FieldName) -> bool {
        self.present & id.bit() != 0
    }

    /// The value of the first line of a well-known field.
    #[inline]
    pub fn get<'b>(&self, bytes: &'b [u8], id: FieldName) -> Option<&'b [u8]> {
        if !self.has(id) {
            return None;
        }
        self.list.iter().find(|field| field.id == id).map(|field| field.value.of(bytes))
    }

    /// All lines of a well-known field.
    pub fn all(&self, id: FieldName) -> impl Iterator<Item = &Field> {
        let candidates = if self.has(id) { self.list.as_slice() } else { &[] };
        candidates.iter().filter(move |field| field.id == id)
    }

    /// All lines whose name equals `name` without regard to ASCII case.
    pub fn find<'s>(&'s self, bytes: &'s [u8], name: &'s [u8]) -> impl Iterator<Item = &'s Field> + 's {
        let id = FieldName::lookup(name);
        let candidates = if self.has(id) { self.list.as_slice() } else { &[] };
        candidates.iter().filter(move |field| {
            field.id == id && (id != FieldName::Other || field.name.of(bytes).eq_ignore_ascii_case(name))
        })
    }

    /// The value of the first line named `name` (ASCII case ignored).
    pub fn find_value<'s>(&'s self, bytes: &'s [u8], name: &'s [u8]) -> Option<&'s [u8]> {
        self.find(bytes, name).next().map(|field| field.value.of(bytes))
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;
    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// How the length of a message body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Framing {
    /// No body follows.
    #[default]
    Empty,
    /// `Content-Length`, in bytes; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Responses only: the body ends with the connection.
    UntilClose,
}

/// A parsed and validated request head. One per worker, reused: [`RequestHead::clear`] keeps the storage.
#[derive(Default, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Its bytes.
    pub method_span: Span,
    /// The target, taken apart.
    pub target: Target,
    /// The version, capped at 1.1.
    pub version: Version,
    /// The effective authority (`host[:port]`), validated: from an absolute-form or authority-form target, else from
    /// `Host`. Empty only for HTTP/1.0 without `Host` or under [`Relaxations::HOST_MISSING`].
    pub host: Span,
    /// The target's authority replaces a `Host` field of different value: write `Host` from `host`, do not copy it
    /// (RFC 9112 section 3.2.2).
    pub host_overridden: bool,
    /// Field lines in order.
    pub fields: Fields,
    /// Body framing; never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Whether the client allows another request on this connection (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// `Expect: 100-continue` on a request with a body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
    /// Value of `Upgrade`, if `Connection` nominates it and the version is 1.1 (RFC 9110 section 7.8).
    pub upgrade: Option<Span>,
    /// The upgrade asked for is exactly `websocket`, on a GET without body (RFC 6455 section 4.1).
    pub websocket: bool,
    /// `TE` has the member `trailers`: the client accepts a trailer section (RFC 9110 section 10.1.4).
    pub te_trailers: bool,
    /// `Max-Forwards` of OPTIONS and TRACE: 0 is answered here, else forwarded decremented (RFC 9110 section 7.6.2).
    pub max_forwards: Option<u32>,
    /// What strict parsing would have refused but a relaxation let pass.
    pub tolerated: Relaxations,
    /// Bytes of the head, with any leading empty line and the final empty line; the body starts here.
    pub len: u32,
}

impl RequestHead {
    /// With room for the default number of field lines.
    pub fn new() -> RequestHead {
        RequestHead { fields: Fields::with_capacity(FIELDS_PREALLOCATED), ..RequestHead::default() }
    }

    /// Back to the initial state, keeping the storage.
    #[inline]
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead { fields, ..RequestHead::default() };
    }
}

/// A parsed and validated response head. One per worker, reused.
#[derive(Default, Debug)]
pub struct ResponseHead {
    /// The version, capped at 1.1.
    pub version: Version,
    /// 100..=599, or up to 999 under [`Relaxations::STATUS_RANGE`].
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: Span,
    /// Field lines in order.
    pub fields: Fields,
    /// Body framing, given the request method.
    pub framing: Framing,
    /// Whether the connection may be reused after this response.
    pub keep_alive: bool,
    /// Value of `Upgrade`, if `Connection` nominates it.
    pub upgrade: Option<Span>,
    /// The connection becomes a tunnel behind this head: 101, or 2xx to CONNECT.
    pub tunnel: bool,
    /// What strict parsing would have refused but a relaxation let pass.
    pub tolerated: Relaxations,
    /// Bytes of the head with the final empty line; the body starts here.
    pub len: u32,
}

impl ResponseHead {
    /// With room for the default number of field lines.
    pub fn new() -> ResponseHead {
        ResponseHead { fields: Fields::with_capacity(FIELDS_PREALLOCATED), ..ResponseHead::default() }
    }

    /// Back to the initial state, keeping the storage.
    #[inline]
    pub fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead { fields, ..ResponseHead::default() };
    }

    /// 1xx except 101: another response follows on the same exchange (RFC 9110 section 15.2).
    #[inline]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// Field lines a head holds before its storage grows; [`crate::h1::Limits::fields_max`] by default.
const FIELDS_PREALLOCATED: usize = 100;
