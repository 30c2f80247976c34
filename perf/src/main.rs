//! The binary. See docs/ARCHITECTURE.md.

#![forbid(unsafe_code)]

fn main() {}
