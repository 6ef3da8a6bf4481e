//! What an expression sees while it runs: names with JSON behind them, looked up without parsing more than is asked.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

use super::{Fault, iso_millis, iso_nanos};
use crate::dialect::SessionInfo;
use crate::policy::Identity;

/// A value behind a name.
#[derive(Debug, Clone, Copy)]
pub enum Term<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Text that is not JSON yet.
    Text(&'a str),
    /// A list of texts.
    Texts(&'a [String]),
    /// Valid JSON text, which is handed on byte for byte.
    Json(&'a str),
    /// Who asks: `id`, `name`, `roles`, `admin`, and each attribute.
    User(&'a Identity),
    /// On which session: `id`, `address`, `transport`.
    Session(SessionInfo<'a>),
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
            (Self::User(identity), []) => Ok(Cow::Owned(user_json(identity))),
            (Self::User(identity), [field]) => user_field(identity, field).map(Cow::Owned).ok_or_else(missing),
            (Self::Session(session), []) => Ok(Cow::Owned(
                serde_json::json!({ "id": session.id, "address": session.address, "transport": session.transport })
                    .to_string(),
            )),
            (Self::Session(session), [field]) => Ok(Cow::Owned(json(match &**field {
                "id" => session.id,
                "address" => session.address,
                "transport" => session.transport,
                _ => return Err(missing()),
            }))),
            (Self::Null, []) => Ok(Cow::Borrowed("null")),
            (Self::Bool(value), []) => Ok(Cow::Borrowed(if value { "true" } else { "false" })),
            (Self::Number(number), []) => Ok(Cow::Owned(number.to_string())),
            (Self::Text(text), []) => Ok(Cow::Owned(json(text))),
            (Self::Texts(texts), []) => Ok(Cow::Owned(json(texts))),
            (Self::IsoMillis(ms), []) => Ok(Cow::Owned(format!("\"{}\"", iso_millis(ms)))),
            (Self::IsoNanos(ms), []) => Ok(Cow::Owned(format!("\"{}\"", iso_nanos(ms)))),
            _ => Err(missing()),
        }
    }
}

/// The names of one evaluation.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a>(SmallVec<[(&'a str, Term<'a>); 14]>);

impl<'a> Scope<'a> {
    /// No names.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This name also; a later one hides an earlier one.
    #[must_use]
    pub fn with(mut self, name: &'a str, term: Term<'a>) -> Self {
        self.0.push((name, term));
        self
    }

    /// Times in all the forms that applications use: `now` (ISO 8601, milliseconds), `now_ms`, `now_s`, `now_nanos`.
    #[must_use]
    pub fn at(self, ms: u64) -> Self {
        let number = |value: u64| Term::Number(i64::try_from(value).unwrap_or(i64::MAX));
        self.with("now", Term::IsoMillis(ms))
            .with("now_ms", number(ms))
            .with("now_s", number(ms / 1000))
            .with("now_nanos", Term::IsoNanos(ms))
    }

    /// The term behind a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Term<'a>> {
        self.0.iter().rev().find(|(known, _)| *known == name).map(|(_, term)| *term)
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

fn user_field(identity: &Identity, field: &str) -> Option<String> {
    Some(match field {
        "id" => json(&*identity.user),
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
