//! Regular expressions in linear time, without allocation or lock per match. Patterns match whole values, bytes, ASCII classes.
//!
//! A set is compiled to dense automata that test all its patterns in one pass over the input; a pattern whose automaton would be larger than
//! [`AUTOMATON_BYTES_MAX`] runs on the slower NFA simulation, still linear.

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::nfa::thompson::pikevm::{self, PikeVM};
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, Input, MatchKind};

/// Patterns tested together; each has the number of its place.
#[derive(Debug, Default)]
pub(crate) struct PatternSet {
    groups: Vec<Group>,
    len: u32,
}

/// Patterns `first..`, on one automaton.
#[derive(Debug)]
struct Group {
    first: u32,
    automaton: Matcher,
}

#[derive(Debug)]
enum Matcher {
    Dense(Box<dense::DFA<Vec<u32>>>),
    Simulated(PikeVM),
}

/// What matching needs to write to; one per worker. Grows to the largest pattern set it was used with, then never again.
#[derive(Debug, Default)]
pub(crate) struct PatternScratch {
    simulation: Option<pikevm::Cache>,
    /// One bit per pattern of the last [`PatternSet::test`].
    hits: Vec<u64>,
}

impl PatternSet {
    /// Compiles the set.
    ///
    /// # Errors
    /// The place of the pattern that is wrong, and why.
    pub(crate) fn new(patterns: &[&str]) -> Result<PatternSet, (usize, String)> {
        for (place, pattern) in patterns.iter().enumerate() {
            check(pattern).map_err(|error| (place, error))?;
        }
        let mut set = PatternSet { groups: Vec::new(), len: patterns.len() as u32 };
        set.add(0, patterns)?;
        Ok(set)
    }

    /// Adds patterns as one automaton, or in halves where that would be too large.
    fn add(&mut self, first: usize, patterns: &[&str]) -> Result<(), (usize, String)> {
        if patterns.is_empty() {
            return Ok(());
        }
        let automaton = match dense(patterns) {
            Some(automaton) => Matcher::Dense(Box::new(automaton)),
            None if patterns.len() == 1 => {
                Matcher::Simulated(simulated(patterns[0]).map_err(|error| (first, error))?)
            }
            None => {
                let (low, high) = patterns.split_at(patterns.len() / 2);
                self.add(first, low)?;
                return self.add(first + low.len(), high);
            }
        };
        self.groups.push(Group { first: first as u32, automaton });
        Ok(())
    }

    /// Tests all patterns against the whole of `value`; afterwards [`PatternScratch::next_hit`] says which matched.
    pub(crate) fn test(&self, value: &[u8], scratch: &mut PatternScratch) -> bool {
        scratch.hits.clear();
        scratch.hits.resize((self.len as usize).div_ceil(64), 0);
        for group in &self.groups {
            match &group.automaton {
                Matcher::Dense(automaton) => run(automaton, value, group.first, &mut scratch.hits),
                Matcher::Simulated(simulation) => {
                    if simulate(simulation, value, &mut scratch.simulation) {
                        mark(&mut scratch.hits, group.first);
                    }
                }
            }
        }
        scratch.hits.iter().any(|&word| word != 0)
    }

    /// Automata that the set was divided into.
    #[cfg(test)]
    fn shape(&self) -> (usize, usize) {
        let dense = self.groups.iter().filter(|group| matches!(group.automaton, Matcher::Dense(_))).count();
        (dense, self.groups.len() - dense)
    }
}

impl PatternScratch {
    /// The first pattern from `place` on that matched in the last test.
    pub(crate) fn next_hit(&self, place: u32) -> Option<u32> {
        let first = place as usize / 64;
        let mut words = self.hits.iter().enumerate().skip(first);
        words.find_map(|(at, &word)| {
            let rest = if at == first { word >> (place % 64) << (place % 64) } else { word };
            (rest != 0).then(|| at as u32 * 64 + rest.trailing_zeros())
        })
    }
}

/// Whether a pattern is one that [`PatternSet::new`] accepts.
///
/// # Errors
/// Why not.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("is longer than {PATTERN_BYTES_MAX} bytes"));
    }
    simulated(pattern).map(|_| ())
}

/// One pass of a dense automaton over `value`: with [`MatchKind::All`] the state behind the last byte names every pattern that matches
/// all of it.
fn run(automaton: &dense::DFA<Vec<u32>>, value: &[u8], first: u32, hits: &mut [u64]) {
    let Ok(mut state) = automaton.start_state(&start::Config::new().anchored(Anchored::Yes)) else { return };
    for &byte in value {
        state = automaton.next_state(state, byte);
        if automaton.is_special_state(state) && automaton.is_dead_state(state) {
            return;
        }
    }
    state = automaton.next_eoi_state(state);
    if automaton.is_match_state(state) {
        for index in 0..automaton.match_len(state) {
            mark(hits, first + automaton.match_pattern(state, index).as_u32());
        }
    }
}

fn simulate(simulation: &PikeVM, value: &[u8], cache: &mut Option<pikevm::Cache>) -> bool {
    let cache = match cache {
        Some(cache) => {
            simulation.reset_cache(cache);
            cache
        }
        None => cache.insert(simulation.create_cache()),
    };
    let input = Input::new(value).anchored(Anchored::Yes).earliest(true);
    simulation.search_slots(cache, &input, &mut []).is_some()
}

#[inline]
fn mark(hits: &mut [u64], place: u32) {
    if let Some(word) = hits.get_mut(place as usize / 64) {
        *word |= 1 << (place % 64);
    }
}

/// The dense automaton of all patterns, `None` if it would be too large.
fn dense(patterns: &[&str]) -> Option<dense::DFA<Vec<u32>>> {
    let whole: Vec<String> = patterns.iter().map(|pattern| whole(pattern)).collect();
    dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Anchored)
                .accelerate(false)
                .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                .determinize_size_limit(Some(2 * AUTOMATON_BYTES_MAX)),
        )
        .syntax(syntax())
        .thompson(thompson())
        .build_many(&whole)
        .ok()
}

fn simulated(pattern: &str) -> Result<PikeVM, String> {
    // Without the frame first, so that a pattern like `a)(b` is an error and the message shows what was written.
    syntax::parse_with(pattern, &syntax()).map_err(|error| last_line(&error.to_string()))?;
    PikeVM::builder()
        .syntax(syntax())
        .thompson(thompson())
        .build(&whole(pattern))
        .map_err(|error| format!("is too large: {error}"))
}

/// The parser draws the pattern with a caret above what is wrong; a message is one line.
fn last_line(drawing: &str) -> String {
    let line = drawing.lines().last().unwrap_or(drawing);
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// The pattern between the ends of the value.
fn whole(pattern: &str) -> String {
    format!("\\A(?:{pattern})\\z")
}

/// Bytes, not characters: paths and fields need not be UTF-8, and Unicode tables make automata large.
fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

fn thompson() -> thompson::Config {
    thompson::Config::new()
        .utf8(false)
        .nfa_size_limit(Some(NFA_BYTES_MAX))
        .which_captures(thompson::WhichCaptures::None)
}

/// Longest pattern.
pub(crate) const PATTERN_BYTES_MAX: usize = 2_048;
/// Largest dense automaton of one group.
const AUTOMATON_BYTES_MAX: usize = 2 << 20;
/// Largest NFA of one pattern; beyond it the pattern is an error.
const NFA_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(set: &PatternSet, value: &str, scratch: &mut PatternScratch) -> Vec<u32> {
        set.test(value.as_bytes(), scratch);
        std::iter::successors(scratch.next_hit(0), |&place| scratch.next_hit(place + 1)).collect()
    }

    #[test]
    fn the_whole_value_must_match() {
        let set = PatternSet::new(&["a", "a|ab", "a.*", ".*b", "(?i)AB", ""]).unwrap();
        let mut scratch = PatternScratch::default();
        assert_eq!(hits(&set, "ab", &mut scratch), [1, 2, 3, 4]);
        assert_eq!(hits(&set, "a", &mut scratch), [0, 1, 2]);
        assert_eq!(hits(&set, "", &mut scratch), [5]);
        assert_eq!(hits(&set, "ba", &mut scratch), [0u32; 0]);
        assert_eq!(scratch.next_hit(0), None);
        assert_eq!(set.shape(), (1, 0));
    }

    #[test]
    fn a_large_set_is_divided_and_a_large_pattern_simulated() {
        // The dense automaton of the first has 2^21 states.
        let mut patterns = vec!["(a|b)*a(a|b){20}".to_owned()];
        patterns.extend((0..200).map(|number| format!("/service{number}/[a-z]+/[0-9]+")));
        let borrowed: Vec<&str> = patterns.iter().map(String::as_str).collect();
        let set = PatternSet::new(&borrowed).unwrap();
        let (dense, simulated) = set.shape();
        assert!(dense >= 1 && simulated == 1, "{dense} {simulated}");
        let mut scratch = PatternScratch::default();
        assert_eq!(hits(&set, "aaaaaaaaaaaaaaaaaaaaa", &mut scratch), [0]);
        assert_eq!(hits(&set, "baaaaaaaaaaaaaaaaaaaa", &mut scratch), [0u32; 0]);
        for number in [0u32, 7, 199] {
            let value = format!("/service{number}/abc/42");
            assert_eq!(hits(&set, &value, &mut scratch), [number + 1]);
            assert_eq!(scratch.next_hit(0), Some(number + 1));
            assert_eq!(scratch.next_hit(number + 2), None);
        }
    }

    #[test]
    fn what_would_run_away_elsewhere_is_linear_here() {
        let set = PatternSet::new(&["(a*)*(a*)*(a*)*b"]).unwrap();
        let mut scratch = PatternScratch::default();
        assert!(!set.test("a".repeat(100_000).as_bytes(), &mut scratch));
        assert!(set.test(format!("{}b", "a".repeat(100_000)).as_bytes(), &mut scratch));
    }

    #[test]
    fn wrong_patterns_are_named_by_place() {
        for pattern in ["(", "a)(b", "[", "*", "\\p{Greek}", "(?:a{1000}){1000}"] {
            let (place, _) = PatternSet::new(&["fine", pattern]).unwrap_err();
            assert_eq!(place, 1, "{pattern}");
        }
        assert_eq!(PatternSet::new(&[&"a".repeat(PATTERN_BYTES_MAX + 1)]).unwrap_err().0, 0);
    }

    #[test]
    fn bytes_that_are_not_utf8() {
        let set = PatternSet::new(&["a.b"]).unwrap();
        assert!(set.test(b"a\xFFb", &mut PatternScratch::default()));
    }
}
