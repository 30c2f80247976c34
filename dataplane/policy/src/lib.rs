//! Pure decisions: which route, which cluster, which endpoint, whether to try again. No clock, no socket, no randomness of its own:
//! `now` and `rng` are arguments. The engine asks, the configuration crates build.
#![forbid(unsafe_code)]

pub mod cidr;
pub mod compile;
mod condition;
pub mod fields;
mod host;
pub mod lb;
mod nearest;
pub mod path;
mod pattern;
pub mod respond;
pub mod retry;
pub mod rewrite;
pub mod rng;
pub mod route;
pub mod snapshot;
pub mod spec;
pub mod split;
mod table;
pub mod tcp;
pub mod weights;

/// Names of the strictness rules that a listener may relax, for the crates that build a [`spec::Spec`].
pub use ringway_wire::h1::Relaxations;
