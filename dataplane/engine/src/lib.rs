//! The proxy of one core: a [`Worker`] over any [`ringway_driver::Driver`]. No async, no lock, no thread, no clock of its own; it can be
//! embedded in another program (see `examples/embed.rs`).
//!
//! The owner makes a driver, a [`Shared`] and a compiled snapshot, gives the worker its listening sockets by
//! [`Command::Publish`], and calls [`Worker::turn`] until it says that it is finished.
#![forbid(unsafe_code)]

mod access_log;
mod account;
mod attempt;
mod cluster;
mod downstream;
mod exchange;
pub mod flags;
mod head;
mod live;
mod overload;
mod reply;
mod request;
mod response;
mod session;
pub mod shared;
mod slab;
pub mod stats;
mod tcp;
mod timer;
mod worker;

pub use shared::{Command, Shared};
pub use worker::{Status, Worker, WorkerConfig};
