//! Fuzz target: see `proxy_protocol` in the harness.
#![no_main]

#[path = "../../dataplane/wire/tests/harness/mod.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::proxy_protocol(data));
