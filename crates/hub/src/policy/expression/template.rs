//! Text with `{expressions}` in it: `site:{data.siteId}`, `user:{user.id}`; with `{each(data.channels)}` one text
//! becomes several channels.

use std::collections::HashSet;

use cel::IdedExpr;
use cel::common::ast::Expr;
use serde_json::Value as Json;

use super::check::parse_any;
use super::{ExpressionError, Fault, Kind, Names, Scope, Shape};
use crate::policy::channel::name_fault;

/// How many names one template may give at once; the rest is refused.
pub(super) const MAX_NAMES: usize = 100;

/// A compiled template.
#[derive(Debug, Clone)]
pub struct Template {
    source: String,
    parts: Vec<Piece>,
}

#[derive(Debug, Clone)]
enum Piece {
    Text(String),
    Value(Value),
}

#[derive(Debug, Clone)]
struct Value {
    shape: Shape,
    /// As it was written.
    source: String,
    /// `each(…)`: a list gives one name per item. Otherwise a list is refused: a client that sends one where the app
    /// means one value would reach many.
    each: bool,
}

/// What a template gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expanded {
    /// Good names, in order, each once.
    pub names: Vec<String>,
    /// What cannot be a name, shortened, with the reason.
    pub refused: Vec<(String, String)>,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// A brace without its partner, or what is wrong with an expression; the offset counts from the template's start.
    pub fn compile(source: &str, names: &Names) -> Result<Self, ExpressionError> {
        let mut parts = Vec::new();
        let (mut rest, mut at) = (source, 0);
        while let Some(open) = rest.find('{') {
            let (text, after) = (&rest[..open], &rest[open + 1..]);
            let close = closing(after)
                .ok_or_else(|| ExpressionError::new("`{` without its `}`").at(Some(at + text.chars().count())))?;
            at += text.chars().count() + 1;
            let expression = &after[..close];
            let offset = |mut error: ExpressionError| {
                error.offset = Some(at + error.offset.unwrap_or(0));
                error
            };
            let value = Value::compile(expression, names).map_err(offset)?;
            if !text.is_empty() {
                parts.push(Piece::Text(text.to_owned()));
            }
            parts.push(Piece::Value(value));
            at += expression.chars().count() + 1;
            rest = &after[close + 1..];
        }
        if !rest.is_empty() {
            parts.push(Piece::Text(rest.to_owned()));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// All names that the values give: a list gives one each, an empty list none.
    ///
    /// # Errors
    /// What the data lacks. A value that is there and cannot be a name is in [`Expanded::refused`] instead.
    pub fn expand(&self, scope: &Scope<'_>) -> Result<Expanded, Fault> {
        // Room for a usual name, so that it does not grow piece by piece.
        let (mut names, mut refused) = (vec![String::with_capacity(32)], Vec::new());
        for piece in &self.parts {
            match piece {
                Piece::Text(text) => names.iter_mut().for_each(|name| name.push_str(text)),
                Piece::Value(value) => match value.shape.text(scope) {
                    // One text, as nearly always.
                    Some(text) => names.iter_mut().for_each(|name| name.push_str(&text)),
                    None => {
                        let values = value.values(scope, &mut refused)?;
                        names = names
                            .iter()
                            .flat_map(|name| values.iter().map(move |value| format!("{name}{value}")))
                            .take(MAX_NAMES + 1)
                            .collect();
                    }
                },
            }
        }
        if names.len() > MAX_NAMES {
            names.truncate(MAX_NAMES);
            refused.push((self.source.clone(), format!("at most {MAX_NAMES} at once")));
        }
        let mut seen = (names.len() > 1).then(HashSet::new);
        names.retain(|name| match name_fault(name) {
            None => seen.as_mut().is_none_or(|seen| seen.insert(name.clone())),
            Some(reason) => {
                refused.push((shortened(name), reason.to_owned()));
                false
            }
        });
        Ok(Expanded { names, refused })
    }

    /// The one text this gives; for what is not a channel.
    ///
    /// # Errors
    /// What the data lacks, or that there are several values.
    pub fn text(&self, scope: &Scope<'_>) -> Result<String, Fault> {
        if let [Piece::Text(text)] = &*self.parts
            && name_fault(text).is_none()
        {
            return Ok(text.clone());
        }
        let Expanded { mut names, refused } = self.expand(scope)?;
        match (names.pop(), refused.first()) {
            (Some(name), None) if names.is_empty() => Ok(name),
            (_, Some((_, reason))) => Err(Fault::Unfit(reason.clone())),
            _ => Err(Fault::Unfit("one value is needed here".into())),
        }
    }
}

/// Where the brace closes, past braces and quotes within the expression.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0_usize, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) => quote = (c != open).then_some(open),
            (None, '\'' | '"') => quote = Some(c),
            (None, '{') => depth += 1,
            (None, '}') if depth == 0 => return Some(at),
            (None, '}') => depth -= 1,
            _ => {}
        }
    }
    None
}

impl Value {
    fn compile(source: &str, names: &Names) -> Result<Self, ExpressionError> {
        let (ast, kind) = parse_any(source, names)?;
        let (ast, each) = match ast.expr {
            Expr::Call(mut call) if call.func_name == "each" && call.target.is_none() => {
                let argument = call.args.pop().filter(|_| call.args.is_empty());
                (argument.ok_or_else(|| ExpressionError::new("each(...) takes one list"))?, true)
            }
            expr => (IdedExpr { id: ast.id, expr }, false),
        };
        if kind == Kind::List && !each {
            let error = ExpressionError::new("this gives a list, and a name needs one value");
            return Err(error.help(format!("for one name per item write each({source})")));
        }
        let inner = source.trim().strip_prefix("each(").and_then(|rest| rest.strip_suffix(')'));
        let source = inner.filter(|_| each).unwrap_or(source).to_owned();
        Ok(Self { shape: Shape::from_ast(ast)?, source, each })
    }

    fn values(&self, scope: &Scope<'_>, refused: &mut Vec<(String, String)>) -> Result<Vec<String>, Fault> {
        let text = self.shape.json(scope)?;
        let value = serde_json::from_str(&text).map_err(|_| Fault::Unfit("not JSON".into()))?;
        let items = match value {
            Json::Null => return Err(Fault::Missing(self.source.clone())),
            Json::Array(items) if self.each => items,
            one => vec![one],
        };
        let mut values = Vec::with_capacity(items.len().min(MAX_NAMES));
        for item in items.into_iter().take(MAX_NAMES + 1) {
            match plain(&item) {
                Some(text) => values.push(text),
                None => refused.push((shortened(&item.to_string()), "a name must be text or a number".to_owned())),
            }
        }
        Ok(values)
    }
}

/// Text as it is, a number in its one plain form (`7`, also for `7.0`); nothing else names anything.
#[must_use]
pub(crate) fn plain(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(match number.as_f64() {
            // Beyond 2^53 a float's digits would invent an id.
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 => {
                format!("{float:.0}")
            }
            _ => number.to_string(),
        }),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).take(200).collect()
}
