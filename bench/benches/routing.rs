//! Time to find a request's route and to pick an endpoint, with one service and with a thousand.
//! `cargo bench -p ringway-bench --bench routing`

#![forbid(unsafe_code)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use ringway_bench::routing::{By, Picking, Routing};
use ringway_policy::spec::Lb;

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for (name, by) in [("host", By::Host), ("path", By::Path), ("regex", By::Regex)] {
        for services in [1, 1_000] {
            let mut routing = Routing::new(services, by);
            group.bench_function(BenchmarkId::new(name, services), |bencher| bencher.iter(|| routing.find()));
        }
    }
    group.finish();
}

fn pick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pick");
    let policies =
        [("least_request", Lb::LeastRequest), ("round_robin", Lb::RoundRobin), ("weighted", Lb::Weighted)];
    for (name, lb) in policies {
        for endpoints in [2, 100] {
            let mut picking = Picking::new(endpoints, lb);
            group
                .bench_function(BenchmarkId::new(name, endpoints), |bencher| bencher.iter(|| picking.pick()));
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = route, pick
}
criterion_main!(benches);
