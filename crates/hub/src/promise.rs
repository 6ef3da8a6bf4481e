//! What an app says of durable messages: which events are, how long they are kept, what counts as an acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::Endpoint;
use crate::command::Level;
use crate::policy::channel::Pattern;
use crate::policy::expression::{Scope, Shape, Term};
use crate::store::{Bound, NAME_MAX, Priority};

/// What the delivery of a publication promises (DESIGN 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// At most once, to those who are connected.
    Live,
    /// Who was cut off gets it when they come back in time, or hears of a gap.
    Recoverable,
    /// Stored before the publisher is answered, and kept until it is acknowledged or expires.
    Durable,
}

/// What counts as an acknowledgement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// Only what a client says.
    #[default]
    Explicit,
    /// Also that the client answers the heartbeat that follows the delivery: for clients that know nothing of
    /// acknowledgements.
    Heartbeat,
}

/// What clients hear and say about their inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// A client acknowledges with it.
    pub ack: Arc<str>,
    /// A user's other devices hear it when a message has been seen, read, archived; none: they do not.
    pub state: Option<Arc<str>>,
    /// How many messages are unread now; none: they do not hear that.
    pub unread: Option<Arc<str>>,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            ack: "notification:ack".into(),
            state: Some("notification:state".into()),
            unread: Some("unread-count".into()),
        }
    }
}

/// The inbox that each user of an app has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRules {
    /// What counts as an acknowledgement.
    pub acknowledge: Acknowledge,
    /// How certain a message is before its publisher is answered, unless the publisher says otherwise.
    pub level: Level,
    /// How much an inbox holds.
    pub bound: Bound,
    /// How long a message is kept that nobody acknowledges, unless it is said otherwise; `None`: for ever.
    pub ttl: Option<Duration>,
    /// The first device that acknowledges a message takes it from the others.
    pub first_cancels: bool,
    /// What clients hear and say about it.
    pub words: Words,
    /// Where receipts are posted.
    pub webhook: Option<Endpoint>,
}

impl Default for InboxRules {
    fn default() -> Self {
        Self {
            acknowledge: Acknowledge::default(),
            level: Level::Stored,
            bound: Bound::default(),
            ttl: None,
            first_cancels: false,
            words: Words::default(),
            webhook: None,
        }
    }
}

/// One `[[app.NAME.event]]`: what publications of an event promise.
#[derive(Debug, Clone)]
pub struct EventRule {
    /// Which events; a trailing `*` stands for any ending.
    pub name: Arc<str>,
    /// In which channels; none: in all.
    pub to: Option<Pattern>,
    /// What is promised; none: what the channel does.
    pub class: Option<Class>,
    /// Its lane.
    pub priority: Option<Priority>,
    /// How long it is kept.
    pub ttl: Option<Duration>,
    /// What its data says its id is, for publishers who do not.
    pub id: Option<Shape>,
}

impl EventRule {
    /// The id that the data of a publication says; `None`: it says none.
    #[must_use]
    pub fn id_of(&self, event: &str, data: &str) -> Option<String> {
        let scope = Scope::new().with("event", Term::Text(event)).with("data", Term::Json(data));
        match serde_json::from_str(&self.id.as_ref()?.json(&scope).ok()?).ok()? {
            Value::String(id) => Some(id),
            Value::Number(id) => Some(id.to_string()),
            _ => None,
        }
        .filter(|id| !id.is_empty() && id.len() <= NAME_MAX && !id.chars().any(char::is_control))
    }

    /// Whether it is about that event in that channel.
    #[must_use]
    pub fn fits(&self, event: &str, channel: &str) -> bool {
        let named = match self.name.strip_suffix('*') {
            Some(start) => event.starts_with(start),
            None => *self.name == *event,
        };
        named && self.to.as_ref().is_none_or(|pattern| pattern.matches(channel).is_some())
    }
}

impl EventRule {
    /// Whether every event in every channel that the other one is about is this one's, too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let named = match self.name.strip_suffix('*') {
            Some(start) => other.name.strip_suffix('*').unwrap_or(&other.name).starts_with(start),
            None => self.name == other.name,
        };
        let placed = |to: &Pattern| other.to.as_ref().is_some_and(|other| to.covers(other));
        named && self.to.as_ref().is_none_or(placed)
    }
}

/// Who keeps what is durable in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeper {
    /// The inbox of this user.
    User(Arc<str>),
    /// The channel's log, for all on its roster.
    Roster,
}

/// How a channel's roster comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roster {
    /// By the API.
    Api,
    /// Who subscribes is on it until they unsubscribe, also by the API.
    Subscribe,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_about_events_in_channels() {
        #[track_caller]
        fn check(name: &str, to: Option<&str>, event: &str, channel: &str, expect: bool) {
            let to = to.map(|to| Pattern::compile(to).expect("a pattern"));
            let rule = EventRule { name: name.into(), to, class: None, priority: None, ttl: None, id: None };
            assert_eq!(rule.fits(event, channel), expect, "{rule:?} {event} {channel}");
        }
        check("alarm:*", None, "alarm:new", "anything", true);
        check("alarm:*", None, "alarms", "anything", false);
        check("*", Some("user:{id}"), "any", "user:1", true);
        check("notification", Some("user:{id}"), "notification", "role:admin", false);
    }
}
