//! Pure decisions: which route, which cluster, which endpoint, whether to try again. No clock, no socket, no randomness of its own:
//! `now` and `rng` are arguments. The engine asks, the configuration crates build.
#![forbid(unsafe_code)]

pub mod snapshot;
pub mod spec;
