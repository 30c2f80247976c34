//! Rules on single files: who may write `unsafe` and beside which words, what the pure crates may not name, how a file
//! begins, and what a public repository must not contain.

use crate::source::{Source, Text, has_word, imports, line_of, word_positions};

/// The only crate that may hold `unsafe`.
const UNSAFE_HOME: &str = "dataplane/driver/";
const PURE_HOMES: &[&str] = &["dataplane/wire/src/", "dataplane/policy/src/", "dataplane/engine/src/"];

/// Paths that reach a clock, randomness, the environment, a thread, a file or a socket.
const IMPURE_PATHS: &[&str] = &[
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::os::unix::net",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "rand",
    "fastrand",
    "getrandom",
];
/// Words that mean the same however they were imported.
const IMPURE_WORDS: &[&str] = &[
    "Instant",
    "SystemTime",
    "RandomState",
    "thread_rng",
    "print!",
    "println!",
    "eprint!",
    "eprintln!",
    "rand::",
];

/// A crate root must forbid what it does not need; `driver` is held to SAFETY notes instead.
pub(crate) fn unsafe_code(source: &Source, is_root: bool) -> Vec<String> {
    let mut found = Vec::new();
    if source.path.starts_with(UNSAFE_HOME) {
        return undocumented_unsafe(source);
    }
    let is_empty = source.code.trim().is_empty();
    if is_root && !is_empty && !source.code.contains("#![forbid(unsafe_code)]") {
        found.push(format!("{}:1: crate root without `#![forbid(unsafe_code)]`", source.path));
    }
    for at in word_positions(&source.code, "unsafe") {
        found.push(format!("{}:{}: `unsafe` outside {UNSAFE_HOME}", source.path, line_of(&source.code, at)));
    }
    found
}

fn undocumented_unsafe(source: &Source) -> Vec<String> {
    let code: Vec<&str> = source.code.lines().collect();
    let comments: Vec<&str> = source.comments.lines().collect();
    word_positions(&source.code, "unsafe")
        .filter(|at| {
            let rest = source.code[at + "unsafe".len()..].trim_start();
            rest.starts_with('{') || rest.starts_with("impl") || rest.starts_with("extern \"\" {")
        })
        .map(|at| line_of(&source.code, at))
        .filter(|line| !has_safety_note(&code, &comments, line - 1))
        .map(|line| format!("{}:{line}: `unsafe` without a `// SAFETY:` note", source.path))
        .collect()
}

/// The note stands on the line itself or above the statement it belongs to.
fn has_safety_note(code: &[&str], comments: &[&str], line: usize) -> bool {
    if comments[line].contains("SAFETY:") {
        return true;
    }
    for above in (0..line).rev() {
        let (code, comment) = (code[above].trim(), comments[above].trim());
        if comment.contains("SAFETY:") {
            return true;
        }
        let is_comment = code.is_empty() && !comment.is_empty();
        let ends_here = code.is_empty() || code.ends_with([';', '{', '}']);
        if !is_comment && ends_here && !code.starts_with("#[") {
            return false;
        }
    }
    false
}

/// No clock, randomness, environment, thread, file or socket in a pure crate's product code.
pub(crate) fn purity(source: &Source) -> Vec<String> {
    if !PURE_HOMES.iter().any(|home| source.path.starts_with(home)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in source.product_lines() {
        let words = IMPURE_WORDS.iter().chain(IMPURE_PATHS.iter().filter(|path| path.contains("::")));
        for word in words.filter(|word| has_word(line, word)) {
            found.push(format!("{}:{number}: `{word}` in a pure crate", source.path));
        }
    }
    for (number, path) in imports(&source.code).into_iter().filter(|(number, _)| !source.is_test[number - 1])
    {
        let is_under = |home: &&&str| {
            path.strip_prefix(**home).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        if let Some(home) = IMPURE_PATHS.iter().find(is_under) {
            found.push(format!("{}:{number}: `use {path}` in a pure crate (`{home}`)", source.path));
        }
    }
    found.sort();
    found.dedup_by(|a, b| a.split(": ").next() == b.split(": ").next());
    found
}

/// Every file says first what it owns.
pub(crate) fn header(source: &Source) -> Vec<String> {
    let is_header = source.first_line.starts_with("//! ") && source.first_line.len() > "//! ".len();
    if is_header { Vec::new() } else { vec![format!("{}:1: does not begin with `//! ...`", source.path)] }
}

/// Marks of work left undone: an issue says it better, and a stub does not land.
pub(crate) fn unfinished(source: &Source) -> Vec<String> {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut found = Vec::new();
    for (i, line) in source.comments.lines().enumerate() {
        for mark in marks.iter().filter(|mark| has_word(line, mark)) {
            found.push(format!("{}:{}: `{mark}`", source.path, i + 1));
        }
    }
    found
}

/// Paths of one machine and addresses of its package mirrors do not belong in a public repository.
pub(crate) fn strangers(file: &Text) -> Vec<String> {
    let machine_paths =
        [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
    let mirrors = [
        concat!("replace", "-with"),
        concat!("[source.", "crates-io]"),
        concat!("[regis", "tries"),
        concat!("sparse+", "http"),
        concat!("--index", "-url"),
        concat!("GOPR", "OXY="),
    ];
    let mut found = Vec::new();
    for (i, line) in file.text.lines().enumerate() {
        for word in machine_paths
            .iter()
            .filter(|path| starts_a_path(line, path))
            .chain(mirrors.iter().filter(|word| line.contains(**word)))
        {
            found.push(format!("{}:{}: `{word}`", file.path, i + 1));
        }
    }
    found
}

/// At the start of a path it names a machine's directory; inside of a URL or of a relative path it does not.
fn starts_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '*' | '~' | '}' | ']'))
    })
}

/// A lock file may name one registry only: the public one.
pub(crate) fn lock_sources(file: &Text) -> Vec<String> {
    const PUBLIC: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let foreign = |(_, line): &(usize, &str)| line.starts_with("source = ") && *line != PUBLIC;
    let lines = file.text.lines().enumerate().filter(foreign);
    lines.map(|(i, line)| format!("{}:{}: {line}", file.path, i + 1)).collect()
}

/// Every member takes the workspace's lints.
pub(crate) fn inherits_lints(manifest: &Text) -> Vec<String> {
    let lines: Vec<&str> = manifest.text.lines().map(str::trim).collect();
    let inherits = lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]);
    if inherits { Vec::new() } else { vec![format!("{}: without `[lints] workspace = true`", manifest.path)] }
}

#[cfg(test)]
fn scan(path: &str, text: &str) -> Source {
    Source::scan(path, text)
}

#[test]
fn a_root_without_forbid_is_found() {
    let bare = scan("dataplane/wire/src/lib.rs", "//! Wire.\npub mod h1;\n");
    assert_eq!(unsafe_code(&bare, true).len(), 1);
    assert_eq!(unsafe_code(&bare, false).len(), 0);
    let commented = scan("dataplane/wire/src/lib.rs", "//! Wire.\n// #![forbid(unsafe_code)]\npub mod h1;\n");
    assert_eq!(unsafe_code(&commented, true).len(), 1);
    let good = scan("dataplane/wire/src/lib.rs", "//! Wire.\n#![forbid(unsafe_code)]\n");
    assert_eq!(unsafe_code(&good, true).len(), 0);
}

#[test]
fn unsafe_outside_the_driver_is_found() {
    let planted =
        scan("bench/benches/x.rs", "//! X.\nfn a() { unsafe { b() } }\n// unsafe in words is fine\n");
    assert_eq!(unsafe_code(&planted, false), ["bench/benches/x.rs:2: `unsafe` outside dataplane/driver/"]);
}

#[test]
fn unsafe_needs_a_note_in_the_driver() {
    let path = "dataplane/driver/src/x.rs";
    for bare in [
        "fn a() {\n    unsafe { b() }\n}\n",
        "fn a() {\n    // SAFETY: belongs to c.\n    c();\n    unsafe { b() }\n}\n",
        "// SAFETY: too far away.\n\nunsafe impl Send for A {}\n",
        "fn a() {\n    let s = \"SAFETY:\"; unsafe { b() }\n}\n",
    ] {
        assert_eq!(unsafe_code(&scan(path, bare), false).len(), 1, "{bare}");
    }
    for noted in [
        "fn a() {\n    // SAFETY: owned by a, lives as long.\n    unsafe { b() }\n}\n",
        "fn a() {\n    // SAFETY: owned by a,\n    // lives as long.\n    let x =\n        long(y, unsafe { b() });\n}\n",
        "// SAFETY: one thread.\n#[allow(dead_code)]\nunsafe impl Send for A {}\n",
        "type F = unsafe extern \"C\" fn(i32);\nunsafe fn f() {}\n",
    ] {
        assert_eq!(unsafe_code(&scan(path, noted), false), Vec::<String>::new(), "{noted}");
    }
}

#[test]
fn impure_code_in_a_pure_crate_is_found() {
    for planted in [
        "let t = std::time::Instant::now();",
        "use std::time::SystemTime;",
        "let x = rand::random();",
        "use rand::Rng;",
        "use std::{collections::BTreeMap, env};",
        "let v = std::env::var(x);",
        "use std::net::{SocketAddr, TcpStream};",
        "std::thread::yield_now();",
        "println!(\"x\");",
    ] {
        for home in PURE_HOMES {
            let source = scan(&format!("{home}x.rs"), &format!("//! X.\n{planted}\n"));
            assert_eq!(purity(&source).len(), 1, "{planted}: {:?}", purity(&source));
        }
        assert_eq!(purity(&scan("dataplane/driver/src/x.rs", planted)).len(), 0, "{planted}");
    }
}

#[test]
fn pure_code_passes() {
    let text = "//! Uses no Instant.\nuse std::net::SocketAddr;\nfn operand(brand: u8) {}\n// std::env is banned\nlet s = \"Instant\";\n\
                #[cfg(test)]\nmod tests {\n    use std::env;\n}\n";
    assert_eq!(purity(&scan("dataplane/policy/src/x.rs", text)), Vec::<String>::new());
}

#[test]
fn a_file_without_a_header_is_found() {
    assert_eq!(header(&scan("a.rs", "use x;\n")).len(), 1);
    assert_eq!(header(&scan("a.rs", "//!\n//! Late.\n")).len(), 1);
    assert_eq!(header(&scan("a.rs", "//! Owns a.\n")).len(), 0);
}

#[test]
fn unfinished_work_is_found() {
    let mark = concat!("// TO", "DO: later\n");
    assert_eq!(unfinished(&scan("a.rs", mark)).len(), 1);
    assert_eq!(unfinished(&scan("a.rs", "// nothing to do later\n")).len(), 0);
}

#[test]
fn machine_paths_and_mirrors_are_found() {
    let file = |text: &str| Text { path: "a.md".to_owned(), text: text.to_owned() };
    for planted in [
        concat!("see /ro", "ot/x"),
        concat!("\"/ho", "me/me/x\""),
        concat!("registry = \"sparse+", "https://x/\""),
    ] {
        assert_eq!(strangers(&file(planted)).len(), 1, "{planted}");
    }
    for fine in ["/usr/local/bin", concat!("http://example.org/ho", "me/x"), "root/", "$HOME/x"] {
        assert_eq!(strangers(&file(fine)).len(), 0, "{fine}");
    }
}

#[test]
fn a_foreign_registry_in_a_lock_file_is_found() {
    let file = |text: &str| Text { path: "Cargo.lock".to_owned(), text: text.to_owned() };
    let public = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n";
    assert_eq!(lock_sources(&file(public)).len(), 0);
    assert_eq!(lock_sources(&file("source = \"registry+https://mirror.example/index\"\n")).len(), 1);
    assert_eq!(lock_sources(&file("source = \"git+https://example.org/x#1\"\n")).len(), 1);
}

#[test]
fn a_member_without_the_lints_is_found() {
    let file = |text: &str| Text { path: "x/Cargo.toml".to_owned(), text: text.to_owned() };
    assert_eq!(inherits_lints(&file("[package]\n\n[lints]\nworkspace = true\n")).len(), 0);
    assert_eq!(inherits_lints(&file("[package]\nworkspace = true\n")).len(), 1);
}
