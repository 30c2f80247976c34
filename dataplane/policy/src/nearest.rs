//! The name that was probably meant.

/// The candidate nearest to `name` by edit distance, if it is near enough to be a slip: at most a third of the longer name, at least 1.
pub(crate) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<String> {
    candidates
        .into_iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= NAME_DIFFERENCE_MAX)
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// Insertions, deletions, replacements and swaps of neighbours, letter case ignored (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().map(|letter| letter.to_ascii_lowercase()).collect();
    let other: Vec<char> = other.chars().map(|letter| letter.to_ascii_lowercase()).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.iter().enumerate() {
        let mut next = vec![at + 1];
        for (place, opposite) in other.iter().enumerate() {
            let mut best =
                (row[place] + usize::from(letter != opposite)).min(row[place + 1] + 1).min(next[place] + 1);
            if at > 0 && place > 0 && one[at - 1] == *opposite && *letter == other[place - 1] {
                best = best.min(before[place - 1] + 1);
            }
            next.push(best);
        }
        before = row;
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

const NAME_DIFFERENCE_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_other_names_are_not() {
        let names = ["app", "backend", "billing-v2"];
        for (slip, meant) in [
            ("ap", Some("app")),
            ("bakcend", Some("backend")),
            ("Backend", Some("backend")),
            ("billing-v3", Some("billing-v2")),
            ("billingv2", Some("billing-v2")),
            ("frontend", None),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, names).as_deref(), meant, "{slip}");
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("abcd", "abdc"), 1);
    }
}
