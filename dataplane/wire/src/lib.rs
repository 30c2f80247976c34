//! Pure protocol codecs: bytes in, events out. No clock, no socket, no async, no randomness, and no allocation per
//! message in the steady state. Owns HTTP/1.1, the PROXY protocol and the TLS ClientHello. The engine calls it; it calls
//! nobody. Network input never panics here.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod client_hello;
pub mod forwarded;
pub mod h1;
pub mod http;
pub mod proxy_protocol;
