//! Fairness, smoothness and avoidance of each policy.

use super::*;
use crate::compile::Resolved;
use crate::route::tests::{route, spec_of};
use crate::snapshot::Snapshot;
use crate::spec::{self, Address, Match};
use std::sync::Arc;

fn cluster(lb: Lb, weights: &[u32]) -> Arc<Cluster> {
    let mut spec = spec_of(vec![route("all", Match::default())]);
    spec.clusters[0].lb = lb;
    spec.clusters[0].endpoints = weights
        .iter()
        .enumerate()
        .map(|(place, &weight)| spec::Endpoint {
            address: Address::Inet(([127, 0, 0, 1], 3_000 + place as u16).into()),
            weight,
        })
        .collect();
    Snapshot::compile(&spec, &Resolved::new(), None, 1).unwrap().clusters[0].clone()
}

/// Picks without load.
fn counts(cluster: &Cluster, picks: u32) -> Vec<f64> {
    let mut balancer = Balancer::new(cluster, 42);
    let mut rng = Rng::new(1);
    let mut counts = vec![0.0; cluster.endpoints.len()];
    for _ in 0..picks {
        counts[balancer.pick(cluster, &[], &mut rng, None).unwrap() as usize] += 1.0;
    }
    counts
}

/// Sum of squared deviations in units of the expected counts.
fn chi_square(counts: &[f64], weights: &[u32]) -> f64 {
    let picks: f64 = counts.iter().sum();
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    let expected = weights.iter().map(|&weight| picks * f64::from(weight) / total);
    counts.iter().zip(expected).map(|(count, expected)| (count - expected).powi(2) / expected).sum()
}

#[test]
fn round_robin_takes_turns_and_ignores_weights() {
    let cluster = cluster(Lb::RoundRobin, &[1, 5, 2]);
    let mut balancer = Balancer::new(&cluster, 9);
    let mut rng = Rng::new(1);
    let first = balancer.pick(&cluster, &[], &mut rng, None).unwrap();
    for step in 1..1_000 {
        assert_eq!(balancer.pick(&cluster, &[], &mut rng, None), Some((first + step) % 3));
    }
}

#[test]
fn workers_start_at_different_endpoints() {
    for lb in [Lb::RoundRobin, Lb::Weighted, Lb::LeastRequest] {
        let cluster = cluster(lb, &[1; 8]);
        let mut first = [0; 8];
        for worker in 0..800 {
            let mut rng = Rng::new(worker);
            let pick = Balancer::new(&cluster, worker).pick(&cluster, &[], &mut rng, None).unwrap();
            first[pick as usize] += 1;
        }
        assert!(first.iter().all(|&count| (50..150).contains(&count)), "{lb:?}: {first:?}");
    }
}

#[test]
fn weighted_is_exact_in_every_cycle_and_smooth() {
    let weights = [5, 3, 1];
    let cluster = cluster(Lb::Weighted, &weights);
    assert_eq!(counts(&cluster, 9 * 100), [500.0, 300.0, 100.0]);
    // Smooth: between two picks of the heaviest there are at most two others.
    let mut balancer = Balancer::new(&cluster, 3);
    let mut rng = Rng::new(1);
    let mut gap = 0;
    for _ in 0..1_000 {
        gap = if balancer.pick(&cluster, &[], &mut rng, None) == Some(0) { 0 } else { gap + 1 };
        assert!(gap <= 2);
    }
}

#[test]
fn least_request_without_load_follows_the_weights() {
    for weights in [vec![1; 10], vec![1, 2, 3, 4], vec![100, 1]] {
        let cluster = cluster(Lb::LeastRequest, &weights);
        let counts = counts(&cluster, 100_000);
        // 1 in 10,000 by chance for 9 degrees of freedom; the seed is fixed.
        let deviation = chi_square(&counts, &weights);
        assert!(deviation < 33.7, "{weights:?}: {counts:?} deviates by {deviation}");
    }
}

#[test]
fn least_request_shuns_the_loaded_endpoint() {
    let cluster = cluster(Lb::LeastRequest, &[1, 1, 1, 1]);
    let mut balancer = Balancer::new(&cluster, 1);
    let mut rng = Rng::new(2);
    for _ in 0..10_000 {
        assert_ne!(
            balancer.pick(&cluster, &[9, 3, 3, 3], &mut rng, None),
            Some(0),
            "never the most loaded of two"
        );
    }
}

#[test]
fn least_request_weighs_the_load() {
    let cluster = cluster(Lb::LeastRequest, &[1, 10]);
    let mut balancer = Balancer::new(&cluster, 1);
    let mut rng = Rng::new(2);
    for (active, expected) in [([1, 9], 1), ([1, 11], 0), ([0, 1], 0), ([2, 19], 1)] {
        assert_eq!(balancer.pick(&cluster, &active, &mut rng, None), Some(expected), "{active:?}");
    }
}

#[test]
fn least_request_keeps_the_spread_of_many_in_flight_small() {
    // Balls into bins: with two choices the fullest of 100 bins stays within a few of the mean, with one it would not.
    let cluster = cluster(Lb::LeastRequest, &[1; 100]);
    let mut balancer = Balancer::new(&cluster, 1);
    let mut rng = Rng::new(5);
    let mut active = vec![0u32; 100];
    for _ in 0..100_000 {
        let pick = balancer.pick(&cluster, &active, &mut rng, None).unwrap();
        active[pick as usize] += 1;
    }
    let most = active.iter().max().copied().unwrap_or(0);
    assert!(most <= 1_004, "fullest {most}, mean 1000");
}

#[test]
fn another_endpoint_is_picked_if_there_is_one() {
    for lb in [Lb::RoundRobin, Lb::Weighted, Lb::LeastRequest] {
        for weights in [vec![1, 1], vec![1_000, 1], vec![1, 1_000, 1], vec![1; 5]] {
            let cluster = cluster(lb, &weights);
            let mut balancer = Balancer::new(&cluster, 1);
            let mut rng = Rng::new(3);
            for round in 0..2_000 {
                let avoid = round % weights.len() as u32;
                let pick = balancer.pick(&cluster, &[], &mut rng, Some(avoid)).unwrap();
                assert_ne!(pick, avoid, "{lb:?} {weights:?}");
                assert!(pick < weights.len() as u32);
            }
        }
    }
}

#[test]
fn one_endpoint_and_none() {
    for lb in [Lb::RoundRobin, Lb::Weighted, Lb::LeastRequest] {
        let mut rng = Rng::new(1);
        let one = cluster(lb, &[7]);
        assert_eq!(Balancer::new(&one, 1).pick(&one, &[3], &mut rng, Some(0)), Some(0));
        let none = cluster(lb, &[0, 0]);
        assert_eq!(Balancer::new(&none, 1).pick(&none, &[], &mut rng, None), None);
    }
}

#[test]
fn a_balancer_survives_a_changed_endpoint_set() {
    for lb in [Lb::RoundRobin, Lb::Weighted, Lb::LeastRequest] {
        let (large, small) = (cluster(lb, &[1; 50]), cluster(lb, &[2, 1]));
        let mut balancer = Balancer::new(&large, 1);
        let mut rng = Rng::new(1);
        for _ in 0..49 {
            balancer.pick(&large, &[], &mut rng, None);
        }
        assert!(balancer.fits(&small));
        for _ in 0..10 {
            assert!(balancer.pick(&small, &[], &mut rng, Some(9)).is_some_and(|pick| pick < 2));
        }
    }
}
