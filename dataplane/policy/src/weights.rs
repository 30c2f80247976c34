//! Shares by weight: a cyclic low-discrepancy sequence that split and weighted round robin walk, and weighted draws for P2C.

/// Weights of several choices, compiled: 0 left out by the caller, reduced by their common divisor.
///
/// The sequence is `position += step (mod total)` with `step` coprime to `total` and close to `total / golden ratio`. Every window of
/// `total` consecutive draws therefore holds each choice *exactly* as often as its weight says, and within a window the draws of one
/// choice are spread nearly evenly (three-distance theorem). The only state is one position, so cores start at random places and share
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    /// `starts[i]` is where choice `i` begins in `0..total`; empty when all weights are equal.
    starts: Box<[u32]>,
    choices: u32,
    total: u32,
    step: u32,
}

/// Why weights cannot be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsError {
    /// No choice, or all of weight 0.
    NoneLeft,
    /// The sum exceeds [`WEIGHT_SUM_MAX`] after division by the common divisor.
    SumTooLarge,
}

/// Largest sum of weights, after division by their common divisor.
pub const WEIGHT_SUM_MAX: u32 = 1 << 31;

impl Weights {
    /// Compiles weights of at least 1 each.
    ///
    /// # Errors
    /// See [`WeightsError`]. A weight of 0 is an error of the caller and counts as 1.
    pub fn new(weights: &[u32]) -> Result<Weights, WeightsError> {
        let divisor = weights.iter().fold(0, |divisor, &weight| common_divisor(divisor, weight.max(1)));
        if divisor == 0 {
            return Err(WeightsError::NoneLeft);
        }
        let mut total = 0u64;
        let mut starts = Vec::with_capacity(weights.len());
        for &weight in weights {
            starts.push(total as u32);
            total += u64::from(weight.max(1) / divisor);
            if total > u64::from(WEIGHT_SUM_MAX) {
                return Err(WeightsError::SumTooLarge);
            }
        }
        let total = total as u32;
        let choices = weights.len() as u32;
        if choices == total {
            starts.clear();
        }
        Ok(Weights { starts: starts.into_boxed_slice(), choices, total, step: golden_step(total) })
    }

    /// Number of choices, at least 1.
    #[inline]
    pub fn len(&self) -> u32 {
        self.choices
    }

    /// Never: there is at least one choice.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// Length of the cycle: the sum of the reduced weights.
    #[inline]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// The next choice of the sequence. `position` may hold any number: a random one to start with, or what a table of other weights
    /// left there. O(1) for equal weights, else O(log choices).
    #[inline]
    pub fn next(&self, position: &mut u64) -> u32 {
        let total = u64::from(self.total);
        if *position >= total {
            *position %= total;
        }
        let choice = self.at(*position as u32);
        *position += u64::from(self.step);
        if *position >= total {
            *position -= total;
        }
        choice
    }

    /// The choice that owns `position` of `0..total`.
    #[inline]
    pub fn at(&self, position: u32) -> u32 {
        if self.starts.is_empty() {
            return position.min(self.choices - 1);
        }
        self.starts.partition_point(|&start| start <= position) as u32 - 1
    }

    /// The reduced weight of a choice; 0 beyond the last.
    #[inline]
    pub fn weight(&self, choice: u32) -> u32 {
        if choice >= self.choices {
            return 0;
        }
        let end = self.starts.get(choice as usize + 1).copied().unwrap_or(self.total);
        match self.starts.get(choice as usize) {
            Some(start) => end - start,
            None => 1,
        }
    }

    /// One choice drawn by weight among all but those of `excluded` (distinct, at most two): `draw(bound)` gives a number in `0..bound`.
    /// `None` if nothing is left.
    #[inline]
    pub fn draw(&self, excluded: [Option<u32>; 2], draw: impl FnOnce(u64) -> u64) -> Option<u32> {
        let excluded = excluded.map(|choice| choice.filter(|&choice| choice < self.choices));
        let (low, high) = match excluded {
            [Some(one), Some(other)] => (Some(one.min(other)), Some(one.max(other))),
            [one, other] => (one.or(other), None),
        };
        let taken =
            low.map_or(0, |choice| self.weight(choice)) + high.map_or(0, |choice| self.weight(choice));
        let left = self.total.checked_sub(taken).filter(|&left| left > 0)?;
        let mut position = draw(u64::from(left)) as u32;
        for choice in [low, high].into_iter().flatten() {
            if position >= self.start(choice) {
                position += self.weight(choice);
            }
        }
        Some(self.at(position))
    }

    /// Bound of `|draws of a set of adjacent choices - their share of all draws|` over any run of the sequence: one more than the sum of
    /// the partial quotients of `step / total` (Niederreiter 1992, theorem 3.3, for an interval with two free ends twice that).
    pub fn discrepancy_bound(&self) -> u32 {
        2 * (1 + quotient_sum(self.step, self.total))
    }

    fn start(&self, choice: u32) -> u32 {
        self.starts.get(choice as usize).copied().unwrap_or(choice)
    }
}

/// The number near `total / golden ratio`, coprime to `total`, whose continued fraction has the smallest quotients.
fn golden_step(total: u32) -> u32 {
    if total <= 2 {
        return 1;
    }
    let ideal = (f64::from(total) * GOLDEN_RATIO_INVERSE) as u32;
    let nearby = ideal.saturating_sub(STEP_SEARCH).max(1)..=(ideal + STEP_SEARCH).min(total - 1);
    nearby
        .filter(|&step| common_divisor(step, total) == 1)
        .min_by_key(|&step| (quotient_sum(step, total), step.abs_diff(ideal)))
        .unwrap_or(1)
}

/// Sum of the partial quotients of the continued fraction of `numerator / denominator`.
fn quotient_sum(numerator: u32, denominator: u32) -> u32 {
    let (mut high, mut low) = (denominator, numerator);
    let mut sum = 0u32;
    while low != 0 {
        sum = sum.saturating_add(high / low);
        (high, low) = (low, high % low);
    }
    sum
}

fn common_divisor(one: u32, other: u32) -> u32 {
    let (mut one, mut other) = (one, other);
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

const GOLDEN_RATIO_INVERSE: f64 = 0.618_033_988_749_894_9;
/// How far from the ideal step a better one is looked for.
const STEP_SEARCH: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(weights: &Weights, position: u64, draws: u32) -> Vec<u32> {
        let mut position = position;
        let mut counts = vec![0; weights.len() as usize];
        for _ in 0..draws {
            counts[weights.next(&mut position) as usize] += 1;
        }
        counts
    }

    #[test]
    fn every_window_of_one_cycle_is_exact() {
        for raw in [vec![1], vec![1, 1, 1], vec![5, 1, 1], vec![90, 10], vec![1, 9_999], vec![3, 7, 11, 200]]
        {
            let weights = Weights::new(&raw).unwrap();
            let divisor = raw.iter().sum::<u32>() / weights.total();
            let expected: Vec<u32> = raw.iter().map(|weight| weight / divisor).collect();
            for start in [0, 1, 5, u64::MAX] {
                assert_eq!(counts(&weights, start, weights.total()), expected, "{raw:?} from {start}");
            }
        }
    }

    #[test]
    fn shares_stay_within_the_bound_at_every_length() {
        for raw in
            [vec![1, 9_999], vec![2_500, 7_500], vec![1, 2, 3, 4, 5], vec![33, 33, 34], vec![7, 65_521]]
        {
            let weights = Weights::new(&raw).unwrap();
            let bound = f64::from(weights.discrepancy_bound());
            assert!(bound <= 80.0, "{raw:?}: {bound}");
            let mut position = 12_345;
            let mut counts = vec![0f64; raw.len()];
            for draw in 1..=50_000u32 {
                counts[weights.next(&mut position) as usize] += 1.0;
                for (choice, count) in counts.iter().enumerate() {
                    let share = f64::from(weights.weight(choice as u32)) / f64::from(weights.total());
                    assert!((count - share * f64::from(draw)).abs() <= bound, "{raw:?} after {draw}");
                }
            }
        }
    }

    #[test]
    fn draws_are_interleaved() {
        // 4:1 never gives the heavy choice more than four times in a row, over the end of a cycle too.
        let weights = Weights::new(&[4, 1]).unwrap();
        let mut position = 0;
        let mut run = 0;
        for _ in 0..100 {
            run = if weights.next(&mut position) == 0 { run + 1 } else { 0 };
            assert!(run <= 4);
        }
    }

    #[test]
    fn a_draw_leaves_out_what_is_excluded_and_keeps_the_shares_of_the_rest() {
        for raw in [[1u32, 1, 1, 1], [4, 3, 2, 1]] {
            let weights = Weights::new(&raw).unwrap();
            for excluded in
                [[None, None], [Some(1), None], [None, Some(3)], [Some(3), Some(0)], [Some(1), Some(2)]]
            {
                let left: u32 =
                    (0..4).filter(|c| !excluded.contains(&Some(*c))).map(|c| raw[c as usize]).sum();
                let mut counts = [0u32; 4];
                for value in 0..u64::from(left) {
                    let choice = weights.draw(excluded, |bound| {
                        assert_eq!(bound, u64::from(left));
                        value
                    });
                    counts[choice.unwrap() as usize] += 1;
                }
                for choice in 0..4 {
                    let expected = if excluded.contains(&Some(choice)) { 0 } else { raw[choice as usize] };
                    assert_eq!(counts[choice as usize], expected, "{raw:?} without {excluded:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_left_to_draw() {
        let one = Weights::new(&[7]).unwrap();
        assert_eq!(one.draw([Some(0), None], |_| 0), None);
        assert_eq!(one.draw([Some(9), None], |_| 0), Some(0));
        let two = Weights::new(&[7, 8]).unwrap();
        assert_eq!(two.draw([Some(0), Some(1)], |_| 0), None);
    }

    #[test]
    fn errors() {
        assert_eq!(Weights::new(&[]), Err(WeightsError::NoneLeft));
        assert_eq!(Weights::new(&[u32::MAX, u32::MAX - 1]), Err(WeightsError::SumTooLarge));
        assert_eq!(Weights::new(&[u32::MAX, u32::MAX]).map(|weights| weights.total()), Ok(2));
    }
}
