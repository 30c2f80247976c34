//! What is made from the tables for readers and editors: the configuration reference and the JSON Schema.

use std::collections::HashSet;
use std::fmt::Write;

use ringway_policy::Relaxations;

use crate::json::Json;
use crate::schema::{self, Form, KeyInfo, Kind, Only, Root, SectionInfo};
use crate::units::{self, Place};

/// `docs/configuration.md`.
pub fn reference_markdown() -> String {
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## Keys\n");
    for (paths, section) in sections() {
        let heading: Vec<_> = paths.iter().map(|path| format!("`{path}`")).collect();
        let heading = if heading.is_empty() { "Top level".into() } else { heading.join(", ") };
        let _ = write!(out, "\n### {heading}\n\n{}\n\n", section.doc);
        out.push_str("| key | value | default | |\n|---|---|---|---|\n");
        for key in &section.keys {
            let _ = writeln!(
                out,
                "| `{}` | {} | {} | {}{} |",
                key.name,
                cell(&value_text(key)),
                cell(&default_text(key)),
                only_text(key.only),
                cell(key.doc)
            );
        }
        if section.alternatives.required {
            let names: Vec<_> = section.alternatives.names.iter().map(|name| format!("`{name}`")).collect();
            let _ = write!(out, "\nExactly one of {} is required.\n", names.join(", "));
        }
    }
    out.push_str("\n## Relaxations\n\nWhat `relax` of a listener may name:\n\n| name | what is let through |\n|---|---|\n");
    for (_, name, doc) in Relaxations::TABLE {
        let _ = writeln!(out, "| `{name}` | {} |", cell(doc));
    }
    out
}

/// `docs/ringway.schema.json`: JSON Schema 2020-12. It knows every key, type and name; bounds of durations, references and
/// checks across sections only `ringway check` knows.
pub fn json_schema() -> String {
    let mut definitions = Vec::new();
    for (_, section) in sections().into_iter().filter(|(paths, _)| !paths.is_empty()) {
        definitions.push((section.id.to_owned(), section_schema(&section)));
    }
    let mut root = match section_schema(&schema::describe::<Root>()) {
        Json::Map(entries) => entries,
        _ => Vec::new(),
    };
    root.insert(0, ("$schema".into(), Json::text("https://json-schema.org/draft/2020-12/schema")));
    root.insert(1, ("title".into(), Json::text("Ringway configuration")));
    root.push(("$defs".into(), Json::Map(definitions)));
    Json::Map(root).to_json()
}

/// Every section once, with all the paths it stands under, in the order of the file.
fn sections() -> Vec<(Vec<String>, SectionInfo)> {
    let mut out: Vec<(Vec<String>, SectionInfo)> = Vec::new();
    let mut open = vec![(String::new(), schema::describe::<Root>())];
    while let Some((path, section)) = open.pop() {
        let mut below = Vec::new();
        for key in &section.keys {
            if let Some(shape) = key.shape {
                let dot = if path.is_empty() { "" } else { "." };
                let behind = match shape.form {
                    Form::One => "",
                    Form::List => "[]",
                    Form::Named => ".<name>",
                };
                below.push((format!("{path}{dot}{}{behind}", key.name), (shape.describe)()));
            }
        }
        match out.iter_mut().find(|(_, known)| known.id == section.id) {
            Some((paths, _)) => paths.push(path),
            None => {
                let paths = if path.is_empty() { Vec::new() } else { vec![path] };
                out.push((paths, section));
                open.extend(below.into_iter().rev());
            }
        }
    }
    debug_assert_eq!(out.iter().map(|(_, section)| section.id).collect::<HashSet<_>>().len(), out.len());
    out
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn only_text(only: Only) -> &'static str {
    match only {
        Only::Everywhere => "",
        Only::Http => "*http.* ",
        Only::Tcp => "*tcp.* ",
        Only::Forward => "*With `cluster` or `split`.* ",
    }
}

fn default_text(key: &KeyInfo) -> String {
    match &key.default {
        _ if key.required => "**required**".into(),
        Some(default) => format!("`{}`", default.to_line()),
        None => String::new(),
    }
}

fn value_text(key: &KeyInfo) -> String {
    if let Some(shape) = key.shape {
        let short = shape.short.map(kind_text);
        return match (shape.form, short) {
            (Form::One, None) => "mapping".into(),
            (Form::One, Some(short)) => format!("mapping, or {short}"),
            (Form::List, None) => "list of mappings".into(),
            (Form::List, Some(short)) => format!("list, each a mapping or {short}"),
            (Form::Named, _) => "mapping from names to mappings".into(),
        };
    }
    let Some((kind, none)) = key.kind else { return String::new() };
    none.map_or(kind_text(kind), |none| format!("{}, or `{none}`", kind_text(kind)))
}

fn kind_text(kind: Kind) -> String {
    match kind {
        Kind::Int { min, max } => format!("whole number, {min} to {max}"),
        Kind::Duration { min, max } => {
            format!("duration, {} to {}", units::show_duration(min), units::show_duration(max))
        }
        Kind::Size { min, max: HUGE.. } => format!("size, at least {}", units::show_size(min)),
        Kind::Size { min, max } => format!("size, {} to {}", units::show_size(min), units::show_size(max)),
        Kind::List(item) => format!("list: {}", kind_text(*item)),
        Kind::Fields { many: false } => "mapping from field names to values".into(),
        Kind::Fields { many: true } => "mapping from field names to values or lists of values".into(),
        Kind::Address(Place::Listen) => "address to listen on".into(),
        Kind::Address(Place::Connect) => "address to connect to".into(),
        Kind::Cidr => "address range such as `10.0.0.0/8`".into(),
        other => {
            let text = other.expected();
            text.strip_prefix("a ").unwrap_or(&text).into()
        }
    }
}

/// Bounds beyond this say nothing to a reader.
const HUGE: u64 = 1 << 60;

fn section_schema(section: &SectionInfo) -> Json {
    let property = |key: &KeyInfo| (key.name.to_owned(), key_schema(key));
    let names = |keys: &mut dyn Iterator<Item = &'static str>| Json::List(keys.map(Json::text).collect());
    let mut entries = vec![
        ("description".into(), Json::text(section.doc)),
        ("type".into(), Json::text("object")),
        ("properties".into(), Json::Map(section.keys.iter().map(property).collect())),
        ("additionalProperties".into(), Json::Bool(false)),
    ];
    let mut required = section.keys.iter().filter(|key| key.required).map(|key| key.name).peekable();
    if required.peek().is_some() {
        entries.push(("required".into(), names(&mut required)));
    }
    let alternatives = section.alternatives;
    if alternatives.required {
        let one = |name: &&str| Json::map([("required", Json::List(vec![Json::text(*name)]))]);
        entries.push(("oneOf".into(), Json::List(alternatives.names.iter().map(one).collect())));
    }
    let conditions: Vec<_> = [Only::Http, Only::Tcp, Only::Forward]
        .into_iter()
        .filter_map(|only| restriction(only, section.keys.iter().filter(|key| key.only == only)))
        .collect();
    if !conditions.is_empty() {
        entries.push(("allOf".into(), Json::List(conditions)));
    }
    Json::Map(entries)
}

/// `if` the section is of another kind, `then` none of these keys.
fn restriction<'a>(only: Only, keys: impl Iterator<Item = &'a KeyInfo>) -> Option<Json> {
    let none: Vec<_> = keys.map(|key| (key.name.to_owned(), Json::Bool(false))).collect();
    if none.is_empty() {
        return None;
    }
    let has = |name: &str| Json::map([("required", Json::List(vec![Json::text(name)]))]);
    let tcp = || {
        let protocol = Json::map([("protocol", Json::map([("const", Json::text("tcp"))]))]);
        Json::map([("properties", protocol), ("required", Json::List(vec![Json::text("protocol")]))])
    };
    let elsewhere = match only {
        Only::Everywhere => return None,
        Only::Http => tcp(),
        Only::Tcp => Json::map([("not", tcp())]),
        Only::Forward => Json::map([("anyOf", Json::List(vec![has("redirect"), has("respond")]))]),
    };
    Some(Json::map([("if", elsewhere), ("then", Json::map([("properties", Json::Map(none))]))]))
}

fn key_schema(key: &KeyInfo) -> Json {
    let value = match (key.shape, key.kind) {
        (Some(shape), _) => {
            let reference = Json::map([("$ref", Json::text(format!("#/$defs/{}", (shape.describe)().id)))]);
            let one = match shape.short {
                Some(short) => Json::map([("anyOf", Json::List(vec![kind_schema(short), reference]))]),
                None => reference,
            };
            match shape.form {
                Form::One => one,
                Form::List => Json::map([("type", Json::text("array")), ("items", one)]),
                Form::Named => Json::map([("type", Json::text("object")), ("additionalProperties", one)]),
            }
        }
        (None, Some((kind, None))) => kind_schema(kind),
        (None, Some((kind, Some(none)))) => {
            let none = Json::map([("const", Json::text(none))]);
            Json::map([("anyOf", Json::List(vec![none, kind_schema(kind)]))])
        }
        (None, None) => Json::Bool(true),
    };
    let Json::Map(mut entries) = value else { return value };
    entries.insert(0, ("description".into(), Json::text(key.doc)));
    if let Some(default) = &key.default {
        entries.push(("default".into(), default.clone()));
    }
    Json::Map(entries)
}

fn kind_schema(kind: Kind) -> Json {
    let text = |pattern: &str| Json::map([("type", Json::text("string")), ("pattern", Json::text(pattern))]);
    match kind {
        Kind::Version => Json::map([("const", Json::Int(schema::VERSION))]),
        Kind::Bool => Json::map([("type", Json::text("boolean"))]),
        Kind::Int { min, max } => Json::map([
            ("type", Json::text("integer")),
            ("minimum", Json::Int(min)),
            ("maximum", Json::Int(max)),
        ]),
        Kind::OneOf(numbers) => {
            Json::map([("enum", Json::List(numbers.iter().map(|n| Json::Int(*n)).collect()))])
        }
        Kind::Duration { .. } => text("^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$"),
        Kind::Size { .. } => text("^([0-9]+([KMGT]i?)?B)+$"),
        Kind::Choice(names) => {
            Json::map([("enum", Json::List(names().into_iter().map(Json::text).collect()))])
        }
        Kind::Text(rule) => match (rule.pattern, rule.names) {
            (_, Some(names)) => {
                Json::map([("enum", Json::List(names().into_iter().map(Json::text).collect()))])
            }
            (Some(pattern), None) => text(pattern),
            (None, None) => Json::map([("type", Json::text("string"))]),
        },
        Kind::Reference(_) => Json::map([("type", Json::text("string"))]),
        Kind::Address(_) => text("^(unix:/.+|.+:[0-9]{1,5})$"),
        Kind::Cidr => text("^[0-9a-fA-F.:]+(/[0-9]{1,3})?$"),
        Kind::List(item) => Json::map([
            ("type", Json::text("array")),
            ("items", kind_schema(*item)),
            ("uniqueItems", Json::Bool(true)),
        ]),
        Kind::Fields { many } => {
            let one = Json::map([("type", Json::text("string"))]);
            let list = Json::map([("type", Json::text("array")), ("items", one.clone())]);
            let value = if many { Json::map([("anyOf", Json::List(vec![one, list]))]) } else { one };
            Json::map([("type", Json::text("object")), ("additionalProperties", value)])
        }
    }
}

const INTRODUCTION: &str = r#"# Configuration

<!-- Generated from the tables in dataplane/config/src/schema; do not edit.
     RINGWAY_REGENERATE=1 cargo test -p ringway-config --test generated -->

A file is YAML 1.2 or, with the extension `.toml`, TOML 1.1; both have the same keys. `ringway check FILE` reads one and
prints everything that is wrong with it, with file, line, column and key path. `ringway.schema.json` beside this page is its
JSON Schema; with `# yaml-language-server: $schema=...` in the first line, editors complete and check while typing.

```yaml
version: 1
listeners:
  web: { address: "0.0.0.0:8080" }
routes:
  - { host: "*", path: { prefix: "/" }, cluster: app, timeout: 15s, retry: { max: 2 } }
clusters:
  app:
    endpoints: ["127.0.0.1:3000", "127.0.0.1:3001"]
```

More examples: [examples/](examples/).

## Values

| value | written as |
|---|---|
| duration | whole numbers with `ms`, `s`, `m`, `h`, `d`: `15s`, `250ms`, `1m30s`. Zero stands for the key's `off` where there is one |
| size | whole numbers with `B`, `KiB`, `MiB`, `GiB`, `TiB` or `KB`, `MB`, `GB`, `TB` (powers of 1,000): `60KiB`, `1MB` |
| address | `127.0.0.1:80`, `[::1]:80`, `unix:/path`; endpoints may be `name:80` as well |
| text | in quotes where it could be a number or a boolean |

Numbers with units, booleans and texts are never taken for one another: `timeout: 15` is an error that asks whether `15s` was
meant. Unknown keys, keys twice, keys that mean nothing where they stand, and names that are defined nowhere are errors.
Anchors and aliases of YAML work; merge keys (`<<`) and several documents in one file are refused.

## Version and deprecation

`version` is required. Within a version, keys and values are only added, and a default changes only where the old one was a
defect; a file that was accepted stays accepted and means the same. A key to be removed is first deprecated: for at least two
minor releases it works as before, with a warning from `ringway check` and at every start and reload that names its
successor. It is removed only together with a new `version`, and a release that reads version N+1 still reads version N.

## Reload

A file is read and checked as a whole before anything changes: an error in it changes nothing. `listeners`, `routes`,
`clusters`, `drain` and `access_log` follow a reload. `workers`, `driver`, `idle`, `cpu_steering`, `limits`, `admin` and
`telemetry` take effect at the next start; a reload that changes one says so.
"#;
