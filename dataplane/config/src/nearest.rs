//! The valid name nearest to one that is not.

/// The candidate within a third of the name's length (at least one edit), the nearest first, earlier ones on a tie.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(name);
    let edits_max = (folded.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate)), candidate))
        .filter(|(edits, candidate)| *edits <= edits_max && *candidate != name)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// Letter case and the choice of separator are no edits.
fn fold(name: &str) -> Vec<char> {
    const CHARACTERS_MAX: usize = 64;
    let separator = |c: char| if matches!(c, '-' | ' ') { '_' } else { c };
    name.chars().flat_map(char::to_lowercase).map(separator).take(CHARACTERS_MAX).collect()
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, to) in b.iter().enumerate() {
            let replaced = last[j] + usize::from(from != to);
            let mut edits = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && b[j - 1] == *from {
                edits = edits.min(before_last[j - 1] + 1);
            }
            row.push(edits);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let edits = |a, b| distance(&fold(a), &fold(b));
        assert_eq!(edits("cluster", "cluster"), 0);
        assert_eq!(edits("clutser", "cluster"), 1);
        assert_eq!(edits("clster", "cluster"), 1);
        assert_eq!(edits("Idle-Timeout", "idle_timeout"), 0);
        assert_eq!(edits("", "abc"), 3);
        assert_eq!(edits("kitten", "sitting"), 3);
    }

    #[test]
    fn the_nearest_wins_and_far_ones_are_not_offered() {
        assert_eq!(nearest("clutser", ["listener", "cluster", "clusters"]), Some("cluster"));
        assert_eq!(nearest("zzz", ["listener", "cluster"]), None);
        assert_eq!(nearest("x", ["y", "z"]), Some("y"));
        assert_eq!(nearest("same", ["same"]), None, "the name itself is no suggestion");
    }
}
