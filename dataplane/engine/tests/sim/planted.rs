//! Planted bugs: each must be caught by the oracle, or the oracle is worth nothing.

use super::buggy::Bug;
use super::run::{Options, run};

/// Runs with that bug, one for each occasion at which it shows. The oracle must see it in four of them at least (not every occasion
/// does harm), and call it by one of these names.
fn caught(bug: Bug, occasions: &[u64], says: &[&str]) {
    let mut verdicts = Vec::new();
    for (seed, occasion) in (0..).step_by(4).zip(occasions.iter().copied()) {
        let leave_ppm = if bug == Bug::PooledDirty { 400_000 } else { 0 };
        let options = Options { bug: Some((bug, occasion)), leave_ppm, ..Options::of(seed) };
        verdicts.extend(run(options).err());
    }
    assert!(verdicts.len() >= 4, "{bug:?} was seen in {} runs only", verdicts.len());
    let named = verdicts.iter().filter(|why| says.iter().any(|text| why.contains(text))).count();
    assert!(named >= 4, "{bug:?} was seen as something else: {}", verdicts.join("\n---\n"));
}

const EARLY: &[u64] = &[0, 0, 1, 1, 2, 2, 3, 3];
const LATER: &[u64] = &[3, 8, 13, 18, 23, 28, 33, 38];

#[test]
fn a_dirty_connection_in_the_pool_is_caught() {
    caught(
        Bug::PooledDirty,
        &[1; 24],
        &["came for exchange", "wrong at byte", "before exchange", "chunk size"],
    );
}

#[test]
fn an_ignored_short_send_is_caught() {
    caught(Bug::ShortSendIgnored, LATER, &["wrong at byte", "without a reason", "start line", "field line"]);
}

#[test]
fn a_leaked_buffer_is_caught() {
    caught(Bug::BufferLeaked, LATER, &["buffers: 1"]);
}

#[test]
fn a_double_close_is_caught() {
    caught(Bug::ClosesTwice, LATER, &["closed twice"]);
}

#[test]
fn a_closed_told_twice_is_caught() {
    caught(Bug::ClosedTwice, LATER, &["Closed of"]);
}

#[test]
fn a_leaked_descriptor_is_caught() {
    caught(Bug::NeverCloses, LATER, &["leaked", "descriptors left", "without a reason", "liveness"]);
}

#[test]
fn a_body_off_by_one_is_caught() {
    caught(
        Bug::ByteDropped,
        LATER,
        &["wrong at byte", "without a reason", "short", "wrong byte", "chunk", "line"],
    );
    let doubled =
        ["wrong at byte", "wrong byte", "without a reason", "chunk", "line", "nobody asked", "arrived as"];
    caught(Bug::ByteDoubled, LATER, &doubled);
}

#[test]
fn a_lost_wake_up_is_caught() {
    caught(Bug::SentLost, EARLY, &["without a reason", "liveness", "leaked"]);
    caught(Bug::RecvLost, LATER, &["without a reason", "liveness", "leaked"]);
}

/// The control: the same runs without the bug.
#[test]
fn without_a_bug_nothing_is_caught() {
    for (seed, leave_ppm) in [(0, 0), (4, 0), (8, 400_000), (12, 400_000)] {
        if let Err(why) = run(Options { leave_ppm, ..Options::of(seed) }) {
            panic!("seed {seed}: {why}");
        }
    }
}
