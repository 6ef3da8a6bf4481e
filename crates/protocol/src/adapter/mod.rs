//! What Socket.IO servers say to each other over Redis: the formats of `@socket.io/redis-adapter` 8 (classic and sharded),
//! of `@socket.io/redis-emitter` 5 and of `@socket.io/redis-streams-adapter` 0.3, as pure functions over bytes.
//!
//! - `message`: the nouns that all formats share: a [`Message`] asks all servers for something, a [`Response`] answers
//!   one of them.
//! - [`classic`], [`sharded`], [`streams`]: a format each: the names of its channels, what it writes and reads. The last
//!   two say the same `cluster` messages and differ in how those travel.
//! - `document` and `cursor`: what is written, or read, as JSON or as msgpack, whichever the format wants.
//!
//! Writing is strict: a server of Node does not guard what it reads, a payload of another shape ends its process. So what
//! is written here is, byte for byte, what those packages write (`tests/transcripts/adapter` has what they wrote).
//! Reading is tolerant, as Node is (any order of keys, msgpack or JSON, missing options), and bounded, as Node is not.
//!
//! ```
//! use oyez_protocol::adapter::classic::{Classic, Place, Sender};
//! use oyez_protocol::adapter::{Content, Event, Limits, Message, Target};
//! use oyez_protocol::message::Args;
//!
//! let chat = Classic::new("socket.io", "/chat");
//! let event = Event { name: "hello".to_owned(), args: Args::from("world") };
//! let message = Message::Broadcast { event, to: Target::rooms(["r1"]), request: None };
//! let published = chat.write(Sender::Server("d0O1yF"), &message);
//! assert_eq!(published.channel, "socket.io#/chat#r1#");
//!
//! let place = chat.place(published.channel.as_bytes()).unwrap();
//! assert_eq!(place, Place::Broadcast { room: Some("r1") });
//! let received = chat.read(place, &published.payload, &Limits::default())?.unwrap();
//! assert_eq!((received.uid.as_deref(), received.content), (Some("d0O1yF"), Content::Message(message)));
//! # Ok::<(), oyez_protocol::adapter::Error>(())
//! ```

pub mod classic;
mod cluster;
mod cursor;
mod document;
mod handshake;
mod message;
pub mod sharded;
pub mod streams;

pub use handshake::Handshake;
pub use message::{Event, Flags, Message, Response, Rooms, Socket, Target};

use bytes::Bytes;

use crate::socketio;

/// The prefix of channels, and the name of the stream, unless configured otherwise.
pub const DEFAULT_PREFIX: &str = "socket.io";

/// As whom emitters publish.
pub const EMITTER: &str = "emitter";

/// What a message may have at most. Depth is bounded by [`crate::json::MAX_DEPTH`] always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message.
    pub bytes: usize,
    /// Binaries in one event, or in one value.
    pub attachments: usize,
    /// Rooms, or sockets, in one list.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 16 << 20, attachments: socketio::DEFAULT_MAX_ATTACHMENTS, items: 100_000 }
    }
}

/// Why a message of another server was refused. Whoever reads says so in the log, and goes on with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than the limit.
    #[error("message too large")]
    TooLarge,
    /// More rooms or sockets than the limit.
    #[error("too many items in `{0}`")]
    TooMany(&'static str),
    /// Neither JSON nor msgpack.
    #[error("neither JSON nor msgpack")]
    Malformed,
    /// A field that is missing, or is not what it must be.
    #[error("`{0}` is missing or not what it must be")]
    Field(&'static str),
    /// A type of message that the format does not have.
    #[error("unknown type {0} of message")]
    UnknownType(u64),
    /// An event or a value that a client could not be sent either.
    #[error("unusable data: {0}")]
    Data(#[from] socketio::Error),
}

/// What is published, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: String,
    /// The message.
    pub payload: Bytes,
}

/// What was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// Who sent it, if it says so: a server's own id, or [`EMITTER`].
    pub uid: Option<String>,
    /// What it says.
    pub content: Content,
}

/// What a server was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// For all servers.
    Message(Message),
    /// For the server that asked.
    Response(Response),
}

#[cfg(test)]
mod tests;
