//! The table of well-known field names and their perfect hash.

/// Declares the names once: enum, text and lookup table come from the same list.
macro_rules! field_names {
    ($($variant:ident = $text:literal,)*) => {
        /// A field name the proxy knows by number; all others are [`FieldName::Other`].
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[allow(missing_docs)]
        #[repr(u8)]
        pub enum FieldName { $($variant,)* Other }

        /// Every known name with its lower-case text.
        const KNOWN: &[(FieldName, &str)] = &[$((FieldName::$variant, $text),)*];

        impl FieldName {
            /// The lower-case name; empty for [`FieldName::Other`].
            pub fn as_str(self) -> &'static str {
                match self { $(FieldName::$variant => $text,)* FieldName::Other => "" }
            }
        }
    };
}

field_names! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthenticate = "proxy-authenticate",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticationInfo = "proxy-authentication-info",
    Http2Settings = "http2-settings",
    Expect = "expect",
    MaxForwards = "max-forwards",
    Via = "via",
    Forwarded = "forwarded",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPort = "x-forwarded-port",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    Date = "date",
    Server = "server",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    Authorization = "authorization",
    WwwAuthenticate = "www-authenticate",
    CacheControl = "cache-control",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
    ContentType = "content-type",
    ContentLanguage = "content-language",
    Etag = "etag",
    Expires = "expires",
    Age = "age",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    LastModified = "last-modified",
    Location = "location",
    Origin = "origin",
    Range = "range",
    Referer = "referer",
    RetryAfter = "retry-after",
    UserAgent = "user-agent",
    Vary = "vary",
    Traceparent = "traceparent",
    Tracestate = "tracestate",
    SecWebsocketKey = "sec-websocket-key",
    SecWebsocketVersion = "sec-websocket-version",
    SecWebsocketProtocol = "sec-websocket-protocol",
    SecWebsocketAccept = "sec-websocket-accept",
    GrpcStatus = "grpc-status",
    GrpcTimeout = "grpc-timeout",
}

/// Bytes of the longest known name.
const KNOWN_BYTES_MAX: usize = 25;

// One bit each in the presence set, with one left for `Other`.
const _: () = assert!(KNOWN.len() < 64);

impl FieldName {
    /// The bit of this name in a presence set.
    #[inline]
    pub(super) fn bit(self) -> u64 {
        1 << (self as u8)
    }

    /// The known name equal to the token `name` without regard to ASCII case, else [`FieldName::Other`].
    #[inline]
    pub fn lookup(name: &[u8]) -> FieldName {
        let &[first, .., before_last, last] = name else {
            return if name.eq_ignore_ascii_case(b"te") { FieldName::Te } else { FieldName::Other };
        };
        let slot = hash(name.len(), first, before_last, last);
        match SLOTS.get(slot) {
            Some(&Some((id, text))) if same_letters(name, text.as_bytes()) => id,
            _ => FieldName::Other,
        }
    }

    /// The name that servers which turn `-` into `_` (CGI, WSGI and others) would take the unknown `name` for, if it has
    /// an underscore; else [`FieldName::Other`].
    #[inline]
    pub(crate) fn shadowed(name: &[u8]) -> FieldName {
        if !name.contains(&b'_') {
            return FieldName::Other;
        }
        let mut dashed = [0u8; KNOWN_BYTES_MAX];
        let Some(slots) = dashed.get_mut(..name.len()) else { return FieldName::Other };
        for (slot, &byte) in slots.iter_mut().zip(name) {
            *slot = if byte == b'_' { b'-' } else { byte };
        }
        FieldName::lookup(slots)
    }

    /// Whether a proxy along the way answers for the value: a server trusts it more than what clients may say.
    #[inline]
    pub(crate) fn is_written_by_proxies(self) -> bool {
        matches!(
            self,
            FieldName::Forwarded
                | FieldName::Via
                | FieldName::XForwardedFor
                | FieldName::XForwardedProto
                | FieldName::XForwardedHost
                | FieldName::XForwardedPort
                | FieldName::XRealIp
                | FieldName::XRequestId
        )
    }

    /// Hop-by-hop by definition, whether nominated by `Connection` or not (RFC 9110 section 7.6.1; the proxy
    /// authentication fields from section 11.7 concern one hop only, `HTTP2-Settings` from RFC 7540 section 3.2.1).
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            FieldName::Connection
                | FieldName::KeepAlive
                | FieldName::ProxyConnection
                | FieldName::Te
                | FieldName::TransferEncoding
                | FieldName::Upgrade
                | FieldName::ProxyAuthenticate
                | FieldName::ProxyAuthorization
                | FieldName::ProxyAuthenticationInfo
                | FieldName::Http2Settings
        )
    }
}

/// Whether `name` is `text` but for ASCII case, eight bytes at a time. Setting bit 5 makes letters lower-case and leaves
/// digits and `-` alone; it maps no other token character onto one of those.
#[inline]
fn same_letters(name: &[u8], text: &[u8]) -> bool {
    const LOWER_8: u64 = 0x2020_2020_2020_2020;
    const LOWER_4: u32 = 0x2020_2020;
    let differs_8 = |a: &[u8; 8], b: &[u8; 8]| (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b)) & !LOWER_8;
    let differs_4 = |a: &[u8; 4], b: &[u8; 4]| (u32::from_ne_bytes(*a) ^ u32::from_ne_bytes(*b)) & !LOWER_4;
    if name.len() != text.len() {
        return false;
    }
    // The last block overlaps the one before it, so that there is no remainder.
    if let (Some(a), Some(b)) = (name.last_chunk::<8>(), text.last_chunk::<8>()) {
        let blocks = name.as_chunks::<8>().0.iter().zip(text.as_chunks::<8>().0);
        return blocks.fold(differs_8(a, b), |differs, (a, b)| differs | differs_8(a, b)) == 0;
    }
    match (name.first_chunk::<4>(), text.first_chunk::<4>(), name.last_chunk::<4>(), text.last_chunk::<4>()) {
        (Some(a), Some(b), Some(c), Some(d)) => differs_4(a, b) | differs_4(c, d) == 0,
        _ => name.eq_ignore_ascii_case(text),
    }
}

/// Slots of the lookup table; a power of two.
const SLOT_COUNT: usize = 256;

type Slots = [Option<(FieldName, &'static str)>; SLOT_COUNT];

static SLOTS: Slots = build_slots();

/// Length and three letters tell all known names apart; `build_slots` fails to compile if they do not.
const fn hash(len: usize, first: u8, before_last: u8, last: u8) -> usize {
    let mixed = (len as u32).wrapping_mul(MIX[0])
        ^ ((first | 0x20) as u32).wrapping_mul(MIX[1])
        ^ ((before_last | 0x20) as u32).wrapping_mul(MIX[2])
        ^ ((last | 0x20) as u32).wrapping_mul(MIX[3]);
    (mixed as usize) & (SLOT_COUNT - 1)
}

const MIX: [u32; 4] = [537, 2855, 2249, 881];

#[allow(clippy::indexing_slicing)] // Runs in the compiler only, where a wrong index is a build error.
const fn build_slots() -> Slots {
    let mut slots: Slots = [None; SLOT_COUNT];
    let mut index = 0;
    while index < KNOWN.len() {
        let (id, text) = KNOWN[index];
        let bytes = text.as_bytes();
        let len = bytes.len();
        if len > 2 {
            let slot = hash(len, bytes[0], bytes[len - 2], bytes[len - 1]);
            assert!(slots[slot].is_none(), "two field names share a slot: choose another MIX");
            slots[slot] = Some((id, text));
        }
        index += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for &(id, text) in KNOWN {
            assert_eq!(FieldName::lookup(text.as_bytes()), id);
            assert_eq!(FieldName::lookup(text.to_ascii_uppercase().as_bytes()), id);
            assert_eq!(id.as_str(), text);
            assert!(text.len() <= KNOWN_BYTES_MAX);
            let shadow = text.replacen('-', "_", 1);
            let expected = if shadow == text { FieldName::Other } else { id };
            assert_eq!(FieldName::shadowed(shadow.as_bytes()), expected);
        }
    }

    #[test]
    fn near_misses_are_other() {
        for name in [
            "",
            "t",
            "tea",
            "hosts",
            "hhost",
            "h0st",
            "content_length",
            "transfer-encodin",
            "x",
            "Hosx",
            "x-real-iq",
        ] {
            assert_eq!(FieldName::lookup(name.as_bytes()), FieldName::Other, "{name}");
        }
    }
}
