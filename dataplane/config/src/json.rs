//! Values to be written: one tree, as YAML in block style or as JSON.

use std::fmt::Write;

/// A value to be written. Maps keep their order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json {
    Bool(bool),
    Int(u64),
    Text(String),
    List(Vec<Json>),
    Map(Vec<(String, Json)>),
}

impl Json {
    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// A map of a few known keys.
    pub(crate) fn map<const N: usize>(entries: [(&str, Json); N]) -> Json {
        Json::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// JSON, indented by two spaces, with a final line break.
    pub(crate) fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out, 0);
        out.push('\n');
        out
    }

    /// YAML in block style, with a final line break.
    pub(crate) fn to_yaml(&self) -> String {
        let mut out = String::new();
        self.write_yaml(&mut out, 0, false);
        out
    }

    /// YAML on one line, for documentation.
    pub(crate) fn to_line(&self) -> String {
        let mut out = String::new();
        self.write_line(&mut out);
        out
    }

    fn write_json(&self, out: &mut String, depth: usize) {
        match self {
            Json::List(items) if !items.is_empty() => {
                write_block(out, depth, ['[', ']'], items, |out, item| item.write_json(out, depth + 1));
            }
            Json::Map(entries) if !entries.is_empty() => {
                write_block(out, depth, ['{', '}'], entries, |out, (key, value)| {
                    quote(out, key);
                    out.push_str(": ");
                    value.write_json(out, depth + 1);
                });
            }
            Json::Text(text) => quote(out, text),
            other => other.write_line(out),
        }
    }

    /// `inline`: behind `- `, so the first key stands on the line already begun.
    fn write_yaml(&self, out: &mut String, depth: usize, inline: bool) {
        match self {
            Json::List(items) if !items.is_empty() => {
                for item in items {
                    indent(out, depth);
                    out.push_str("- ");
                    item.write_yaml(out, depth + 1, true);
                }
            }
            Json::Map(entries) if !entries.is_empty() => {
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 || !inline {
                        indent(out, depth);
                    }
                    scalar(out, key);
                    out.push(':');
                    let nested = match value {
                        Json::List(items) => !items.is_empty() && items.iter().any(Json::is_nested),
                        Json::Map(entries) => !entries.is_empty(),
                        _ => false,
                    };
                    if nested {
                        out.push('\n');
                        value.write_yaml(out, depth + 1, false);
                    } else {
                        out.push(' ');
                        value.write_line(out);
                        out.push('\n');
                    }
                }
            }
            other => {
                other.write_line(out);
                out.push('\n');
            }
        }
    }

    fn is_nested(&self) -> bool {
        matches!(self, Json::List(_) | Json::Map(_))
    }

    fn write_line(&self, out: &mut String) {
        match self {
            Json::Bool(value) => {
                let _ = write!(out, "{value}");
            }
            Json::Int(value) => {
                let _ = write!(out, "{value}");
            }
            Json::Text(text) => scalar(out, text),
            Json::List(items) => {
                out.push('[');
                separated(out, items, |out, item| item.write_line(out));
                out.push(']');
            }
            Json::Map(entries) => {
                out.push('{');
                separated(out, entries, |out, (key, value)| {
                    scalar(out, key);
                    out.push_str(": ");
                    value.write_line(out);
                });
                out.push('}');
            }
        }
    }
}

fn write_block<T>(
    out: &mut String,
    depth: usize,
    brackets: [char; 2],
    items: &[T],
    mut write: impl FnMut(&mut String, &T),
) {
    out.push(brackets[0]);
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        indent(out, depth + 1);
        write(out, item);
    }
    out.push('\n');
    indent(out, depth);
    out.push(brackets[1]);
}

fn separated<T>(out: &mut String, items: &[T], mut write: impl FnMut(&mut String, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        write(out, item);
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// A plain scalar where every YAML reader takes it for the same text, quoted otherwise.
fn scalar(out: &mut String, text: &str) {
    const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "y", "n", "nan", "inf"];
    let letters = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let unit = letters.len() < text.len()
        && matches!(letters, "ms" | "s" | "m" | "h" | "d" | "B" | "KiB" | "MiB" | "GiB" | "TiB");
    let named = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text));
    if unit || named { out.push_str(text) } else { quote(out, text) }
}

/// Double quotes with the escapes that JSON and YAML share.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // What YAML counts as a line break or as not printable.
            control if control.is_control() || matches!(control, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            '\u{fffe}' | '\u{ffff}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
