//! How a session's packets are written: the few variants that exist, each encoded once per fan-out.

use std::rc::Rc;

use oyez_hub::delivery::Publication;
use oyez_hub::recovery::Mark;
use oyez_protocol::engineio::packet::Version;
use oyez_protocol::message::Args;
use oyez_protocol::socketio::{Encoded, Packet, msgpack, text};

use crate::session::{Dialog, Member, Parser, Session};
use crate::shard::outbox::{Parcel, Standing};

/// What distinguishes the bytes for one client from the bytes for another. (Compression is decided when frames are
/// written: a parcel holds both forms.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    dialog: Dialog,
    parser: Parser,
    /// Events carry their position, so that the client can say how far it has heard.
    positions: bool,
}

impl Variant {
    /// The variant that a session gets.
    pub(crate) fn of(session: &Session) -> Self {
        Self { dialog: session.dialog, parser: session.parser.get(), positions: false }
    }

    /// The variant that a member gets.
    pub(crate) fn of_member(session: &Session, member: &Member) -> Self {
        Self { positions: member.positions, ..Self::of(session) }
    }

    /// Whether events carry their position.
    pub(crate) fn says_positions(self) -> bool {
        self.positions
    }

    /// Whether a session can be recovered: by Socket.IO from version 3 (Engine.IO 4) on.
    pub(crate) fn can_recover(session: &Session) -> bool {
        let version4 = matches!(session.dialog, Dialog::Engine { version: Version::V4, .. });
        version4 && session.parser.get() != Parser::Bare
    }

    /// A publication; `mark` is where in the app's log a client is that has heard it, or none, where others may overtake it.
    pub(crate) fn publication(
        self,
        namespace: &str,
        ack: Option<u64>,
        publication: &Publication,
        mark: Option<Mark>,
    ) -> Rc<Parcel> {
        let Publication { event, args, compress, .. } = publication;
        let parcel = match self.dialog {
            Dialog::Native => {
                let text = publication.native.as_deref().unwrap_or_default();
                Parcel::native(placed(text, mark.filter(|_| self.positions)), *compress)
            }
            Dialog::Engine { .. } => self.event(namespace, ack, event, args, mark, *compress),
        };
        let placed = self.positions && ack.is_none() && mark.is_some();
        parcel.publishing(publication, placed)
    }

    /// What the server says to one client by itself.
    pub(crate) fn said(self, namespace: &str, name: &str, args: &Args, mark: Option<Mark>) -> Rc<Parcel> {
        let parcel = self.event(namespace, None, name, args, mark, true);
        // What says a position keeps its place among others that do.
        if self.positions && mark.is_some() { parcel.with(Standing::Barrier) } else { parcel }
    }

    /// An event. One that wants an answer never carries its position: it would stand where the client looks for its
    /// callback. Any other carries it where clients hear positions, or `null`, which they pass over.
    fn event(
        self,
        namespace: &str,
        ack: Option<u64>,
        name: &str,
        args: &Args,
        mark: Option<Mark>,
        compress: bool,
    ) -> Rc<Parcel> {
        let says = self.positions && ack.is_none();
        let placed = says.then(|| args.clone().and(mark.map(|mark| mark.to_string())));
        let args = placed.as_ref().unwrap_or(args);
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
        let parcel = self.parcel(encoded, true);
        // What a member hears comes after the answer that makes it one.
        if matches!(packet, Packet::Connect { .. }) { parcel.with(Standing::Barrier) } else { parcel }
    }

    fn parcel(self, encoded: Encoded, compress: bool) -> Rc<Parcel> {
        match self.dialog {
            Dialog::Engine { version, base64 } => Parcel::message(encoded, version, base64, compress),
            Dialog::Native => Parcel::message(encoded, Version::V4, false, compress),
        }
    }
}

/// A raw frame with its position, if it is an object.
pub(crate) fn placed(frame: &str, mark: Option<Mark>) -> String {
    match (mark, frame.strip_suffix('}')) {
        (Some(mark), Some(open)) if open.starts_with('{') => {
            let comma = if open.trim_end() == "{" { "" } else { "," };
            format!("{open}{comma}\"offset\":\"{mark}\"}}")
        }
        _ => frame.to_owned(),
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
