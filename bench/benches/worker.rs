//! Time of a whole request through the production worker in the simulator, the simulated network included.
//! `cargo bench -p ringway-bench --bench worker`

#![forbid(unsafe_code)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway_bench::routing::By;
use ringway_bench::worker::Rig;

fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("worker");
    group.throughput(Throughput::Elements(1));
    for services in [1, 1_000] {
        let mut rig = Rig::new(services, By::Host);
        rig.exchange(0);
        group.bench_function(BenchmarkId::new("keep_alive_1KiB_services", services), |bencher| {
            bencher.iter(|| rig.exchange(0));
        });
    }
    let mut rig = Rig::new(1_000, By::Host);
    let mut services = (0..1_000).cycle();
    group.bench_function("keep_alive_1KiB_services/1000_in_turn", |bencher| {
        bencher.iter(|| rig.exchange(services.next().unwrap_or_default()));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = exchange
}
criterion_main!(benches);
