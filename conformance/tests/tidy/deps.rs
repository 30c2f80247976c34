//! Dependency direction: which crate of ours may know which, and what may not be in the closure of the pure ones.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Our crates by name with the crates of ours each may depend on (architecture: downward only).
/// `bench`, `perf` and `conformance` stand outside: they may use everything, and nothing may use them.
const MAY_USE: &[(&str, &[&str])] = &[
    ("ringway-wire", &[]),
    ("ringway-driver", &[]),
    ("ringway-policy", &["ringway-wire"]),
    ("ringway-engine", &["ringway-wire", "ringway-policy", "ringway-driver"]),
    ("ringway-config", &["ringway-wire", "ringway-policy"]),
    ("ringway", &["ringway-wire", "ringway-policy", "ringway-driver", "ringway-engine", "ringway-config"]),
    ("ringway-bench", ANY),
    ("ringway-perf", ANY),
    ("ringway-conformance", ANY),
];
const ANY: &[&str] =
    &["ringway-wire", "ringway-policy", "ringway-driver", "ringway-engine", "ringway-config", "ringway"];

/// A worker needs neither futures nor generated code, and configuration is read without either.
const HEAVY: &[&str] = &["tokio", "mio", "tonic", "prost", "hyper", "h2", "futures-util", "async-io", "smol"];
const LIGHT_CRATES: &[&str] =
    &["ringway-wire", "ringway-policy", "ringway-driver", "ringway-engine", "ringway-config"];

/// Randomness is an argument in the pure crates.
const RANDOM: &[&str] = &["rand", "rand_core", "getrandom", "fastrand", "ahash"];
const PURE_CRATES: &[&str] = &["ringway-wire", "ringway-policy", "ringway-engine"];

/// Where every package we depend on has its reason.
pub(crate) const PACKAGES_PATH: &str = "docs/decisions/0002-packages.md";

/// What is wrong in the output of `cargo metadata --format-version 1`.
pub(crate) fn violations(metadata: &Value) -> Vec<String> {
    let mut found = direction(metadata);
    let closures = Closures::new(metadata);
    for (crates, banned, why) in [
        (LIGHT_CRATES, HEAVY, "an async runtime or generated code has no place below the binary"),
        (PURE_CRATES, RANDOM, "randomness is an argument"),
    ] {
        for name in crates {
            let closure = closures.of(name);
            if closure.is_empty() {
                found.push(format!("{name}: not found in the metadata"));
            }
            for bad in banned.iter().filter(|bad| closure.contains(**bad)) {
                found.push(format!("{name}: `{bad}` is in its dependency closure: {why}"));
            }
        }
    }
    found
}

/// Dependencies on other people's packages that have no row, `| \`name\` |`, in the table of packages.
pub(crate) fn without_reason(metadata: &Value, table: &str) -> Vec<String> {
    let rows: BTreeSet<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let mut found = BTreeSet::new();
    for package in members(metadata) {
        for dependency in array(&package["dependencies"]).filter(|dependency| dependency["path"].is_null()) {
            let on = text(&dependency["name"]);
            if !rows.contains(on) {
                found.insert(format!("{}: `{on}` has no row in {PACKAGES_PATH}", text(&package["name"])));
            }
        }
    }
    found.into_iter().collect()
}

fn direction(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut found = Vec::new();
    for package in members(metadata) {
        let name = text(&package["name"]);
        let Some(may) = allowed.get(name) else {
            found.push(format!("{name}: unknown crate; add it to MAY_USE with what it may depend on"));
            continue;
        };
        for dependency in array(&package["dependencies"]) {
            let on = text(&dependency["name"]);
            if on.starts_with("ringway") && on != name && !may.contains(&on) {
                found.push(format!("{name}: must not depend on {on} (dependencies point downward only)"));
            }
        }
    }
    found
}

fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids: BTreeSet<&str> = array(&metadata["workspace_members"]).filter_map(Value::as_str).collect();
    array(&metadata["packages"]).filter(move |package| ids.contains(text(&package["id"])))
}

/// Normal and build dependencies of each package, transitively, by name.
struct Closures<'a> {
    names: BTreeMap<&'a str, &'a str>,
    edges: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Closures<'a> {
    fn new(metadata: &'a Value) -> Self {
        let names = array(&metadata["packages"]).map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let edges = array(&metadata["resolve"]["nodes"])
            .map(|node| {
                let ships =
                    |dep: &&Value| array(&dep["dep_kinds"]).any(|kind| kind["kind"].as_str() != Some("dev"));
                (text(&node["id"]), array(&node["deps"]).filter(ships).map(|dep| text(&dep["pkg"])).collect())
            })
            .collect();
        Self { names, edges }
    }

    fn of(&self, name: &str) -> BTreeSet<&'a str> {
        let mut open: Vec<&str> =
            self.names.iter().filter(|(_, known)| **known == name).map(|(id, _)| *id).collect();
        let (mut seen, mut closure) = (BTreeSet::new(), BTreeSet::new());
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                closure.extend(self.names.get(id));
                open.extend(self.edges.get(id).into_iter().flatten());
            }
        }
        closure
    }
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Metadata of a workspace with every crate of ours, with `extra` dependencies (from, to, kind).
#[cfg(test)]
fn planted(extra: &[(&str, &str, Option<&str>)]) -> Value {
    use serde_json::json;
    let mut names: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let members: Vec<&str> = names.iter().copied().collect();
    names.extend(extra.iter().map(|(_, to, _)| *to));
    let of = |name: &str| extra.iter().filter(move |(from, ..)| *from == name).collect::<Vec<_>>();
    let packages: Vec<Value> = names
        .iter()
        .map(|name| {
            let deps: Vec<Value> =
                of(name).iter().map(|(_, to, kind)| json!({"name": to, "kind": kind, "path": to.starts_with("ringway").then_some("here")})).collect();
            json!({"id": name, "name": name, "dependencies": deps})
        })
        .collect();
    let nodes: Vec<Value> = names
        .iter()
        .map(|name| {
            let deps: Vec<Value> = of(name)
                .iter()
                .map(|(_, to, kind)| json!({"pkg": to, "dep_kinds": [{"kind": kind}]}))
                .collect();
            json!({"id": name, "deps": deps})
        })
        .collect();
    json!({"workspace_members": members, "packages": packages, "resolve": {"nodes": nodes}})
}

#[test]
fn the_planned_directions_pass() {
    let plan = planted(&[
        ("ringway-policy", "ringway-wire", None),
        ("ringway-engine", "ringway-policy", None),
        ("ringway", "tokio", None),
        ("ringway-engine", "tokio", Some("dev")),
    ]);
    assert_eq!(violations(&plan), Vec::<String>::new());
}

#[test]
fn an_upward_dependency_is_found() {
    for (from, to) in [
        ("ringway-wire", "ringway-policy"),
        ("ringway-driver", "ringway-wire"),
        ("ringway-policy", "ringway-driver"),
        ("ringway-config", "ringway-engine"),
        ("ringway-engine", "ringway"),
        ("ringway", "ringway-bench"),
    ] {
        for kind in [None, Some("dev")] {
            assert_eq!(violations(&planted(&[(from, to, kind)])).len(), 1, "{from} -> {to} ({kind:?})");
        }
    }
}

#[test]
fn a_heavy_crate_is_found_through_another() {
    let found = violations(&planted(&[("ringway-driver", "innocent", None), ("innocent", "mio", None)]));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("ringway-driver") && found[0].contains("mio"), "{found:?}");
}

#[test]
fn randomness_is_found_in_a_pure_crate_only() {
    assert_eq!(violations(&planted(&[("ringway-wire", "getrandom", None)])).len(), 1);
    assert_eq!(violations(&planted(&[("ringway", "getrandom", None)])).len(), 0);
}

#[test]
fn a_new_crate_must_state_its_place() {
    let mut metadata = planted(&[]);
    metadata["workspace_members"].as_array_mut().expect("members").push("ringway-new".into());
    let package = serde_json::json!({"id": "ringway-new", "name": "ringway-new", "dependencies": []});
    metadata["packages"].as_array_mut().expect("packages").push(package);
    assert_eq!(violations(&metadata).len(), 1);
}

#[test]
fn a_package_without_a_reason_is_found() {
    let metadata = planted(&[
        ("ringway", "known", None),
        ("ringway", "unknown", Some("dev")),
        ("ringway", "ringway-wire", None),
    ]);
    let table = "| package | why |\n|---|---|\n| `known` | it is `unknown` elsewhere |\n";
    let found = without_reason(&metadata, table);
    assert_eq!(found, [format!("ringway: `unknown` has no row in {PACKAGES_PATH}")]);
}
