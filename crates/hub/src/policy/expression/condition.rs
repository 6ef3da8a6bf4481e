//! Expressions that decide. Their common shapes are a closed enum, evaluated in nanoseconds without allocating.

use std::fmt;
use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, operators as op};

use super::cel::Program;
use super::check::parse;
use super::{ExpressionError, Fault, Kind, Names, Scope, Term, path_of};
use crate::policy::Identity;

/// What a condition is about.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// The captures of the channel's name, in the order of the pattern, with their names.
    pub captures: &'a [(&'a str, &'a str)],
    /// The session is in the channel; only asked for publishing.
    pub member: bool,
    /// What is published; empty where nothing is.
    pub event: &'a str,
}

impl<'a> Facts<'a> {
    /// An identity alone.
    #[must_use]
    pub fn of(identity: &'a Identity) -> Self {
        Self { identity, captures: &[], member: false, event: "" }
    }
}

/// A compiled expression that is true or false.
#[derive(Debug, Clone)]
pub struct Condition {
    source: Arc<str>,
    test: Test,
}

/// One leaf of a condition, as `explain` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The leaf, in words of the expression.
    pub text: String,
    /// What it gave; an error counts as a denial.
    pub value: Result<bool, Fault>,
    /// The names in it with their values, as JSON.
    pub inputs: Vec<(String, String)>,
}

#[derive(Debug, Clone)]
enum Test {
    Const(bool),
    Admin,
    Member,
    In(Operand, Set),
    Same(Operand, Operand),
    Not(Box<Test>),
    Any(Vec<Test>),
    All(Vec<Test>),
    Cel(Program),
}

#[derive(Debug, Clone)]
enum Operand {
    Literal(Arc<str>),
    Capture(Arc<str>),
    UserId,
    Event,
}

#[derive(Debug, Clone)]
enum Set {
    Roles,
    Attribute(Arc<str>),
    Words(Vec<Arc<str>>),
}

impl Condition {
    /// The condition that always gives this.
    #[must_use]
    pub fn constant(value: bool) -> Self {
        Self { source: value.to_string().into(), test: Test::Const(value) }
    }

    /// Compiles an expression.
    ///
    /// # Errors
    /// Syntax, unknown names, operands that cannot fit, a result that is not true or false.
    pub fn compile(source: &str, names: &Names) -> Result<Self, ExpressionError> {
        let ast = parse(source, names, &Kind::Bool)?;
        if ["first", "each"].iter().any(|ours| ast.references().has_function(ours)) {
            let message = "first(...) and each(...) are for shapes and channel names";
            return Err(ExpressionError::new(message));
        }
        let test = recognised(&ast).unwrap_or_else(|| Test::Cel(Program::new(ast)));
        Ok(Self { source: source.into(), test })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Evaluates it.
    ///
    /// # Errors
    /// Evaluation failed, which must deny.
    pub fn holds(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        self.test.holds(facts)
    }

    /// It asks only for roles, attributes and captures, so that all sessions with equal rights get the same answer.
    #[must_use]
    pub fn depends_on_rights_only(&self) -> bool {
        self.test.rights_only()
    }

    /// Its leaves with what each gave and why.
    #[must_use]
    pub fn parts(&self, facts: &Facts<'_>) -> Vec<Part> {
        let mut parts = Vec::new();
        self.test.parts(&self.source, facts, &mut parts);
        parts
    }
}

#[cfg(test)]
impl Condition {
    /// The same condition with nothing recognised, to compare.
    pub(super) fn evaluated_by_cel(&self) -> Self {
        let ast = cel::parser::Parser::new().parse(&self.source).expect("it was parsed before");
        Self { source: self.source.clone(), test: Test::Cel(Program::new(ast)) }
    }
}

fn recognised(e: &IdedExpr) -> Option<Test> {
    match &e.expr {
        Expr::Literal(LiteralValue::Boolean(value)) => Some(Test::Const(*value.inner())),
        Expr::Ident(name) if name == "member" => Some(Test::Member),
        Expr::Call(call) => match (call.func_name.as_str(), &*call.args) {
            (op::LOGICAL_NOT, [inner]) => Some(Test::Not(Box::new(recognised(inner)?))),
            (op::LOGICAL_OR, _) => flattened(call).map(Test::Any),
            (op::LOGICAL_AND, _) => flattened(call).map(Test::All),
            (op::IN, [item, list]) => Some(Test::In(operand(item)?, set(list)?)),
            (op::EQUALS, [left, right]) => Some(Test::Same(operand(left)?, operand(right)?)),
            (op::NOT_EQUALS, [left, right]) => Some(Test::Not(Box::new(Test::Same(operand(left)?, operand(right)?)))),
            _ => None,
        },
        _ => matches!(path_of(e)?.as_slice(), [user, admin] if &**user == "user" && &**admin == "admin")
            .then_some(Test::Admin),
    }
}

/// `a || b || c` is a tree of pairs; its leaves in order.
fn flattened(call: &CallExpr) -> Option<Vec<Test>> {
    let mut tests = Vec::new();
    for argument in &call.args {
        match &argument.expr {
            Expr::Call(inner) if inner.func_name == call.func_name => tests.extend(flattened(inner)?),
            _ => tests.push(recognised(argument)?),
        }
    }
    Some(tests)
}

fn operand(e: &IdedExpr) -> Option<Operand> {
    if let Expr::Literal(LiteralValue::String(text)) = &e.expr {
        return Some(Operand::Literal(text.inner().into()));
    }
    match path_of(e)?.as_slice() {
        [user, id] if &**user == "user" && &**id == "id" => Some(Operand::UserId),
        [name] if &**name == "event" => Some(Operand::Event),
        // The checker let only captures, `user` and `member` through beside, and the latter two are no text.
        [name] if !matches!(&**name, "user" | "member") => Some(Operand::Capture(name.clone())),
        _ => None,
    }
}

fn set(e: &IdedExpr) -> Option<Set> {
    if let Expr::List(list) = &e.expr {
        let word = |element: &IdedExpr| match &element.expr {
            Expr::Literal(LiteralValue::String(text)) => Some(text.inner().into()),
            _ => None,
        };
        return list.elements.iter().map(word).collect::<Option<_>>().map(Set::Words);
    }
    match path_of(e)?.as_slice() {
        [user, field] if &**user == "user" => match &**field {
            "roles" => Some(Set::Roles),
            "id" | "name" | "admin" => None,
            _ => Some(Set::Attribute(field.clone())),
        },
        _ => None,
    }
}

impl Operand {
    fn value<'a>(&'a self, facts: &Facts<'a>) -> &'a str {
        match self {
            Self::Literal(text) => text,
            Self::UserId => &facts.identity.user,
            Self::Event => facts.event,
            Self::Capture(name) => {
                facts.captures.iter().find(|(known, _)| *known == &**name).map_or("", |(_, text)| text)
            }
        }
    }

    fn input(&self, facts: &Facts<'_>) -> Option<(String, String)> {
        (!matches!(self, Self::Literal(_))).then(|| (self.to_string(), format!("{:?}", self.value(facts))))
    }
}

impl Set {
    fn values<'a>(&'a self, facts: &Facts<'a>) -> &'a [Arc<str>] {
        let rights = &facts.identity.rights;
        match self {
            Self::Roles => &rights.roles,
            Self::Words(words) => words,
            Self::Attribute(name) => rights.attributes.get(name).map_or(&[], Vec::as_slice),
        }
    }
}

impl Test {
    fn holds(&self, facts: &Facts<'_>) -> Result<bool, Fault> {
        Ok(match self {
            Self::Const(value) => *value,
            Self::Admin => facts.identity.rights.admin,
            Self::Member => facts.member,
            Self::In(item, set) => {
                let item = item.value(facts);
                set.values(facts).iter().any(|value| &**value == item)
            }
            Self::Same(left, right) => left.value(facts) == right.value(facts),
            Self::Not(inner) => !inner.holds(facts)?,
            Self::Any(tests) => {
                for test in tests {
                    if test.holds(facts)? {
                        return Ok(true);
                    }
                }
                false
            }
            Self::All(tests) => {
                for test in tests {
                    if !test.holds(facts)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Cel(program) => program.truth(&scope(facts))?,
        })
    }

    fn rights_only(&self) -> bool {
        let free = |operand: &Operand| !matches!(operand, Operand::UserId | Operand::Event);
        match self {
            Self::Const(_) | Self::Admin => true,
            Self::Member => false,
            Self::In(item, _) => free(item),
            Self::Same(left, right) => free(left) && free(right),
            Self::Not(inner) => inner.rights_only(),
            Self::Any(tests) | Self::All(tests) => tests.iter().all(Self::rights_only),
            Self::Cel(program) => {
                !program.roots().iter().any(|root| matches!(&**root, "member" | "event")) && !personal(program.ast())
            }
        }
    }

    fn parts(&self, source: &str, facts: &Facts<'_>, out: &mut Vec<Part>) {
        let inputs = match self {
            Self::Any(tests) | Self::All(tests) => {
                return tests.iter().for_each(|test| test.parts(source, facts, out));
            }
            Self::Not(inner) => return inner.parts(source, facts, out),
            Self::Const(_) => Vec::new(),
            Self::Admin => vec![("user.roles".to_owned(), format!("{:?}", facts.identity.rights.roles))],
            Self::Member => vec![("member".to_owned(), facts.member.to_string())],
            Self::In(item, set) => {
                let held = (set.to_string(), format!("{:?}", set.values(facts)));
                let held = (!matches!(set, Set::Words(_))).then_some(held);
                item.input(facts).into_iter().chain(held).collect()
            }
            Self::Same(left, right) => left.input(facts).into_iter().chain(right.input(facts)).collect(),
            Self::Cel(program) => {
                let scope = scope(facts);
                let value =
                    |root: &Arc<str>| Some((root.to_string(), scope.get(root)?.select(root, &[]).ok()?.into_owned()));
                program.roots().iter().filter_map(value).collect()
            }
        };
        let text = if let Self::Cel(_) = self { source.to_owned() } else { self.to_string() };
        out.push(Part { text, value: self.holds(facts), inputs });
    }
}

fn scope<'a>(facts: &Facts<'a>) -> Scope<'a> {
    let scope = Scope::new()
        .with("user", Term::User(facts.identity))
        .with("member", Term::Bool(facts.member))
        .with("event", Term::Text(facts.event));
    facts.captures.iter().fold(scope, |scope, (name, text)| scope.with(name, Term::Text(text)))
}

/// The expression asks who the user is, not only for rights.
fn personal(e: &IdedExpr) -> bool {
    match &e.expr {
        Expr::Ident(name) => name == "user",
        Expr::Select(select) => match &select.operand.expr {
            Expr::Ident(user) if user == "user" => matches!(select.field.as_str(), "id" | "name"),
            _ => personal(&select.operand),
        },
        Expr::Call(call) => call.target.as_deref().is_some_and(personal) || call.args.iter().any(personal),
        Expr::List(list) => list.elements.iter().any(personal),
        Expr::Comprehension(c) => {
            [&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result].into_iter().any(personal)
        }
        Expr::Literal(_) => false,
        Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => true,
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Const(value) => write!(f, "{value}"),
            Self::Admin => f.write_str("user.admin"),
            Self::Member => f.write_str("member"),
            Self::In(item, set) => write!(f, "{item} in {set}"),
            Self::Same(left, right) => write!(f, "{left} == {right}"),
            Self::Not(inner) => write!(f, "!({inner})"),
            Self::Any(_) | Self::All(_) | Self::Cel(_) => f.write_str("(expression)"),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => write!(f, "'{text}'"),
            Self::Capture(name) => f.write_str(name),
            Self::UserId => f.write_str("user.id"),
            Self::Event => f.write_str("event"),
        }
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roles => f.write_str("user.roles"),
            Self::Words(words) => write!(f, "{words:?}"),
            Self::Attribute(name) => write!(f, "user.{name}"),
        }
    }
}
