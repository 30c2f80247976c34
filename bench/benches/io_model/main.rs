//! Decision 0001 measured: the CPU time of one worker that forwards 1 KiB request and 1 KiB answer over loopback TCP, with
//! one upstream connection per client connection, on raw epoll, on Ringway's drivers and on the runtimes a user would pick.
//! `cargo bench -p ringway-bench --features runtimes --bench io_model`
//!
//! The unit is CPU time of the forwarding thread per exchange, read from schedstat: user and system time, kernel helper
//! threads included. Client and origin are the same for all, each pinned apart from the worker.

#![forbid(unsafe_code)]

mod epoll;
mod load;
mod ringway;
mod runtimes;

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use load::{Client, CpuClock, MESSAGE_BYTES};

/// One way to write the worker: forwards every connection of the listener to the address. Never returns.
struct Model {
    name: &'static str,
    serve: fn(TcpListener, SocketAddr),
    /// Whether it can run here at all.
    is_available: fn() -> bool,
}

impl Model {
    const fn new(name: &'static str, serve: fn(TcpListener, SocketAddr)) -> Self {
        Self { name, serve, is_available: || true }
    }
}

const MODELS: &[Model] = &[
    Model::new("epoll", epoll::forward),
    Model::new("ringway_epoll", ringway::with_epoll),
    Model { name: "ringway_uring", serve: ringway::with_uring, is_available: ringway::has_uring },
    Model::new("tokio", runtimes::with_tokio),
    Model::new("monoio", runtimes::with_monoio),
    Model::new("monoio_defer", runtimes::with_monoio_defer),
    Model::new("monoio_epoll", runtimes::with_monoio_epoll),
    Model::new("compio", runtimes::with_compio),
    Model::new("compio_defer", runtimes::with_compio_defer),
    Model::new("compio_epoll", runtimes::with_compio_epoll),
    Model::new("tokio_uring", runtimes::with_tokio_uring),
];
const CONNECTIONS: &[usize] = &[1, 64];

fn forward(criterion: &mut Criterion) {
    load::pin_client();
    let origin = load::start_origin();
    for connections in CONNECTIONS {
        let mut group = criterion.benchmark_group(format!("forward_1KiB_{connections}_connections_cpu"));
        group.throughput(Throughput::Elements(1));
        for model in MODELS.iter().filter(|model| (model.is_available)()) {
            // Criterion calls the closure many times; the worker and its connections live as long as the case.
            let mut client = None;
            group.bench_with_input(
                BenchmarkId::from_parameter(model.name),
                connections,
                |bencher, connections| {
                    let client = client
                        .get_or_insert_with(|| Client::connect(start_worker(model, origin), *connections));
                    bencher.iter_custom(|exchanges| {
                        let clock = CpuClock::start();
                        client.exchange(exchanges);
                        clock.stop()
                    });
                },
            );
        }
        group.finish();
    }
}

/// Starts a worker thread, which ends with the process: a runtime of this bench has no reason to stop earlier, and one
/// without connections costs nothing.
fn start_worker(model: &'static Model, origin: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::Builder::new()
        .name(format!("{}-worker", model.name))
        .spawn(move || {
            load::pin_worker();
            (model.serve)(listener, origin);
        })
        .expect("a thread");
    address
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    println!(
        "each message {MESSAGE_BYTES} bytes; `time` is CPU time of the worker per exchange, not latency"
    );
    forward(&mut criterion);
    criterion.final_summary();
}
