//! The simulator: a seeded network with a virtual clock, scripted peers, and [`Sim`], a driver on it. One thread, no
//! system call, no clock and no randomness from outside: the seed decides every byte's arrival and every fault.
//!
//! ```
//! use ringway_driver::sim::{Network, NetworkOptions, Read, Sim};
//! use ringway_driver::{AcceptOptions, Addr, Done, Driver, Handle, Last, Receive, Slice};
//!
//! let net = Network::new(42, NetworkOptions::default());
//! let addr = Addr::Inet(([127, 0, 0, 1], 80).into());
//! let mut sim = Sim::new(&net);
//! let listener = sim.listen(Handle::Sim(net.bind(&addr)), AcceptOptions::default()).expect("a listener");
//! sim.accept(listener);
//! let client = net.connect(&addr);
//! let mut got = Vec::new();
//! while got != b"hello" {
//!     sim.turn(u64::MAX, false);
//!     while let Some(done) = sim.next() {
//!         if let Done::Accepted { sock, .. } = done {
//!             let _ = sim.send(sock, Slice::from_static(b"hello"), Last::End);
//!         }
//!     }
//!     while net.next_notice().is_some() {
//!         net.read(client, 100, &mut got);
//!     }
//! }
//! ```

#![forbid(unsafe_code)]

mod driver;
mod fault;
mod network;
mod pipe;
mod ports;
mod rng;
mod stream;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use driver::{Sim, SimOptions};
pub use fault::{Fault, FaultCounts, FaultPlan};
pub use network::{EndId, Network, NetworkOptions, Notice, Read};
pub use rng::Rng;
