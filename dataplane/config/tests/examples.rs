//! Every file of docs/examples compiles without error or warning and survives being dumped.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ringway_config::{Format, compile, dump_json, dump_yaml, parse};
use ringway_policy::compile::Resolved;

fn examples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.to_string_lossy().into_owned(), text)
    };
    files.into_iter().map(read).collect()
}

fn shown(errors: &[ringway_config::ConfigError]) -> String {
    errors.iter().map(|error| format!("{error}\n")).collect()
}

#[test]
fn examples_compile_and_survive_a_dump() {
    let examples = examples();
    assert!(examples.len() >= 6, "{}", examples.len());
    for (name, text) in examples {
        let format = Format::from_path(name.as_ref());
        let document = parse(&name, &text, format).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        assert!(document.warnings.is_empty(), "{}", shown(&document.warnings));
        compile(&document, &Resolved::new(), None, 1).unwrap_or_else(|errors| panic!("{}", shown(&errors)));
        for dump in [dump_yaml(&document.spec), dump_json(&document.spec)] {
            let again = parse("dump", &dump, Format::Yaml)
                .unwrap_or_else(|errors| panic!("{}\n{dump}", shown(&errors)));
            assert_eq!(again.spec, document.spec, "{name}\n{dump}");
        }
    }
}
