//! The named limits of the HTTP/1.1 codec.

/// Upper bounds on what a peer may send; each has one defined answer when it is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a whole head, start line to empty line. Beyond: 431.
    pub head_bytes_max: u32,
    /// Bytes of the method token. Beyond: 501 (RFC 9112 section 3).
    pub method_bytes_max: u32,
    /// Bytes of the request target. Beyond: 414 (RFC 9112 section 3).
    pub target_bytes_max: u32,
    /// Field lines of a head. Beyond: 431.
    pub fields_max: u32,
    /// Bytes of one field line, line ending included. Beyond: 431.
    pub field_bytes_max: u32,
    /// Options named by all `Connection` lines together. Beyond: 400.
    pub connection_options_max: u32,
    /// Bytes of chunk extensions beyond the bytes of data they came with (RFC 9112 section 7.1.1). Beyond: 400.
    pub chunk_extension_bytes_max: u32,
    /// Bytes of the trailer section. Beyond: 431.
    pub trailer_bytes_max: u32,
    /// Field lines of the trailer section. Beyond: 431.
    pub trailer_fields_max: u32,
}

impl Limits {
    /// Envoy's defaults where it has them (60 KiB head, 100 fields).
    pub const DEFAULT: Limits = Limits {
        head_bytes_max: 60 * 1024,
        method_bytes_max: 32,
        target_bytes_max: 16 * 1024,
        fields_max: 100,
        field_bytes_max: 32 * 1024,
        connection_options_max: 32,
        chunk_extension_bytes_max: 4 * 1024,
        trailer_bytes_max: 8 * 1024,
        trailer_fields_max: 32,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}
