//! Conditions on method, fields and query parameters, compiled.

use std::sync::Arc;

use ringway_wire::http::{Field, FieldName, Method};

use crate::path::decode_one;
use crate::pattern::{PatternScratch, PatternSet};
use crate::route::Request;
use crate::spec::{ValueIs, ValueMatch};

/// The methods a route takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Methods {
    /// One bit per known method; 0 and no extension = any.
    known: u16,
    extensions: Box<[Arc<str>]>,
}

impl Methods {
    pub(crate) fn new(names: &[Arc<str>]) -> Methods {
        let mut methods = Methods::default();
        let mut extensions = Vec::new();
        for name in names {
            match Method::from_bytes(name.as_bytes()) {
                Method::Extension => extensions.push(name.clone()),
                known => methods.known |= 1 << (known as u8),
            }
        }
        methods.extensions = extensions.into_boxed_slice();
        methods
    }

    /// Whether no method was named.
    #[inline]
    pub(crate) fn is_any(&self) -> bool {
        self.known == 0 && self.extensions.is_empty()
    }

    #[inline]
    pub(crate) fn matches(&self, request: &Request<'_>) -> bool {
        match request.head.method {
            _ if self.is_any() => true,
            Method::Extension => {
                let name = request.head.method_span.of(request.bytes);
                self.extensions.iter().any(|extension| extension.as_bytes() == name)
            }
            known => self.known >> (known as u8) & 1 == 1,
        }
    }
}

/// A condition on a field: it holds if any line of that name has such a value.
#[derive(Debug)]
pub(crate) struct HeaderCondition {
    id: FieldName,
    name: Arc<str>,
    value: Value,
    invert: bool,
}

impl HeaderCondition {
    /// # Errors
    /// What is wrong with the regular expression.
    pub(crate) fn new(spec: &ValueMatch) -> Result<HeaderCondition, String> {
        Ok(HeaderCondition {
            id: FieldName::lookup(spec.name.as_bytes()),
            name: spec.name.clone(),
            value: Value::new(&spec.value)?,
            invert: spec.invert,
        })
    }

    pub(crate) fn matches(&self, request: &Request<'_>, scratch: &mut PatternScratch) -> bool {
        let fields = &request.head.fields;
        let named = |field: &&Field| {
            field.id == self.id
                && (self.id != FieldName::Other
                    || field.name.of(request.bytes).eq_ignore_ascii_case(self.name.as_bytes()))
        };
        let holds = fields.has(self.id)
            && fields
                .iter()
                .filter(named)
                .any(|field| self.value.matches(field.value.of(request.bytes), scratch));
        holds != self.invert
    }
}

/// A condition on a query parameter: it holds if any parameter of that name has such a value. Names and values are compared
/// percent-decoded; `+` is a plus sign.
#[derive(Debug)]
pub(crate) struct QueryCondition {
    name: Arc<str>,
    value: Value,
    invert: bool,
}

impl QueryCondition {
    /// # Errors
    /// What is wrong with the regular expression.
    pub(crate) fn new(spec: &ValueMatch) -> Result<QueryCondition, String> {
        Ok(QueryCondition { name: spec.name.clone(), value: Value::new(&spec.value)?, invert: spec.invert })
    }

    pub(crate) fn matches(&self, query: &[u8], decoded: &mut Vec<u8>, scratch: &mut PatternScratch) -> bool {
        let mut rest = query;
        let mut holds = false;
        while !holds && !rest.is_empty() {
            let end = memchr::memchr(b'&', rest).unwrap_or(rest.len());
            let parameter = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or(&[]);
            let equals = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
            let value = parameter.get(equals + 1..).unwrap_or(&[]);
            holds = percent_decoded(&parameter[..equals], decoded) == self.name.as_bytes()
                && self.value.matches(percent_decoded(value, decoded), scratch);
        }
        holds != self.invert
    }
}

/// `text` with `%XX` decoded, in `buffer` if there was any. A `%` without two hex digits stays.
fn percent_decoded<'t>(text: &'t [u8], buffer: &'t mut Vec<u8>) -> &'t [u8] {
    if memchr::memchr(b'%', text).is_none() {
        return text;
    }
    buffer.clear();
    let mut rest = text;
    while let Some((&byte, behind)) = rest.split_first() {
        let (byte, behind) = decode_one(rest).unwrap_or((byte, behind));
        buffer.push(byte);
        rest = behind;
    }
    buffer
}

/// What a value must be.
#[derive(Debug)]
enum Value {
    Present,
    Exact(Arc<str>),
    Prefix(Arc<str>),
    Suffix(Arc<str>),
    Pattern(PatternSet),
}

impl Value {
    fn new(spec: &ValueIs) -> Result<Value, String> {
        Ok(match spec {
            ValueIs::Present => Value::Present,
            ValueIs::Exact(text) => Value::Exact(text.clone()),
            ValueIs::Prefix(text) => Value::Prefix(text.clone()),
            ValueIs::Suffix(text) => Value::Suffix(text.clone()),
            ValueIs::Regex(text) => Value::Pattern(PatternSet::new(&[text]).map_err(|(_, error)| error)?),
        })
    }

    fn matches(&self, value: &[u8], scratch: &mut PatternScratch) -> bool {
        match self {
            Value::Present => true,
            Value::Exact(text) => value == text.as_bytes(),
            Value::Prefix(text) => value.starts_with(text.as_bytes()),
            Value::Suffix(text) => value.ends_with(text.as_bytes()),
            Value::Pattern(pattern) => pattern.test(value, scratch),
        }
    }
}
