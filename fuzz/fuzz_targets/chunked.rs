//! Fuzz target: see `chunked` in the harness.
#![no_main]

#[path = "../../dataplane/wire/tests/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::chunked(data));
