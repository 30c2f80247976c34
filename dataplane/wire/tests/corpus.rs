//! Replays the corpora of the fuzz targets through the same invariants.

mod harness;

use std::path::Path;

/// Each target has seeds, so that a moved folder cannot make this test empty.
const SEEDS_MIN: usize = 8;

#[test]
fn every_corpus_file_holds_the_invariants() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, target) in harness::TARGETS {
        let folder = root.join(name);
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut count = 0;
        for entry in entries {
            let path = entry.unwrap_or_else(|error| panic!("{error}")).path();
            let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            if std::panic::catch_unwind(|| target(&bytes)).is_err() {
                panic!("{} violates an invariant of {name}", path.display());
            }
            count += 1;
        }
        assert!(count >= SEEDS_MIN, "{name} has {count} seeds");
    }
}
