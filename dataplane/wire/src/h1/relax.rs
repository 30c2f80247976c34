//! Named relaxations: what a listener may be told to tolerate, and what was tolerated in a message.

use std::ops::{BitOr, BitOrAssign};

/// A set of relaxations. Empty is strict. The same set in a parsed head (`tolerated`) says which of them were needed,
/// so a dry run is: parse with [`Relaxations::ALL`] and count what was tolerated beyond the configured set.
///
/// None of them lets ambiguous bytes through: a tolerated line carries [`crate::http::Field::rewrite`] and is written
/// anew in normal form, and a field that decides framing or routing is never tolerated folded or with control
/// characters.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Relaxations(u16);

/// Declares each relaxation once: constant, configuration name, documentation.
macro_rules! relaxations {
    ($($bit:literal $constant:ident $name:literal $doc:literal,)*) => {
        impl Relaxations {
            $(#[doc = $doc] pub const $constant: Relaxations = Relaxations(1 << $bit);)*
            /// All of them: the set a dry run parses with.
            pub const ALL: Relaxations = Relaxations($((1 << $bit) |)* 0);
            /// Constant, configuration name and meaning of each, for configuration, metrics and documentation.
            pub const TABLE: &'static [(Relaxations, &'static str, &'static str)] =
                &[$((Relaxations::$constant, $name, $doc),)*];
        }
    };
}

relaxations! {
    0 BARE_LF "bare_lf" "A line of a head ends with LF alone (RFC 9112 section 2.2); written with CRLF.",
    1 OBS_FOLD "obs_fold" "A field value is folded over lines (RFC 9112 section 5.2); each break is written as SP. Never for fields that decide framing or routing.",
    2 WHITESPACE_BEFORE_COLON "whitespace_before_colon" "Whitespace between field name and colon (RFC 9112 section 5.1); written without.",
    3 HOST_MISSING "host_missing" "An HTTP/1.1 request without `Host`, or with an empty one (RFC 9112 section 3.2).",
    4 TARGET_CHARACTERS "target_characters" "Bytes 0x80-0xFF and `\"<>\\` in the request target (RFC 3986 section 2); forwarded as they are.",
    5 DUPLICATE_CONTENT_LENGTH "duplicate_content_length" "The same `Content-Length` several times, as lines or as a list (RFC 9110 section 8.6); one is written.",
    6 REQUEST_LINE_WHITESPACE "request_line_whitespace" "Several spaces between the parts of the request line, or after it (RFC 9112 section 3); written with one.",
    7 CONTROL_IN_VALUE "control_in_value" "A control character other than NUL, CR, LF in a field value (RFC 9110 section 5.5); written as SP. Never for fields that decide framing or routing.",
    8 STATUS_RANGE "status_range" "A response status of 600 to 999 (RFC 9110 section 15).",
}

impl Relaxations {
    /// Strict.
    pub const NONE: Relaxations = Relaxations(0);

    /// Whether every relaxation of `other` is in this set.
    #[inline]
    pub const fn contains(self, other: Relaxations) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether the set is empty.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    #[inline]
    pub const fn union(self, other: Relaxations) -> Relaxations {
        Relaxations(self.0 | other.0)
    }

    /// What is in this set but not in `other`.
    #[inline]
    pub const fn without(self, other: Relaxations) -> Relaxations {
        Relaxations(self.0 & !other.0)
    }

    /// The relaxation of this configuration name.
    pub fn from_name(name: &str) -> Option<Relaxations> {
        Relaxations::TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// The configuration names of the members, for counters and logs.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Relaxations::TABLE.iter().filter(move |row| self.contains(row.0)).map(|row| row.1)
    }
}

impl BitOr for Relaxations {
    type Output = Relaxations;
    fn bitor(self, other: Relaxations) -> Relaxations {
        self.union(other)
    }
}

impl BitOrAssign for Relaxations {
    fn bitor_assign(&mut self, other: Relaxations) {
        *self = self.union(other);
    }
}

impl std::fmt::Debug for Relaxations {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.names()).finish()
    }
}
