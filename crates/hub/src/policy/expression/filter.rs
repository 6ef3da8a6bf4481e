//! Expressions that decide about data, such as a message's; about who may do what, a [`super::Condition`] decides.

use std::sync::Arc;

use super::cel::Program;
use super::check::parse;
use super::{ExpressionError, Kind, Names, Scope};

/// A compiled expression over a scope that is true or false.
#[derive(Debug, Clone)]
pub struct Filter {
    source: Arc<str>,
    program: Program,
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Syntax, unknown names, operands that cannot fit, a result that is not true or false.
    pub fn compile(source: &str, names: &Names) -> Result<Self, ExpressionError> {
        let ast = parse(source, names, &Kind::Bool)?;
        if ["first", "each"].iter().any(|ours| ast.references().has_function(ours)) {
            return Err(ExpressionError::new("first(...) and each(...) are for shapes and channel names"));
        }
        Ok(Self { source: source.into(), program: Program::new(ast) })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Whether this is data that is meant; data without the fields that are asked for is not.
    #[must_use]
    pub fn passes(&self, scope: &Scope<'_>) -> bool {
        self.program.truth(scope).unwrap_or(false)
    }
}
