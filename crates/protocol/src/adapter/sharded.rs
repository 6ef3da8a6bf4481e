//! The sharded format: `createShardedAdapter` of `@socket.io/redis-adapter` 8, over the SPUBLISH of Redis 7.
//!
//! A cluster message is JSON, or msgpack when there is a binary in it. A room may have a channel of its own, to which
//! only servers with somebody in it subscribe.

use bytes::Bytes;

use super::cluster::{self, Draft};
use super::cursor::open;
use super::document::Msgpack;
use super::message::{Message, Response};
use super::{Error, Limits, Publication, Received};

/// Which rooms have channels of their own: all servers of a cluster must agree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// All but those of single sockets. Node's default.
    #[default]
    Dynamic,
    /// All.
    DynamicPrivate,
    /// None.
    Static,
}

/// One namespace's part of the cluster: its channels, and what is said on them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharded {
    nsp: String,
    channel: String,
    mode: Mode,
}

impl Sharded {
    /// The channels of a namespace, which has a leading slash.
    #[must_use]
    pub fn new(prefix: &str, nsp: &str, mode: Mode) -> Self {
        Self { nsp: nsp.to_owned(), channel: format!("{prefix}#{nsp}#"), mode }
    }

    /// Where all servers listen.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Where answers for the server with this id are published: 16 hexadecimal digits in Node.
    #[must_use]
    pub fn response_channel(&self, uid: &str) -> String {
        [&self.channel, uid, "#"].concat()
    }

    /// Where servers with somebody in this room listen, if it has a channel of its own.
    ///
    /// What has the length of Node's ids (20 UTF-16 units) is taken for one: ids of sockets must have that length too.
    #[must_use]
    pub fn room_channel(&self, room: &str) -> Option<String> {
        let is_own = match self.mode {
            Mode::Dynamic => room.encode_utf16().count() != 20,
            Mode::DynamicPrivate => true,
            Mode::Static => false,
        };
        is_own.then(|| [&self.channel, room, "#"].concat())
    }

    /// Writes a message for all servers; none if the format has no such message.
    #[must_use]
    pub fn write(&self, uid: &str, message: &Message) -> Option<Publication> {
        let own = cluster::sole_room(message).and_then(|room| self.room_channel(room));
        let payload = self.payload(uid, Draft::message(message)?);
        Some(Publication { channel: own.unwrap_or_else(|| self.channel.clone()), payload })
    }

    /// Writes an answer for the server `to`; none if the format has no such answer.
    #[must_use]
    pub fn write_response(&self, to: &str, uid: &str, response: &Response) -> Option<Publication> {
        let payload = self.payload(uid, Draft::response(response)?);
        Some(Publication { channel: self.response_channel(to), payload })
    }

    fn payload(&self, uid: &str, draft: Draft<'_>) -> Bytes {
        let document = draft.signed(uid, &self.nsp);
        if document.has_binary() { document.msgpack(Msgpack::Notepack).into() } else { document.json().into() }
    }

    /// Reads what was published on any of the channels; none when it is for another namespace or asks for nothing.
    ///
    /// # Errors
    /// When it is not of this format, or beyond the limits.
    pub fn read(&self, payload: &Bytes, limits: &Limits) -> Result<Option<Received>, Error> {
        open(payload, limits, |message| cluster::read(message, &self.nsp, limits))
    }
}
