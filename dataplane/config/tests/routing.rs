//! The table of docs/routing.md is what docs/examples/routing.yaml does.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use ringway_config::{Format, compile, parse};
use ringway_policy::compile::Resolved;
use ringway_policy::route::{MatchScratch, Request};
use ringway_wire::h1::{Limits, Relaxations, parse_request};
use ringway_wire::http::RequestHead;

fn document(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// Rows of the first table whose requests have a scheme, as (request, route).
fn rows(page: &str) -> Vec<(String, String)> {
    let cells = |line: &str| -> Option<(String, String)> {
        let mut cells =
            line.strip_prefix("| `")?.split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        let row = (cells.next()?, cells.next()?);
        row.0.contains("http://").then_some(row)
    };
    page.lines().filter_map(cells).collect()
}

/// `METHOD URL [name: value]` as a head.
fn head(request: &str) -> String {
    let (method, rest) = request.split_once(' ').unwrap();
    let (url, field) = rest.split_once(' ').unwrap_or((rest, ""));
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let field = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
    format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n")
}

#[test]
fn the_table_of_the_routing_page_holds() {
    let parsed = parse("routing.yaml", &document("examples/routing.yaml"), Format::Yaml).unwrap();
    let snapshot = compile(&parsed, &Resolved::new(), None, 1).unwrap();
    let table = &snapshot.listeners[0].routes;
    let rows = rows(&document("routing.md"));
    assert!(rows.len() >= 17, "{rows:?}");
    for (request, expected) in rows {
        let bytes = head(&request).into_bytes();
        let mut head = RequestHead::new();
        parse_request(&bytes, &mut 0, &Limits::DEFAULT, Relaxations::NONE, &mut head).unwrap();
        let found = table.find(&Request { head: &head, bytes: &bytes }, &mut MatchScratch::new());
        let name = found.map(|id| table.route(id).spec.name.to_string());
        assert_eq!(name, Some(expected), "{request}");
    }
}
