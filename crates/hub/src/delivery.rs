//! One publication on its way from the hub to the shards that have members for it.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oyez_protocol::message::Args;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use tokio::sync::mpsc;

use crate::address::Address;
use crate::address::AppId;
use crate::admission::Permit;
use crate::policy::grants::Audience as Wanted;
use crate::policy::{Policy, Rights};
use crate::recovery::Mark;
use crate::store::Seq;

/// Who among a channel's members may hear a publication: all of what is wanted must admit them. Decided per distinct set of
/// rights, never per session.
#[derive(Debug, Clone)]
pub struct Audience {
    policy: Arc<Policy>,
    wanted: Arc<[Wanted]>,
}

impl Audience {
    /// Those whom all of these admit, by the rules of an app.
    #[must_use]
    pub fn new(policy: &Arc<Policy>, wanted: impl Into<Arc<[Wanted]>>) -> Self {
        Self { policy: Arc::clone(policy), wanted: wanted.into() }
    }

    /// Does somebody with these rights belong to it?
    #[must_use]
    pub fn admits(&self, rights: &Arc<Rights>) -> bool {
        self.wanted.iter().all(|wanted| self.policy.admits(wanted, rights))
    }

    /// What it takes to belong to it.
    #[must_use]
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }
}

/// A channel in which a publication is heard.
#[derive(Clone)]
pub struct Heard {
    /// Its name.
    pub channel: Arc<str>,
    /// Who among its members may hear this one; `None`: all.
    pub audience: Option<Audience>,
}

impl Heard {
    /// Whether somebody with these rights hears it there.
    #[must_use]
    pub fn is_for(&self, rights: &Arc<Rights>) -> bool {
        self.audience.as_ref().is_none_or(|audience| audience.admits(rights))
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.channel)
    }
}

/// What becomes of a publication that waits for a client which reads too slowly, when more waits than may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WhenSlow {
    /// It is dropped, the oldest first.
    #[default]
    DropOldest,
    /// A later one of the same key takes its place.
    Conflate(Arc<str>),
    /// The same; and where that does not suffice, it is kept as with [`WhenSlow::Disconnect`].
    ConflateOrDisconnect(Arc<str>),
    /// It is kept, and the client is disconnected when there is no room for what has to be kept.
    Disconnect,
}

/// Which lane of a slow client's outbox it takes: more urgent ones overtake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Before all others.
    Urgent,
    /// Before most.
    High,
    /// As it comes.
    #[default]
    Normal,
    /// After the others.
    Low,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::High, Self::Normal, Self::Low];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

/// Whom a delivery is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// Every session in at least one of these channels, once.
    Channels(SmallVec<[Heard; 2]>),
    /// One session.
    Socket(Address),
}

impl Target {
    /// The channels.
    pub fn channels(&self) -> impl Iterator<Item = &Arc<str>> {
        let heard = match self {
            Self::Channels(heard) => &heard[..],
            Self::Socket(_) => &[],
        };
        heard.iter().map(|heard| &heard.channel)
    }
}

/// Bytes of a packet beside its event's name and what it says, about: its position and its namespace, brackets and quotes.
const FRAMING: usize = 64;

/// What is said, to whom, and how: all that is remembered of it.
#[derive(Clone)]
pub struct Publication {
    /// The app in which it happens.
    pub app: AppId,
    /// Its id, as the publisher was told.
    pub id: Arc<str>,
    /// Whom it is for.
    pub to: Target,
    /// Members of these channels do not hear it.
    pub except: SmallVec<[Arc<str>; 1]>,
    /// The event name as clients see it.
    pub event: Arc<str>,
    /// The arguments as Socket.IO clients see them.
    pub args: Args,
    /// The frame as raw WebSocket clients see it, where the app has any.
    pub native: Option<String>,
    /// What it overtakes where it waits.
    pub priority: Priority,
    /// Dropped for a session whose connection is busy.
    pub volatile: bool,
    /// What becomes of it where it waits too long.
    pub when_slow: WhenSlow,
    /// The pattern of the rule for its first channel; under it is counted what becomes of it.
    pub rule: Option<Arc<str>>,
    /// Whether transports may compress it.
    pub compress: bool,
    /// Its first place in the store, if it lies there: each who hears it has it in their inbox, and acknowledges it.
    pub stored: Option<Seq>,
    /// Its place in the history that nodes share, if it is there.
    pub recorded: Option<Mark>,
}

impl Publication {
    /// Bytes of its payload.
    #[must_use]
    pub fn size(&self) -> usize {
        let native = self.native.as_ref().map_or(0, String::len);
        self.args.text().len() + self.args.attachments().iter().map(bytes::Bytes::len).sum::<usize>() + native
    }
}

impl Publication {
    /// Bytes that a client is written, about.
    pub(crate) fn on_wire(&self) -> usize {
        self.size() + self.event.len() + FRAMING
    }

    /// Whether somebody has it who has the history that nodes share up to that place.
    pub(crate) fn is_within(&self, until: Option<Mark>) -> bool {
        self.recorded.zip(until).is_some_and(|(own, until)| own.epoch == until.epoch && own <= until)
    }
}

impl fmt::Debug for Publication {
    /// Payloads stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("id", &self.id)
            .field("event", &self.event)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// What shards get. Shared by all of them; dropped by the last one that has flushed it.
#[derive(Debug)]
pub struct Delivery {
    /// What is delivered.
    pub publication: Arc<Publication>,
    /// Its place in the app's log; `None` where nobody remembers it.
    pub position: Option<NonZeroU64>,
    /// Set when the publisher waits for acknowledgements.
    pub ack: Option<AckRequest>,
    /// When it was asked for; its latency counts from here.
    pub asked: Instant,
    /// Returned when the last shard has flushed.
    pub permit: Option<Permit>,
}

impl Deref for Delivery {
    type Target = Publication;

    fn deref(&self) -> &Publication {
        &self.publication
    }
}

/// A publisher's wish to hear acknowledgements.
#[derive(Debug, Clone)]
pub struct AckRequest {
    /// Where shards report; bounded by the number of sessions reached.
    pub answers: mpsc::UnboundedSender<AckReport>,
    /// After this a session's answer no longer counts.
    pub timeout: Duration,
}

/// What a shard reports to a waiting publisher.
#[derive(Debug)]
pub enum AckReport {
    /// So many sessions of this shard were sent the event; one such report per interested shard.
    Reached(usize),
    /// One session answered.
    Answer(Args),
    /// One session closed before it answered.
    Gone,
}
