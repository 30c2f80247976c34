//! YAML or TOML text to a specification, and on to one validated snapshot: text in, result out. No I/O, no clock; the binary
//! reads the file and publishes the snapshot. One table of keys (`schema`) drives parsing, error texts, the reference, the
//! JSON Schema and the dump.
#![forbid(unsafe_code)]

mod document;
mod error;
mod json;
mod nearest;
mod reference;
mod schema;
mod tree;
mod units;

pub use document::{Document, Format, Position, compile, dump_json, dump_yaml, parse};
pub use error::ConfigError;
pub use reference::{json_schema, reference_markdown};
