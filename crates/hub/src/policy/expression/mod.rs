//! Expressions of a configuration: CEL, parsed and checked when the file is read, evaluated on subscribe, command
//! and publish, never per delivery.
//!
//! Four forms share one parser: a [`Condition`] decides about people, a [`Filter`] about data, a [`Shape`] writes JSON, a
//! [`Template`] names channels (text with `{expressions}` in it). What is common is recognised and evaluated without CEL, which costs 2 to 4 µs.

mod cel;
mod check;
mod condition;
mod filter;
mod scope;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod time;

use std::fmt;
use std::sync::Arc;

pub use check::{Kind, Names};
pub use condition::{Condition, Facts, Part};
pub use filter::Filter;
pub(crate) use scope::dig;
pub use scope::{Scope, Term};
pub use shape::Shape;
pub(crate) use template::plain;
pub use template::{Expanded, Template};
pub use time::{iso_millis, iso_nanos};

/// The longest expression that is accepted, in bytes. CEL itself has no cost limit.
pub const MAX_SOURCE: usize = 2048;

/// Why an expression was not accepted, before it ever ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// Where in the expression, in characters from its start; none when the whole is meant.
    pub offset: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub help: Option<String>,
}

impl ExpressionError {
    /// An error about the expression as a whole.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { offset: None, message: message.into(), help: None }
    }

    fn at(mut self, offset: Option<usize>) -> Self {
        self.offset = offset;
        self
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Why an evaluation gave nothing. It never holds what the data was, so it may be shown and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The data lacks what the expression names, for instance `data.siteId`.
    Missing(String),
    /// It is there and cannot be used so.
    Unfit(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{path} is missing"),
            Self::Unfit(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Fault {}

/// The candidate nearest to what was written, if it is near enough to be a slip of the pen.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The paths `a.b.c` of an expression as text, root first; none for anything but names.
fn path_of(expression: &::cel::IdedExpr) -> Option<Vec<Arc<str>>> {
    use ::cel::common::ast::Expr;
    match &expression.expr {
        Expr::Ident(name) => Some(vec![name.as_str().into()]),
        Expr::Select(select) if !select.test => {
            let mut path = path_of(&select.operand)?;
            path.push(select.field.as_str().into());
            Some(path)
        }
        _ => None,
    }
}
