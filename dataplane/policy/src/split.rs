//! Traffic split: exact shares by a low-discrepancy sequence, no coordination between cores.

use crate::snapshot::ClusterId;
use crate::weights::{Weights, WeightsError};

/// Several clusters with weights; those of weight 0 are left out and get nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    clusters: Box<[ClusterId]>,
    weights: Weights,
}

impl Split {
    /// Compiles a split.
    ///
    /// # Errors
    /// No weight above 0, or a sum beyond [`crate::weights::WEIGHT_SUM_MAX`].
    pub fn new(choices: &[(ClusterId, u32)]) -> Result<Split, WeightsError> {
        let live = choices.iter().filter(|&&(_, weight)| weight > 0);
        let weights: Vec<u32> = live.clone().map(|&(_, weight)| weight).collect();
        Ok(Split { clusters: live.map(|&(cluster, _)| cluster).collect(), weights: Weights::new(&weights)? })
    }

    /// The cluster of the next request. `state` is one number per route and core, random at first (so that cores do not move in step) and
    /// kept over reloads: any value is valid for any split. In any `n` requests of one core a cluster's count differs from `n` times its
    /// share by at most [`Weights::discrepancy_bound`], and by nothing when `n` is a multiple of the reduced sum of the weights.
    #[inline]
    pub fn pick(&self, state: &mut u64) -> ClusterId {
        self.clusters[self.weights.next(state) as usize]
    }

    /// Clusters that get requests, each with its weight reduced by the common divisor.
    pub fn shares(&self) -> impl Iterator<Item = (ClusterId, u32)> + '_ {
        self.clusters
            .iter()
            .enumerate()
            .map(|(choice, &cluster)| (cluster, self.weights.weight(choice as u32)))
    }

    /// The compiled weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(weights: &[u32]) -> Split {
        let choices: Vec<_> =
            weights.iter().enumerate().map(|(id, &weight)| (ClusterId(id as u32), weight)).collect();
        Split::new(&choices).unwrap()
    }

    #[test]
    fn a_million_requests_keep_the_shares_for_every_start() {
        let split = split(&[9_000, 900, 99, 1]);
        let bound = f64::from(split.weights().discrepancy_bound());
        for start in [0u64, 1, 0x1234_5678_9ABC_DEF0, u64::MAX] {
            let mut state = start;
            let mut counts = [0u32; 4];
            for _ in 0..1_003_507 {
                counts[split.pick(&mut state).0 as usize] += 1;
            }
            for (count, share) in counts.into_iter().zip([0.9, 0.09, 0.0099, 0.0001]) {
                let difference = (f64::from(count) - 1_003_507.0 * share).abs();
                assert!(difference <= bound, "{counts:?} from {start}: {difference} > {bound}");
            }
        }
    }

    #[test]
    fn one_in_ten_thousand_is_exactly_that() {
        let split = split(&[9_999, 1]);
        let mut state = 77;
        let hits = (0..1_000_000).filter(|_| split.pick(&mut state) == ClusterId(1)).count();
        assert_eq!(hits, 100);
    }

    #[test]
    fn nothing_and_everything_are_exact() {
        let split = split(&[0, 100, 0]);
        let mut state = u64::MAX;
        assert!((0..10_000).all(|_| split.pick(&mut state) == ClusterId(1)));
        assert_eq!(split.shares().collect::<Vec<_>>(), [(ClusterId(1), 1)]);
    }

    #[test]
    fn only_zeroes_is_an_error() {
        assert_eq!(Split::new(&[(ClusterId(0), 0)]), Err(WeightsError::NoneLeft));
        assert_eq!(Split::new(&[]), Err(WeightsError::NoneLeft));
    }

    #[test]
    fn a_state_left_by_another_split_is_valid() {
        let mut state = 0;
        let large = split(&[1, 9_998]);
        for _ in 0..77 {
            large.pick(&mut state);
        }
        let small = split(&[1, 1]);
        let first = (0..1_000).filter(|_| small.pick(&mut state) == ClusterId(0)).count();
        assert_eq!(first, 500);
    }
}
