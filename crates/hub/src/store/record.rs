//! What records hold, and how they are written (postcard). Nothing here is ever rearranged: a store that knows another
//! arrangement has another format number.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use oyez_protocol::message::Args;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::key::show;
use super::message::{Audience, Bound, Gone, Message, ReceiptTo, Seq, State, Target};
use crate::delivery::Priority;

/// What an entry begins with: enough to pass over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    pub(crate) created: u64,
    pub(crate) expires_at: Option<u64>,
    pub(crate) priority: Priority,
}

impl Header {
    pub(crate) fn is_over(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// The rest of an entry.
#[derive(Debug, Serialize, Deserialize)]
struct Body<'a> {
    id: &'a str,
    event: &'a str,
    text: &'a str,
    attachments: Vec<Bytes>,
    whole: bool,
    audience: Audience,
    receipt: Option<ReceiptTo>,
}

/// A message as an entry's bytes.
pub(crate) fn write_message(message: &Message) -> Vec<u8> {
    let header = Header { created: message.created, expires_at: message.expires_at, priority: message.priority };
    let attachments = message.args.attachments().to_vec();
    let text = message.args.text();
    let Message { id, event, whole, .. } = message;
    let (audience, receipt) = (message.audience.clone(), message.receipt.clone());
    encode(&(header, Body { id, event, text, attachments, whole: *whole, audience, receipt }))
}

/// Only the beginning of an entry.
pub(crate) fn read_header(key: &[u8], bytes: &[u8]) -> Result<Header, StoreError> {
    postcard::take_from_bytes(bytes).map(|(header, _)| header).map_err(|error| unreadable(key, &error))
}

/// The whole entry.
pub(crate) fn read_message(key: &[u8], bytes: &[u8]) -> Result<Message, StoreError> {
    let (header, body): (Header, Body<'_>) = decode(key, bytes)?;
    Ok(Message {
        id: body.id.into(),
        event: body.event.into(),
        args: Args::from_validated(body.text.to_owned(), body.attachments),
        priority: header.priority,
        created: header.created,
        expires_at: header.expires_at,
        whole: body.whole,
        audience: body.audience,
        receipt: body.receipt,
    })
}

impl Message {
    /// As stores of another kind keep it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        write_message(self)
    }

    /// The message that these bytes are.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoreError> {
        read_message(b"", bytes)
    }
}

/// How far a user has come in their inbox, or in a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Entries up to here are not for them.
    pub(crate) since: Seq,
    /// Entries up to here are acknowledged, expired or gone.
    pub(crate) acknowledged: Seq,
    /// Entries up to here are read, expired or gone.
    pub(crate) read: Seq,
    /// How many behind `acknowledged` are acknowledged, too.
    pub(crate) ahead: u32,
}

/// What is known of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    /// How many entries there are.
    pub(crate) count: u32,
    /// Before here there are none.
    pub(crate) first: Seq,
    /// The last one that there was.
    pub(crate) last: Seq,
    /// How far its user has come; unused for channels.
    pub(crate) progress: Progress,
}

/// Where a message lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdRecord {
    /// When it was put.
    pub(crate) at: u64,
    /// When it is due and under which number it waits, if it is not yet due.
    pub(crate) scheduled: Option<(u64, Seq)>,
    pub(crate) places: Vec<(Target, Seq)>,
}

/// What became of a message with one user; with none, of the entry of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    pub(crate) state: State,
    /// When each state but the first was reached.
    pub(crate) reached: [Option<u64>; 4],
    pub(crate) sent: Option<(u64, u32)>,
    pub(crate) withheld: Option<(String, u64)>,
    pub(crate) gone: Option<(Gone, u64)>,
}

impl Receipt {
    /// Goes forward; false when it is that far already.
    pub(crate) fn advance(&mut self, to: State, now: u64) -> bool {
        if self.state >= to {
            return false;
        }
        for index in self.state as usize..to as usize {
            self.reached[index].get_or_insert(now);
        }
        self.state = to;
        true
    }

    pub(crate) fn is_acknowledged(&self) -> bool {
        self.state >= State::Delivered
    }
}

/// A message that is not due yet.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) app: Arc<str>,
    pub(crate) id: Arc<str>,
    pub(crate) to: Vec<Target>,
    pub(crate) bound: Bound,
    pub(crate) message: Bytes,
}

/// The accounts of ids: the bytes of each hour, and from which hour on ids count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hours {
    pub(crate) from: u64,
    pub(crate) bytes: BTreeMap<u64, u64>,
}

/// Writes a record.
pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    // Postcard fails on a serializer that knows no length, and on a full buffer: neither exists here.
    postcard::to_stdvec(record).unwrap_or_default()
}

/// Reads a record.
pub(crate) fn decode<'a, T: Deserialize<'a>>(key: &[u8], bytes: &'a [u8]) -> Result<T, StoreError> {
    postcard::from_bytes(bytes).map_err(|error| unreadable(key, &error))
}

/// Reads a record that keeps nothing of the bytes.
pub(crate) fn decode_owned<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, StoreError> {
    decode(key, bytes)
}

fn unreadable(key: &[u8], error: &postcard::Error) -> StoreError {
    StoreError::damaged(format!("a record that cannot be read ({error})"), show(key))
}
