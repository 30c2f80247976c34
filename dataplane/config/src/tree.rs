//! A file as a tree of values with positions: what both formats are read into, so that everything behind this module is
//! written once. Duplicate keys stay in the tree; the schema walker reports them with the rest.

mod toml;
mod yaml;

use std::sync::Arc;

use crate::Format;

/// Where something stands in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    /// From 1.
    pub(crate) line: u32,
    /// From 1, in characters.
    pub(crate) column: u32,
    /// In characters; 0 where the parser gives only the start.
    pub(crate) len: u32,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) data: Data,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Nothing,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
    List(Vec<Node>),
    Map(Vec<(Name, Node)>),
    /// Something only one of the formats has; its name.
    Foreign(&'static str),
}

/// The key of a map and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) span: Span,
    pub(crate) text: Arc<str>,
}

/// Why a text is no tree.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) span: Span,
    /// Empty where the parser cannot tell.
    pub(crate) path: String,
    pub(crate) message: String,
}

impl Node {
    /// Reads `text`. A TOML tree may come with errors, because its parser recovers.
    pub(crate) fn read(text: &str, format: Format) -> (Option<Node>, Vec<SyntaxError>) {
        match format {
            Format::Yaml => yaml::read(text),
            Format::Toml => toml::read(text),
        }
    }

    /// What it is, for "expected ..., found ...".
    pub(crate) fn describe(&self) -> String {
        match &self.data {
            Data::Nothing => "nothing".into(),
            Data::Bool(value) => format!("the boolean {value}"),
            Data::Int(value) => format!("the number {value}"),
            Data::Float(value) => format!("the number {value:?}"),
            Data::Text(value) => format!("the text `{}`", shorten(value)),
            Data::List(_) => "a list".into(),
            Data::Map(_) => "a mapping".into(),
            Data::Foreign(what) => (*what).into(),
        }
    }

    /// The value behind `path` (`routes[2].path.prefix`), else its nearest ancestor that exists, with the span of the
    /// key that leads there where there is one.
    pub(crate) fn find(&self, path: &str) -> (Span, bool) {
        let (mut node, mut span, mut rest) = (self, self.span, path);
        while !rest.is_empty() {
            let Some((key_span, next, behind)) = node.step(rest) else { return (span, false) };
            span = key_span.unwrap_or(next.span);
            (node, rest) = (next, behind);
        }
        // A scalar is what is wrong; of a mapping or list the key that names it says more.
        match node.data {
            Data::List(_) | Data::Map(_) => (span, true),
            _ => (node.span, true),
        }
    }

    /// The path of the key that stands there.
    fn path_of_key(&self, span: Span) -> Option<String> {
        let below = |step: String, child: &Node| {
            let rest = child.path_of_key(span)?;
            let dot = if rest.starts_with('[') { "" } else { "." };
            Some(format!("{step}{dot}{rest}"))
        };
        match &self.data {
            Data::List(items) => {
                items.iter().enumerate().find_map(|(at, item)| below(format!("[{at}]"), item))
            }
            Data::Map(entries) => entries.iter().find_map(|(name, child)| {
                let mut step = String::new();
                push_key(&mut step, &name.text);
                let here = (name.span.line, name.span.column) == (span.line, span.column);
                if here { Some(step) } else { below(step, child) }
            }),
            _ => None,
        }
    }

    /// One step along `path`: the child, the span of its key, and the rest of the path.
    fn step<'a>(&'a self, path: &'a str) -> Option<(Option<Span>, &'a Node, &'a str)> {
        match &self.data {
            Data::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let child = items.get(index.parse::<usize>().ok()?)?;
                Some((None, child, rest.strip_prefix('.').unwrap_or(rest)))
            }
            Data::Map(entries) => {
                // Names may hold dots, quoted or not: the longest key that fits wins.
                let fits = |name: &Name| -> Option<&'a str> {
                    let rest = match path.strip_prefix("[\"") {
                        Some(quoted) => quoted.strip_prefix(&*name.text)?.strip_prefix("\"]")?,
                        None => path.strip_prefix(&*name.text)?,
                    };
                    let end = rest.is_empty() || rest.starts_with(['.', '[']);
                    end.then(|| rest.strip_prefix('.').unwrap_or(rest))
                };
                entries
                    .iter()
                    .filter_map(|(name, child)| fits(name).map(|rest| (name, child, rest)))
                    .min_by_key(|(_, _, rest)| rest.len())
                    .map(|(name, child, rest)| (Some(name.span), child, rest))
            }
            _ => None,
        }
    }
}

/// Enough of a text to recognise it in a message.
pub(crate) fn shorten(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    let escaped = text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
    match escaped.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}...", &escaped[..end]),
        None => escaped,
    }
}

/// Appends `.name`, or `["na.me"]` where the plain form would be ambiguous.
pub(crate) fn push_key(path: &mut String, name: &str) {
    if name.is_empty()
        || name.contains(|c: char| matches!(c, '.' | '[' | ']' | '"') || c.is_whitespace() || c.is_control())
    {
        path.push_str(&format!("[\"{name}\"]"));
    } else {
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
    }
}
