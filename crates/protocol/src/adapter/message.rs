//! The nouns: what servers ask each other and answer, independent of the format.

use std::collections::HashSet;

use crate::message::Args;

/// An event: to clients, or to the other servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The name. A number keeps its JSON text.
    pub name: String,
    /// What follows the name.
    pub args: Args,
}

/// Names of rooms, each once, in the order in which they were named. A session's own room is its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rooms(Vec<String>);

impl<S: Into<String>> FromIterator<S> for Rooms {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let mut rooms: Vec<String> = names.into_iter().map(Into::into).collect();
        if rooms.len() > 1 {
            let mut seen = HashSet::with_capacity(rooms.len());
            let first: Vec<bool> = rooms.iter().map(|room| seen.insert(room.as_str())).collect();
            let mut first = first.into_iter();
            rooms.retain(|_| first.next().unwrap_or(true));
            // A list may have been the same room, many times.
            rooms.shrink_to_fit();
        }
        Self(rooms)
    }
}

impl std::ops::Deref for Rooms {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

impl IntoIterator for Rooms {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Who is meant: the sockets in any of `rooms` (all, if there are none) that are in none of `except`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// In any of these.
    pub rooms: Rooms,
    /// In none of these.
    pub except: Rooms,
    /// How it is delivered.
    pub flags: Flags,
}

impl Target {
    /// The sockets in any of these rooms.
    pub fn rooms<S: Into<String>>(rooms: impl IntoIterator<Item = S>) -> Self {
        Self { rooms: rooms.into_iter().collect(), ..Self::default() }
    }

    /// But for those in any of these.
    #[must_use]
    pub fn except<S: Into<String>>(mut self, rooms: impl IntoIterator<Item = S>) -> Self {
        self.except = rooms.into_iter().collect();
        self
    }

    /// In this way.
    #[must_use]
    pub const fn flags(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }
}

/// How a broadcast is delivered. Node's flag `local` has no place here: what is local is not published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags {
    /// Whoever cannot take it at once does not get it.
    pub volatile: bool,
    /// Whether it may be compressed; unset, it may.
    pub compress: Option<bool>,
    /// Milliseconds for acknowledgements, or for the other servers' answers.
    pub timeout: Option<u64>,
    /// The sender expects one acknowledgement, not a list: Node's `expectSingleResponse`.
    pub single: bool,
}

/// What a server asks of all servers, or an emitter of the servers. `request` names it, where answers are wanted.
///
/// Who asks counts the subscribers of the channel and waits for that many answers, five seconds in Node. So each server
/// answers what has a `request`, with nothing if it has nothing: one answer for `Fetch`, `Rooms` and `Ids`, one for a
/// `ServerSideEmit` unless it is its own, and for a broadcast one `ClientCount`, then an `Ack` for each client that
/// acknowledges.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Send an event to clients; with `request`, say how many got it and pass on what each of them acknowledges.
    Broadcast {
        /// The event.
        event: Event,
        /// To whom.
        to: Target,
        /// Set when acknowledgements are wanted.
        request: Option<String>,
    },
    /// Let sockets join rooms. `request` is set by servers of old, which ask whoever has the one socket to say so.
    Join {
        /// Which sockets.
        to: Target,
        /// What to join.
        rooms: Rooms,
        /// Set when an answer is wanted; never written.
        request: Option<String>,
    },
    /// Let sockets leave rooms; else as [`Message::Join`].
    Leave {
        /// Which sockets.
        to: Target,
        /// What to leave.
        rooms: Rooms,
        /// Set when an answer is wanted; never written.
        request: Option<String>,
    },
    /// Disconnect sockets; `request` as in [`Message::Join`].
    Disconnect {
        /// Which sockets.
        to: Target,
        /// Whether their connections end, too.
        close: bool,
        /// Set when an answer is wanted; never written.
        request: Option<String>,
    },
    /// Describe sockets.
    Fetch {
        /// Which sockets.
        to: Target,
        /// Names the answers.
        request: String,
    },
    /// Emit an event on each of the other servers; with `request`, each answers.
    ServerSideEmit {
        /// The event.
        event: Event,
        /// Set when answers are wanted.
        request: Option<String>,
    },
    /// Name all rooms. In the classic format only.
    Rooms {
        /// Names the answers.
        request: String,
    },
    /// Name the sockets in rooms. In the classic format only, and servers of 8 answer it but never ask.
    Ids {
        /// In any of these; all, if there are none.
        rooms: Rooms,
        /// Names the answers.
        request: String,
    },
}

/// What a server answers. `request` is that of the message.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// So many clients of this server got the broadcast.
    ClientCount {
        /// Of which broadcast.
        request: String,
        /// How many.
        count: u64,
    },
    /// What one client acknowledged.
    Ack {
        /// Of which broadcast.
        request: String,
        /// The first argument of the acknowledgement; none when there was none. The others do not travel.
        answer: Args,
    },
    /// The sockets that were asked for.
    Sockets {
        /// Of which question.
        request: String,
        /// This server's sockets.
        sockets: Vec<Socket>,
    },
    /// What one server answered to an event.
    ServerSideEmit {
        /// Of which event.
        request: String,
        /// The first argument of the answer; none when there was none.
        answer: Args,
    },
    /// This server's rooms. In the classic format only.
    Rooms {
        /// Of which question.
        request: String,
        /// The rooms.
        rooms: Rooms,
    },
    /// The ids of sockets, for [`Message::Ids`]. In the classic format only; written, never read.
    Ids {
        /// Of which question.
        request: String,
        /// The ids.
        ids: Rooms,
    },
    /// The one socket is here, and it is done. In the classic format only.
    Done {
        /// Of which request.
        request: String,
    },
}

impl Response {
    /// The request that it answers.
    #[must_use]
    pub fn request(&self) -> &str {
        match self {
            Self::ClientCount { request, .. }
            | Self::Ack { request, .. }
            | Self::Sockets { request, .. }
            | Self::ServerSideEmit { request, .. }
            | Self::Rooms { request, .. }
            | Self::Ids { request, .. }
            | Self::Done { request } => request,
        }
    }
}

/// A socket of another server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Socket {
    /// Its id, which is the name of its own room, too.
    pub id: String,
    /// How it connected, one JSON object: [`super::Handshake`] writes one.
    pub handshake: Args,
    /// Its rooms.
    pub rooms: Rooms,
    /// What the application keeps with it: one value, with its binaries.
    pub data: Args,
}
