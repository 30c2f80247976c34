//! Load balancing inside one cluster, for one worker. Adding a policy: one file here, one variant, one arm in each `match` below.

mod p2c;
mod round_robin;
mod weighted;

use crate::rng::Rng;
use crate::snapshot::Cluster;
use crate::spec::Lb;

/// The policy of one cluster on one worker, with what it remembers between picks. Holds nothing of the cluster, so a changed endpoint set
/// needs no new one; the engine makes another when the policy itself changed.
#[derive(Clone, Debug)]
pub enum Balancer {
    /// [`Lb::RoundRobin`].
    RoundRobin(round_robin::RoundRobin),
    /// [`Lb::Weighted`].
    Weighted(weighted::Weighted),
    /// [`Lb::LeastRequest`].
    LeastRequest,
}

impl Balancer {
    /// The balancer of `cluster`. `seed` should differ from worker to worker: it chooses where the round starts, so that many cores do
    /// not all send their first request to the first endpoint.
    pub fn new(cluster: &Cluster, seed: u64) -> Balancer {
        let start = Rng::new(seed).next_u64();
        match cluster.spec.lb {
            Lb::RoundRobin => Balancer::RoundRobin(round_robin::RoundRobin::new(start)),
            Lb::Weighted => Balancer::Weighted(weighted::Weighted::new(start)),
            Lb::LeastRequest => Balancer::LeastRequest,
        }
    }

    /// Whether this is the policy that `cluster` asks for.
    pub fn fits(&self, cluster: &Cluster) -> bool {
        matches!(
            (self, cluster.spec.lb),
            (Balancer::RoundRobin(_), Lb::RoundRobin)
                | (Balancer::Weighted(_), Lb::Weighted)
                | (Balancer::LeastRequest, Lb::LeastRequest)
        )
    }

    /// The index of the endpoint for the next attempt, `None` only if the cluster has none.
    ///
    /// `active` holds the requests in flight by endpoint index (missing ones count as 0). `avoid` is an endpoint that just failed: another
    /// one is picked if there is one. Allocates nothing.
    #[inline]
    pub fn pick(
        &mut self,
        cluster: &Cluster,
        active: &[u32],
        rng: &mut Rng,
        avoid: Option<u32>,
    ) -> Option<u32> {
        let weights = cluster.weights.as_ref()?;
        if weights.len() == 1 {
            return Some(0);
        }
        Some(match self {
            Balancer::RoundRobin(state) => state.pick(weights.len(), avoid),
            Balancer::Weighted(state) => state.pick(weights, avoid),
            Balancer::LeastRequest => p2c::pick(weights, active, rng, avoid),
        })
    }
}

#[cfg(test)]
mod tests;
