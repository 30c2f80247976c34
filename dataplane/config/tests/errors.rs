//! Wrong files and exactly what is said of them: `errors/yaml.txt` and `errors/toml.txt`, written by hand as
//! `===== name`, the file, `-----`, and the messages of parsing or, for a file that parses, of compiling.

use ringway_config::{ConfigError, Format, compile, parse};
use ringway_policy::compile::Resolved;

fn errors_of(file: &str, text: &str, format: Format) -> Vec<ConfigError> {
    match parse(file, text, format) {
        Err(errors) => errors,
        Ok(document) => compile(&document, &Resolved::new(), None, 1).err().unwrap_or_default(),
    }
}

fn check(table: &str, file: &str, format: Format, cases_min: usize) {
    let mut failed = Vec::new();
    let cases: Vec<_> = table.split("===== ").skip(1).collect();
    assert!(cases.len() >= cases_min, "{}", cases.len());
    for case in cases {
        let (name, rest) = case.split_once('\n').expect("a name on a line of its own");
        let (text, expected) = rest.split_once("-----\n").expect("a line of dashes");
        let errors = errors_of(file, text, format);
        let shown: String = errors.iter().map(|error| format!("{error}\n")).collect();
        if shown != expected {
            failed.push(format!("{name}\n--- expected\n{expected}--- found\n{shown}"));
        }
        assert!(!errors.is_empty(), "{name}");
        assert!(
            errors.is_sorted_by_key(|error| (error.line, error.column)),
            "{name}: not in the order of the file"
        );
    }
    assert!(failed.is_empty(), "{} cases:\n\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn wrong_yaml_files() {
    check(include_str!("errors/yaml.txt"), "ringway.yaml", Format::Yaml, 100);
}

#[test]
fn wrong_toml_files() {
    check(include_str!("errors/toml.txt"), "ringway.toml", Format::Toml, 90);
}
