//! TOML 1.1 into a [`Node`] tree.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::{Data, Name, Node, Span, SyntaxError};

/// Reads a document. The parser recovers from errors, so a tree comes with them; it is returned only without any, because
/// what recovery made up would be reported as if it stood in the file.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<SyntaxError>) {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let data = lines.table(table.get_ref());
        return (Some(Node { span: Span { line: 1, column: 1, len: 0 }, data }), Vec::new());
    }
    (None, errors.iter().map(|error| lines.syntax_error(error)).collect())
}

/// The text and where its lines start.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let behind_breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines { text, starts: std::iter::once(0).chain(behind_breaks).collect() }
    }

    fn span(&self, range: std::ops::Range<usize>) -> Span {
        let line = self.starts.partition_point(|start| *start <= range.start).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let characters = |from: usize, to: usize| {
            let count = self.text.get(from..to).map_or(0, |part| part.chars().count());
            u32::try_from(count).unwrap_or(u32::MAX)
        };
        Span {
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: characters(start, range.start).saturating_add(1),
            len: characters(range.start, range.end),
        }
    }

    fn syntax_error(&self, error: &::toml::de::Error) -> SyntaxError {
        let range = error.span().unwrap_or(0..0);
        let message = match (error.message(), self.text.get(range.clone())) {
            ("duplicate key", Some(key)) => format!("duplicate key `{}`", key.trim_matches(['"', '\''])),
            (message, _) => message.to_owned(),
        };
        SyntaxError { span: self.span(range), message }
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Node {
        let data = match value.get_ref() {
            DeValue::String(text) => Data::Text(text.as_ref().into()),
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Data::Int(number),
                Err(_) => Data::Foreign("a number that is too large"),
            },
            DeValue::Float(number) => number.as_str().parse().map_or(Data::Foreign("a number"), Data::Float),
            DeValue::Boolean(value) => Data::Bool(*value),
            DeValue::Datetime(_) => Data::Foreign("a date"),
            DeValue::Array(items) => Data::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Node { span: self.span(value.span()), data }
    }

    /// The library sorts keys by name; lists of listeners and clusters keep the order of the file.
    fn table(&self, table: &DeTable<'_>) -> Data {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let name = |key: &Spanned<_>| -> Name {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            Name { span: self.span(key.span()), text: key.get_ref().as_ref().into() }
        };
        Data::Map(entries.into_iter().map(|(key, value)| (name(key), self.node(value))).collect())
    }
}
