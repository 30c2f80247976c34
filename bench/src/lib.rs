//! What the benches run: messages, tables and a whole worker, set up once and used by both the criterion benches (time) and
//! the instruction counts, so that the two measure the same.

#![forbid(unsafe_code)]

pub mod codec;
pub mod routing;
pub mod worker;
