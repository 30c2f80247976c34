//! One source file, read the way the checks need it: code apart from comments and strings, test code marked,
//! functions with their lengths. A scanner of characters, not a parser: it must be right on what rustfmt emits.

use std::fs;
use std::path::{Path, PathBuf};

/// A text file of the repository.
pub(crate) struct Text {
    /// Path from the repository's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A Rust file, scanned.
pub(crate) struct Source {
    pub(crate) path: String,
    /// The text with comments and the contents of literals blanked; same lines, same columns.
    pub(crate) code: String,
    /// The text of comments only; same lines.
    pub(crate) comments: String,
    pub(crate) first_line: String,
    /// By line, from 0: is it part of a `#[cfg(test)]` item, or of a file that is test code as a whole?
    pub(crate) is_test: Vec<bool>,
}

/// A function and the lines it spans, counted from its `fn` to its closing brace.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn scan(path: &str, text: &str) -> Self {
        let (code, comments) = separate(text);
        let whole_file = path.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"));
        let is_test = test_lines(&code).into_iter().map(|inner| inner || whole_file).collect();
        let first_line = text.lines().next().unwrap_or_default().to_owned();
        Self { path: path.to_owned(), code, comments, first_line, is_test }
    }

    /// The lines of code outside tests, with their numbers from 1.
    pub(crate) fn product_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().filter(|(i, _)| !self.is_test[*i]).map(|(i, line)| (i + 1, line))
    }

    /// Lines that count against the file limit: all of a test file, and what is not a test of another one.
    pub(crate) fn counted_lines(&self) -> usize {
        let tests = self.is_test.iter().filter(|test| **test).count();
        if tests == self.is_test.len() { tests } else { self.is_test.len() - tests }
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        let code = self.code.as_bytes();
        word_positions(&self.code, "fn").filter_map(|at| function_at(&self.code, code, at)).collect()
    }
}

/// Every text file below `root` that belongs to the project.
pub(crate) fn texts(root: &Path) -> Vec<Text> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        for entry in entries {
            let path = entry.expect("directory entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("below root").to_string_lossy().replace('\\', "/");
                found.push(Text { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Positions of `word` where it stands alone as an identifier (it may hold `::`).
pub(crate) fn word_positions<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).map(|i| bytes[i]);
        let after = bytes.get(at + word.len()).copied();
        let ends_in_ident = is_ident(word.as_bytes()[word.len() - 1]);
        let goes_on = before.is_some_and(is_ident) || (ends_in_ident && after.is_some_and(is_ident));
        !goes_on
    })
}

pub(crate) fn has_word(code: &str, word: &str) -> bool {
    word_positions(code, word).next().is_some()
}

pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

/// `use` items of the code as full paths, braces expanded, with their line.
pub(crate) fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in word_positions(code, "use") {
        let Some(len) = code[at..].find(';') else { continue };
        let tree: String = code[at + 3..at + len].split_whitespace().collect::<Vec<_>>().join(" ");
        let mut paths = Vec::new();
        expand("", &tree.replace(' ', ""), &mut paths);
        found.extend(paths.into_iter().map(|path| (line_of(code, at), path)));
    }
    found
}

fn expand(prefix: &str, tree: &str, out: &mut Vec<String>) {
    let Some(open) = tree.find('{') else {
        out.push(format!("{prefix}{tree}"));
        return;
    };
    let prefix = format!("{prefix}{}", &tree[..open]);
    let (mut depth, mut start) = (0, open + 1);
    for (i, c) in tree.char_indices().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if (c == ',' && depth == 1) || depth == 0 {
            if i > start {
                expand(&prefix, &tree[start..i], out);
            }
            start = i + 1;
        }
        if depth == 0 {
            return;
        }
    }
}

/// Splits a text in code and comments; what does not belong is blanked, line breaks stay in both.
fn separate(text: &str) -> (String, String) {
    let bytes = text.as_bytes();
    let mut code = vec![b' '; bytes.len()];
    let mut comments = vec![b' '; bytes.len()];
    let mut i = 0;
    while i < bytes.len() {
        let end = if bytes[i..].starts_with(b"//") {
            let end = find(bytes, i, b"\n").unwrap_or(bytes.len());
            copy(&mut comments, bytes, i, end);
            end
        } else if bytes[i..].starts_with(b"/*") {
            let end = block_comment_end(bytes, i);
            copy(&mut comments, bytes, i, end);
            end
        } else if let Some(end) = literal_end(text, i) {
            code[i] = b'"';
            code[end - 1] = b'"';
            end
        } else {
            copy(&mut code, bytes, i, i + 1);
            i + 1
        };
        i = end;
    }
    for (i, byte) in bytes.iter().enumerate() {
        if *byte == b'\n' {
            code[i] = b'\n';
            comments[i] = b'\n';
        }
    }
    (String::from_utf8_lossy(&code).into_owned(), String::from_utf8_lossy(&comments).into_owned())
}

fn copy(to: &mut [u8], from: &[u8], start: usize, end: usize) {
    for i in start..end {
        to[i] = if from[i].is_ascii() { from[i] } else { b' ' };
    }
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    bytes[from..].windows(what.len()).position(|w| w == what).map(|at| from + at)
}

fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i < bytes.len() {
        if bytes[i..].starts_with(b"/*") {
            depth += 1;
            i += 2;
        } else if bytes[i..].starts_with(b"*/") {
            depth -= 1;
            i += 2;
            if depth == 0 {
                return i;
            }
        } else {
            i += 1;
        }
    }
    bytes.len()
}

/// The end of the string or character literal that begins at `i`, if one does.
fn literal_end(text: &str, i: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes[i] {
        b'"' => Some(escaped_end(bytes, i + 1, b'"')),
        b'\'' if bytes.get(i + 1) == Some(&b'\\') => Some(escaped_end(bytes, i + 1, b'\'')),
        b'\'' => {
            let c = text[i + 1..].chars().next()?;
            let close = i + 1 + c.len_utf8();
            (bytes.get(close) == Some(&b'\'')).then_some(close + 1)
        }
        b'r' if !is_ident_before(bytes, i) => {
            let hashes = bytes[i + 1..].iter().take_while(|b| **b == b'#').count();
            if bytes.get(i + 1 + hashes) != Some(&b'"') {
                return None;
            }
            let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            Some(find(bytes, i + 2 + hashes, &close).map_or(bytes.len(), |at| at + close.len()))
        }
        _ => None,
    }
}

/// An `r` opens a raw string after nothing, or after the `b` or `c` of a prefix.
fn is_ident_before(bytes: &[u8], i: usize) -> bool {
    let before = |n: usize| i.checked_sub(n).map(|at| bytes[at]);
    match before(1) {
        Some(b'b' | b'c') => before(2).is_some_and(is_ident),
        Some(b) => is_ident(b),
        None => false,
    }
}

fn escaped_end(bytes: &[u8], mut i: usize, close: u8) -> usize {
    while i < bytes.len() {
        match bytes[i] {
            b'\\' => i += 2,
            b if b == close => return i + 1,
            _ => i += 1,
        }
    }
    bytes.len()
}

fn test_lines(code: &str) -> Vec<bool> {
    let mut marks = vec![false; code.lines().count()];
    for (at, _) in code.match_indices("#[cfg(") {
        let attribute = &code[at..at + code[at..].find(']').unwrap_or(0)];
        if !has_word(attribute, "test") || attribute.contains("not(test") {
            continue;
        }
        let Some(end) = item_end(code.as_bytes(), at + attribute.len() + 1) else { continue };
        let (first, last) = (line_of(code, at), line_of(code, end));
        marks[first - 1..last].fill(true);
    }
    marks
}

fn function_at(code: &str, bytes: &[u8], at: usize) -> Option<Function> {
    let rest = code[at + 2..].trim_start();
    let name: String = rest.bytes().take_while(|b| is_ident(*b)).map(char::from).collect();
    let end = item_end(bytes, at)?;
    let has_body = bytes[end] == b'}';
    let line = line_of(code, at);
    (!name.is_empty() && has_body).then(|| Function { name, line, lines: line_of(code, end) - line + 1 })
}

/// The `}` that closes the item starting at `at`, or its `;`.
fn item_end(code: &[u8], at: usize) -> Option<usize> {
    let (mut parens, mut braces) = (0_i32, 0_i32);
    for (i, byte) in code.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => parens += 1,
            b')' | b']' => parens -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && parens == 0 {
                    return Some(i);
                }
            }
            b';' if braces == 0 && parens == 0 => return Some(i),
            _ => {}
        }
    }
    None
}

fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Build output, history, measured data and inputs of the fuzzers.
const SKIPPED: &[&str] = &["target", ".git", "corpus", "artifacts", "results", "__pycache__", "coverage"];

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"Instant // no\"; // Instant::now\nlet b = r#\"x\" Instant\"#; /* Instant /* in */ */ let c: &'a str = 'I';\n";
    let source = Source::scan("x.rs", text);
    assert!(!has_word(&source.code, "Instant"), "{}", source.code);
    assert!(source.code.contains("&'a str"));
    assert!(source.comments.lines().next().expect("line").contains("Instant::now"));
    assert_eq!(source.code.lines().count(), 2);
}

#[test]
fn escapes_do_not_end_a_literal_early() {
    let source = Source::scan("x.rs", r#"let a = "\"fn x() {"; let b = '\''; let c = b"\\"; fn real() {}"#);
    let names: Vec<String> = source.functions().into_iter().map(|f| f.name).collect();
    assert_eq!(names, ["real"]);
}

#[test]
fn test_modules_do_not_count() {
    let source =
        Source::scan("a/src/x.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n");
    assert_eq!(source.is_test, [false, true, true, true, true, false]);
    assert_eq!(source.counted_lines(), 2);
    let not = Source::scan("a/src/x.rs", "#[cfg(not(test))]\nfn a() {}\n");
    assert_eq!(not.is_test, [false, false]);
}

#[test]
fn a_function_is_measured_from_fn_to_brace() {
    let source = Source::scan(
        "x.rs",
        "pub fn a(x: [u8; 4]) -> u8\nwhere\n    u8: Copy,\n{\n    x[0]\n}\ntrait T { fn none(&self); }\n",
    );
    assert_eq!(source.functions(), [Function { name: "a".to_owned(), line: 1, lines: 6 }]);
}

#[test]
fn imports_are_expanded() {
    let found: Vec<String> = imports("use std::{env, net::{TcpStream, SocketAddr}};\n")
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    assert_eq!(found, ["std::env", "std::net::TcpStream", "std::net::SocketAddr"]);
}
