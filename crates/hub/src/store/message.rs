//! The nouns of a store: what is put into it, what comes out, what became of it.

use std::fmt;
use std::sync::Arc;

use oyez_protocol::message::Args;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::key;
use crate::command::Level;
use crate::delivery::Priority;

/// Where messages lie in order: the inbox of a user, or the one log of a channel that all its members read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Target {
    /// A user's own inbox.
    User(Arc<str>),
    /// A channel with a roster: one entry, and a cursor per member.
    Channel(Arc<str>),
}

impl Target {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::User(name) | Self::Channel(name) => name,
        }
    }

    /// The channel, if it is one.
    #[must_use]
    pub fn channel(&self) -> Option<&Arc<str>> {
        match self {
            Self::User(_) => None,
            Self::Channel(name) => Some(name),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user {name}"),
            Self::Channel(name) => write!(f, "channel {name}"),
        }
    }
}

/// A user of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The app.
    pub app: Arc<str>,
    /// The user.
    pub user: Arc<str>,
}

impl Owner {
    /// From their names.
    #[must_use]
    pub fn new(app: impl Into<Arc<str>>, user: impl Into<Arc<str>>) -> Self {
        Self { app: app.into(), user: user.into() }
    }
}

/// What is said.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Unique for 24 hours, and for as long as it lies in an inbox.
    pub id: Arc<str>,
    /// The event's name.
    pub event: Arc<str>,
    /// The payload, byte for byte as it was given.
    pub args: Args,
    /// Its lane.
    pub priority: Priority,
    /// When it was published, in milliseconds since the Unix epoch; so are all times here.
    pub created: u64,
    /// From then on nobody gets it any more.
    pub expires_at: Option<u64>,
    /// The one argument is the whole frame of a raw WebSocket.
    pub whole: bool,
    /// Who may have it, if not everybody for whom it was put.
    pub audience: Audience,
    /// Who wants to hear what becomes of it.
    pub receipt: Option<ReceiptTo>,
}

/// Who may have a message: those who may subscribe to a channel, which may be another one for each place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audience {
    /// Of these places, with `None` for everybody.
    pub at: Vec<(Target, Option<Arc<str>>)>,
    /// Of all others.
    pub elsewhere: Option<Arc<str>>,
}

impl Audience {
    /// The channel to which one must be able to subscribe who has the message from there.
    #[must_use]
    pub fn of(&self, via: &Target) -> Option<&Arc<str>> {
        match self.at.iter().find(|(target, _)| target == via) {
            Some((_, channel)) => channel.as_ref(),
            None => self.elsewhere.as_ref(),
        }
    }
}

/// Where a publisher hears that a message was delivered, seen, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReceiptTo {
    /// The app's webhook.
    Webhook,
    /// The members of this channel.
    Channel(Arc<str>),
}

impl fmt::Debug for Message {
    /// Payloads stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("id", &self.id).field("event", &self.event).finish_non_exhaustive()
    }
}

/// What happens when an inbox has as many messages as it may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest acknowledged message goes, and where there is none, the oldest. Of a channel, whose members have each
    /// acknowledged something else, the oldest.
    #[default]
    DropOldest,
    /// The oldest acknowledged message goes, and where there is none, the new one is refused. Of a channel it is refused.
    Refuse,
}

/// How much an inbox, or a channel's log, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// So many messages.
    pub most: u32,
    /// And then?
    pub when_full: WhenFull,
}

impl Default for Bound {
    fn default() -> Self {
        Self { most: 10_000, when_full: WhenFull::default() }
    }
}

/// A message on its way into the store.
#[derive(Debug, Clone)]
pub struct Put {
    /// The app.
    pub app: Arc<str>,
    /// What is said.
    pub message: Message,
    /// Its id was made for it, so nobody has used it before: that need not be looked up.
    pub fresh: bool,
    /// To whom.
    pub to: Vec<Target>,
    /// Not before then.
    pub deliver_at: Option<u64>,
    /// The bound of each inbox it goes to.
    pub bound: Bound,
    /// How certain it must be before the answer: [`Level::Stored`] or [`Level::Synced`].
    pub level: Level,
}

impl Put {
    /// Refuses what no record can hold.
    ///
    /// # Errors
    /// [`StoreError::NoTarget`], [`StoreError::TooLong`].
    pub fn check(&self) -> Result<(), StoreError> {
        if self.to.is_empty() {
            return Err(StoreError::NoTarget);
        }
        key::check("the app's name", &self.app)?;
        key::check("the message's id", &self.message.id)?;
        self.to.iter().try_for_each(|target| match target {
            Target::User(name) => key::check("the user's name", name),
            Target::Channel(name) => key::check("the channel's name", name),
        })
    }
}

/// A place in the one order of a store.
pub type Seq = u64;

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It lies in the inboxes.
    Stored,
    /// It will, when it is due.
    Scheduled,
    /// It was there already: nothing was stored, nobody is to be told.
    Duplicate,
}

/// The answer to a put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What became of it.
    pub outcome: Outcome,
    /// How certain that is. A store in memory reaches [`Level::Accepted`] only.
    pub level: Level,
    /// Where it lies; of a duplicate, where the first one lay.
    pub places: Vec<(Target, Seq)>,
    /// Who had no room for it.
    pub refused: Vec<Target>,
    /// What had to go for it, by id.
    pub dropped: Vec<(Target, Arc<str>)>,
}

/// A scheduled message that has become due and lies in inboxes now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The app.
    pub app: Arc<str>,
    /// What is said.
    pub message: Message,
    /// Where it lies.
    pub places: Vec<(Target, Seq)>,
    /// Who had no room for it.
    pub refused: Vec<Target>,
    /// What had to go for it, by id.
    pub dropped: Vec<(Target, Arc<str>)>,
}

/// How far a message has come with one user. It only goes forward; everything from `Delivered` on is acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits, and is delivered again on every connect.
    #[default]
    Pending,
    /// The user's application has it.
    Delivered,
    /// It has been shown.
    Seen,
    /// It has been read.
    Read,
    /// It has been put away.
    Archived,
}

impl State {
    /// All, in order.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Seen, Self::Read, Self::Archived];
}

/// A message as one user has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its place in the one order.
    pub seq: Seq,
    /// Through which inbox or channel it came.
    pub via: Target,
    /// What is said.
    pub message: Message,
    /// How far it has come.
    pub state: State,
}

/// Some of a user's messages, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The messages; there may be fewer than asked for though more follow.
    pub items: Vec<Item>,
    /// Where the next page begins; `None`: that was all.
    pub next: Option<Seq>,
    /// The last place that there was when it was read. Everything of this user that is not on the pages up to this one
    /// and was not passed over on purpose comes after it.
    pub horizon: Seq,
}

/// Which of a user's messages are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// In one of these states; none named: in any.
    pub states: Vec<State>,
    /// The newest first, else the oldest.
    pub newest_first: bool,
    /// Where the page before ended.
    pub after: Option<Seq>,
    /// At most so many.
    pub limit: usize,
}

/// Where a user has a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The last of its places, though it may be gone from there; `None`: they never had it.
    pub last: Option<Seq>,
    /// As it lies in each of its places now.
    pub items: Vec<Item>,
}

/// Which of a user's messages are marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// These, by id.
    Ids(Vec<Arc<str>>),
    /// All up to this one, by id.
    UpTo(Arc<str>),
    /// All.
    All,
}

/// A message of a user that went from one state to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub id: Arc<str>,
    /// Its place.
    pub seq: Seq,
    /// What it was.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Who wants to hear of it.
    pub receipt: Option<ReceiptTo>,
}

/// The answer to a mark.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Marked {
    /// What changed, in order; what was that far already is not in here.
    pub changed: Vec<Change>,
    /// What the user has not.
    pub unknown: Vec<Arc<str>>,
    /// So much was to be marked that some is left: ask again.
    pub more: bool,
}

/// The answer to a deletion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// What is gone.
    pub removed: Vec<Arc<str>>,
    /// What the user has not.
    pub unknown: Vec<Arc<str>>,
}

/// Something that happened to a message on its way to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A session of theirs was sent it.
    Sent,
    /// They were not sent it, for this reason.
    Withheld(String),
}

/// Why a message is not in an inbox any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gone {
    /// The user deleted it.
    Deleted,
    /// Its time was over.
    Expired,
    /// There was no room.
    Dropped,
    /// It was acknowledged long ago.
    Trimmed,
    /// It came again, at a later place.
    Resent,
}

/// What happened to a message with one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// When it was put.
    pub stored_at: u64,
    /// When it is due, if it is not yet.
    pub scheduled_for: Option<u64>,
    /// Through which inbox or channel, and at which place; `None`: it was not for this user, or is not due yet.
    pub place: Option<(Target, Seq)>,
    /// How far it has come.
    pub state: State,
    /// When it came to each state, but the first; the states it skipped have the time of the next one.
    pub reached: Vec<(State, u64)>,
    /// When a session was sent it first, and how often one was.
    pub sent: Option<(u64, u32)>,
    /// Why and when it was last not sent.
    pub withheld: Option<(String, u64)>,
    /// Why and when it went.
    pub gone: Option<(Gone, u64)>,
}

/// What one round of upkeep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Messages whose time was over.
    pub expired: usize,
    /// Whose they were: the app and the place, each once for neighbours.
    pub expired_at: Vec<(Arc<str>, Target)>,
    /// Messages that were acknowledged long ago.
    pub trimmed: usize,
    /// Ids that are known no longer.
    pub forgotten: usize,
    /// Why there is no room for more messages now.
    pub full: Option<StoreError>,
    /// There is more to do now.
    pub more: bool,
}

/// A store in figures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Records of all kinds, about.
    pub records: u64,
    /// Bytes on the disk; in memory, of what is kept.
    pub bytes: u64,
    /// For how long ids are unique at least, in milliseconds: 24 hours, or less when their bytes are capped.
    pub window: u64,
    /// Bytes of ids.
    pub id_bytes: u64,
    /// The last place in the order.
    pub last: Seq,
}

/// Something in a store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub place: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}
