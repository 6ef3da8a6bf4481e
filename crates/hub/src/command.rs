//! What a client or a backend may ask. Every door (socket, HTTP, sources, embedding) builds one of these; nothing
//! else changes the hub.

use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::message::{Args, RESERVED_EVENTS};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::address::Address;
use crate::address::AppId;
use crate::app::App;
use crate::delivery::{Delivery, Priority};
use crate::inbox::Hearing;
use crate::policy::Rights;
use crate::policy::channel::{MAX_NAME, name_fault};
use crate::policy::grants::Audience as Wanted;
use crate::policy::limits::Limit;
use crate::policy::token::{Revocation, RevokeError};
use crate::promise::Class;
use crate::recovery::Missed;
use crate::store::{Deleted, Marked, ReceiptTo, State, StoreError, Target, Which};

/// Longest event name in bytes.
pub const EVENT_MAX: usize = 200;

/// Most channels that one command may name.
pub const CHANNELS_PER_COMMAND: usize = 1_000;

/// Most users for whom a durable publication is stored one by one.
pub const USERS_PER_MESSAGE: usize = 10_000;

/// One publication as its author describes it.
#[derive(Clone)]
pub struct Publish {
    /// Channels; [`crate::channel::EVERYONE`] means every session of the app. A session's own id names that session.
    pub to: Vec<String>,
    /// Members of these channels do not hear it; a session's id names that session.
    pub except: Vec<String>,
    /// The session that says it does not hear it, but for what is durable: that is for all of its user's devices.
    pub skip: Option<Address>,
    /// The event name.
    pub event: String,
    /// The payload.
    pub args: Args,
    /// An id chosen by the publisher, else one is made.
    pub id: Option<String>,
    /// Whether the app's dialect shapes the payload (publications of backends) or it is already what clients
    /// expect (relayed client messages, embedding).
    pub shape: bool,
    /// The one argument is the whole frame of a raw WebSocket already.
    pub whole: bool,
    /// Who among the members may hear it: all of this must admit them.
    pub audience: Option<Arc<[Wanted]>>,
    /// What it overtakes on its way to clients that read too slowly.
    pub priority: Option<Priority>,
    /// Dropped for sessions whose connection is busy.
    pub volatile: bool,
    /// Whether transports may compress it.
    pub compress: bool,
    /// What its delivery promises, where its publisher says something about that.
    pub promise: Promise,
}

/// What a publisher asks of a delivery; what it leaves open, the app's rules say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promise {
    /// The class.
    pub class: Option<Class>,
    /// How certain it must be before the answer.
    pub level: Option<Level>,
    /// How long it is kept.
    pub ttl: Option<Duration>,
    /// Not before then, in milliseconds since the Unix epoch.
    pub deliver_at: Option<u64>,
    /// Who wants to hear what becomes of it.
    pub receipt: Option<ReceiptTo>,
}

impl Publish {
    /// A live, shaped publication to some channels.
    #[must_use]
    pub fn new(to: Vec<String>, event: impl Into<String>, args: Args) -> Self {
        Self {
            to,
            except: Vec::new(),
            skip: None,
            event: event.into(),
            args,
            id: None,
            shape: true,
            whole: false,
            audience: None,
            priority: None,
            volatile: false,
            compress: true,
            promise: Promise::default(),
        }
    }
}

impl std::fmt::Debug for Publish {
    /// Payloads stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publish").field("to", &self.to).field("event", &self.event).finish_non_exhaustive()
    }
}

/// Which sessions a command is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// All sessions of the app.
    Everyone,
    /// Members of at least one of `to`, without members of `except`.
    Channels {
        /// Any of these.
        to: Vec<Arc<str>>,
        /// None of these.
        except: Vec<Arc<str>>,
    },
    /// One session.
    Socket(Address),
    /// All sessions of one user.
    User(Arc<str>),
}

/// How a session ends by command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goodbye {
    /// Leaves the namespace; the connection stays. Stock clients do not come back by themselves.
    Namespace,
    /// Closes the connection. Stock clients reconnect.
    Transport,
}

/// The closed set of what can be asked of the hub.
#[derive(Debug)]
pub enum Command {
    /// Tell members of channels something.
    Publish(Publish),
    /// The same, and collect the members' acknowledgements until all have answered or the time is over.
    PublishWithAck(Publish, Duration),
    /// Put sessions into channels, without asking the policy (a backend decided).
    Join(Select, Vec<String>),
    /// Take sessions out of channels.
    Leave(Select, Vec<String>),
    /// End sessions.
    Disconnect(Select, Goodbye),
    /// Describe sessions.
    Describe(Select),
    /// Bring messages of a user forward.
    Mark(Marking),
    /// Take messages from a user, as far as somebody hears them; `None`: all.
    Delete(Arc<str>, Vec<Arc<str>>, Option<Hearing>),
    /// Give a user a message again.
    Resend(Arc<str>, Arc<str>),
    /// Put users on a channel's roster.
    Enroll(String, Vec<Arc<str>>),
    /// Take users off a channel's roster.
    Dismiss(String, Vec<Arc<str>>),
    /// Look again at every session's credentials: revocations have changed on this node.
    Recheck,
    /// Refuse credentials until then, in seconds since the Unix epoch, and end the sessions that have them.
    Revoke(Revocation, u64),
    /// The app has other rules from now on: whoever could hear a channel and cannot any more leaves it.
    Reform(Box<App>),
}

/// A user's word on what they have.
#[derive(Debug, Clone)]
pub struct Marking {
    /// Whose messages.
    pub user: Arc<str>,
    /// Which of them.
    pub which: Which,
    /// How far they have come.
    pub to: State,
    /// On which session that was said; the others are told.
    pub by: Option<Address>,
    /// What of it somebody hears, and brings forward; `None`: all.
    pub hearing: Option<Hearing>,
}

/// What a command led to.
#[derive(Debug)]
pub enum Outcome {
    /// The publication has its place in the order.
    Published(Published),
    /// What the members answered.
    Acked(Acked),
    /// The sessions that were asked for.
    Sockets(Vec<SocketInfo>),
    /// What a mark has changed.
    Marked(Marked),
    /// What is gone.
    Deleted(Deleted),
    /// Whether the user had it.
    Resent(bool),
    /// How many users that was new to.
    Rostered(usize),
    /// The owners of the sessions have done it.
    Done,
}

/// How far a publication is certain to have come when its publisher is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Its order is fixed; it is being delivered.
    Accepted,
    /// It is written to the store's log: it survives the end of the process.
    Stored,
    /// The log is on the disk: it survives the end of the machine.
    Synced,
}

/// The answer to a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The publication's id.
    pub id: Arc<str>,
    /// How certain it is.
    pub level: Level,
    /// It was published before: nothing was stored or delivered now.
    pub duplicate: bool,
    /// Of a durable one, in whose inboxes and logs there was no room for it.
    pub full: Vec<Target>,
}

impl Published {
    /// One of which nothing else is to be said.
    #[must_use]
    pub const fn new(id: Arc<str>, level: Level) -> Self {
        Self { id, level, duplicate: false, full: Vec::new() }
    }
}

/// What the members of a channel answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// The publication's id.
    pub id: Arc<str>,
    /// Sessions that were sent the event.
    pub reached: usize,
    /// The answers, in the order in which they came.
    pub answers: Vec<Args>,
}

/// A session as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct SocketInfo {
    /// Its id, as its client knows it.
    pub id: String,
    /// The user.
    pub user: Arc<str>,
    /// A name to show, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Roles of the user.
    pub roles: Vec<Arc<str>>,
    /// `websocket` or `polling`.
    pub transport: &'static str,
    /// The client's address, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// Channels it is in.
    pub channels: Vec<Arc<str>>,
}

/// Why a command was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// No such app on this node.
    #[error("no such app: {0}")]
    UnknownApp(String),
    /// A channel name that no client could be in.
    #[error("{0:?} is not a channel name: 1 to {MAX_NAME} characters, no control characters, no *")]
    BadChannel(String),
    /// A channel name that is more than the app allows.
    #[error("{name:?}: {}", .limit.code().message())]
    OverLimit {
        /// Which limit.
        limit: Limit,
        /// The name, or how it begins.
        name: String,
    },
    /// An event name that no client could hear.
    #[error("{0:?} is not an event name: 1 to {EVENT_MAX} bytes, no control characters, not reserved by Socket.IO")]
    BadEvent(String),
    /// Nobody was named.
    #[error("`to` names no channel")]
    NoTarget,
    /// Too many channels at once.
    #[error("a command may name at most {CHANNELS_PER_COMMAND} channels")]
    TooManyChannels,
    /// The node is going down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The app keeps no messages.
    #[error("the app {0} has no inbox: add [app.{0}.inbox] to its file; what is live needs none")]
    NoInbox(String),
    /// A promise that cannot be kept.
    #[error("{0}")]
    BadPromise(&'static str),
    /// Nothing is remembered in this channel.
    #[error(
        "nothing is remembered in {0:?}: give its [[app.NAME.channel]] a `history`, and the app [app.NAME.recovery]"
    )]
    NotRecoverable(String),
    /// A channel without a roster.
    #[error("the channel {0:?} has no roster: give its [[app.NAME.channel]] a `roster`")]
    NoRoster(String),
    /// A durable publication to more users than one message is stored for.
    #[error(
        "{0} users hear these channels now, and one message is stored for at most {USERS_PER_MESSAGE}: give the channel a `roster`"
    )]
    TooManyUsers(usize),
    /// Not revoked.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
    /// Nobody has credentials there.
    #[error("the app {0} knows no tokens")]
    NoCredentials(String),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All that a client hears of a store that fails: the server's disks are none of its business.
pub const NOT_STORED: &str = "the store does not answer; try again later";

impl CommandError {
    /// What a client hears of it.
    #[must_use]
    pub fn for_client(&self) -> String {
        match self {
            Self::Store(error) if error.is_trouble() => NOT_STORED.to_owned(),
            _ => self.to_string(),
        }
    }
}

/// A session, as one that hears what lies in its user's inbox.
#[derive(Debug, Clone)]
pub struct Hearer {
    /// The channels, of those on whose rosters its user is, that it hears.
    pub rosters: Vec<Arc<str>>,
    /// Its rights.
    pub rights: Arc<Rights>,
}

/// What the hub hands to shards, besides deliveries.
#[derive(Debug)]
pub enum Control {
    /// See [`Command::Join`].
    Join(AppId, Select, Vec<Arc<str>>),
    /// See [`Command::Leave`].
    Leave(AppId, Select, Vec<Arc<str>>),
    /// See [`Command::Disconnect`].
    Disconnect(AppId, Select, Goodbye),
    /// See [`Command::Describe`]; the answer of one shard.
    Describe(AppId, Select, mpsc::UnboundedSender<Vec<SocketInfo>>),
    /// What sessions may hear of their users' inboxes; the answer of one shard.
    Hearers(AppId, Select, mpsc::UnboundedSender<Vec<Hearer>>),
    /// How many devices of that user are connected, and how many of those were sent that message; the answer of one shard.
    Devices(AppId, Arc<str>, Arc<str>, mpsc::UnboundedSender<(usize, usize)>),
    /// See [`Command::Recheck`].
    Recheck(AppId),
    /// A newer connection of the same user takes the place of this one.
    Replace(Address),
    /// See [`Command::Reform`]; the app as it was.
    Reform(Arc<App>),
    /// All publications of an app up to this position have been pushed before.
    Reached(AppId, u64),
    /// Something that was said before that position in these channels, or in any, was not heard here.
    Missed(AppId, Option<Arc<[Arc<str>]>>, u64),
    /// Something durable that was stored elsewhere for who is in these of the hub's own channels, or in any, was not heard here.
    LookAgain(AppId, Option<Arc<[Arc<str>]>>),
    /// A client comes back with that number: what it missed, and up to where.
    Return {
        /// Its number on its shard.
        ticket: usize,
        /// What it missed.
        missed: Missed,
        /// Everything after this it will hear live.
        until: u64,
    },
    /// Ends a session of that user, whose client has opened another one; the answer is dropped when it has ended.
    Surrender(Address, Arc<str>, oneshot::Sender<()>),
    /// Answers the request of a polling session that waits, whether or not there is something for it: the node by which it
    /// came goes down.
    Release(Address),
    /// An embedding handler acknowledges a client's event.
    Answer(Address, u64, Args),
}

/// What waits in a shard's mailbox. Deliveries are bounded by the permits at the door, controls by their authors,
/// who each have one under way.
#[derive(Debug)]
pub enum Mail {
    /// A publication.
    Deliver(Arc<Delivery>),
    /// Everything else.
    Control(Control),
}

/// Whether a channel can have that name.
#[must_use]
pub fn is_channel_name(name: &str) -> bool {
    name_fault(name).is_none()
}

/// Whether an event can have that name: not one that Socket.IO clients keep for themselves.
#[must_use]
pub fn is_event_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= EVENT_MAX
        && !name.chars().any(char::is_control)
        && !RESERVED_EVENTS.contains(&name)
}
