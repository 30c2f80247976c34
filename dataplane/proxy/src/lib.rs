//! The parts of the `ringway` binary: command line, control thread, worker threads, admin API. A library only so that the
//! crate's own tests can call them; programs embed `ringway-engine`.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod address;
pub mod admin;
pub mod cli;
pub mod commands;
pub mod control;
pub mod cpus;
pub mod dns;
pub mod exit;
pub mod explain;
pub mod exposition;
pub mod idle;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod samples;
pub mod sockets;
pub mod source;
pub mod state;
pub mod watch;
pub mod workers;
