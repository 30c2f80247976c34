//! Tests of the binary from outside: real processes, real sockets, ports chosen by the kernel, no fixed waits.

mod admin;
mod cli;
mod demo;
mod dns;
mod docs;
mod lifecycle;
mod reload;
mod support;
