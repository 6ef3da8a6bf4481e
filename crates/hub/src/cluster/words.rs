//! What nodes say to each other, and how it is written (postcard, behind a byte that says which arrangement it is: nodes of
//! another one do not understand each other, and say so).

use std::sync::Arc;

use bytes::Bytes;
use oyez_protocol::message::Args;
use serde::{Deserialize, Serialize};

use super::index::Row;
use super::members::{Door, Peer};
use crate::address::Address;
use crate::app::App;
use crate::command::{Goodbye, Select, SocketInfo};
use crate::delivery::{Audience, Heard, Priority, Publication, Target, WhenSlow};
use crate::policy::expression::{Condition, Kind, Names};
use crate::policy::grants::Audience as Wanted;
use crate::policy::token::Revocation;
use crate::recovery::{Mark, Numbers, PidKey};
use crate::store::{Seq, Target as Owner};

const POLLING: &str = "polling";
const WEBSOCKET: &str = "websocket";

/// The arrangement of what follows; any change of it is another number.
const FORMAT: u8 = 6;

/// Bytes of one letter: Redis cuts off listeners for whom it would have to keep 32 MiB. What becomes of them in memory may be
/// twenty times as much, for a moment.
pub(crate) const LARGEST: usize = 16 << 20;

/// Something that a node says.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Letter {
    /// Who says it.
    pub(crate) from: Peer,
    pub(crate) words: Words,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Words {
    /// I live, take in my clients' requests there, and sign the names of my sessions with this.
    Beat(Option<Door>, PidKey),
    /// I go.
    Leave,
    /// I hear now, and know nothing: tell me all that you have.
    Hello,
    /// With me it is like this.
    Rows(Vec<Row>),
    /// What I said in these channels of that app you could not hear, until so many milliseconds ago.
    Unsaid(String, Vec<Arc<str>>, u64),
    /// I have told that these users of that app have gone with their node.
    Buried(String, Vec<Arc<str>>),
    /// These are in force in that app.
    Revoked(String, Vec<(Revocation, u64)>),
    /// Tell your sessions this. The number is that of the publication among all of this node: what goes to several topics
    /// is heard once.
    Relay(u64, Box<Relay>),
    /// Answer what waits of this session of yours: I go down, and it came by me.
    Release(Address),
    /// Do this, and answer under that number.
    Ask(u64, String, Question),
    /// An answer to the question of that number.
    Answer(u64, Answer),
    /// Has anybody this number of mine? And sessions of mine may have it in their names.
    Claim(bool),
    /// Yes, and I keep it.
    Taken,
    /// What I said in these channels of that app I could not keep where all of us find it: whoever can, notes that.
    Unrecorded(String, Vec<Arc<str>>),
    /// What is unread there of that app has changed: whoever has devices of theirs tells them.
    Recount(String, Owner),
    /// These nodes gave my sessions their names, and signed them with that; some have gone.
    Named(Vec<(u16, PidKey)>),
}

/// What is asked of every node, or of the one that owns a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Question {
    /// Put sessions into channels.
    Join(Select, Vec<String>),
    /// Take sessions out of channels.
    Leave(Select, Vec<String>),
    /// End sessions.
    Disconnect(Select, Goodbye),
    /// Say which sessions there are.
    Describe(Select),
    /// Refuse credentials until then, in seconds since the Unix epoch.
    Revoke(Vec<(Revocation, u64)>),
    /// These users are on that channel's roster from now on, or off it.
    Seat(Arc<str>, Vec<Arc<str>>, bool),
    /// Who remembers a session, of this user? Where it is still connected, it ends.
    Seek(Address, Arc<str>),
    /// Hand a session over.
    Fetch(Fetch),
    /// What was said in a channel since that place of your log? So many bytes on the wire are taken at most; for that
    /// session.
    Since(Arc<str>, Mark, usize, Address),
    /// How many devices of that user are connected, and how many of those were sent that message?
    Devices(Arc<str>, Arc<str>),
}

/// A session is asked for by the node to which its client has come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    /// Who remembers it.
    pub(super) node: u16,
    pub(super) name: Address,
    /// How far its client says to have heard.
    pub(super) shown: Option<Mark>,
    /// Bytes on the wire that it takes at most.
    pub(super) budget: usize,
    /// Channels that its client may not hear any more.
    pub(super) without: Vec<Arc<str>>,
}

/// A session that is handed over, or what it has missed in one channel.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fetched {
    pub(super) app: String,
    pub(super) name: Address,
    /// Where it is now.
    pub(super) channels: Vec<Arc<str>>,
    /// What it has missed, for the channels in which it was.
    pub(super) missed: Vec<Relay>,
    /// What it has, or needs not have.
    pub(super) numbers: Numbers,
}

impl Question {
    /// Which sessions it is about.
    #[must_use]
    pub fn select(&self) -> &Select {
        match self {
            Self::Join(select, _) | Self::Leave(select, _) | Self::Disconnect(select, _) | Self::Describe(select) => {
                select
            }
            Self::Revoke(_)
            | Self::Seat(..)
            | Self::Seek(..)
            | Self::Fetch(_)
            | Self::Since(..)
            | Self::Devices(..) => &Select::Everyone,
        }
    }

    /// The node that alone can do it. A session may live elsewhere than its name says, where there is `recovery`.
    pub(crate) fn owner(&self, recovery: bool) -> Option<u16> {
        match (self, self.select()) {
            (Self::Fetch(fetch), _) => Some(fetch.node),
            (_, Select::Socket(address)) => (!recovery).then_some(address.node),
            _ => None,
        }
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// It is done.
    Done,
    /// It was refused.
    Refused(String),
    /// Those are here.
    Sockets(Vec<Session>),
    /// The session was in these channels; into those of which that is true it could not get by itself.
    Remembered(Vec<(Arc<str>, bool)>),
    /// Take it.
    Fetched(Box<Fetched>),
    /// That was said.
    Said(Box<Fetched>),
    /// Something of what it has missed is lost in these channels; none: that cannot be told.
    Lost(Vec<Arc<str>>),
    /// So many sessions were sent what asks for acknowledgements.
    Reached(u32),
    /// One of them acknowledged.
    Acknowledged(Wording),
    /// One of them closed before it did.
    Gone,
    /// So many devices are connected, and so many of those were sent it.
    Devices(u32, u32),
}

/// [`SocketInfo`] in words.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Session {
    id: String,
    user: Arc<str>,
    name: Option<Arc<str>>,
    roles: Vec<Arc<str>>,
    polling: bool,
    address: Option<String>,
    connected_at: u64,
    channels: Vec<Arc<str>>,
}

impl From<SocketInfo> for Session {
    fn from(info: SocketInfo) -> Self {
        let SocketInfo { id, user, name, roles, transport, address, connected_at, channels } = info;
        Self { id, user, name, roles, polling: transport == POLLING, address, connected_at, channels }
    }
}

impl From<Session> for SocketInfo {
    fn from(session: Session) -> Self {
        let Session { id, user, name, roles, polling, address, connected_at, channels } = session;
        let transport = if polling { POLLING } else { WEBSOCKET };
        Self { id, user, name, roles, transport, address, connected_at, channels }
    }
}

/// Arguments of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Wording {
    text: String,
    attachments: Vec<Bytes>,
}

impl From<&Args> for Wording {
    fn from(args: &Args) -> Self {
        Self { text: args.text().to_owned(), attachments: args.attachments().to_vec() }
    }
}

impl Wording {
    /// The arguments, if they are such.
    pub(crate) fn args(self) -> Option<Args> {
        let list = format!("[{}]", self.text);
        serde_json::from_str::<Vec<serde::de::IgnoredAny>>(&list).ok()?;
        Some(Args::from_validated(self.text, self.attachments))
    }
}

/// Whom a publication is for.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum To {
    /// Channels, each with what its members must be to hear it.
    Channels(Vec<(Arc<str>, Vec<Want>)>),
    Session(String),
}

/// [`Wanted`] in words.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Want {
    MayHear(String),
    Having(Vec<(String, Vec<String>)>),
    When(String),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Slow {
    DropOldest,
    Conflate(Arc<str>),
    ConflateOrDisconnect(Arc<str>),
    Disconnect,
}

/// A publication on its way to other nodes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Relay {
    pub(super) app: String,
    pub(super) id: Arc<str>,
    pub(super) to: To,
    pub(super) except: Vec<Arc<str>>,
    pub(super) event: Arc<str>,
    pub(super) args: Wording,
    pub(super) native: Option<String>,
    pub(super) priority: Priority,
    pub(super) volatile: bool,
    pub(super) when_slow: Slow,
    pub(super) compress: bool,
    pub(super) stored: Option<Seq>,
    pub(super) recorded: Option<Mark>,
    /// Channels that remember it.
    pub(super) remembered: Vec<Arc<str>>,
    /// The number under which acknowledgements are awaited, and for how many milliseconds.
    pub(super) asks: Option<(u64, u64)>,
}

impl Relay {
    pub(super) fn of(app: &App, publication: &Publication) -> Self {
        let to = match &publication.to {
            Target::Channels(heard) => {
                To::Channels(heard.iter().map(|heard| (Arc::clone(&heard.channel), wants(heard))).collect())
            }
            Target::Socket(address) => To::Session(address.encode()),
        };
        Self {
            app: app.name.clone(),
            id: Arc::clone(&publication.id),
            to,
            except: publication.except.to_vec(),
            event: Arc::clone(&publication.event),
            args: Wording::from(&publication.args),
            native: publication.native.clone(),
            priority: publication.priority,
            volatile: publication.volatile,
            when_slow: match &publication.when_slow {
                WhenSlow::DropOldest => Slow::DropOldest,
                WhenSlow::Conflate(key) => Slow::Conflate(Arc::clone(key)),
                WhenSlow::ConflateOrDisconnect(key) => Slow::ConflateOrDisconnect(Arc::clone(key)),
                WhenSlow::Disconnect => Slow::Disconnect,
            },
            compress: publication.compress,
            stored: publication.stored,
            recorded: publication.recorded,
            remembered: Vec::new(),
            asks: None,
        }
    }

    /// The publication, for an app of this node; `None`: it is not one.
    pub(super) fn publication(self, app: &App) -> Option<Publication> {
        let to = match self.to {
            To::Channels(heard) => {
                let heard = heard.into_iter().map(|(channel, wants)| {
                    let audience = audience(app, wants)?;
                    Some(Heard { channel, audience })
                });
                Target::Channels(heard.collect::<Option<_>>()?)
            }
            To::Session(name) => Target::Socket(name.parse().ok()?),
        };
        let rule = match &to {
            Target::Channels(heard) => heard.first().and_then(|heard| app.policy.pattern(&heard.channel)).cloned(),
            Target::Socket(_) => None,
        };
        Some(Publication {
            app: app.id,
            id: self.id,
            to,
            except: self.except.into(),
            event: self.event,
            args: self.args.args()?,
            native: self.native,
            priority: self.priority,
            volatile: self.volatile,
            when_slow: match self.when_slow {
                Slow::DropOldest => WhenSlow::DropOldest,
                Slow::Conflate(key) => WhenSlow::Conflate(key),
                Slow::ConflateOrDisconnect(key) => WhenSlow::ConflateOrDisconnect(key),
                Slow::Disconnect => WhenSlow::Disconnect,
            },
            rule,
            compress: self.compress,
            stored: self.stored,
            recorded: self.recorded,
        })
    }
}

fn wants(heard: &Heard) -> Vec<Want> {
    let want = |wanted: &Wanted| match wanted {
        Wanted::MayHear(channel) => Want::MayHear(channel.clone()),
        Wanted::Having(keys) => Want::Having(keys.clone()),
        Wanted::When(condition) => Want::When(condition.source().to_string()),
    };
    heard.audience.iter().flat_map(|audience| audience.wanted().iter().map(want)).collect()
}

/// The audience again; `None`: it cannot be read, so that nobody is known to belong to it.
fn audience(app: &App, wants: Vec<Want>) -> Option<Option<Audience>> {
    let names = || Names::default().with([("user", Kind::Any)]);
    let wanted = wants.into_iter().map(|want| match want {
        Want::MayHear(channel) => Some(Wanted::MayHear(channel)),
        Want::Having(keys) => Some(Wanted::Having(keys)),
        Want::When(source) => Condition::compile(&source, &names()).ok().map(Wanted::When),
    });
    let wanted: Vec<Wanted> = wanted.collect::<Option<_>>()?;
    Some((!wanted.is_empty()).then(|| Audience::new(&app.policy, wanted)))
}

/// A publication as the history that nodes share keeps it; `asks`: its publisher wants acknowledgements.
pub(crate) fn keep(app: &App, publication: &Publication, asks: bool) -> Bytes {
    let relay = Relay { asks: asks.then_some((0, 0)), ..Relay::of(app, publication) };
    postcard::to_extend(&relay, vec![FORMAT]).unwrap_or_default().into()
}

/// The same again, which is at that place there, and whether it asks; `None`: it was written by another version.
pub(crate) fn kept(app: &App, kept: &[u8], place: Mark) -> Option<(Publication, bool)> {
    let written = kept.strip_prefix(&[FORMAT])?;
    let relay: Relay = postcard::from_bytes(written).ok()?;
    let asks = relay.asks.is_some();
    Some((Relay { recorded: Some(place), ..relay }.publication(app)?, asks))
}

/// Why a letter was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unread {
    #[error("it is of another version of this server")]
    OtherFormat,
    #[error("it is damaged")]
    Damaged,
    #[error("it is larger than any letter of a node")]
    TooLarge,
}

impl Letter {
    pub(crate) fn write(&self) -> Bytes {
        // Nothing here can fail: all types are plain, and the vector grows.
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default().into()
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Unread> {
        if bytes.len() > LARGEST {
            return Err(Unread::TooLarge);
        }
        match bytes.split_first() {
            Some((&FORMAT, rest)) => match postcard::take_from_bytes(rest) {
                Ok((letter, [])) => Ok(letter),
                _ => Err(Unread::Damaged),
            },
            Some(_) => Err(Unread::OtherFormat),
            None => Err(Unread::Damaged),
        }
    }
}
