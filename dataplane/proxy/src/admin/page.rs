//! The index page for people: what this process is, how it does, and where everything else is. No script, no resource of others.

use std::fmt::{Display, Write};
use std::time::Duration;

use ringway_policy::spec::Protocol;

use super::ENTRIES;
use crate::address::show;
use crate::state::State;

/// The page.
pub(super) fn index(state: &State) -> String {
    state.collect();
    let mut out = String::from(HEAD);
    header(&mut out, state);
    tiles(&mut out, state);
    notices(&mut out, state);
    listeners(&mut out, state);
    clusters(&mut out, state);
    entries(&mut out);
    out.push_str("</main></body></html>\n");
    out
}

fn header(out: &mut String, state: &State) {
    let (class, status) = match state.ready() {
        Ok(()) => ("good", "ready"),
        Err(why) => ("bad", why),
    };
    let _ = write!(
        out,
        "<header><h1>Ringway <small>{}</small></h1><span class=\"pill {class}\">{status}</span></header>",
        env!("CARGO_PKG_VERSION")
    );
    let config = state.config.borrow();
    let workers = state.workers.borrow().len();
    let _ = write!(
        out,
        "<p class=\"lead\">Up {}, driver <b>{}</b> ({}), {} {}. Configuration generation {} from {}.</p>",
        age(state.started.elapsed()),
        state.driver.name,
        Escaped(&state.driver.reason),
        workers,
        if workers == 1 { "worker" } else { "workers" },
        config.snapshot.generation,
        Escaped(&config.source),
    );
}

fn tiles(out: &mut String, state: &State) {
    let sum = |pick: fn(&ringway_engine::stats::WorkerStats) -> u64| -> u64 {
        let workers = state.workers.borrow();
        workers.iter().filter(|worker| worker.running).map(|worker| pick(&worker.shared.stats.worker)).sum()
    };
    let tiles: [(&str, u64); 6] = [
        ("requests", sum(|w| w.requests_total.value())),
        ("in progress", sum(|w| w.requests_active.value() + w.tunnels_active.value())),
        ("client connections", sum(|w| w.downstream_connections_active.value())),
        ("upstream connections", sum(|w| w.upstream_connections_active.value())),
        ("answers 5xx", sum(|w| w.responses_5xx.value())),
        ("worker panics", state.panics.get()),
    ];
    out.push_str("<section class=\"tiles\">");
    for (label, value) in tiles {
        let _ = write!(out, "<div><b>{}</b><span>{label}</span></div>", grouped(value));
    }
    out.push_str("</section>");
}

fn notices(out: &mut String, state: &State) {
    if let Some(error) = &*state.reloads.last_error.borrow() {
        let _ = write!(
            out,
            "<section class=\"notice\"><b>The last reload was refused.</b> The configuration before it serves.\
             <pre>{}</pre></section>",
            Escaped(error)
        );
    }
    for (name, error) in state.unresolved.borrow().iter() {
        let _ = write!(
            out,
            "<section class=\"notice\"><b>{}</b> has no address: {}</section>",
            Escaped(name),
            Escaped(error)
        );
    }
}

fn listeners(out: &mut String, state: &State) {
    let config = state.config.borrow();
    out.push_str("<h2>Listeners</h2><table><tr><th>name</th><th>address</th><th>protocol</th></tr>");
    for (name, address) in state.listeners.borrow().iter() {
        let spec = config.snapshot.listeners.iter().find(|listener| listener.spec.name == *name);
        let protocol = match spec.map(|listener| &listener.spec.protocol) {
            Some(Protocol::Http(_)) => "http",
            Some(Protocol::Tcp(_)) => "tcp",
            None => "closing",
        };
        let address = show(address);
        let _ = write!(
            out,
            "<tr><td>{}</td><td><code>{}</code></td><td>{protocol}</td></tr>",
            Escaped(name),
            Escaped(&address)
        );
    }
    out.push_str("</table>");
}

fn clusters(out: &mut String, state: &State) {
    let config = state.config.borrow();
    out.push_str("<h2>Clusters</h2><table><tr><th>name</th><th>endpoints</th></tr>");
    for cluster in &config.snapshot.clusters {
        let _ = write!(out, "<tr><td>{}</td><td>", Escaped(&cluster.spec.name));
        for endpoint in cluster.endpoints.iter().take(ENDPOINTS_SHOWN_MAX) {
            let _ = write!(out, "<code>{}</code> ", Escaped(&show(&endpoint.address)));
        }
        match cluster.endpoints.len() {
            0 => out.push_str("<i>none: requests are answered with 503</i>"),
            n if n > ENDPOINTS_SHOWN_MAX => {
                let _ = write!(out, "and {} more", n - ENDPOINTS_SHOWN_MAX);
            }
            _ => {}
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</table>");
}

fn entries(out: &mut String) {
    out.push_str("<h2>Pages</h2><table class=\"pages\">");
    for entry in ENTRIES.iter().filter(|entry| entry.path != "/") {
        let path = match entry.change {
            true => format!("<code>POST {}</code>", entry.path),
            false => format!("<a href=\"{0}\"><code>{0}</code></a>", entry.path),
        };
        let _ = write!(out, "<tr><td>{path}</td><td>{}</td></tr>", Escaped(entry.help));
    }
    out.push_str("</table>");
}

/// Endpoints listed on the page per cluster; `/clusters` has them all.
const ENDPOINTS_SHOWN_MAX: usize = 12;

/// Text as HTML shows it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn age(age: Duration) -> String {
    let s = age.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s / 60 % 60),
        _ => format!("{} d {} h", s / 86_400, s / 3_600 % 24),
    }
}

/// Digits in groups of three.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

const HEAD: &str = r#"<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Ringway</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1d2530; --soft: #5d6a7a; --line: #e1e6ec; --card: #fff; --page: #f5f7f9; --blue: #1f5fbf; --good: #1b7f4b; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf1; --soft: #9aa7b5; --line: #2c3540; --card: #1a2129; --page: #12171d; --blue: #7db0ff; --good: #57c78c; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2rem 1.25rem 3rem; }
header { display: flex; align-items: center; gap: .9rem; }
h1 { margin: 0; font-size: 1.7rem; letter-spacing: -.01em; }
h1 small { color: var(--soft); font-weight: 400; font-size: 1rem; }
h2 { margin: 2rem 0 .6rem; font-size: 1.05rem; }
.lead { color: var(--soft); margin: .5rem 0 1.5rem; }
.pill { padding: .15rem .7rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; border: 1px solid currentColor; }
.good { color: var(--good); } .bad { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .8rem 1rem; }
.tiles b { display: block; font-size: 1.45rem; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: .85rem; }
.notice { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--bad); border-radius: .4rem; padding: .8rem 1rem; margin-top: 1rem; }
.notice pre { margin: .5rem 0 0; white-space: pre-wrap; font-size: .85rem; }
table { width: 100%; border-collapse: separate; border-spacing: 0; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
th, td { text-align: left; padding: .5rem 1rem; border-top: 1px solid var(--line); vertical-align: top; }
tr:first-child > * { border-top: 0; }
th { color: var(--soft); font-weight: 500; font-size: .85rem; }
td:first-child { width: min(12rem, 34%); }
code { font: .9em ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
</style></head><body><main>
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(Escaped("<a href=\"x\">&'").to_string(), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
    }

    #[test]
    fn large_numbers_are_readable() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1\u{202f}000", "1\u{202f}234\u{202f}567"]
        );
    }

    #[test]
    fn ages_use_two_units() {
        let shown = [59, 61, 3_700, 90_000].map(|s| age(Duration::from_secs(s)));
        assert_eq!(shown, ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
    }
}
