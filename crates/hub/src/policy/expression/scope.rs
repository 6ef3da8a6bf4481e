//! What an expression sees while it runs: names with JSON behind them, looked up without parsing more than is asked.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::{Fault, iso_millis, iso_nanos};
use crate::dialect::SessionInfo;
use crate::policy::Identity;

/// A value behind a name.
#[derive(Clone, Copy)]
pub enum Term<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Text that is not JSON yet.
    Text(&'a str),
    /// Text that is written only when somebody asks: an id, an address.
    Shown(&'a dyn fmt::Display),
    /// A list of texts.
    Texts(&'a [String]),
    /// Valid JSON text, which is handed on byte for byte.
    Json(&'a str),
    /// A JSON object that is parsed already.
    Object(&'a Map<String, Value>),
    /// Who asks: `id`, `name`, `roles`, `admin`, and each attribute.
    User(&'a Identity),
    /// On which session: `id`, `address`, `transport`.
    Session(&'a SessionInfo<'a>),
    /// Unix milliseconds, written as ISO 8601 with milliseconds.
    IsoMillis(u64),
    /// Unix milliseconds, written as RFC 3339 with nanoseconds.
    IsoNanos(u64),
}

impl<'a> Term<'a> {
    /// The JSON text of what lies at `path` within this term.
    ///
    /// # Errors
    /// The path that is missing; `name` is how the term itself is called.
    pub(super) fn select(self, name: &str, path: &[Arc<str>]) -> Result<Cow<'a, str>, Fault> {
        let missing = || {
            Fault::Missing(std::iter::once(name).chain(path.iter().map(|part| &**part)).collect::<Vec<_>>().join("."))
        };
        match (self, path) {
            (Self::Json(text), path) => {
                path.iter().try_fold(text, |text, field| dig(text, field)).map(Cow::Borrowed).ok_or_else(missing)
            }
            (Self::Object(fields), []) => Ok(Cow::Owned(json(fields))),
            (Self::Object(fields), path) => {
                find(fields, path).map(|value| Cow::Owned(value.to_string())).ok_or_else(missing)
            }
            (Self::User(identity), []) => Ok(Cow::Owned(user_json(identity))),
            (Self::User(identity), [field]) => user_field(identity, field).map(Cow::Owned).ok_or_else(missing),
            (Self::Session(session), []) => {
                let (id, address) = (session.id.to_string(), session.address.to_string());
                let fields = serde_json::json!({ "id": id, "address": address, "transport": session.transport });
                Ok(Cow::Owned(fields.to_string()))
            }
            (Self::Session(session), [field]) => {
                session_field(session, field).map(|text| Cow::Owned(quoted(&text))).ok_or_else(missing)
            }
            (Self::Null, []) => Ok(Cow::Borrowed("null")),
            (Self::Bool(value), []) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
            (Self::Number(number), []) => Ok(Cow::Owned(number.to_string())),
            (Self::Text(text), []) => Ok(Cow::Owned(quoted(text))),
            (Self::Shown(text), []) => Ok(Cow::Owned(quoted(&text.to_string()))),
            (Self::Texts(texts), []) => Ok(Cow::Owned(json(texts))),
            (Self::IsoMillis(ms), []) => Ok(Cow::Owned(quoted(&iso_millis(ms)))),
            (Self::IsoNanos(ms), []) => Ok(Cow::Owned(quoted(&iso_nanos(ms)))),
            _ => Err(missing()),
        }
    }

    /// The text at `path`, where it is a text and can be had without parsing JSON; most names of channels are made of
    /// such texts. None: [`Term::select`] knows.
    pub(super) fn text(self, path: &[Arc<str>]) -> Option<Cow<'a, str>> {
        match (self, path) {
            (Self::Text(text), []) => Some(Cow::Borrowed(text)),
            (Self::Shown(text), []) => Some(Cow::Owned(text.to_string())),
            (Self::Json(text), path) => {
                let inner = path.iter().try_fold(text, |text, field| dig(text, field))?.trim_ascii();
                let inner = inner.strip_prefix('"')?.strip_suffix('"')?;
                (!inner.contains('\\')).then_some(Cow::Borrowed(inner))
            }
            (Self::Object(fields), path) => find(fields, path)?.as_str().map(Cow::Borrowed),
            (Self::User(identity), [field]) if &**field == "id" => Some(Cow::Borrowed(&identity.user)),
            (Self::Session(session), [field]) => session_field(session, field),
            _ => None,
        }
    }
}

/// What lies at a path that has at least one field.
fn find<'a>(fields: &'a Map<String, Value>, path: &[Arc<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(fields.get(&**first)?, |value, field| value.get(&**field))
}

fn session_field<'a>(session: &SessionInfo<'a>, field: &str) -> Option<Cow<'a, str>> {
    match field {
        "id" => Some(Cow::Owned(session.id.to_string())),
        "address" => Some(Cow::Owned(session.address.to_string())),
        "transport" => Some(Cow::Borrowed(session.transport)),
        _ => None,
    }
}

/// A text as JSON. Most need no escapes.
fn quoted(text: &str) -> String {
    if text.bytes().any(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\')) {
        return json(text);
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    out.push_str(text);
    out.push('"');
    out
}

impl fmt::Debug for Term<'_> {
    /// What it is, not what it holds: that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").finish_non_exhaustive()
    }
}

/// The names of one evaluation.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    names: SmallVec<[(&'a str, Term<'a>); 8]>,
    /// Unix milliseconds.
    now: Option<u64>,
}

impl<'a> Scope<'a> {
    /// No names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// These names. Quicker than one after the other.
    #[must_use]
    pub fn of<const N: usize>(names: [(&'a str, Term<'a>); N]) -> Self {
        Self { names: SmallVec::from_slice(&names), now: None }
    }

    /// This name also; a later one hides an earlier one.
    #[must_use]
    pub fn with(mut self, name: &'a str, term: Term<'a>) -> Self {
        self.names.push((name, term));
        self
    }

    /// Times in all the forms that applications use: `now` (ISO 8601, milliseconds), `now_ms`, `now_s`, `now_nanos`.
    #[must_use]
    pub fn at(self, ms: u64) -> Self {
        Self { now: Some(ms), ..self }
    }

    /// The term behind a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Term<'a>> {
        let named = self.names.iter().rev().find(|(known, _)| *known == name).map(|(_, term)| *term);
        named.or_else(|| self.time(name))
    }

    fn time(&self, name: &str) -> Option<Term<'a>> {
        let ms = self.now?;
        let number = |value: u64| Some(Term::Number(i64::try_from(value).unwrap_or(i64::MAX)));
        match name {
            "now" => Some(Term::IsoMillis(ms)),
            "now_ms" => number(ms),
            "now_s" => number(ms / 1000),
            "now_nanos" => Some(Term::IsoNanos(ms)),
            _ => None,
        }
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn user_field(identity: &Identity, field: &str) -> Option<String> {
    Some(match field {
        "id" => quoted(&identity.user),
        "name" => json(&identity.name.as_deref()),
        "admin" => identity.rights.admin.to_string(),
        "roles" => texts_json(&identity.rights.roles),
        attribute => texts_json(identity.rights.attributes.get(attribute)?),
    })
}

fn user_json(identity: &Identity) -> String {
    let names =
        ["id", "name", "admin", "roles"].into_iter().chain(identity.rights.attributes.keys().map(|name| &**name));
    let fields = names.filter_map(|name| Some(format!("{}:{}", json(name), user_field(identity, name)?)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

fn texts_json(texts: &[Arc<str>]) -> String {
    json(&texts.iter().map(|text| &**text).collect::<Vec<_>>())
}

/// The JSON text of one field of a JSON object, the last one where a name is repeated, as JavaScript reads it.
pub(crate) fn dig<'a>(text: &'a str, field: &str) -> Option<&'a str> {
    if !text.trim_start().starts_with('{') {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(text);
    Find(field).deserialize(&mut reader).ok().flatten().map(RawValue::get)
}

struct Find<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Find<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a key with a name without keeping it.
struct Is<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
