//! The head-to-head rig: starts Ringway, nginx and HAProxy side by side, drives them with its own origin and load
//! generator, and writes what it saw. Nothing here is part of the proxy; `main.rs` is the only caller.
//! The method is described in `perf/README.md`.
#![forbid(unsafe_code)]

pub mod answer;
pub mod bulk;
pub mod check;
pub mod cli;
pub mod compare;
pub mod failure;
pub mod histogram;
pub mod idle;
pub mod load;
pub mod machine;
pub mod net;
pub mod origin;
pub mod procfs;
pub mod profile;
pub mod proxy;
pub mod reload;
pub mod report;
pub mod scenario;
pub mod soak;
pub mod start;
pub mod stats;
pub mod strace;
pub mod syscalls;
pub mod table;
pub mod wait;
