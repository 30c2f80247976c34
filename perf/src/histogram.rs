//! A log-linear histogram of nanoseconds: exact below 256, then 128 steps per doubling (an error of at most 0.8 %).
//! Fixed size, no allocation per record. Pure.

/// Steps per power of two.
const STEPS: u64 = 128;
/// log2 of `STEPS`.
const STEPS_BITS: u32 = 7;
/// Enough buckets for every `u64`.
const BUCKETS: usize = ((64 - STEPS_BITS as usize) + 1) * STEPS as usize;

/// Counts of values by bucket.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }
}

impl Histogram {
    /// Adds one value.
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }

    /// How many values were recorded.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The smallest bucket bound that at least `share` (0 to 1) of the values do not exceed; 0 when empty.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((share * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(index);
            }
        }
        0
    }
}

/// The bucket of a value: values below `2 * STEPS` are their own bucket.
fn bucket(value: u64) -> usize {
    let magnitude = (64 - (value | (STEPS - 1)).leading_zeros()) - STEPS_BITS;
    let step = value >> magnitude.saturating_sub(1);
    if magnitude <= 1 { value as usize } else { (u64::from(magnitude - 1) * STEPS + step) as usize }
}

/// The highest value that falls into a bucket.
fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    let step = STEPS + index % STEPS;
    (((u128::from(step) + 1) << shift) - 1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_buckets_are_ordered() {
        let mut last = 0;
        for shift in 0..64u32 {
            for offset in [0u64, 1, 3, 77] {
                let value = (1u64 << shift).saturating_add(offset << shift.saturating_sub(8));
                let index = bucket(value);
                assert!(index < BUCKETS, "{value}");
                assert!(highest(index) >= value, "{value} above its bucket's {}", highest(index));
                assert!(index == 0 || highest(index - 1) < value, "{value} fits an earlier bucket");
                assert!(highest(index) as f64 <= value as f64 * 1.008 + 1.0, "{value} -> {}", highest(index));
                last = last.max(index);
            }
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(highest(BUCKETS - 1), u64::MAX);
        assert!(last > bucket(1 << 62));
    }

    #[test]
    fn quantiles_of_one_to_a_thousand() {
        let mut histogram = Histogram::default();
        for value in 1..=1000u64 {
            histogram.record(value);
        }
        assert_eq!(histogram.total(), 1000);
        assert_eq!(histogram.quantile(0.0), 1);
        assert_eq!(histogram.quantile(0.2), 200);
        let p50 = histogram.quantile(0.5);
        assert!((500..=504).contains(&p50), "{p50}");
        let p99 = histogram.quantile(0.99);
        assert!((990..=998).contains(&p99), "{p99}");
        histogram.clear();
        assert_eq!((histogram.total(), histogram.quantile(0.5)), (0, 0));
    }
}
