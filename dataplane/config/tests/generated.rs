//! The committed reference and JSON Schema are what the tables say now. `RINGWAY_REGENERATE=1` writes them instead.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

fn check(name: &str, generated: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("RINGWAY_REGENERATE").is_some() {
        std::fs::write(&path, generated).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/{name} is stale; run: RINGWAY_REGENERATE=1 cargo test -p ringway-config --test generated"
    );
}

#[test]
fn the_reference_is_current() {
    check("configuration.md", &ringway_config::reference_markdown());
}

#[test]
fn the_json_schema_is_current_and_refers_only_to_itself() {
    let text = ringway_config::json_schema();
    check("ringway.schema.json", &text);
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut references = Vec::new();
    collect(&schema, &mut references);
    assert!(references.len() > 20, "{references:?}");
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("a local reference");
        assert!(schema.pointer(pointer).is_some(), "{reference}");
    }
}

fn collect(value: &serde_json::Value, references: &mut Vec<String>) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        serde_json::Value::Object(entries) => {
            for (key, child) in entries {
                match child.as_str() {
                    Some(target) if key == "$ref" => references.push(target.to_owned()),
                    _ => collect(child, references),
                }
            }
        }
        _ => {}
    }
}
