//! From a message to publications: what a source's rules make of it. Pure.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::json;
use oyez_protocol::message::Args;
use serde_json::value::RawValue;

use super::{Arrival, Poison, Source};
use crate::command::{Promise, Publish};
use crate::delivery::Priority;
use crate::policy::channel::{Captures, Pattern};
use crate::policy::expression::{Expanded, Fault, Filter, Kind, Names, Scope, Shape, Template, Term, plain};
use crate::promise::Class;
use crate::store::NAME_MAX;

/// One `[[app.NAME.source.NAME.rule]]`. Every rule that fits a message makes one publication of it.
#[derive(Debug, Clone)]
pub struct SourceRule {
    /// Line in the file.
    pub line: usize,
    /// Messages that came by one of these addresses.
    pub addresses: Vec<Pattern>,
    /// Only those for which this holds.
    pub when: Option<Filter>,
    /// The channels; `*` is everybody.
    pub to: Vec<Template>,
    /// The event's name.
    pub event: Template,
    /// The payload; none: the message's data.
    pub data: Option<Shape>,
    /// The publication's id.
    pub id: Option<Shape>,
    /// The class; none: what the rule of the event says.
    pub class: Option<Class>,
    /// Its lane; none: what the message's author says.
    pub priority: Option<Priority>,
    /// How long a durable one is kept.
    pub ttl: Option<Duration>,
}

/// One publication of a message.
#[derive(Debug)]
pub struct Planned {
    /// The publication.
    pub publish: Publish,
    /// Its id where nothing else gives it one, made of the message's: who gets the message again makes the same.
    pub id: Option<String>,
}

/// What becomes of a message.
#[derive(Debug)]
pub enum Plan {
    /// These publications.
    Publish(Vec<Planned>),
    /// Rules fit, but its data names nobody who could hear it.
    Unaddressed,
    /// No rule fits.
    Unmatched,
}

/// The names that every rule of a source sees, beside the captures of its addresses.
#[must_use]
pub fn names() -> Names {
    Names::default().with([
        ("address", Kind::Text),
        ("body", Kind::Any),
        ("data", Kind::Any),
        ("headers", Kind::Any),
        ("message_id", Kind::Any),
        ("sent", Kind::Any),
        ("now", Kind::Text),
        ("now_ms", Kind::Number),
        ("now_s", Kind::Number),
        ("now_nanos", Kind::Text),
    ])
}

/// The names that a source's `data` sees.
#[must_use]
pub fn body_names() -> Names {
    Names::default().with([("address", Kind::Text), ("body", Kind::Any), ("headers", Kind::Any)])
}

impl Source {
    /// What the rules make of a message at `now`, in Unix milliseconds: everything or nothing, so that what goes to the
    /// dead letters has not been heard in part. JSON may have so many `levels`.
    ///
    /// # Errors
    /// Why it can never be published as it is.
    pub fn plan(&self, arrival: &Arrival<'_>, levels: usize, now: u64) -> Result<Plan, Poison> {
        let body = strip(read(arrival.body, levels)?, &self.drop);
        let sent = |sent: u64| Term::Number(i64::try_from(sent).unwrap_or(i64::MAX));
        let scope = Scope::of([("address", Term::Text(arrival.address)), ("body", Term::Json(&body))])
            .with("headers", Term::Json(arrival.headers))
            .with("message_id", arrival.id.map_or(Term::Null, Term::Text))
            .with("sent", arrival.sent.map_or(Term::Null, sent))
            .at(now);
        let data = match &self.data {
            None => body.to_string(),
            Some(shape) => match shape.json(&scope) {
                Ok(data) => strip(&data, &self.drop).into_owned(),
                Err(Fault::Missing(_)) => "null".to_owned(),
                Err(fault) => return Err(Poison::fault(self.line, &fault)),
            },
        };
        let scope = scope.with("data", Term::Json(&data));
        let (mut publications, mut fits) = (Vec::new(), false);
        for (number, rule) in (1..).zip(&self.rules) {
            let Some(captures) = rule.captures(arrival.address) else { continue };
            let scope = captures.iter().fold(scope.clone(), |scope, (name, text)| scope.with(name, Term::Text(text)));
            if rule.when.as_ref().is_some_and(|when| !when.passes(&scope)) {
                continue;
            }
            fits = true;
            let id = arrival.id.map(|id| derived(id, number));
            publications.extend(rule.publication(&scope, &data, arrival)?.map(|publish| Planned { publish, id }));
        }
        Ok(match (publications.is_empty(), fits) {
            (false, _) => Plan::Publish(publications),
            (true, true) => Plan::Unaddressed,
            (true, false) => Plan::Unmatched,
        })
    }
}

impl SourceRule {
    fn captures<'a>(&'a self, address: &'a str) -> Option<Captures<'a>> {
        self.addresses.iter().find_map(|pattern| pattern.matches(address))
    }

    /// The publication; none when the data names nobody.
    fn publication(&self, scope: &Scope<'_>, data: &str, arrival: &Arrival<'_>) -> Result<Option<Publish>, Poison> {
        let poison = |fault: Fault| Poison::fault(self.line, &fault);
        let to = self.channels(scope)?;
        if to.is_empty() {
            return Ok(None);
        }
        let payload = match &self.data {
            None => data.to_owned(),
            Some(shape) => shape.json(scope).map_err(poison)?,
        };
        let mut publish =
            Publish::new(to, self.event.text(scope).map_err(poison)?, Args::from_validated(payload, Vec::new()));
        publish.id = self.id.as_ref().and_then(|id| id_of(&id.json(scope).ok()?));
        publish.priority = self.priority.or(arrival.priority);
        publish.promise = Promise { class: self.class, ttl: self.ttl, ..Promise::default() };
        Ok(Some(publish))
    }

    /// Whom the data names. A field that is missing or empty names nobody; one that cannot be part of a name is a mistake.
    fn channels(&self, scope: &Scope<'_>) -> Result<Vec<String>, Poison> {
        let mut to: Vec<String> = Vec::new();
        for template in &self.to {
            if template.source() == "*" {
                to.push("*".to_owned());
                continue;
            }
            match template.expand(scope) {
                Ok(Expanded { names, refused }) => {
                    if let Some((_, why)) = refused.first() {
                        return Err(Poison::fault(self.line, &Fault::Unfit(why.clone())));
                    }
                    to.extend(names);
                }
                Err(Fault::Missing(_)) => {}
                Err(fault) => return Err(Poison::fault(self.line, &fault)),
            }
        }
        let mut seen = std::collections::HashSet::new();
        to.retain(|name| seen.insert(name.clone()));
        Ok(to)
    }
}

/// The id of what the rule of this number makes of the message of this id.
fn derived(id: &str, number: usize) -> String {
    format!("{id}#{number}")
}

/// An id as text; what is empty, or can be no id, says none.
fn id_of(json: &str) -> Option<String> {
    plain(&serde_json::from_str(json).ok()?)
        .filter(|id| !id.is_empty() && id.len() <= NAME_MAX && !id.chars().any(char::is_control))
}

/// The one JSON value that a body is; an empty one is `null`.
fn read(body: &[u8], levels: usize) -> Result<&str, Poison> {
    let text = std::str::from_utf8(body).map_err(|_| Poison::new("not_text", "the body is not UTF-8"))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Ok("null");
    }
    if !json::is_within(text, levels) {
        return Err(Poison::new("too_deep", format!("the body has more than {levels} levels of JSON")));
    }
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => Ok(value.get()),
        Err(error) => Err(Poison::new("not_json", format!("the body is not JSON: column {}", error.column()))),
    }
}

/// An object without these fields; every other byte stays.
fn strip<'a>(text: &'a str, fields: &[Arc<str>]) -> Cow<'a, str> {
    let object = text.starts_with('{') && fields.iter().any(|field| text.contains(&**field));
    let Some(known) = object.then(|| serde_json::from_str::<Fields<'_>>(text).ok()).flatten() else {
        return Cow::Borrowed(text);
    };
    let kept = known.0.iter().filter(|(name, _)| !fields.iter().any(|field| **field == **name));
    let kept: Vec<String> =
        kept.map(|(name, value)| format!("{}:{value}", serde_json::Value::from(name.as_str()))).collect();
    if kept.len() == known.0.len() { Cow::Borrowed(text) } else { Cow::Owned(format!("{{{}}}", kept.join(","))) }
}

/// The fields of an object in their order.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
