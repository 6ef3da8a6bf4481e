//! One Socket.IO packet, whatever codec carried it.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::engineio;
use crate::message::Args;

/// What client and server say to each other. The codecs' binary types are events and acknowledgements whose arguments
/// have attachments.
#[derive(Debug, Clone)]
pub enum Packet {
    /// Joins a namespace, or says that it was joined.
    Connect {
        /// The namespace, with its leading slash.
        nsp: String,
        /// What followed a `?` in the namespace: only clients of Engine.IO 3 send one.
        query: Option<String>,
        /// A JSON object: the client's credentials, or the server's `{"sid":…}`.
        auth: Option<Box<RawValue>>,
    },
    /// Leaves a namespace.
    Disconnect {
        /// The namespace.
        nsp: String,
    },
    /// An event.
    Event {
        /// The namespace.
        nsp: String,
        /// Set when the sender wants an acknowledgement.
        ack: Option<u64>,
        /// The name. A number keeps its JSON text: to a JavaScript emitter `on(5)` and `on("5")` are the same.
        name: String,
        /// What follows the name.
        args: Args,
    },
    /// The answer to an event.
    Ack {
        /// The namespace.
        nsp: String,
        /// The `ack` of the event.
        id: u64,
        /// The answer.
        args: Args,
    },
    /// Says that a namespace was not joined. Only a server sends it.
    ConnectError {
        /// The namespace.
        nsp: String,
        /// A JSON object with a `message`, or to clients of Engine.IO 3 perhaps a string.
        error: Box<RawValue>,
    },
}

impl Packet {
    /// The namespace it belongs to.
    #[must_use]
    pub fn nsp(&self) -> &str {
        match self {
            Self::Connect { nsp, .. }
            | Self::Disconnect { nsp }
            | Self::Event { nsp, .. }
            | Self::Ack { nsp, .. }
            | Self::ConnectError { nsp, .. } => nsp,
        }
    }
}

/// Raw JSON has no equality of its own: the same text is the same packet.
impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        let raw = |value: &Option<Box<RawValue>>| value.as_ref().map(|v| v.get().to_owned());
        match (self, other) {
            (Self::Connect { nsp, query, auth }, Self::Connect { nsp: n, query: q, auth: a }) => {
                (nsp, query, raw(auth)) == (n, q, raw(a))
            }
            (Self::Disconnect { nsp }, Self::Disconnect { nsp: n }) => nsp == n,
            (Self::Event { nsp, ack, name, args }, Self::Event { nsp: n, ack: a, name: m, args: r }) => {
                (nsp, ack, name, args) == (n, a, m, r)
            }
            (Self::Ack { nsp, id, args }, Self::Ack { nsp: n, id: i, args: r }) => (nsp, id, args) == (n, i, r),
            (Self::ConnectError { nsp, error }, Self::ConnectError { nsp: n, error: e }) => {
                (nsp, error.get()) == (n, e.get())
            }
            _ => false,
        }
    }
}

/// A packet as Engine.IO messages: a text one, then a binary one for each attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoded {
    /// The text message, without the Engine.IO type; empty when there is none, which is so in msgpack.
    pub text: String,
    /// The binary messages that follow.
    pub attachments: Vec<Bytes>,
}

impl Encoded {
    /// The Engine.IO packets, in the order in which they must be sent.
    pub fn packets(&self) -> impl Iterator<Item = engineio::Packet<'_>> {
        let text = Some(self.text.as_str()).filter(|text| !text.is_empty());
        text.map(|text| engineio::Packet::text(engineio::PacketType::Message, text))
            .into_iter()
            .chain(self.attachments.iter().cloned().map(engineio::Packet::binary))
    }
}
