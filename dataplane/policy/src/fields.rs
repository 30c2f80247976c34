//! Compiled field edits: what is dropped, and the lines that are appended, rendered once.

use std::sync::Arc;

use ringway_wire::http::FieldName;

use crate::spec;

/// Edits of a head, ready for the writer: copy every line that [`Edits::drops`] does not name, then append [`Edits::lines`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// One bit per well-known name that is dropped; the bit of [`FieldName::Other`] if `others` is not empty.
    known: u64,
    /// Lower-case names that have no number.
    others: Box<[Arc<str>]>,
    /// Complete lines with their line ends: `set`, then `add`.
    lines: Box<[u8]>,
    /// The same lines as name and value, for encodings that are not text.
    added: Box<[(Arc<str>, Arc<str>)]>,
}

/// Why a field cannot be edited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// Not a field name (RFC 9110 section 5.1).
    NotAToken,
    /// A pseudo-field (`:path`): use the route's own keys.
    Pseudo,
    /// Concerns one connection only (RFC 9110 section 7.6.1).
    HopByHop,
    /// Decides where a message ends (RFC 9112 section 6).
    Framing,
    /// The host is changed by `rewrite_host`.
    Host,
    /// The value holds a control character: it could end the line (RFC 9110 section 5.5).
    ValueControl,
    /// The value begins or ends with white space, which no reader would see (RFC 9110 section 5.5).
    ValuePadded,
}

impl EditError {
    /// For messages.
    pub fn reason(self) -> &'static str {
        match self {
            EditError::NotAToken => "is not a field name",
            EditError::Pseudo => "is a pseudo-field; use the keys of the route instead",
            EditError::HopByHop => "concerns one connection only and is never forwarded",
            EditError::Framing => "decides where a message ends and belongs to the proxy",
            EditError::Host => "is changed by `rewrite_host`, not by an edit",
            EditError::ValueControl => "has a value with a control character",
            EditError::ValuePadded => "has a value with white space at its start or end",
        }
    }
}

impl Edits {
    /// Compiles edits whose names and values [`check_name`] and [`check_value`] accept.
    pub fn new(edits: &spec::FieldEdits) -> Edits {
        let mut compiled = Edits::default();
        let mut others = Vec::new();
        for name in edits.remove.iter().chain(edits.set.iter().map(|(name, _)| name)) {
            let id = FieldName::lookup(name.as_bytes());
            compiled.known |= bit(id);
            if id == FieldName::Other {
                others.push(Arc::from(name.to_ascii_lowercase()));
            }
        }
        others.sort();
        others.dedup();
        compiled.others = others.into_boxed_slice();
        compiled.added = edits.set.iter().chain(&edits.add).cloned().collect();
        compiled.lines = compiled
            .added
            .iter()
            .flat_map(|(name, value)| [name.as_bytes(), b": ", value.as_bytes(), b"\r\n"])
            .flatten()
            .copied()
            .collect();
        compiled
    }

    /// Whether nothing is edited.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.known == 0 && self.lines.is_empty()
    }

    /// Whether any line may be dropped: if not, [`Edits::drops`] need not be asked.
    #[inline]
    pub fn drops_any(&self) -> bool {
        self.known != 0
    }

    /// Whether lines of that name are left out. `id` must be the number of `name`.
    #[inline]
    pub fn drops(&self, id: FieldName, name: &[u8]) -> bool {
        if self.known & bit(id) == 0 {
            return false;
        }
        id != FieldName::Other || self.others.iter().any(|other| other.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Lines to append, each with its line end; HTTP/1 form.
    #[inline]
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Lines to append, as name (in the case configured) and value.
    pub fn added(&self) -> impl Iterator<Item = (&str, &str)> {
        self.added.iter().map(|(name, value)| (&**name, &**value))
    }
}

/// Whether a field of that name may be edited.
///
/// # Errors
/// The reason why not.
pub fn check_name(name: &str) -> Result<(), EditError> {
    if name.starts_with(':') {
        return Err(EditError::Pseudo);
    }
    if !is_token(name.as_bytes()) {
        return Err(EditError::NotAToken);
    }
    match FieldName::lookup(name.as_bytes()) {
        FieldName::Host => Err(EditError::Host),
        FieldName::ContentLength | FieldName::TransferEncoding | FieldName::Trailer => {
            Err(EditError::Framing)
        }
        id if id.is_hop_by_hop() => Err(EditError::HopByHop),
        _ => Ok(()),
    }
}

/// Whether a field may be given that value (RFC 9110 section 5.5).
///
/// # Errors
/// The reason why not.
pub fn check_value(value: &str) -> Result<(), EditError> {
    if value.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7F) {
        return Err(EditError::ValueControl);
    }
    if value.trim_matches([' ', '\t']) != value {
        return Err(EditError::ValuePadded);
    }
    Ok(())
}

/// RFC 9110 section 5.6.2.
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[inline]
fn bit(id: FieldName) -> u64 {
    1 << (id as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edits() -> Edits {
        Edits::new(&spec::FieldEdits {
            set: vec![("X-Team".into(), "blue".into()), ("Server".into(), "ringway".into())],
            add: vec![("Via".into(), "1.1 x".into())],
            remove: vec!["cookie".into(), "x-debug".into()],
        })
    }

    fn drops(edits: &Edits, name: &str) -> bool {
        edits.drops(FieldName::lookup(name.as_bytes()), name.as_bytes())
    }

    #[test]
    fn set_and_remove_drop_lines_and_add_does_not() {
        let edits = edits();
        for name in ["x-team", "X-TEAM", "server", "Cookie", "X-Debug"] {
            assert!(drops(&edits, name), "{name}");
        }
        for name in ["via", "x-tea", "set-cookie", "accept"] {
            assert!(!drops(&edits, name), "{name}");
        }
        assert!(edits.drops_any() && !edits.is_empty());
    }

    #[test]
    fn lines_are_rendered_in_order() {
        assert_eq!(edits().lines(), b"X-Team: blue\r\nServer: ringway\r\nVia: 1.1 x\r\n");
        assert_eq!(edits().added().count(), 3);
    }

    #[test]
    fn nothing_to_edit() {
        let none = Edits::new(&spec::FieldEdits::default());
        assert!(none.is_empty() && !none.drops_any() && !drops(&none, "x") && none.lines().is_empty());
    }

    #[test]
    fn names_that_may_not_be_edited() {
        for (name, error) in [
            ("Host", EditError::Host),
            ("content-length", EditError::Framing),
            ("Transfer-Encoding", EditError::Framing),
            ("Trailer", EditError::Framing),
            ("Connection", EditError::HopByHop),
            ("keep-alive", EditError::HopByHop),
            ("Upgrade", EditError::HopByHop),
            ("te", EditError::HopByHop),
            (":path", EditError::Pseudo),
            ("", EditError::NotAToken),
            ("a b", EditError::NotAToken),
            ("a:", EditError::NotAToken),
            ("é", EditError::NotAToken),
        ] {
            assert_eq!(check_name(name), Err(error), "{name}");
        }
        assert_eq!(check_name("X-Any_thing.1"), Ok(()));
    }

    #[test]
    fn values_that_may_not_be_written() {
        for value in ["a\r\nb", "a\nb", "a\0", "\x7f"] {
            assert_eq!(check_value(value), Err(EditError::ValueControl), "{value:?}");
        }
        assert_eq!(check_value(" a"), Err(EditError::ValuePadded));
        assert_eq!(check_value("a\tb, \"c\""), Ok(()));
        assert_eq!(check_value(""), Ok(()));
    }
}
