//! The streams format: `@socket.io/redis-streams-adapter` 0.3.
//!
//! What clients may have to catch up on is an entry of a stream, one for all namespaces (or one of several, by
//! namespace): four fields of text, binaries as base64 of msgpack. What is asked and answered at once is published on
//! the namespace's channels, as msgpack always.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::cluster::{self, Draft};
use super::cursor::{Cursor, open};
use super::document::{Document, Msgpack, field};
use super::message::{Message, Response, Rooms};
use super::{Error, Limits, Publication, Received};
use crate::engineio::packet::LENIENT;
use crate::message::Args;

/// One namespace's part of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Streams {
    nsp: String,
    stream: String,
    channel: String,
}

/// How a message travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// By XADD, to [`Streams::stream`].
    Entry(Entry),
    /// By PUBLISH.
    Publication(Publication),
}

/// The fields of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// Who added it: 16 hexadecimal digits in Node, or `emitter`.
    pub uid: String,
    /// The namespace.
    pub nsp: String,
    /// The type of the message, in decimal.
    pub kind: String,
    /// JSON, or the base64 of msgpack.
    pub data: String,
}

impl Entry {
    /// The fields by name, in Node's order.
    #[must_use]
    pub fn fields(&self) -> [(&'static str, &str); 4] {
        [("uid", &self.uid), ("nsp", &self.nsp), ("type", &self.kind), ("data", &self.data)]
    }

    /// From the fields of an entry, in whatever order; others are passed over.
    pub fn from_fields<'f>(fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>) -> Self {
        let mut entry = Self::default();
        for (key, value) in fields {
            let field = match key {
                b"uid" => &mut entry.uid,
                b"nsp" => &mut entry.nsp,
                b"type" => &mut entry.kind,
                b"data" => &mut entry.data,
                _ => continue,
            };
            *field = String::from_utf8_lossy(value).into_owned();
        }
        entry
    }
}

/// The stream of a namespace: one for all, or one of `count` by Java's hash of the namespace.
///
/// As in Node, a hash below zero names a stream with two dashes, which Node's servers write but never read: with such a
/// namespace, only one stream works.
#[must_use]
pub fn stream_of(name: &str, count: u32, nsp: &str) -> String {
    if count <= 1 {
        return name.to_owned();
    }
    let hash = nsp.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    format!("{name}-{}", i64::from(hash) % i64::from(count))
}

impl Streams {
    /// A namespace, which has a leading slash; its stream as [`stream_of`] names it, and its channels.
    #[must_use]
    pub fn new(stream: String, prefix: &str, nsp: &str) -> Self {
        Self { nsp: nsp.to_owned(), stream, channel: format!("{prefix}#{nsp}#") }
    }

    /// Where entries are added.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Where all servers listen. As many servers answer as are subscribed to it.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Where the server with this id listens for answers.
    #[must_use]
    pub fn response_channel(&self, uid: &str) -> String {
        [&self.channel, uid, "#"].concat()
    }

    /// Writes a message for all servers; none if the format has no such message.
    #[must_use]
    pub fn write(&self, uid: &str, message: &Message) -> Option<Written> {
        let draft = Draft::message(message)?;
        let is_ephemeral = match message {
            Message::Broadcast { request, .. } => request.is_some(),
            Message::ServerSideEmit { .. } | Message::Fetch { .. } => true,
            _ => false,
        };
        if is_ephemeral {
            let payload = draft.signed(uid, &self.nsp).msgpack(Msgpack::Official).into();
            return Some(Written::Publication(Publication { channel: self.channel.clone(), payload }));
        }
        let data = match draft.data.has_binary() {
            true => STANDARD.encode(draft.data.msgpack(Msgpack::Official)),
            false => draft.data.json(),
        };
        let (uid, nsp, kind) = (uid.to_owned(), self.nsp.clone(), draft.kind.to_string());
        Some(Written::Entry(Entry { uid, nsp, kind, data }))
    }

    /// Writes an answer for the server `to`; none if the format has no such answer.
    #[must_use]
    pub fn write_response(&self, to: &str, uid: &str, response: &Response) -> Option<Publication> {
        let payload = Draft::response(response)?.signed(uid, &self.nsp).msgpack(Msgpack::Official).into();
        Some(Publication { channel: self.response_channel(to), payload })
    }

    /// Reads what was published; none when it is for another namespace or asks for nothing.
    ///
    /// # Errors
    /// When it is not of this format, or beyond the limits.
    pub fn read(&self, payload: &Bytes, limits: &Limits) -> Result<Option<Received>, Error> {
        open(payload, limits, |message| cluster::read(message, &self.nsp, limits))
    }

    /// Reads an entry; none when it is for another namespace or asks for nothing.
    ///
    /// # Errors
    /// When it is not of this format, or beyond the limits.
    pub fn read_entry(&self, entry: &Entry, limits: &Limits) -> Result<Option<Received>, Error> {
        if entry.nsp != self.nsp {
            return Ok(None);
        }
        let kind = entry.kind.parse().map_err(|_| Error::Field("type"))?;
        let content = match entry.data.as_str() {
            "" => cluster::content(kind, None, limits)?,
            data => open(&unpack(data, limits)?, limits, |data| cluster::content(kind, Some(data), limits))?,
        };
        let uid = Some(entry.uid.clone()).filter(|uid| !uid.is_empty());
        Ok(content.map(|content| Received { uid, content }))
    }
}

/// JSON as it is, or msgpack out of its base64.
fn unpack(data: &str, limits: &Limits) -> Result<Bytes, Error> {
    if data.len() > limits.bytes {
        return Err(Error::TooLarge);
    }
    if data.starts_with('{') {
        return Ok(Bytes::copy_from_slice(data.as_bytes()));
    }
    LENIENT.decode(data).map(Bytes::from).map_err(|_| Error::Malformed)
}

/// What a server keeps of a session that was cut off, for whichever server it comes back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The socket's id.
    pub sid: String,
    /// Its secret.
    pub pid: String,
    /// Its rooms.
    pub rooms: Rooms,
    /// What the application keeps with it: one value, with its binaries.
    pub data: Args,
}

impl Session {
    /// The key of the session with this secret: Node's `sessionKeyPrefix` and it.
    #[must_use]
    pub fn key(pid: &str) -> String {
        format!("sio:session:{pid}")
    }

    /// As the value of its key.
    #[must_use]
    pub fn write(&self) -> String {
        let document = Document::Map(vec![
            field("sid", Document::Text(&self.sid)),
            field("pid", Document::Text(&self.pid)),
            field("rooms", Document::Rooms(&self.rooms)),
            field("data", Document::Value(&self.data)),
        ]);
        STANDARD.encode(document.msgpack(Msgpack::Official))
    }

    /// From the value of its key.
    ///
    /// # Errors
    /// When it is not of this format, or beyond the limits.
    pub fn read(value: &str, limits: &Limits) -> Result<Self, Error> {
        open(&unpack(value, limits)?, limits, |session| {
            let [sid, pid, rooms, data] = session.fields("session", ["sid", "pid", "rooms", "data"])?;
            Ok(Self {
                sid: sid.and_then(Cursor::id).ok_or(Error::Field("sid"))?,
                pid: pid.and_then(Cursor::id).ok_or(Error::Field("pid"))?,
                rooms: Cursor::rooms("rooms", rooms, limits)?,
                data: Cursor::value(data, limits)?,
            })
        })
    }
}
