//! What is sent as one unit, and where it may go among others that wait for the same client.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use oyez_hub::address::AppId;
use oyez_hub::delivery::{Priority, Publication, WhenSlow};
use oyez_protocol::engineio::packet::{Packet, PacketType, Version};
use oyez_protocol::socketio::Encoded;
use oyez_protocol::websocket::frame::{self, Framing, Opcode};

use crate::observe::histogram::Histogram;

/// Messages shorter than this are sent as they are, even where compression was negotiated: deflate would cost more
/// than it saves (the threshold of `ws` and engine.io).
const COMPRESS_FROM: usize = 1_024;

/// What a parcel is made of.
#[derive(Debug)]
enum Content {
    /// A Socket.IO packet.
    Message(Encoded),
    /// A packet of Engine.IO itself.
    Engine(PacketType, String),
    /// A raw message.
    Native(String),
    /// A WebSocket control frame; means nothing to other transports.
    Frame(Bytes),
}

/// Where a parcel may go in a client's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A sign of life: it goes before everything else.
    Vital,
    /// An answer: it leaves when all that came before it has left; more urgent ones may overtake it.
    Answer,
    /// It leaves when all that came before it has left, and nothing overtakes it.
    Barrier,
    /// A publication in its lane.
    Lane(Priority),
    /// A publication that says how far its client has heard: it overtakes no other such one.
    Placed(Priority),
}

impl Standing {
    /// Its lane, where it has one.
    pub(crate) fn lane(self) -> Priority {
        match self {
            Self::Vital | Self::Answer | Self::Barrier => Priority::Normal,
            Self::Lane(lane) | Self::Placed(lane) => lane,
        }
    }
}

/// What is sent as one unit: encoded once per shard and variant, shared by every outbox that holds it.
#[derive(Debug)]
pub(crate) struct Parcel {
    content: Content,
    version: Version,
    base64: bool,
    compress: bool,
    /// What may become of it in a client's outbox. What belongs to the protocol or answers the client is never given up.
    when_slow: WhenSlow,
    standing: Standing,
    origin: Option<Origin>,
    journey: Option<Rc<Journey>>,
    frames: OnceCell<Bytes>,
    deflated: OnceCell<Bytes>,
}

/// Under which names is counted what becomes of a publication.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Its app.
    pub app: AppId,
    /// The pattern of the rule for its channel.
    pub rule: Option<Arc<str>>,
    /// Its lane.
    pub lane: Priority,
}

impl Origin {
    /// Of that publication.
    pub(crate) fn of(publication: &Publication) -> Self {
        Self { app: publication.app, rule: publication.rule.clone(), lane: publication.priority }
    }
}

/// A publication's way through a shard. It ends when the last parcel of it is gone: every client's kernel has taken its
/// last byte, or the client has gone or was too slow. So nothing has to be noted per delivery.
#[derive(Debug)]
pub(crate) struct Journey {
    since: Instant,
    latency: Histogram,
}

impl Journey {
    /// Begun then; it is counted when it ends.
    pub(crate) fn new(since: Instant, latency: Histogram) -> Rc<Self> {
        Rc::new(Self { since, latency })
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        self.latency.observe(self.since.elapsed());
    }
}

impl Parcel {
    fn of(content: Content, version: Version, base64: bool, compress: bool) -> Rc<Self> {
        let (origin, journey, frames, deflated) = Default::default();
        let (when_slow, standing) = (WhenSlow::Disconnect, Standing::Answer);
        Rc::new(Self { content, version, base64, compress, when_slow, standing, origin, journey, frames, deflated })
    }

    /// The same parcel with another standing; to be called before it is shared.
    pub(crate) fn with(mut self: Rc<Self>, standing: Standing) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.standing = standing;
        }
        self
    }

    /// The same parcel as that publication, which says how far its client has heard, or not; to be called before it is
    /// shared.
    pub(crate) fn publishing(mut self: Rc<Self>, publication: &Publication, placed: bool) -> Rc<Self> {
        let lane = publication.priority;
        if let Some(own) = Rc::get_mut(&mut self) {
            own.standing = if placed { Standing::Placed(lane) } else { Standing::Lane(lane) };
            own.when_slow = publication.when_slow.clone();
            own.origin = Some(Origin::of(publication));
        }
        self
    }

    /// The same parcel as a part of a journey; to be called before it is shared.
    pub(crate) fn travelling(mut self: Rc<Self>, journey: &Rc<Journey>) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.journey = Some(Rc::clone(journey));
        }
        self
    }

    /// Where it may go in an outbox.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Where it comes from, if it is a publication.
    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// It may be given up for a client that reads too slowly.
    pub(super) fn is_expendable(&self) -> bool {
        matches!(self.when_slow, WhenSlow::DropOldest | WhenSlow::Conflate(_))
    }

    /// Later ones of the same key may take its place.
    pub(super) fn key(&self) -> Option<&Arc<str>> {
        match &self.when_slow {
            WhenSlow::Conflate(key) | WhenSlow::ConflateOrDisconnect(key) => Some(key),
            WhenSlow::DropOldest | WhenSlow::Disconnect => None,
        }
    }

    /// A Socket.IO packet; `base64` where the client cannot take binary.
    pub(crate) fn message(encoded: Encoded, version: Version, base64: bool, compress: bool) -> Rc<Self> {
        Self::of(Content::Message(encoded), version, base64, compress)
    }

    /// A packet of Engine.IO itself.
    pub(crate) fn engine(kind: PacketType, data: &str, version: Version) -> Rc<Self> {
        let standing = match kind {
            PacketType::Ping | PacketType::Pong => Standing::Vital,
            _ => Standing::Barrier,
        };
        Self::of(Content::Engine(kind, data.to_owned()), version, false, false).with(standing)
    }

    /// A raw message.
    pub(crate) fn native(text: String, compress: bool) -> Rc<Self> {
        Self::of(Content::Native(text), Version::V4, false, compress)
    }

    /// Bytes for a WebSocket as they are: what stands before all frames, or a goodbye.
    pub(crate) fn frame(bytes: Vec<u8>) -> Rc<Self> {
        Self::of(Content::Frame(bytes.into()), Version::V4, false, false).with(Standing::Barrier)
    }

    /// The frame of a WebSocket's own ping or pong.
    pub(crate) fn beat(bytes: Vec<u8>) -> Rc<Self> {
        Self::frame(bytes).with(Standing::Vital)
    }

    /// Bytes that it will occupy, about.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            Content::Message(encoded) => {
                encoded.text.len() + 8 + encoded.attachments.iter().map(|bytes| bytes.len() + 8).sum::<usize>()
            }
            Content::Engine(_, data) => data.len() + 8,
            Content::Native(text) => text.len() + 8,
            Content::Frame(bytes) => bytes.len(),
        }
    }

    /// Complete, unmasked WebSocket frames.
    pub(crate) fn frames(&self) -> &Bytes {
        self.frames.get_or_init(|| self.write(None))
    }

    /// Complete frames for clients that negotiated permessage-deflate; the same bytes for all of them, because no
    /// context is carried from message to message.
    pub(crate) fn deflated_frames(&self) -> &Bytes {
        if !self.compress || self.len() < COMPRESS_FROM {
            return self.frames();
        }
        self.deflated.get_or_init(|| self.write(Some(COMPRESS_FROM)))
    }

    /// What a websocket gets: compressed where that was negotiated.
    pub(crate) fn bytes(&self, deflate: bool) -> &Bytes {
        if deflate { self.deflated_frames() } else { self.frames() }
    }

    fn write(&self, deflate: Option<usize>) -> Bytes {
        let mut out = Vec::with_capacity(self.len() + 8);
        match &self.content {
            Content::Message(encoded) => {
                frame::append_message(
                    &mut out,
                    encoded,
                    Framing { version: self.version, base64: self.base64, deflate },
                );
            }
            Content::Engine(kind, data) => {
                let mut digit = [0; 4];
                let head = kind.digit().encode_utf8(&mut digit);
                frame::append_data(&mut out, Opcode::Text, head.as_bytes(), data.as_bytes(), None);
            }
            Content::Native(text) => frame::append_data(&mut out, Opcode::Text, b"", text.as_bytes(), deflate),
            Content::Frame(bytes) => return bytes.clone(),
        }
        out.into()
    }

    /// Appends its packets to a polling payload.
    pub(crate) fn packets<'a>(&'a self, out: &mut Vec<Packet<'a>>) {
        match &self.content {
            Content::Message(encoded) => out.extend(encoded.packets()),
            Content::Engine(kind, data) => out.push(Packet::text(*kind, data)),
            Content::Native(_) | Content::Frame(_) => {}
        }
    }

    /// How many packets of a polling payload it is.
    pub(crate) fn count(&self) -> usize {
        match &self.content {
            Content::Message(encoded) => encoded.packets().count(),
            Content::Engine(..) => 1,
            Content::Native(_) | Content::Frame(_) => 0,
        }
    }

    /// Whether a polling response with it may be compressed.
    pub(crate) fn compress(&self) -> bool {
        self.compress
    }
}
