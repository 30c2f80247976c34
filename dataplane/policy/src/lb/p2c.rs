//! Least request by the power of two choices (Mitzenmacher 2001): two distinct endpoints drawn by weight, the one with fewer requests in
//! flight for its weight is picked. Without load the shares are the weights; with load the slow endpoint gets less.

use crate::rng::Rng;
use crate::weights::Weights;

/// Picks among at least 2 endpoints.
#[inline]
pub(super) fn pick(weights: &Weights, active: &[u32], rng: &mut Rng, avoid: Option<u32>) -> u32 {
    let first = weights.draw([avoid, None], |bound| rng.below(bound)).unwrap_or(0);
    let Some(second) = weights.draw([avoid, Some(first)], |bound| rng.below(bound)) else { return first };
    if load(active, first) * u64::from(weights.weight(second))
        <= load(active, second) * u64::from(weights.weight(first))
    {
        first
    } else {
        second
    }
}

/// Requests in flight.
#[inline]
fn load(active: &[u32], endpoint: u32) -> u64 {
    u64::from(active.get(endpoint as usize).copied().unwrap_or(0))
}
