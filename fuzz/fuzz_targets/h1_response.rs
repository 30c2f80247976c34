//! Fuzz target: see `h1_response` in the harness.
#![no_main]

#[path = "../../dataplane/wire/tests/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::h1_response(data));
