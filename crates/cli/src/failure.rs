//! Why a command could not do what it was asked: a text for a person, who is to know what to do next.

use std::fmt;

/// A reason, and where known a remedy. It never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    text: String,
    /// The exit code.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure with this reason.
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { text: reason.into(), code: 1 }
    }

    /// A command line that is wrong, as clap's own mistakes are.
    pub(crate) fn usage(reason: impl Into<String>) -> Self {
        Self { text: reason.into(), code: 2 }
    }

    /// The same with what to do about it.
    pub(crate) fn help(self, help: impl fmt::Display) -> Self {
        Self { text: format!("{}\n    help: {help}", self.text), ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}
