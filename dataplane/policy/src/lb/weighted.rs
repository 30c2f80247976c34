//! Weighted round robin, smoothly interleaved: exact in every cycle of the summed weights.

use crate::weights::Weights;

/// Where in the sequence the turn is.
#[derive(Clone, Debug)]
pub struct Weighted {
    position: u64,
}

impl Weighted {
    /// Starts at a place made from `start`, which may be any number.
    pub(super) fn new(start: u64) -> Weighted {
        Weighted { position: start }
    }

    /// The next endpoint (of at least 2) that is not `avoid`. After a few steps onto a heavy `avoid` its neighbour is taken, so the
    /// cost is bounded.
    #[inline]
    pub(super) fn pick(&mut self, weights: &Weights, avoid: Option<u32>) -> u32 {
        for _ in 0..AVOID_STEPS_MAX {
            let endpoint = weights.next(&mut self.position);
            if Some(endpoint) != avoid {
                return endpoint;
            }
        }
        avoid.map_or(0, |endpoint| (endpoint + 1) % weights.len())
    }
}

/// Steps of the sequence tried to get past an endpoint to avoid.
const AVOID_STEPS_MAX: u32 = 8;
