//! Order statistics over rounds: quartiles, and ratios of cells measured in the same round. Pure.

use serde::Serialize;

/// Median and quartiles of a small sample, in the unit of the sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quartiles {
    /// 25th percentile.
    pub lower: f64,
    /// 50th percentile.
    pub median: f64,
    /// 75th percentile.
    pub upper: f64,
}

/// Quartiles by linear interpolation between closest ranks (type 7 of Hyndman and Fan); `None` for an empty sample
/// or one with a value that is not a number.
pub fn quartiles(sample: &[f64]) -> Option<Quartiles> {
    if sample.is_empty() || sample.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(Quartiles { lower: rank(&sorted, 0.25), median: rank(&sorted, 0.5), upper: rank(&sorted, 0.75) })
}

/// Quartiles of `ours / theirs`, each ratio taken within one round, so that a slow phase of the machine hits both
/// sides. Rounds in which either side is missing or theirs is zero are left out.
pub fn ratios(ours: &[Option<f64>], theirs: &[Option<f64>]) -> Option<Quartiles> {
    let pairs: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .filter_map(|(a, b)| Some((*a)? / (*b).filter(|value| *value > 0.0)?))
        .collect();
    quartiles(&pairs)
}

fn rank(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = place.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (place - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_nine_are_ranks_three_five_seven() {
        let sample = [9.0, 1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
        assert_eq!(quartiles(&sample), Some(Quartiles { lower: 3.0, median: 5.0, upper: 7.0 }));
    }

    #[test]
    fn quartiles_interpolate_between_ranks() {
        assert_eq!(quartiles(&[1.0, 2.0]), Some(Quartiles { lower: 1.25, median: 1.5, upper: 1.75 }));
        assert_eq!(quartiles(&[4.0]), Some(Quartiles { lower: 4.0, median: 4.0, upper: 4.0 }));
    }

    #[test]
    fn nothing_and_not_a_number_have_no_quartiles() {
        assert_eq!(quartiles(&[]), None);
        assert_eq!(quartiles(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn ratios_pair_by_round_and_skip_gaps() {
        let ours = [Some(1.0), None, Some(30.0), Some(5.0)];
        let theirs = [Some(2.0), Some(1.0), Some(20.0), Some(0.0)];
        let got = ratios(&ours, &theirs).map(|q| (q.lower, q.median, q.upper));
        assert_eq!(got, Some((0.75, 1.0, 1.25)));
    }

    #[test]
    fn the_ratio_of_medians_is_not_what_is_taken() {
        // A slow phase doubles both sides of one round: the ratio of each round stays one half.
        let ours = [Some(5.0), Some(10.0), Some(5.0)];
        let theirs = [Some(10.0), Some(20.0), Some(10.0)];
        assert_eq!(ratios(&ours, &theirs).map(|q| (q.lower, q.upper)), Some((0.5, 0.5)));
    }
}
