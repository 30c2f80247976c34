//! The access log against what the peers saw: one line an exchange, the status the client got, a flag where something failed.

use std::collections::BTreeMap;

use super::book::{Book, Entry, Outcome};

/// What a line says.
#[derive(Debug)]
struct Line {
    status: u16,
    flags: String,
    reason: String,
}

/// Checks all lines of a run.
pub fn check(log: &[u8], book: &mut Book) {
    let text = String::from_utf8_lossy(log);
    let mut lines: BTreeMap<u64, Vec<Line>> = BTreeMap::new();
    for line in text.lines() {
        let Some(id) = value(line, "target").and_then(|t| t.strip_prefix("/x/")?.parse().ok()) else {
            continue;
        };
        let status = value(line, "status").and_then(|s| s.parse().ok()).unwrap_or(0);
        let flags = value(line, "flags").unwrap_or("").to_string();
        let reason = value(line, "reason").unwrap_or("").to_string();
        lines.entry(id).or_default().push(Line { status, flags, reason });
    }
    let mut wrong = Vec::new();
    for (id, entry) in book.entries() {
        let lines = lines.get(&id).map_or(&[][..], Vec::as_slice);
        if let Some(why) = judge(entry, lines) {
            wrong.push(format!("access log, exchange {id}: {why}; {lines:?}, seen {:?}", entry.answer));
        }
    }
    wrong.into_iter().for_each(|text| book.violation(text));
}

fn judge(entry: &Entry, lines: &[Line]) -> Option<&'static str> {
    let reached = !entry.runs.is_empty() || entry.outcome == Some(Outcome::Answered);
    let line = match lines {
        [line] => line,
        [] if !reached => return None,
        [] => return Some("no line"),
        _ => return Some("more than one line"),
    };
    let answered = entry.outcome == Some(Outcome::Answered);
    let seen = entry.answer.as_ref().filter(|_| answered)?;
    if line.status != seen.status {
        return Some("another status");
    }
    match (seen.local, line.flags.is_empty()) {
        (true, true) => Some("a failure without a flag"),
        (true, false) if line.reason.is_empty() => Some("a failure without a reason"),
        (false, false) => Some("a flag on an answer that came whole"),
        _ => None,
    }
}

/// The value of a key in one flat JSON object, without its quotes.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let rest = line.split_once(&format!("\"{key}\":"))?.1;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}

#[test]
fn values_are_found_in_a_line() {
    let line = r#"{"target":"/x/7","status":200,"flags":"UF,URX","attempts":2}"#;
    assert_eq!(value(line, "target"), Some("/x/7"));
    assert_eq!(value(line, "status"), Some("200"));
    assert_eq!(value(line, "flags"), Some("UF,URX"));
    assert_eq!(value(line, "attempts"), Some("2"));
    assert_eq!(value(line, "none"), None);
}
