//! Expressions that write JSON. Maps keep the order they were written in, and data passes through byte for byte.

use std::borrow::Cow;
use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{EntryExpr, Expr, LiteralValue, operators as op};

use super::cel::Program;
use super::check::parse;
use super::{ExpressionError, Fault, Kind, Names, Scope, path_of};

/// A compiled expression that gives a JSON value.
#[derive(Debug, Clone)]
pub struct Shape(Node);

#[derive(Debug, Clone)]
enum Node {
    /// JSON text known when the file is read.
    Fixed(String),
    /// A name and the fields behind it, spliced as they are.
    Path(Arc<str>, Vec<Arc<str>>),
    /// Keys are JSON text already, quoted.
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    /// `first(a, b)`: the first that is there and not null.
    First(Vec<Node>),
    If(Program, Box<Node>, Box<Node>),
    Cel(Program),
}

impl Shape {
    /// Compiles an expression.
    ///
    /// # Errors
    /// Syntax, unknown names, operands that cannot fit.
    pub fn compile(source: &str, names: &Names) -> Result<Self, ExpressionError> {
        node(parse(source, names, &Kind::Any)?).map(Self)
    }

    pub(super) fn from_ast(ast: IdedExpr) -> Result<Self, ExpressionError> {
        node(ast).map(Self)
    }

    /// Writes the JSON of this shape.
    ///
    /// # Errors
    /// What the data lacks, or cannot be used for. Nothing useful is in `out` then.
    pub fn write(&self, scope: &Scope<'_>, out: &mut String) -> Result<(), Fault> {
        self.0.write(scope, out)
    }

    /// The JSON of this shape.
    ///
    /// # Errors
    /// As [`Shape::write`].
    pub fn json(&self, scope: &Scope<'_>) -> Result<String, Fault> {
        let mut out = String::with_capacity(64);
        self.write(scope, &mut out)?;
        Ok(out)
    }

    /// The text that this gives, where it is a text and no computation is needed; else none, and [`Shape::json`] says
    /// what it is.
    #[must_use]
    pub fn text<'a>(&self, scope: &Scope<'a>) -> Option<Cow<'a, str>> {
        match &self.0 {
            Node::Path(root, fields) => scope.get(root)?.text(fields),
            _ => None,
        }
    }

    /// The fields behind the name that is looked at first: `userId` of `first(claims.userId, claims.sub)`. None when
    /// that takes a computation.
    #[must_use]
    pub fn first_path(&self) -> Option<&[Arc<str>]> {
        self.0.first_path()
    }
}

fn node(e: IdedExpr) -> Result<Node, ExpressionError> {
    if let Some(path) = path_of(&e) {
        let (root, fields) = path.split_first().expect("a path has a root");
        return Ok(Node::Path(root.clone(), fields.to_vec()));
    }
    match e.expr {
        Expr::Literal(literal) => {
            Ok(fixed(&literal).map_or_else(|| Node::Cel(Program::new(literal_again(literal))), Node::Fixed))
        }
        Expr::Map(map) => {
            let mut entries = Vec::with_capacity(map.entries.len());
            for entry in map.entries {
                let EntryExpr::MapEntry(entry) = entry.expr else {
                    return Err(ExpressionError::new("a map is written {'key': value}"));
                };
                let Expr::Literal(LiteralValue::String(key)) = &entry.key.expr else {
                    return Err(ExpressionError::new("the keys of a map must be quoted text"));
                };
                entries.push((quoted(key.inner()), node(entry.value)?));
            }
            Ok(Node::Map(entries))
        }
        Expr::List(list) => list.elements.into_iter().map(node).collect::<Result<_, _>>().map(Node::List),
        Expr::Call(call) if call.func_name == "first" && call.target.is_none() => {
            call.args.into_iter().map(node).collect::<Result<_, _>>().map(Node::First)
        }
        Expr::Call(mut call) if call.func_name == op::CONDITIONAL && call.args.len() == 3 => {
            let (no, yes) = (call.args.pop(), call.args.pop());
            let (Some(no), Some(yes), Some(test)) = (no, yes, call.args.pop()) else {
                unreachable!("three arguments were counted")
            };
            Ok(Node::If(program(test)?, Box::new(node(yes)?), Box::new(node(no)?)))
        }
        other => program(IdedExpr { id: e.id, expr: other }).map(Node::Cel),
    }
}

/// `first` and `each` are ours: CEL would evaluate all arguments, and fail on the first that is missing.
fn program(e: IdedExpr) -> Result<Program, ExpressionError> {
    let references = e.references();
    if references.has_function("each") {
        return Err(ExpressionError::new("each(...) is for the names of channels: {each(data.channels)}"));
    }
    if references.has_function("first") {
        return Err(ExpressionError::new("first(...) cannot stand inside another operation"));
    }
    Ok(Program::new(e))
}

fn literal_again(literal: LiteralValue) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Literal(literal) }
}

fn fixed(literal: &LiteralValue) -> Option<String> {
    Some(match literal {
        LiteralValue::Boolean(truth) => truth.inner().to_string(),
        LiteralValue::Int(whole) => whole.inner().to_string(),
        LiteralValue::UInt(whole) => whole.inner().to_string(),
        LiteralValue::Null => "null".to_owned(),
        LiteralValue::String(text) => quoted(text.inner()),
        LiteralValue::Double(number) => serde_json::Number::from_f64(*number.inner())?.to_string(),
        LiteralValue::Bytes(_) => return None,
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Node {
    fn first_path(&self) -> Option<&[Arc<str>]> {
        match self {
            Self::Path(_, fields) => Some(fields),
            Self::First(nodes) | Self::List(nodes) => nodes.first()?.first_path(),
            _ => None,
        }
    }

    fn write(&self, scope: &Scope<'_>, out: &mut String) -> Result<(), Fault> {
        match self {
            Self::Fixed(text) => out.push_str(text),
            Self::Path(root, fields) => {
                let term = scope.get(root).ok_or_else(|| Fault::Missing(root.to_string()))?;
                out.push_str(&term.select(root, fields)?);
            }
            Self::Map(entries) => {
                for (index, (key, value)) in entries.iter().enumerate() {
                    out.push(if index == 0 { '{' } else { ',' });
                    out.push_str(key);
                    out.push(':');
                    value.write(scope, out)?;
                }
                out.push_str(if entries.is_empty() { "{}" } else { "}" });
            }
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    item.write(scope, out)?;
                }
                out.push(']');
            }
            Self::First(choices) => return first(choices, scope, out),
            Self::If(test, yes, no) => {
                return if test.truth(scope)? { yes } else { no }.write(scope, out);
            }
            Self::Cel(program) => out.push_str(&program.json(scope)?),
        }
        Ok(())
    }
}

fn first(choices: &[Node], scope: &Scope<'_>, out: &mut String) -> Result<(), Fault> {
    let start = out.len();
    let mut missing = None;
    for choice in choices {
        match choice.write(scope, out) {
            Ok(()) if &out[start..] != "null" => return Ok(()),
            Ok(()) => {}
            Err(fault) => missing = missing.or(Some(fault)),
        }
        out.truncate(start);
    }
    Err(missing.unwrap_or_else(|| Fault::Missing("a value".into())))
}
