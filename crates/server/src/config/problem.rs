//! What is wrong with a configuration, where, and what to do about it.

use std::fmt;
use std::ops::Range;

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as the caller named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "\n    help: {help}"))
    }
}

/// All mistakes of a file, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        match self.0.len() {
            1 => f.write_str("1 mistake"),
            many => write!(f, "{many} mistakes"),
        }
    }
}

impl std::error::Error for Problems {}

/// Line and column, from 1, of a byte offset.
pub(super) fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = &source.as_bytes()[..offset.min(source.len())];
    let before = String::from_utf8_lossy(before);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// Where in the file the `characters`-th character of a string value stands. A value written with escapes cannot be
/// counted through, so it is pointed at as a whole.
pub(super) fn within(source: &str, span: &Range<usize>, value: &str, characters: usize) -> usize {
    let written = &source[span.clone()];
    match written.find(value) {
        Some(start) => span.start + start + value.char_indices().nth(characters).map_or(value.len(), |(at, _)| at),
        None => span.start,
    }
}
