//! The way into the `cel` interpreter, for what the recognised forms do not cover.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use cel::objects::Key;
use cel::{Context, ExecutionError, IdedExpr, Value};

use super::{Fault, Scope};

/// An expression that only CEL can evaluate.
#[derive(Debug, Clone)]
pub(super) struct Program {
    ast: Arc<IdedExpr>,
    /// The names it uses, so that no others are converted.
    roots: Vec<Arc<str>>,
}

thread_local! {
    /// Building a context costs ten evaluations, so each thread keeps one and adds a scope to it.
    static LIBRARY: OnceCell<Context<'static, 'static>> = const { OnceCell::new() };
}

impl Program {
    pub(super) fn new(ast: IdedExpr) -> Self {
        let mut roots: Vec<Arc<str>> = ast.references().variables().into_iter().map(Arc::from).collect();
        // `explain` shows them, the same every time.
        roots.sort_unstable();
        Self { ast: Arc::new(ast), roots }
    }

    pub(super) fn roots(&self) -> &[Arc<str>] {
        &self.roots
    }

    pub(super) fn ast(&self) -> &IdedExpr {
        &self.ast
    }

    pub(super) fn truth(&self, scope: &Scope<'_>) -> Result<bool, Fault> {
        match self.value(scope)? {
            Value::Bool(truth) => Ok(truth),
            _ => Err(Fault::Unfit("a condition gave neither true nor false".into())),
        }
    }

    /// The value as JSON text.
    pub(super) fn json(&self, scope: &Scope<'_>) -> Result<String, Fault> {
        to_json(&self.value(scope)?).map(|value| value.to_string())
    }

    fn value(&self, scope: &Scope<'_>) -> Result<Value, Fault> {
        let mut values = Vec::with_capacity(self.roots.len());
        for name in &self.roots {
            if let Some(term) = scope.get(name) {
                let text = term.select(name, &[])?;
                let value = serde_json::from_str(&text).map_err(|_| Fault::Unfit(format!("{name} is not JSON")))?;
                values.push((name.to_string(), from_json(value)));
            }
        }
        LIBRARY.with(|library| {
            let mut inner = library.get_or_init(Context::default).new_inner_scope();
            for (name, value) in values {
                inner.add_variable_from_value(name, value);
            }
            Value::resolve(&self.ast, &inner).map_err(|error| fault(&error))
        })
    }
}

/// Without the values, which may be secret: a client sees this and a log keeps it.
fn fault(error: &ExecutionError) -> Fault {
    match error {
        ExecutionError::NoSuchKey(key) => Fault::Missing(key.to_string()),
        ExecutionError::UndeclaredReference(name) => Fault::Missing(name.to_string()),
        ExecutionError::IndexOutOfBounds(_) => Fault::Missing("a list's element".into()),
        ExecutionError::NoSuchOverload(overload) => Fault::Unfit(overload.to_string()),
        _ => Fault::Unfit("a value has the wrong type".into()),
    }
}

fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::Int(whole),
            (_, Some(whole)) => Value::UInt(whole),
            _ => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::from(items.into_iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(fields) => Value::from(
            fields.into_iter().map(|(key, value)| (Key::from(key), from_json(value))).collect::<HashMap<_, _>>(),
        ),
    }
}

fn to_json(value: &Value) -> Result<serde_json::Value, Fault> {
    Ok(match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(whole) => (*whole).into(),
        Value::UInt(whole) => (*whole).into(),
        Value::Float(number) => (*number).into(),
        Value::String(text) => text.as_str().into(),
        Value::List(items) => items.iter().map(to_json).collect::<Result<Vec<_>, _>>()?.into(),
        Value::Map(map) => {
            let mut fields = map
                .map
                .iter()
                .map(|(key, value)| Ok((key.to_string(), to_json(value)?)))
                .collect::<Result<Vec<_>, Fault>>()?;
            fields.sort_by(|left, right| left.0.cmp(&right.0));
            serde_json::Value::Object(fields.into_iter().collect())
        }
        _ => return Err(Fault::Unfit("this has no JSON form".into())),
    })
}
