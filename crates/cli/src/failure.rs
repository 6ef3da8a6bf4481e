//! Why a command could not do what it was asked: a text for a person, who is to know what to do next.

use std::fmt;

/// A reason, and where known a remedy. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure(String);

impl Failure {
    /// A failure with this reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// The same with what to do about it.
    pub(crate) fn help(self, help: impl fmt::Display) -> Self {
        Self(format!("{}\n    help: {help}", self.0))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}
