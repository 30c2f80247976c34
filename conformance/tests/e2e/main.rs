//! The running binary end to end, on both drivers: scripted peers and real ones, every expectation written by hand.

#![forbid(unsafe_code)]

mod clients;
mod errors;
mod http1;
mod limits;
mod operations;
mod retries;
mod routing;
mod streaming;
mod support;
mod tcp;
mod timeouts;
mod tls;
mod websocket;
