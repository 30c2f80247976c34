//! Time to parse and to write HTTP/1.1 messages, beside httparse, which a user would pick.
//! `cargo bench -p ringway-bench --bench codec`
//!
//! The two do not do the same: httparse finds names and values, ringway-wire also validates the target, Host and framing,
//! and sorts out the fields a proxy must not pass on.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringway_bench::codec::{
    CHUNKED_DATA_BYTES, Codec, REQUEST_BROWSER, REQUEST_SMALL, RESPONSE, chunked_body,
};

const HTTPARSE_FIELDS_MAX: usize = 100;

fn parse_request(criterion: &mut Criterion) {
    for (name, request) in [("small", REQUEST_SMALL), ("browser", REQUEST_BROWSER)] {
        let mut group = criterion.benchmark_group(format!("parse_request_{name}"));
        group.throughput(Throughput::Bytes(request.len() as u64));
        let mut codec = Codec::new();
        group.bench_function("ringway", |bencher| bencher.iter(|| codec.parse_request(black_box(request))));
        group.bench_function("httparse", |bencher| {
            bencher.iter(|| {
                let mut fields = [httparse::EMPTY_HEADER; HTTPARSE_FIELDS_MAX];
                let mut head = httparse::Request::new(&mut fields);
                let parsed = head.parse(black_box(request)).expect("a valid request");
                (parsed.is_complete(), black_box(head.headers.len()))
            });
        });
        group.finish();
    }
}

fn parse_response(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse_response");
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    let mut codec = Codec::new();
    group.bench_function("ringway", |bencher| bencher.iter(|| codec.parse_response(black_box(RESPONSE))));
    group.bench_function("httparse", |bencher| {
        bencher.iter(|| {
            let mut fields = [httparse::EMPTY_HEADER; HTTPARSE_FIELDS_MAX];
            let mut head = httparse::Response::new(&mut fields);
            let parsed = head.parse(black_box(RESPONSE)).expect("a valid response");
            (parsed.is_complete(), black_box(head.headers.len()))
        });
    });
    group.finish();
}

fn serialise(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("serialise");
    let mut codec = Codec::new();
    for (name, request) in [("request_small", REQUEST_SMALL), ("request_browser", REQUEST_BROWSER)] {
        codec.parse_request(request);
        group.bench_function(name, |bencher| bencher.iter(|| codec.serialise_request(black_box(request))));
    }
    codec.parse_response(RESPONSE);
    group
        .bench_function("response", |bencher| bencher.iter(|| codec.serialise_response(black_box(RESPONSE))));
    group.finish();
}

fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    group.throughput(Throughput::Bytes(CHUNKED_DATA_BYTES as u64));
    let (mut codec, body) = (Codec::new(), chunked_body());
    group.bench_function("decode_16_x_1KiB", |bencher| {
        bencher.iter(|| codec.decode_chunked(black_box(&body)))
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = parse_request, parse_response, serialise, chunked
}
criterion_main!(benches);
