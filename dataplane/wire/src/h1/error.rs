//! Why a message was refused: one kind per rule, with its status, log word and RFC section in one table.

/// A refused message. The connection cannot be used for another message in this direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    /// Which rule was broken.
    pub kind: ErrorKind,
}

impl From<ErrorKind> for ParseError {
    #[cold]
    fn from(kind: ErrorKind) -> ParseError {
        ParseError { kind }
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({})", self.kind.reason(), self.kind.rfc())
    }
}

impl std::error::Error for ParseError {}

/// Declares each rule once.
macro_rules! error_kinds {
    ($($variant:ident $status:literal $reason:literal $rfc:literal,)*) => {
        /// The rule that was broken.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
        #[allow(missing_docs)] // The table below is the documentation: word and RFC section of each.
        pub enum ErrorKind { $($variant,)* }

        impl ErrorKind {
            /// Every kind, for tables and counters.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$variant,)*];

            /// The status a server answers a request with. For a response always answer 502 instead.
            pub fn status(self) -> u16 {
                match self { $(ErrorKind::$variant => $status,)* }
            }

            /// A stable snake_case word for logs and metrics.
            pub fn reason(self) -> &'static str {
                match self { $(ErrorKind::$variant => $reason,)* }
            }

            /// The section that makes it an error.
            pub fn rfc(self) -> &'static str {
                match self { $(ErrorKind::$variant => $rfc,)* }
            }
        }
    };
}

error_kinds! {
    MethodInvalid 400 "method_invalid" "RFC 9110 section 9.1",
    MethodTooLong 501 "method_too_long" "RFC 9112 section 3",
    RequestLineInvalid 400 "request_line_invalid" "RFC 9112 section 3",
    TargetInvalid 400 "target_invalid" "RFC 9112 section 3.2",
    TargetTooLong 414 "target_too_long" "RFC 9112 section 3",
    TargetFormInvalid 400 "target_form_invalid" "RFC 9112 section 3.2",
    TargetUserinfo 400 "target_userinfo" "RFC 9110 section 4.2.4",
    VersionInvalid 400 "version_invalid" "RFC 9112 section 2.3",
    VersionUnsupported 505 "version_unsupported" "RFC 9110 section 15.6.6",
    StatusLineInvalid 400 "status_line_invalid" "RFC 9112 section 4",
    StatusInvalid 400 "status_invalid" "RFC 9110 section 15",
    HeadTooLarge 431 "head_too_large" "RFC 6585 section 5",
    TooManyFields 431 "too_many_fields" "RFC 6585 section 5",
    FieldTooLarge 431 "field_too_large" "RFC 6585 section 5",
    FieldNameInvalid 400 "field_name_invalid" "RFC 9110 section 5.1",
    FieldValueInvalid 400 "field_value_invalid" "RFC 9110 section 5.5",
    WhitespaceBeforeColon 400 "whitespace_before_colon" "RFC 9112 section 5.1",
    WhitespaceBeforeField 400 "whitespace_before_field" "RFC 9112 section 2.2",
    ObsFold 400 "obs_fold" "RFC 9112 section 5.2",
    BareCr 400 "bare_cr" "RFC 9112 section 2.2",
    BareLf 400 "bare_lf" "RFC 9112 section 2.2",
    HostMissing 400 "host_missing" "RFC 9112 section 3.2",
    HostDuplicate 400 "host_duplicate" "RFC 9112 section 3.2",
    HostInvalid 400 "host_invalid" "RFC 9112 section 3.2",
    ContentLengthInvalid 400 "content_length_invalid" "RFC 9112 section 6.3",
    ContentLengthDuplicate 400 "content_length_duplicate" "RFC 9110 section 8.6",
    ContentLengthConflict 400 "content_length_conflict" "RFC 9112 section 6.3",
    LengthAndEncoding 400 "length_and_encoding" "RFC 9112 section 6.1",
    TransferEncodingInvalid 400 "transfer_encoding_invalid" "RFC 9112 section 6.1",
    TransferEncodingNotFinal 400 "transfer_encoding_not_final" "RFC 9112 section 6.3",
    TransferEncodingUnknown 501 "transfer_encoding_unknown" "RFC 9112 section 6.1",
    TransferEncodingVersion 400 "transfer_encoding_in_http10" "RFC 9112 section 6.1",
    ConnectionInvalid 400 "connection_invalid" "RFC 9110 section 7.6.1",
    ConnectionProtected 400 "connection_nominates_framing" "RFC 9110 section 7.6.1",
    UpgradeInvalid 400 "upgrade_invalid" "RFC 9110 section 7.8",
    ExpectationUnknown 417 "expectation_unknown" "RFC 9110 section 10.1.1",
    MaxForwardsInvalid 400 "max_forwards_invalid" "RFC 9110 section 7.6.2",
    TraceWithContent 400 "trace_with_content" "RFC 9110 section 9.3.8",
    ChunkSizeInvalid 400 "chunk_size_invalid" "RFC 9112 section 7.1",
    ChunkSizeTooLarge 400 "chunk_size_too_large" "RFC 9112 section 7.1",
    ChunkExtensionInvalid 400 "chunk_extension_invalid" "RFC 9112 section 7.1.1",
    ChunkExtensionTooLarge 400 "chunk_extension_too_large" "RFC 9112 section 7.1.1",
    ChunkDataInvalid 400 "chunk_data_longer_than_size" "RFC 9112 section 7.1",
    TrailerTooLarge 431 "trailer_too_large" "RFC 9112 section 7.1.2",
}
