//! TOML 1.1 into a [`Node`] tree.

use std::ops::Range;

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

use super::{Data, Name, Node, Span, SyntaxError, push_key};

/// Reads a document. The parser recovers from errors. Behind a duplicate key its tree is what stands in the file, so the
/// rest is read too; behind any other error it is made up in part, and would be reported as if it stood there.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<SyntaxError>) {
    let lines = Lines::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let tree = || Node { span: Span { line: 1, column: 1, len: 0 }, data: lines.table(table.get_ref()) };
    let whole = errors.iter().all(|error| error.message() == DUPLICATE_KEY);
    (whole.then(tree), errors.iter().map(|error| lines.syntax_error(error, table.get_ref())).collect())
}

/// The parser's message.
const DUPLICATE_KEY: &str = "duplicate key";

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

    fn span(&self, range: Range<usize>) -> Span {
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

    fn syntax_error(&self, error: &::toml::de::Error, table: &DeTable<'_>) -> SyntaxError {
        let range = error.span().unwrap_or(0..0);
        let (path, message) = match (error.message(), self.text.get(range.clone())) {
            (DUPLICATE_KEY, Some(key)) => {
                let message = format!("duplicate key `{}`", key.trim_matches(['"', '\'']));
                (self.path_of_duplicate(&range, table), message)
            }
            (_, _) => (String::new(), error.message().to_owned()),
        };
        SyntaxError { span: self.span(range), path, message }
    }

    /// The parser drops a duplicate, so its path is that of the table it stands in and the dotted key as it is written.
    fn path_of_duplicate(&self, key: &Range<usize>, table: &DeTable<'_>) -> String {
        let before = self.text.get(..key.end).unwrap_or("");
        let written = before.rsplit(['\n', '{', ',']).next().unwrap_or("").trim_start();
        if written.starts_with('[') {
            return written.trim_start_matches('[').trim().to_owned();
        }
        let mut parent = (0, String::new());
        self.enclosing(table, key.start, "", &mut parent);
        if parent.1.is_empty() { written.to_owned() } else { format!("{}.{written}", parent.1) }
    }

    /// The last table that begins before `at` and either has a header or reaches beyond `at`.
    fn enclosing(&self, table: &DeTable<'_>, at: usize, path: &str, best: &mut (usize, String)) {
        for (key, value) in table.iter() {
            let mut path = path.to_owned();
            push_key(&mut path, key.get_ref());
            self.enclosing_value(value, at, &path, best);
        }
    }

    fn enclosing_value(
        &self,
        value: &Spanned<DeValue<'_>>,
        at: usize,
        path: &str,
        best: &mut (usize, String),
    ) {
        match value.get_ref() {
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.enclosing_value(item, at, &format!("{path}[{index}]"), best);
                }
            }
            DeValue::Table(table) => {
                let Range { start, end } = value.span();
                let header = self.text.get(start..).is_some_and(|text| text.starts_with('['));
                if start < at && (header || at < end) && start >= best.0 {
                    *best = (start, path.to_owned());
                }
                self.enclosing(table, at, path, best);
            }
            _ => {}
        }
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
