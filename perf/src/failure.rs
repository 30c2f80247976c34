//! The one error of the rig: a sentence for the person who runs it.

use std::fmt;

/// Why a measurement could not be made or did not pass, in words.
#[derive(Debug)]
pub struct Failure(pub String);

/// What every fallible step of the rig returns.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure from anything printable.
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self(std::io::Error::from(error).to_string())
    }
}

/// Names the step that failed.
pub trait Context<T> {
    /// Puts `step: ` before the reason.
    fn context(self, step: impl fmt::Display) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, step: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Failure(format!("{step}: {error}")))
    }
}
