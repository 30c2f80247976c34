//! The process's exit codes, each with the meaning that scripts and service managers rely on.

use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or drained with every exchange answered.
    Done = 0,
    /// The configuration does not load.
    Config = 1,
    /// The command line is wrong.
    Usage = 2,
    /// An address cannot be bound.
    Bind = 3,
    /// The drain deadline (or a second signal) cut off exchanges still active.
    DrainTimedOut = 4,
    /// Workers failed too often, or the machine refused something Ringway cannot run without.
    Failed = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
