//! Plain values: from a node to a checked [`Value`], with the message for one that is wrong, and back.

use std::sync::Arc;

use super::read::either;
use super::{Kind, Reader, Value, rules};
use crate::json::Json;
use crate::nearest::nearest;
use crate::tree::{Data, Node, shorten};
use crate::units;

/// The version of the schema that this build reads.
pub(crate) const VERSION: u64 = 1;

impl Kind {
    /// The value as it is written, or nothing where it is absent.
    pub(crate) fn show(&self, value: Value, none: Option<&str>) -> Option<Json> {
        Some(match (self, value) {
            (_, Value::None) => Json::text(none?),
            (_, Value::Bool(value)) => Json::Bool(value),
            (Kind::Duration { .. }, Value::Int(ms)) => Json::text(units::show_duration(ms)),
            (Kind::Size { .. }, Value::Int(bytes)) => Json::text(units::show_size(bytes)),
            (Kind::Choice(names), Value::Int(at)) => {
                Json::text(usize::try_from(at).ok().and_then(|at| names().get(at).copied())?)
            }
            (_, Value::Int(value)) => Json::Int(value),
            (_, Value::Text(text)) => Json::text(&*text),
            (_, Value::Address(address)) => Json::text(units::show_address(&address)),
            (_, Value::Cidr(cidr)) => Json::text(units::show_cidr(&cidr)),
            (Kind::List(item), Value::List(items)) => {
                Json::List(items.into_iter().filter_map(|value| item.show(value, None)).collect())
            }
            (_, Value::List(_)) => return None,
            (_, Value::Fields(fields)) => show_fields(&fields),
        })
    }

    /// What is expected, for messages and documentation.
    pub(crate) fn expected(&self) -> String {
        match self {
            Kind::Version => format!("the number {VERSION}"),
            Kind::Bool => "`true` or `false`".into(),
            Kind::Int { .. } => "a whole number".into(),
            Kind::OneOf(numbers) => {
                either(&numbers.iter().map(u64::to_string).collect::<Vec<_>>().each_str())
            }
            Kind::Duration { .. } => "a duration such as `15s` or `250ms`".into(),
            Kind::Size { .. } => "a size such as `60KiB` or `1MB`".into(),
            Kind::Choice(names) => either(&names()),
            Kind::Text(rule) => rule.what.into(),
            Kind::Reference(super::Target::Cluster) => "the name of a cluster".into(),
            Kind::Reference(super::Target::Listener) => "the name of a listener".into(),
            Kind::Address(units::Place::Listen) => "an address such as `0.0.0.0:80` or `unix:/path`".into(),
            Kind::Address(units::Place::Connect) => {
                "an address such as `10.0.0.1:80`, `name:80` or `unix:/path`".into()
            }
            Kind::Cidr => "an address range such as `10.0.0.0/8`".into(),
            Kind::List(item) => format!("a list, each {}", item.expected()),
            Kind::Fields { .. } => "a mapping from field names to values".into(),
        }
    }
}

/// Borrows each text.
trait EachStr {
    fn each_str(&self) -> Vec<&str>;
}

impl EachStr for Vec<String> {
    fn each_str(&self) -> Vec<&str> {
        self.iter().map(String::as_str).collect()
    }
}

/// One entry a name; several values of one name as a list.
fn show_fields(fields: &[(Arc<str>, Arc<str>)]) -> Json {
    let mut entries: Vec<(String, Json)> = Vec::new();
    for (name, value) in fields {
        let value = Json::text(&**value);
        match entries.iter_mut().find(|(other, _)| **other == **name) {
            None => entries.push((name.to_string(), value)),
            Some((_, Json::List(values))) => values.push(value),
            Some((_, first)) => *first = Json::List(vec![first.clone(), value]),
        }
    }
    Json::Map(entries)
}

impl Reader {
    /// Reads a plain value, or reports why it is none.
    pub(crate) fn leaf(&mut self, kind: Kind, none: Option<&str>, node: &Node) -> Option<Value> {
        if let (Some(none), Data::Text(text)) = (none, &node.data)
            && **text == *none
        {
            return Some(Value::None);
        }
        match kind {
            Kind::Version => self.version(node),
            Kind::Bool => self.boolean(node),
            Kind::Int { min, max } => self.integer(node, min, max, none),
            Kind::OneOf(numbers) => self.one_of(node, numbers),
            Kind::Duration { min, max } => self.measured(node, kind, min, max, none),
            Kind::Size { min, max } => self.measured(node, kind, min, max, none),
            Kind::Choice(names) => self.choice(node, &names()),
            Kind::Text(rule) => self.text(node, rule, none),
            Kind::Reference(target) => {
                let name = self.plain_text(node, &kind.expected(), none)?;
                self.reference(target, &name, node.span);
                Some(Value::Text(name))
            }
            Kind::Address(place) => {
                if let Data::Int(number) = node.data {
                    let (_, meant) = units::address(&number.to_string(), place).err().unwrap_or_default();
                    self.unexpected(node, &or_word(&kind.expected(), none), meant);
                    return None;
                }
                let text = self.plain_text(node, &kind.expected(), none)?;
                let checked = units::address(&text, place).map(Value::Address);
                self.checked(node, checked)
            }
            Kind::Cidr => {
                let text = self.plain_text(node, &kind.expected(), none)?;
                let checked = units::cidr(&text).map(Value::Cidr);
                self.checked(node, checked)
            }
            Kind::List(item) => self.value_list(node, *item),
            Kind::Fields { many } => self.fields(node, many),
        }
    }

    fn checked(&mut self, node: &Node, result: Result<Value, rules::Refusal>) -> Option<Value> {
        result.map_err(|(message, suggestion)| self.problem(node.span, message, suggestion)).ok()
    }

    fn version(&mut self, node: &Node) -> Option<Value> {
        if matches!(node.data, Data::Int(version) if version == i128::from(VERSION)) {
            return Some(Value::Int(VERSION));
        }
        let message = format!("this build reads version {VERSION} of the schema, found {}", node.describe());
        self.problem(node.span, message, Some(VERSION.to_string()));
        None
    }

    fn boolean(&mut self, node: &Node) -> Option<Value> {
        if let Data::Bool(value) = node.data {
            return Some(Value::Bool(value));
        }
        let meant = match &node.data {
            Data::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => Some("true"),
                "no" | "off" | "false" => Some("false"),
                _ => None,
            },
            Data::Int(1) => Some("true"),
            Data::Int(0) => Some("false"),
            _ => None,
        };
        self.unexpected(node, &Kind::Bool.expected(), meant.map(str::to_owned));
        None
    }

    fn integer(&mut self, node: &Node, min: u64, max: u64, none: Option<&str>) -> Option<Value> {
        let Data::Int(value) = node.data else {
            let digits = match &node.data {
                Data::Text(text) => {
                    text.replace(['_', ','], "").parse::<u64>().ok().map(|number| number.to_string())
                }
                Data::Float(value) if value.fract() == 0.0 && (0.0..1e15).contains(value) => {
                    Some(format!("{value:.0}"))
                }
                other => none_meant(other, none),
            };
            let expected = or_word("a whole number", none);
            self.unexpected(node, &expected, digits);
            return None;
        };
        match u64::try_from(value).ok().filter(|value| (min..=max).contains(value)) {
            Some(value) => Some(Value::Int(value)),
            None => {
                let nearest = if value == 0 { none.map(str::to_owned) } else { None };
                self.problem(node.span, format!("{value} is not within {min} to {max}"), nearest);
                None
            }
        }
    }

    fn one_of(&mut self, node: &Node, numbers: &[u64]) -> Option<Value> {
        if let Data::Int(value) = node.data
            && let Some(number) = numbers.iter().find(|number| i128::from(**number) == value)
        {
            return Some(Value::Int(*number));
        }
        let near = match node.data {
            Data::Int(value) => numbers.iter().min_by_key(|number| i128::from(**number).abs_diff(value)),
            _ => None,
        };
        let all = numbers.iter().map(u64::to_string).collect::<Vec<_>>();
        self.unexpected(node, &either(&all.each_str()), near.map(u64::to_string));
        None
    }

    /// Durations and sizes.
    fn measured(&mut self, node: &Node, kind: Kind, min: u64, max: u64, none: Option<&str>) -> Option<Value> {
        let (parse, show): (units::Parse, units::Show) = match kind {
            Kind::Size { .. } => (units::size, units::show_size),
            _ => (units::duration, units::show_duration),
        };
        let Data::Text(text) = &node.data else {
            let meant = match node.data {
                Data::Int(number) => parse(&number.to_string()).err().flatten(),
                _ => none_meant(&node.data, none),
            };
            self.unexpected(node, &or_word(&kind.expected(), none), meant);
            return None;
        };
        match parse(text) {
            Ok(0) if none.is_some() && matches!(kind, Kind::Duration { .. }) => Some(Value::None),
            Ok(value) if (min..=max).contains(&value) => Some(Value::Int(value)),
            Ok(_) => {
                let bounds = format!("`{text}` is not within {} to {}", show(min), show(max));
                self.problem(node.span, bounds, None);
                None
            }
            Err(suggestion) => {
                let expected = or_word(&kind.expected(), none);
                let suggestion = suggestion.or_else(|| none_meant(&node.data, none));
                self.unexpected(node, &expected, suggestion);
                None
            }
        }
    }

    fn choice(&mut self, node: &Node, names: &[&str]) -> Option<Value> {
        if let Data::Text(text) = &node.data
            && let Some(at) = names.iter().position(|name| **name == **text)
        {
            return Some(Value::Int(at as u64));
        }
        let near = match &node.data {
            Data::Text(text) => nearest(text, names.iter().copied()),
            Data::Bool(false) => names.iter().copied().find(|name| *name == "off"),
            _ => None,
        };
        self.unexpected(node, &either(names), near.map(str::to_owned));
        None
    }

    fn text(&mut self, node: &Node, rule: &rules::Rule, none: Option<&str>) -> Option<Value> {
        let text = self.plain_text(node, rule.what, none)?;
        self.checked(node, (rule.check)(&text).map(Value::Text))
    }

    /// Any text; numbers and booleans are not taken for one, because `1.10` would become `1.1`.
    fn plain_text(&mut self, node: &Node, expected: &str, none: Option<&str>) -> Option<Arc<str>> {
        if let Data::Text(text) = &node.data {
            return Some(text.clone());
        }
        let quoted = match &node.data {
            other if none_meant(other, none).is_some() => none_meant(other, none),
            Data::Bool(value) => Some(format!("\"{value}\"")),
            Data::Int(value) => Some(format!("\"{value}\"")),
            Data::Float(value) => Some(format!("\"{value:?}\"")),
            _ => None,
        };
        self.unexpected(node, &or_word(expected, none), quoted);
        None
    }

    fn value_list(&mut self, node: &Node, item: Kind) -> Option<Value> {
        if let Data::Text(text) = &node.data {
            self.unexpected(node, "a list", Some(format!("[{}]", shorten(text))));
            return None;
        }
        let before = self.problems.len();
        let mut values: Vec<Value> = Vec::new();
        let read = self.list(node, |node, reader| {
            let value = reader.leaf(item, None, node)?;
            if values.contains(&value) {
                let shown = item.show(value, None).map_or(String::new(), |value| value.to_line());
                reader.problem(node.span, format!("duplicate value `{}`", shown.trim_matches('"')), None);
            } else {
                values.push(value);
            }
            Some(())
        });
        let whole = read.iter().all(Option::is_some) && self.problems.len() == before;
        whole.then_some(Value::List(values))
    }

    fn fields(&mut self, node: &Node, many: bool) -> Option<Value> {
        let Data::Map(entries) = &node.data else {
            self.unexpected(node, &Kind::Fields { many }.expected(), None);
            return None;
        };
        let mut fields: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        let before = self.problems.len();
        let mut names: Vec<&str> = Vec::new();
        for (name, child) in entries {
            if names.iter().any(|other| other.eq_ignore_ascii_case(&name.text)) {
                self.problem_at(
                    &name.text,
                    name.span,
                    format!("duplicate field `{}`", shorten(&name.text)),
                    None,
                );
                continue;
            }
            names.push(&name.text);
            if let Err((message, suggestion)) = rules::edited_field(&name.text) {
                self.problem_at(&name.text, name.span, message, suggestion);
            }
            let values = match &child.data {
                Data::List(items) if many => items.as_slice(),
                _ => std::slice::from_ref(child),
            };
            for value in values {
                self.within_key(&name.text, |reader| {
                    if let Some(Value::Text(value)) = reader.text(value, &rules::FIELD_VALUE, None) {
                        fields.push((name.text.clone(), value));
                    }
                });
            }
        }
        (self.problems.len() == before).then_some(Value::Fields(fields))
    }
}

/// `false`, nothing at all, other words for nothing and misspellings may stand for the word.
fn none_meant(data: &Data, none: Option<&str>) -> Option<String> {
    const WORDS: &[&str] =
        &["none", "never", "no", "disabled", "disable", "null", "unlimited", "infinite", "false"];
    match data {
        Data::Text(text) if WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)) => {
            none.map(str::to_owned)
        }
        Data::Text(text) => nearest(text, none).map(str::to_owned),
        Data::Bool(false) | Data::Nothing => none.map(str::to_owned),
        _ => None,
    }
}

fn or_word(expected: &str, none: Option<&str>) -> String {
    none.map_or(expected.to_owned(), |none| format!("{expected}, or `{none}`"))
}
