//! Tidy: the rules of the house that no compiler checks, run over this repository. Each check is a function of texts or of
//! cargo's metadata, and has its own test with planted violations beside it; here they meet the real files.

#![forbid(unsafe_code)]

mod deps;
mod ratchet;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use ratchet::{RATCHET_PATH, Ratchet};
use serde_json::Value;
use source::{Source, Text};

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("conformance stands below the root").to_owned()
});
static TEXTS: LazyLock<Vec<Text>> = LazyLock::new(|| source::texts(&ROOT));
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let rust = TEXTS.iter().filter(|file| file.path.ends_with(".rs"));
    rust.map(|file| Source::scan(&file.path, &file.text)).collect()
});
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(&*ROOT)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
});

fn hold(rule: &str, violations: Vec<String>) {
    assert!(
        violations.is_empty(),
        "{rule}: {} violation(s)\n  {}",
        violations.len(),
        violations.join("\n  ")
    );
}

/// Library and binary roots of the workspace's members, by path from the root.
fn crate_roots() -> BTreeSet<String> {
    let packages = METADATA["packages"].as_array().expect("packages").iter();
    let ours = packages.filter(|package| package["source"].is_null());
    let targets = ours.flat_map(|package| package["targets"].as_array().expect("targets").iter());
    let roots = targets.filter(|target| {
        let kinds = target["kind"].as_array().expect("kind").iter();
        kinds.filter_map(Value::as_str).any(|kind| matches!(kind, "lib" | "bin"))
    });
    roots
        .filter_map(|target| Path::new(target["src_path"].as_str()?).strip_prefix(&*ROOT).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn the_repository_was_read() {
    let roots = crate_roots();
    assert!(
        roots.contains("dataplane/wire/src/lib.rs") && roots.contains("dataplane/proxy/src/main.rs"),
        "{roots:?}"
    );
    for path in ["dataplane/driver/src/lib.rs", "conformance/tests/tidy/main.rs"] {
        assert!(SOURCES.iter().any(|source| source.path == path), "{path} was not found");
    }
}

#[test]
fn dependencies_point_downward() {
    hold("dependency direction", deps::violations(&METADATA));
}

#[test]
fn every_package_has_a_reason() {
    let table = TEXTS.iter().find(|file| file.path == deps::PACKAGES_PATH).expect("the table of packages");
    hold("packages", deps::without_reason(&METADATA, &table.text));
}

#[test]
fn unsafe_stays_in_the_driver() {
    let roots = crate_roots();
    let check = |source: &Source| rules::unsafe_code(source, roots.contains(&source.path));
    hold("unsafe", SOURCES.iter().flat_map(check).collect());
}

#[test]
fn pure_crates_have_no_clock_and_no_randomness() {
    hold("purity", SOURCES.iter().flat_map(rules::purity).collect());
}

#[test]
fn files_begin_with_what_they_own() {
    hold("header", SOURCES.iter().flat_map(rules::header).collect());
}

#[test]
fn nothing_is_left_unfinished() {
    hold("unfinished", SOURCES.iter().flat_map(rules::unfinished).collect());
}

#[test]
fn lengths_only_shrink() {
    let file = TEXTS.iter().find(|file| file.path == RATCHET_PATH).expect("the ratchet file is committed");
    let committed = Ratchet::parse(&file.text).expect("the ratchet file is well-formed");
    hold("length", committed.violations(&Ratchet::measure(&SOURCES)));
}

#[test]
fn no_machine_and_no_mirror_is_named() {
    hold("strangers", TEXTS.iter().flat_map(rules::strangers).collect());
}

#[test]
fn lock_files_name_the_public_registry_only() {
    let locks = TEXTS.iter().filter(|file| file.path.ends_with("Cargo.lock"));
    hold("lock files", locks.flat_map(rules::lock_sources).collect());
}

#[test]
fn members_take_the_workspace_lints() {
    let is_member = |file: &&Text| file.path.ends_with("/Cargo.toml") && !file.path.starts_with("fuzz/");
    hold("lints", TEXTS.iter().filter(is_member).flat_map(rules::inherits_lints).collect());
}
