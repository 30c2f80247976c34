//! Scripted peers and a running `ringway`, for suites whose expectations are written by hand from the RFCs.
#![forbid(unsafe_code)]

pub mod cases;
pub mod message;
pub mod peer;
pub mod process;

use std::time::Duration;

/// Longest wait for anything in these suites; reaching it is a failure, never a pass.
pub const PATIENCE: Duration = Duration::from_secs(10);
