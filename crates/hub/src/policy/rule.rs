//! What a channel's rule in the app's file says: who may subscribe and publish, and what becomes of publications in it.

use std::sync::Arc;
use std::time::Duration;

use super::channel::Pattern;
use super::expression::{Condition, Shape, Template};
use crate::backend::Endpoint;
use crate::promise::Roster;
use crate::recovery::History;

/// One `[[app.NAME.channel]]`.
#[derive(Debug, Clone)]
pub struct ChannelRule {
    /// Which channels it is about.
    pub pattern: Pattern,
    /// Who may subscribe.
    pub subscribe: Grant,
    /// Which clients may publish through the app's events; backends are ruled by their keys.
    pub publish: Grant,
    /// Joins and leaves are told to the channel's presence.
    pub presence: bool,
    /// Channels that also hear what is published to this one.
    pub echo: Vec<Arc<str>>,
    /// A publication is heard here only by those who may subscribe to the channel that this names from `event` and
    /// `data`; by all, when the data names none.
    pub audience: Option<Template>,
    /// What becomes of publications in it that wait for a client which reads too slowly.
    pub when_slow: WhenSlow,
    /// How much of what is published in it is remembered for those who come back.
    pub history: Option<History>,
    /// The part of its name that is the user whose inbox keeps what is durable here.
    pub inbox: Option<Arc<str>>,
    /// It has a roster, for whom its log keeps what is durable.
    pub roster: Option<Roster>,
}

impl ChannelRule {
    /// Everybody may subscribe and publish to these channels, and nothing said there is kept: what who embeds a hub begins with.
    #[must_use]
    pub fn open(pattern: Pattern) -> Self {
        let grant = |key| {
            let rule = RuleRef { line: 0, channel: Arc::clone(pattern.source()), key, source: "true".into() };
            Grant { rule: Arc::new(rule), right: Right::When(Condition::constant(true)) }
        };
        Self {
            subscribe: grant("subscribe"),
            publish: grant("publish"),
            presence: false,
            echo: Vec::new(),
            audience: None,
            when_slow: WhenSlow::default(),
            history: None,
            inbox: None,
            roster: None,
            pattern,
        }
    }
}

/// What a channel wants for clients that read too slowly.
#[derive(Debug, Clone, Default)]
pub enum WhenSlow {
    /// The oldest publications are dropped.
    #[default]
    DropOldest,
    /// Of each key only the latest is kept: of what this gives from `event` and `data`, or of each event's name.
    Conflate(Option<Shape>),
    /// None may be lost: the client is disconnected.
    Disconnect,
}

/// One right of a channel, with where it is written.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The rule as it is named in answers and by `explain`.
    pub rule: Arc<RuleRef>,
    /// Who has it.
    pub right: Right,
}

/// Who has a right.
#[derive(Debug, Clone)]
pub enum Right {
    /// Those for whom this holds.
    When(Condition),
    /// Those for whom the app's backend says so.
    Ask(Arc<Ask>),
}

/// Where a rule is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRef {
    /// Line in the file, from 1; 0 when the key is not written and its default holds.
    pub line: usize,
    /// The channel's pattern.
    pub channel: Arc<str>,
    /// `subscribe` or `publish`.
    pub key: &'static str,
    /// The expression as it was written.
    pub source: Arc<str>,
}

/// How the app's backend is asked for a right: a POST of JSON, answered with `{"allow": true}` or a 2xx without body;
/// 403 denies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where.
    pub endpoint: Endpoint,
    /// How long an answer counts.
    pub cache: Duration,
    /// What holds when there is none.
    pub default: bool,
}
