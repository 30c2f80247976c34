//! What the documentation says about the binary is all there is.

use ringway::exit::Exit;
use ringway_engine::flags::Flag;
use ringway_engine::stats::{EndpointStats, ListenerStats, WorkerStats};

const OPERATIONS: &str = include_str!("../../../../docs/operations.md");

/// Whether some name in back quotes is this one, or its beginning followed by `*`.
fn is_documented(name: &str) -> bool {
    OPERATIONS.split('`').any(|quoted| {
        let quoted = quoted.strip_prefix("ringway_").unwrap_or(quoted);
        quoted == name
            || quoted.strip_suffix('*').is_some_and(|start| !start.is_empty() && name.starts_with(start))
    })
}

#[test]
fn every_flag_metric_and_exit_code_is_documented() {
    for flag in Flag::ALL {
        assert!(is_documented(flag.letters()), "flag {}", flag.letters());
    }
    let check = |name: &str| {
        // Shown with a label, or under another name.
        let special = name.starts_with("responses_") || name.starts_with("generation");
        let shown = if name == "turns" { "turns_total" } else { name };
        assert!(special || is_documented(shown), "metric {name}");
    };
    WorkerStats::default().each(|name, _, _, _| check(name));
    ListenerStats::default().each(|name, _, _, _| check(name));
    EndpointStats::default().each(|name, _, _, _| check(name));
    for exit in [Exit::Done, Exit::Config, Exit::Usage, Exit::Bind, Exit::DrainTimedOut, Exit::Failed] {
        assert!(OPERATIONS.contains(&format!("\n| {} | ", exit as u8)), "exit code {exit:?}");
    }
}
