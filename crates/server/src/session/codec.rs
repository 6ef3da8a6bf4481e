//! How a session's packets are written: the few variants that exist, each encoded once per fan-out.

use std::rc::Rc;

use oyez_hub::delivery::Delivery;
use oyez_protocol::engineio::packet::Version;
use oyez_protocol::message::Args;
use oyez_protocol::socketio::{Encoded, Packet, msgpack, text};

use crate::session::{Dialog, Parser, Session};
use crate::shard::outbox::Parcel;

/// What distinguishes the bytes for one client from the bytes for another. (Compression is decided when frames are
/// written: a parcel holds both forms.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    dialog: Dialog,
    parser: Parser,
}

impl Variant {
    /// The variant that a session gets.
    pub(crate) fn of(session: &Session) -> Self {
        Self { dialog: session.dialog, parser: session.parser.get() }
    }

    /// A publication.
    pub(crate) fn delivery(self, namespace: &str, ack: Option<u64>, delivery: &Delivery) -> Rc<Parcel> {
        let parcel = match self.dialog {
            Dialog::Native => Parcel::native(delivery.native.clone().unwrap_or_default(), delivery.compress),
            Dialog::Engine { .. } => self.event(namespace, ack, &delivery.event, &delivery.args, delivery.compress),
        };
        parcel.when_slow(&delivery.when_slow)
    }

    /// An event.
    pub(crate) fn event(
        self,
        namespace: &str,
        ack: Option<u64>,
        name: &str,
        args: &Args,
        compress: bool,
    ) -> Rc<Parcel> {
        let encoded = match self.parser {
            Parser::Text => text::encode_event(namespace, ack, name, args),
            Parser::MsgPack => msgpack::encode(&Packet::Event {
                nsp: namespace.to_owned(),
                ack,
                name: name.to_owned(),
                args: args.clone(),
            }),
            Parser::Bare => bare(args),
        };
        self.parcel(encoded, compress)
    }

    /// An answer to a client's event.
    pub(crate) fn ack(self, namespace: &str, id: u64, args: &Args) -> Rc<Parcel> {
        self.packet(&Packet::Ack { nsp: namespace.to_owned(), id, args: args.clone() })
    }

    /// Any packet.
    pub(crate) fn packet(self, packet: &Packet) -> Rc<Parcel> {
        let encoded = match self.parser {
            Parser::Text => text::encode(packet),
            Parser::MsgPack => msgpack::encode(packet),
            // Bare Engine.IO has no packets besides messages.
            Parser::Bare => Encoded::default(),
        };
        self.parcel(encoded, true)
    }

    fn parcel(self, encoded: Encoded, compress: bool) -> Rc<Parcel> {
        match self.dialog {
            Dialog::Engine { version, base64 } => Parcel::message(encoded, version, base64, compress),
            Dialog::Native => Parcel::message(encoded, Version::V4, false, compress),
        }
    }
}

/// The first argument as a message: binary, a string, or any other value as JSON.
fn bare(args: &Args) -> Encoded {
    if !args.attachments().is_empty() {
        return Encoded { text: String::new(), attachments: args.attachments().to_vec() };
    }
    let text = match args.values().into_iter().next() {
        Some(serde_json::Value::String(text)) => text,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    Encoded { text, attachments: Vec::new() }
}
