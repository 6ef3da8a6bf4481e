//! An app's own language: which client event means which steps, how it is answered, how a push looks.
//!
//! Pure: a [`Plan`] says what a client's words ask for, the session driver does it (each channel is checked by the
//! policy on the way), and [`Dialect::replies`] turns what came of it into the app's own words.

mod mark;
mod outgoing;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

use oyez_protocol::code::Code;
use oyez_protocol::message::Args;
use serde_json::value::RawValue;

use crate::backend::Endpoint;
use crate::command::Publish;
use crate::policy::Identity;
use crate::policy::expression::{Kind, Names, Shape, Template, dig};
use crate::policy::limits::Limit;
use crate::store::{Marked, State, Which};

/// The event that carries a fresh token, unless a rule of the app names it: `{"token": "…"}` or the token itself.
pub const REFRESH_EVENT: &str = "auth:refresh";

/// What of a session an app's words may mention.
#[derive(Clone, Copy)]
pub struct SessionInfo<'a> {
    /// The id that the client knows itself by.
    pub id: &'a dyn Display,
    /// Where it comes from, an address without port.
    pub address: &'a dyn Display,
    /// `websocket` or `polling`.
    pub transport: &'a str,
}

impl std::fmt::Debug for SessionInfo<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionInfo").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// What a rule is evaluated in.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// Who speaks.
    pub identity: &'a Identity,
    /// On which session.
    pub session: SessionInfo<'a>,
    /// The event's name; empty on connect.
    pub event: &'a str,
    /// Its first argument, or `RawValue::NULL`; for raw JSON the whole frame.
    pub data: &'a RawValue,
    /// Unix milliseconds.
    pub now: u64,
    /// A fresh id for what this event causes; a publication of the event gets it.
    pub id: &'a dyn Display,
}

impl std::fmt::Debug for Cx<'_> {
    /// Without the data, which may be secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("event", &self.event).finish_non_exhaustive()
    }
}

/// A message on its way out, in the app's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The event's name.
    pub event: String,
    /// Its arguments.
    pub args: Args,
    /// The one argument is the whole JSON frame already; a raw WebSocket session gets it as it is.
    pub whole: bool,
}

/// What a client's words ask for.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// What to do, in order.
    pub steps: Vec<Step>,
    /// What is refused before anything is done: names that cannot be, data that is missing.
    pub denied: Vec<Denial>,
    rule: Option<Arc<Rule>>,
}

impl Plan {
    /// A rule of the app's own says what is done, and how it is answered.
    #[must_use]
    pub fn is_ruled(&self) -> bool {
        self.rule.is_some()
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Subscribe to a channel, if the policy allows.
    Join(String),
    /// The same, with what was said in it after a place that the client shows.
    JoinSince(String, String),
    /// Leave a channel; leaving one that it is not in is no mistake.
    Leave(String),
    /// Publish, if the policy allows it for each of the channels.
    Publish(Publication),
    /// The user's status as the presence API shows it.
    Status(String),
    /// The session is alive, in the app's own terms.
    Heartbeat,
    /// A new token for this session.
    Refresh(String),
    /// Say how far messages of the user's inbox have come.
    Mark(Which, State),
    /// Ask the app's backend, if nothing was refused before; its answer is the acknowledgement.
    Forward(Arc<Endpoint>),
}

/// What a rule publishes. It is sent as the rule wrote it, not shaped again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The channels; `*` is everybody (only a rule may write it, never data).
    pub to: Vec<String>,
    /// The publication's id.
    pub id: String,
    /// What is heard.
    pub message: Message,
    /// The session that caused it does not hear it.
    pub skip_self: bool,
}

impl Publication {
    /// It as a command.
    #[must_use]
    pub fn command(&self) -> Publish {
        let Message { event, args, whole } = &self.message;
        let publish = Publish::new(self.to.clone(), event.clone(), args.clone());
        Publish { id: Some(self.id.clone()), shape: false, whole: *whole, ..publish }
    }
}

/// A refusal, to be said in the app's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The channel, where one was named.
    pub channel: Option<String>,
    /// Why, for the client.
    pub reason: String,
    /// 400: the request cannot be understood. 403: it is not allowed. 429: too much.
    pub code: u16,
    /// The limit that was exceeded, if it is for one.
    pub limit: Option<Limit>,
    /// Its row in the table of codes, where there is one that says more than `code`.
    pub error: Option<Code>,
}

impl Denial {
    /// A limit is exceeded.
    #[must_use]
    pub fn over(limit: Limit, channel: Option<String>) -> Self {
        let code = limit.code();
        Self { channel, limit: Some(limit), ..Self::of(code, code.message()) }
    }

    /// For a reason of the table.
    #[must_use]
    pub fn of(code: Code, reason: impl Into<String>) -> Self {
        Self { channel: None, reason: reason.into(), code: code.http_status(), limit: None, error: Some(code) }
    }
}

/// What came of a plan.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Channels the session is in now because of it, also those it was in before.
    pub joined: Vec<String>,
    /// Channels it left.
    pub left: Vec<String>,
    /// How many publications were admitted.
    pub published: usize,
    /// What was marked.
    pub marked: Option<Marked>,
    /// What the policy or the hub refused.
    pub denied: Vec<Denial>,
}

/// What the client hears of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies {
    /// In order: the reply, then one refusal per denial.
    pub messages: Vec<Message>,
    /// The acknowledgement, if the app answers this event's ack at all; use it only if the client asked for one.
    pub ack: Option<Args>,
}

/// What a backend published, before it has the app's shape.
#[derive(Debug, Clone, Copy)]
pub struct Push<'a> {
    /// The event's name as published.
    pub event: &'a str,
    /// What was published.
    pub args: &'a Args,
    /// The publication's id.
    pub id: &'a str,
    /// Unix milliseconds.
    pub now: u64,
}

/// When a presence rule speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A session has opened.
    Connected,
    /// It was the user's first.
    Online,
    /// It was the user's last that closed.
    Offline,
    /// A session has closed.
    Disconnected,
}

/// An app's rules, compiled.
#[derive(Debug, Clone, Default)]
pub struct Dialect {
    /// What happens when a session opens; a channel that it may not join is passed over in silence.
    pub connect: Option<Arc<Rule>>,
    /// By event name.
    pub events: HashMap<Arc<str>, Arc<Rule>>,
    /// What presence tells whom.
    pub presence: Vec<(Moment, PublishRule)>,
    /// How publications look; the first that fits.
    pub pushes: Vec<PushRule>,
    /// How event and data become one frame on a raw WebSocket; none: `{"type": event, "data": data}`.
    pub frame: Option<Shape>,
    /// How a refusal is said; none: `error` with `{code, message, channel}`.
    pub refused: Option<MessageRule>,
    /// Only this event keeps a session alive; none: every packet does.
    pub heartbeat: Option<Arc<str>>,
    /// This event says how far messages have come, unless a rule names it: `{id | ids | upTo | all, state}`.
    pub acknowledge: Option<Arc<str>>,
    /// Where events go that no rule names; the answer's JSON acknowledges.
    pub forward: Option<Arc<Endpoint>>,
}

/// One `[[app.NAME.on]]`.
#[derive(Debug, Clone, Default)]
pub struct Rule {
    /// Line in the file.
    pub line: usize,
    /// Channels to join.
    pub join: Vec<Template>,
    /// The place after which it wants to hear what was said in them; none or null: it begins now.
    pub since: Option<Shape>,
    /// Channels to leave.
    pub leave: Vec<Template>,
    /// What is published.
    pub publish: Option<PublishRule>,
    /// How far messages of the user's inbox have come.
    pub mark: Option<MarkRule>,
    /// The user's new status.
    pub status: Option<Template>,
    /// Where it goes, too; what is answered there is the acknowledgement.
    pub forward: Option<Arc<Endpoint>>,
    /// The answer, when anything came of it.
    pub reply: Option<MessageRule>,
    /// The acknowledgement; without it the client's is never answered.
    pub ack: Option<Shape>,
    /// How a refusal is said here, if not as everywhere in the app.
    pub refused: Option<MessageRule>,
    /// Refusals are not said.
    pub quiet: bool,
}

/// Which messages of a user's inbox an event is about, and how far they have come.
#[derive(Debug, Clone)]
pub struct MarkRule {
    /// Which.
    pub which: MarkWhich,
    /// How far.
    pub state: State,
}

/// Where an event names messages.
#[derive(Debug, Clone)]
pub enum MarkWhich {
    /// An id, or a list of them.
    Ids(Shape),
    /// The id of the last one.
    UpTo(Shape),
    /// It is about all.
    All,
}

/// A message to be written.
#[derive(Debug, Clone)]
pub struct MessageRule {
    /// The event's name.
    pub event: Template,
    /// What it carries.
    pub body: Body,
}

/// What a message carries.
#[derive(Debug, Clone)]
pub enum Body {
    /// No argument.
    Nothing,
    /// One argument.
    Data(Shape),
    /// The whole frame of a raw WebSocket.
    Frame(Shape),
}

/// A message and who hears it.
#[derive(Debug, Clone)]
pub struct PublishRule {
    /// The channels; `*` is everybody.
    pub to: Vec<Template>,
    /// What they hear.
    pub message: MessageRule,
    /// The session that caused it does not hear it.
    pub skip_self: bool,
}

/// One `[[app.NAME.push]]`.
#[derive(Debug, Clone)]
pub struct PushRule {
    /// Which events; a trailing `*` stands for any ending. None: all.
    pub event: Option<Arc<str>>,
    /// What it looks like.
    pub message: MessageRule,
}

impl Dialect {
    /// Whether some event goes to the app's backend.
    #[must_use]
    pub fn forwards(&self) -> bool {
        self.forward.is_some() || self.events.values().any(|rule| rule.forward.is_some())
    }
}

/// The event's name in a frame of a plain WebSocket: the text in `field`, `type` for most. None when the frame is no
/// object or names no event. Nothing else of the frame is read.
#[must_use]
pub fn event_of(frame: &RawValue, field: &str) -> Option<String> {
    serde_json::from_str(dig(frame.get(), field)?).ok()
}

/// The names of one place in a configuration; `user` is from [`crate::policy::identity::user_kind`].
#[must_use]
pub fn names(place: Place, user: Kind) -> Names {
    let times = [
        ("now", Kind::Text),
        ("now_ms", Kind::Number),
        ("now_s", Kind::Number),
        ("now_nanos", Kind::Text),
        ("id", Kind::Text),
    ];
    let session = ["id", "address", "transport"].map(|name| (name.into(), Kind::Text)).to_vec();
    let who = [("user", user), ("session", Kind::Record(session))];
    let what = [("event", Kind::Text), ("data", Kind::Any)];
    let names = Names::default().with(times);
    match place {
        Place::Push => names.with(what),
        Place::Connect => names.with(who),
        Place::Event => names.with(who).with(what),
        Place::Reply => names.with(who).with(what).with([("joined", Kind::List), ("left", Kind::List)]),
        Place::Refusal => {
            names.with(who).with(what).with([("channel", Kind::Any), ("reason", Kind::Text), ("code", Kind::Number)])
        }
    }
}

/// Where in a dialect an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The shape of a push, or a raw WebSocket's frame.
    Push,
    /// Joins and publications when a session opens or closes.
    Connect,
    /// Joins, leaves and publications of an event.
    Event,
    /// The answer to an event, or its acknowledgement.
    Reply,
    /// A refusal.
    Refusal,
}
