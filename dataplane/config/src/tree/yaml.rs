//! YAML 1.2 into a [`Node`] tree. One document; merge keys are refused, anchors and aliases work within the budget.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{DefaultMessageFormatter, Error, Location, MessageFormatter, Spanned};

use super::{Data, Name, Node, Span, SyntaxError};

/// Collections inside each other.
const DEPTH_MAX: usize = 32;
/// Nodes of one file, aliases expanded: some 100,000 routes.
const NODES_MAX: usize = 10_000_000;

/// Reads one document. The tree is absent after a syntax error.
pub(super) fn read(text: &str) -> (Option<Node>, Vec<SyntaxError>) {
    match serde_saphyr::from_str_with_options::<Node>(text, options(DuplicateKeyPolicy::LastWins)) {
        Ok(Node { span: Span { .. }, data: Data::Nothing }) => {
            let start = Span { line: 1, column: 1, len: 0 };
            (Some(Node { span: start, data: Data::Map(Vec::new()) }), Vec::new())
        }
        Ok(node) => {
            let errors = hidden_duplicate(text, &node).into_iter().collect();
            (Some(node), errors)
        }
        Err(error) => (None, vec![syntax_error(&error)]),
    }
}

/// Keys that are spelled as integers are the one kind the library collapses itself, by value, before the tree sees a
/// duplicate: where such keys occur, a second pass that refuses duplicates finds the first of them.
fn hidden_duplicate(text: &str, node: &Node) -> Option<SyntaxError> {
    if !has_numeric_key(node) {
        return None;
    }
    match serde_saphyr::from_str_with_options::<IgnoredAny>(text, options(DuplicateKeyPolicy::Error)) {
        Err(error @ Error::DuplicateMappingKey { .. }) => {
            let mut error = syntax_error(&error);
            error.path = node.path_of_key(error.span).unwrap_or_default();
            let numeric = text.lines().nth(error.span.line as usize - 1).is_some_and(|line| {
                line.chars().nth(error.span.column as usize - 1).is_some_and(starts_a_number)
            });
            numeric.then_some(error)
        }
        _ => None,
    }
}

fn has_numeric_key(node: &Node) -> bool {
    match &node.data {
        Data::List(items) => items.iter().any(has_numeric_key),
        Data::Map(entries) => entries
            .iter()
            .any(|(name, child)| name.text.starts_with(starts_a_number) || has_numeric_key(child)),
        _ => false,
    }
}

fn starts_a_number(first: char) -> bool {
    first.is_ascii_digit() || first == '-' || first == '+'
}

fn options(duplicate_keys: DuplicateKeyPolicy) -> serde_saphyr::Options {
    serde_saphyr::options! {
        duplicate_keys: duplicate_keys,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
        },
    }
}

fn syntax_error(error: &Error) -> SyntaxError {
    let error = error.without_snippet();
    let span = error.location().map_or(Span { line: 1, column: 1, len: 0 }, span);
    SyntaxError { span, path: String::new(), message: message(error) }
}

/// The library's message, except where it speaks of the library.
fn message(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => message(error),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("duplicate key `{key}`"),
        Error::MultipleDocuments { .. } => "a second document begins here; a file has one".into(),
        Error::MergeKeyNotAllowed { .. } => {
            "merge keys (`<<`) are not supported; an alias for a whole value is".into()
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias inside of its own anchor".into(),
        // The only thing of a certain type in the tree is the key of a mapping.
        Error::Unexpected { .. } | Error::NullIntoString { .. } => "the key of a mapping must be text".into(),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => {
            format!("nested more than {DEPTH_MAX} deep")
        }
        Error::Budget { .. } => format!("too large: more than {NODES_MAX} values, aliases replaced"),
        other => DefaultMessageFormatter.format_message(other).into_owned(),
    }
}

fn span(location: Location) -> Span {
    let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    Span {
        line: narrow(location.line()).max(1),
        column: narrow(location.column()).max(1),
        len: narrow(location.span().len()),
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Data>::deserialize(deserializer)?;
        Ok(Node { span: span(spanned.referenced), data: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Nothing)
    }

    fn visit_none<E>(self) -> Result<Data, E> {
        Ok(Data::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(Data::Int(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Data, E> {
        Ok(Data::Int(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Data, E> {
        Ok(i128::try_from(value).map_or(Data::Foreign("a number that is too large"), Data::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Data, E> {
        Ok(Data::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Data, E> {
        Ok(Data::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Data, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Node>()? {
            items.push(item);
        }
        Ok(Data::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let name = Name { span: span(key.referenced), text: Arc::from(key.value) };
            entries.push((name, map.next_value::<Node>()?));
        }
        Ok(Data::Map(entries))
    }
}
