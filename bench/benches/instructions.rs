//! Instruction counts of what the other benches time: repeatable to the instruction, so differences of a few per cent
//! count. `cargo bench -p ringway-bench --bench instructions` (needs valgrind and gungraun-runner: `.ci/install`)

#![allow(missing_docs, reason = "gungraun's macros write public items")]

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use ringway_bench::codec::{Codec, REQUEST_BROWSER, REQUEST_SMALL, RESPONSE, chunked_body};
use ringway_bench::routing::{By, Picking, Routing};
use ringway_bench::worker::Rig;
use ringway_policy::spec::Lb;

/// What was measured comes back to the caller, so that freeing it is not measured.
type Measured = (Codec, usize);

/// A codec that has seen the message before: storage as in the steady state.
fn warm(request: &'static [u8]) -> (Codec, &'static [u8]) {
    let mut codec = Codec::new();
    codec.parse_request(request);
    codec.serialise_request(request);
    (codec, request)
}

fn warm_response() -> Codec {
    let mut codec = Codec::new();
    codec.parse_response(RESPONSE);
    codec.serialise_response(RESPONSE);
    codec
}

#[library_benchmark]
#[bench::small(warm(REQUEST_SMALL))]
#[bench::browser(warm(REQUEST_BROWSER))]
fn parse_request((mut codec, request): (Codec, &'static [u8])) -> Measured {
    let fields = black_box(codec.parse_request(black_box(request)));
    (codec, fields)
}

#[library_benchmark]
#[bench::small(REQUEST_SMALL)]
#[bench::browser(REQUEST_BROWSER)]
fn parse_request_httparse(request: &[u8]) -> usize {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut fields);
    let parsed = head.parse(black_box(request)).expect("a valid request");
    assert!(parsed.is_complete());
    black_box(head.headers.len())
}

#[library_benchmark]
#[bench::small(warm(REQUEST_SMALL))]
#[bench::browser(warm(REQUEST_BROWSER))]
fn serialise_request((mut codec, request): (Codec, &'static [u8])) -> Measured {
    let bytes = black_box(codec.serialise_request(black_box(request)));
    (codec, bytes)
}

#[library_benchmark]
#[bench::typical(warm_response())]
fn parse_response(mut codec: Codec) -> Measured {
    let fields = black_box(codec.parse_response(black_box(RESPONSE)));
    (codec, fields)
}

#[library_benchmark]
#[bench::typical(warm_response())]
fn serialise_response(mut codec: Codec) -> Measured {
    let bytes = black_box(codec.serialise_response(black_box(RESPONSE)));
    (codec, bytes)
}

#[library_benchmark]
#[bench::chunks_16(Codec::new(), chunked_body())]
fn decode_chunked(mut codec: Codec, body: Vec<u8>) -> (Measured, Vec<u8>) {
    let bytes = black_box(codec.decode_chunked(black_box(&body)));
    ((codec, bytes), body)
}

library_benchmark_group!(
    name = codec,
    benchmarks = [
        parse_request,
        parse_request_httparse,
        serialise_request,
        parse_response,
        serialise_response,
        decode_chunked
    ]
);

/// A table that has been asked before: scratch memory as in the steady state.
fn asked(services: usize, by: By) -> Routing {
    let mut routing = Routing::new(services, by);
    routing.find();
    routing
}

#[library_benchmark]
#[bench::host_1(asked(1, By::Host))]
#[bench::host_1000(asked(1_000, By::Host))]
#[bench::path_1(asked(1, By::Path))]
#[bench::path_1000(asked(1_000, By::Path))]
#[bench::regex_1(asked(1, By::Regex))]
#[bench::regex_1000(asked(1_000, By::Regex))]
fn route(mut routing: Routing) -> (Routing, u32) {
    let found = black_box(routing.find());
    (routing, found)
}

#[library_benchmark]
#[bench::least_request(Picking::new(100, Lb::LeastRequest))]
#[bench::round_robin(Picking::new(100, Lb::RoundRobin))]
#[bench::weighted(Picking::new(100, Lb::Weighted))]
fn pick(mut picking: Picking) -> (Picking, u32) {
    let picked = black_box(picking.pick());
    (picking, picked)
}

library_benchmark_group!(name = policy, benchmarks = [route, pick]);

/// Exchanges before the measured one: storage, pools and timers as in the steady state.
const WARM_UP: usize = 100;

fn busy(services: usize) -> Rig {
    let mut rig = Rig::new(services, By::Host);
    for _ in 0..WARM_UP {
        rig.exchange(0);
    }
    rig
}

/// All services have been asked once, so there are as many pools with a connection each.
fn busy_everywhere(services: usize) -> Rig {
    let mut rig = Rig::new(services, By::Host);
    for service in 0..services {
        rig.exchange(service);
    }
    rig
}

#[library_benchmark]
#[bench::services_1(busy(1), 0)]
#[bench::services_1000(busy(1_000), 0)]
#[bench::services_1000_in_turn(busy_everywhere(1_000), 500)]
fn worker(mut rig: Rig, service: usize) -> (Rig, usize) {
    let bytes = black_box(rig.exchange(service));
    (rig, bytes)
}

library_benchmark_group!(name = whole, benchmarks = [worker]);
main!(library_benchmark_groups = [codec, policy, whole]);
