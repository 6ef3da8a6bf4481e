//! Finding mistakes in an expression before it runs: unknown names, unknown functions, operands that cannot fit.

use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators as op};
use cel::parser::Parser;

use super::{ExpressionError, MAX_SOURCE, nearest};

/// What is known of a value while nothing is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Anything: a client's data, claims.
    Any,
    /// `true` or `false`.
    Bool,
    /// A string.
    Text,
    /// A number.
    Number,
    /// A list; of strings, where it belongs to an identity.
    List,
    /// `null`.
    Null,
    /// A record with exactly these fields.
    Record(Vec<(Arc<str>, Kind)>),
}

impl Kind {
    fn word(&self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Bool => "true or false",
            Self::Text => "text",
            Self::Number => "a number",
            Self::List => "a list",
            Self::Null => "null",
            Self::Record(_) => "a record",
        }
    }

    fn fits(&self, other: &Kind) -> bool {
        matches!((self, other), (Self::Any | Self::Null, _) | (_, Self::Any | Self::Null))
            || std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// The names that an expression may use, and what each is.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<(Arc<str>, Kind)>);

impl Names {
    /// These names also.
    #[must_use]
    pub fn with<'n>(mut self, names: impl IntoIterator<Item = (&'n str, Kind)>) -> Self {
        self.0.extend(names.into_iter().map(|(name, kind)| (name.into(), kind)));
        self
    }

    /// Whether this name is among them.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn get(&self, name: &str) -> Option<&Kind> {
        self.0.iter().find(|(known, _)| &**known == name).map(|(_, kind)| kind)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

/// Functions of CEL's standard library, and the two of ours, with what they give.
const FUNCTIONS: &[(&str, Kind)] = &[
    ("size", Kind::Number),
    ("string", Kind::Text),
    ("int", Kind::Number),
    ("uint", Kind::Number),
    ("double", Kind::Number),
    ("bool", Kind::Bool),
    ("type", Kind::Any),
    ("dyn", Kind::Any),
    ("startsWith", Kind::Bool),
    ("endsWith", Kind::Bool),
    ("contains", Kind::Bool),
    ("matches", Kind::Bool),
    ("first", Kind::Any),
    ("each", Kind::List),
];

/// Parses and checks; `wanted` is what the place needs.
pub(super) fn parse(source: &str, names: &Names, wanted: &Kind) -> Result<IdedExpr, ExpressionError> {
    let (ast, kind) = parse_any(source, names)?;
    if kind.fits(wanted) {
        return Ok(ast);
    }
    let (given, wanted) = (kind.word(), wanted.word());
    Err(ExpressionError::new(format!("this gives {given}, but {wanted} is needed here")))
}

/// Parses and checks; tells what it gives.
pub(super) fn parse_any(source: &str, names: &Names) -> Result<(IdedExpr, Kind), ExpressionError> {
    if source.len() > MAX_SOURCE {
        let message = format!("an expression may have {MAX_SOURCE} bytes, this one has {}", source.len());
        return Err(ExpressionError::new(message));
    }
    let (ast, positions) = Parser::new().parse_with_source_info(source).map_err(|errors| syntax(source, &errors))?;
    let mut check = Check { names, locals: Vec::new(), positions: &positions };
    let kind = check.kind(&ast)?;
    Ok((ast, kind))
}

fn syntax(source: &str, errors: &cel::ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.first() else {
        return ExpressionError::new("cannot be parsed");
    };
    let (line, column) = (first.pos.0.max(1) as usize, first.pos.1.max(1) as usize);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    let offset = before + column - 1;
    let message = first.msg.lines().next().unwrap_or_default();
    // A list of all that could stand there helps nobody.
    let message = message.trim_start_matches("Syntax error: ").split(" expecting {").next().unwrap_or_default();
    let start = source.char_indices().nth(offset).map_or(source.len(), |(start, _)| start);
    let (before, rest) = source.split_at(start);
    ExpressionError::new(format!("not a CEL expression: {message}")).at(Some(offset)).help(remedy(before, rest))
}

/// What to write instead of what stands at a mistake: most come from other languages.
fn remedy(before: &str, rest: &str) -> &'static str {
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_ascii_lowercase();
    match word(rest).as_str() {
        "and" => "write && for `and`",
        "or" => "write || for `or`",
        _ if before.trim_end().ends_with("not") => "write ! for `not`: !(… in …)",
        _ if rest.starts_with("=>") => "write >= for `=>`",
        _ if rest.starts_with("=<") => "write <= for `=<`",
        _ if rest.starts_with('=') => "write == to compare",
        _ if rest.starts_with('&') => "write && for `and`",
        _ if rest.starts_with('|') => "write || for `or`",
        _ if rest.trim().is_empty() => "something is missing at its end",
        _ => "write it in CEL (https://cel.dev), for instance 'admin' in user.roles && user.id == '7'",
    }
}

struct Check<'a> {
    names: &'a Names,
    /// Loop variables of `exists`, `all`, `filter` and `map`, innermost last.
    locals: Vec<String>,
    positions: &'a SourceInfo,
}

impl Check<'_> {
    fn error(&self, at: &IdedExpr, message: String) -> ExpressionError {
        ExpressionError::new(message).at(self.positions.offset_for(at.id).map(|(start, _)| start as usize))
    }

    fn kind(&mut self, e: &IdedExpr) -> Result<Kind, ExpressionError> {
        match &e.expr {
            Expr::Literal(literal) => Ok(literal_kind(literal)),
            Expr::Ident(name) => self.ident(e, name),
            Expr::Select(select) => {
                let operand = self.kind(&select.operand)?;
                let field = self.field(e, &operand, &select.field)?;
                Ok(if select.test { Kind::Bool } else { field })
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.kind(element)?;
                }
                Ok(Kind::List)
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.kind(&entry.key)?;
                        self.kind(&entry.value)?;
                    }
                }
                Ok(Kind::Any)
            }
            Expr::Call(call) => self.call(e, call),
            Expr::Comprehension(loops) => {
                self.kind(&loops.iter_range)?;
                self.kind(&loops.accu_init)?;
                let depth = self.locals.len();
                self.locals.extend([loops.iter_var.clone(), loops.accu_var.clone()]);
                self.locals.extend(loops.iter_var2.clone());
                let result = [&loops.loop_cond, &loops.loop_step, &loops.result]
                    .into_iter()
                    .try_for_each(|part| self.kind(part).map(drop));
                self.locals.truncate(depth);
                result.map(|()| Kind::Any)
            }
            Expr::Struct(_) | Expr::Unspecified => {
                Err(self.error(e, "messages cannot be built here; write a map: {'key': value}".into()))
            }
        }
    }

    fn ident(&self, e: &IdedExpr, name: &str) -> Result<Kind, ExpressionError> {
        if self.locals.iter().any(|local| local == name) {
            return Ok(Kind::Any);
        }
        if let Some(kind) = self.names.get(name) {
            return Ok(kind.clone());
        }
        let error = self.error(e, format!("`{name}` is not known here"));
        Err(match nearest(name, self.names.words()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("known here: {}", self.names.words().collect::<Vec<_>>().join(", "))),
        })
    }

    fn field(&self, e: &IdedExpr, operand: &Kind, field: &str) -> Result<Kind, ExpressionError> {
        match operand {
            Kind::Any => Ok(Kind::Any),
            Kind::Record(fields) => {
                if let Some((_, kind)) = fields.iter().find(|(name, _)| &**name == field) {
                    return Ok(kind.clone());
                }
                let error = self.error(e, format!("there is no `{field}` here"));
                Err(match nearest(field, fields.iter().map(|(name, _)| &**name)) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => {
                        let known = fields.iter().map(|(name, _)| &**name).collect::<Vec<_>>().join(", ");
                        error.help(format!(
                            "known here: {known}; an attribute must be declared in `identity.attributes`"
                        ))
                    }
                })
            }
            other => Err(self.error(e, format!("{} has no fields, so no `{field}`", other.word()))),
        }
    }

    fn call(&mut self, e: &IdedExpr, call: &CallExpr) -> Result<Kind, ExpressionError> {
        let mut kinds = Vec::with_capacity(call.args.len());
        if let Some(target) = &call.target {
            self.kind(target)?;
        }
        for argument in &call.args {
            kinds.push(self.kind(argument)?);
        }
        match (call.func_name.as_str(), &*kinds) {
            (op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT, operands) => {
                match operands.iter().find(|kind| !kind.fits(&Kind::Bool)) {
                    Some(odd) => Err(self.error(e, format!("this joins conditions, but one side is {}", odd.word()))),
                    None => Ok(Kind::Bool),
                }
            }
            (op::EQUALS | op::NOT_EQUALS, [left, right]) if !left.fits(right) => {
                let error = self.error(e, format!("{} never equals {}", left.word(), right.word()));
                Err(if kinds.contains(&Kind::List) {
                    error.help("ask whether a list contains something with `x in list`")
                } else {
                    error
                })
            }
            (op::IN, [_, list]) if matches!(list, Kind::Text | Kind::Bool | Kind::Number) => {
                Err(self.error(e, format!("`in` needs a list on its right, not {}", list.word())))
            }
            (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [left, right]) => {
                self.arithmetic(e, left, right)
            }
            (
                op::EQUALS
                | op::NOT_EQUALS
                | op::IN
                | op::LESS
                | op::LESS_EQUALS
                | op::GREATER
                | op::GREATER_EQUALS
                | op::NOT_STRICTLY_FALSE,
                _,
            ) => Ok(Kind::Bool),
            (op::CONDITIONAL, [test, yes, no]) => {
                if !test.fits(&Kind::Bool) {
                    return Err(
                        self.error(e, format!("what stands before `?` must be true or false, not {}", test.word()))
                    );
                }
                Ok(if yes == no { yes.clone() } else { Kind::Any })
            }
            (op::NEGATE, _) => Ok(Kind::Number),
            (op::INDEX, _) => Ok(Kind::Any),
            (name, _) => self.function(e, name),
        }
    }

    fn arithmetic(&self, e: &IdedExpr, left: &Kind, right: &Kind) -> Result<Kind, ExpressionError> {
        if left.fits(right) && *left != Kind::Bool {
            return Ok(if *left == Kind::Any { right.clone() } else { left.clone() });
        }
        let message = format!("{} and {} cannot be combined", left.word(), right.word());
        Err(self.error(e, message).help("turn a number into text with string(x)"))
    }

    fn function(&self, e: &IdedExpr, name: &str) -> Result<Kind, ExpressionError> {
        if let Some((_, kind)) = FUNCTIONS.iter().find(|(known, _)| *known == name) {
            return Ok(kind.clone());
        }
        let error = self.error(e, format!("there is no function `{name}`"));
        Err(match nearest(name, FUNCTIONS.iter().map(|(known, _)| *known)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error,
        })
    }
}

fn literal_kind(literal: &LiteralValue) -> Kind {
    match literal {
        LiteralValue::Boolean(_) => Kind::Bool,
        LiteralValue::String(_) => Kind::Text,
        LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_) => Kind::Number,
        LiteralValue::Null => Kind::Null,
        LiteralValue::Bytes(_) => Kind::Any,
    }
}
