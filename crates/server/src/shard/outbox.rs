//! What waits to be written to one client: references to packets that were encoded once for all who hear them.

use std::cell::OnceCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use oyez_hub::delivery::WhenSlow;
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

/// What is sent as one unit: encoded once per shard and variant, shared by every outbox that holds it.
#[derive(Debug)]
pub(crate) struct Parcel {
    content: Content,
    version: Version,
    base64: bool,
    compress: bool,
    /// What may become of it in a client's outbox. What belongs to the protocol or answers the client is never given up.
    when_slow: WhenSlow,
    /// It says how far its client has heard, so that it overtakes nothing.
    placed: bool,
    journey: Option<Rc<Journey>>,
    frames: OnceCell<Bytes>,
    deflated: OnceCell<Bytes>,
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
        let (frames, deflated) = Default::default();
        let (when_slow, placed) = (WhenSlow::Disconnect, false);
        Rc::new(Self { content, version, base64, compress, when_slow, placed, journey: None, frames, deflated })
    }

    /// The same parcel as a publication of which its channel says what becomes of it; to be called before it is shared.
    pub(crate) fn when_slow(mut self: Rc<Self>, when_slow: &WhenSlow) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.when_slow = when_slow.clone();
        }
        self
    }

    /// The same parcel as one that says how far its client has heard, if it does; to be called before it is shared.
    pub(crate) fn placed(mut self: Rc<Self>, placed: bool) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.placed = placed;
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

    /// It may be given up for a client that reads too slowly.
    fn is_expendable(&self) -> bool {
        !matches!(self.when_slow, WhenSlow::Disconnect)
    }

    /// Later ones of the same key may take its place.
    fn key(&self) -> Option<&Arc<str>> {
        match &self.when_slow {
            WhenSlow::Conflate(key) => Some(key),
            WhenSlow::DropOldest | WhenSlow::Disconnect => None,
        }
    }

    /// A Socket.IO packet; `base64` where the client cannot take binary.
    pub(crate) fn message(encoded: Encoded, version: Version, base64: bool, compress: bool) -> Rc<Self> {
        Self::of(Content::Message(encoded), version, base64, compress)
    }

    /// A packet of Engine.IO itself.
    pub(crate) fn engine(kind: PacketType, data: &str, version: Version) -> Rc<Self> {
        Self::of(Content::Engine(kind, data.to_owned()), version, false, false)
    }

    /// A raw message.
    pub(crate) fn native(text: String, compress: bool) -> Rc<Self> {
        Self::of(Content::Native(text), Version::V4, false, compress)
    }

    /// Bytes for a WebSocket as they are: a control frame.
    pub(crate) fn frame(bytes: Vec<u8>) -> Rc<Self> {
        Self::of(Content::Frame(bytes.into()), Version::V4, false, false)
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

/// One that waits.
#[derive(Debug)]
struct Waiting {
    /// Its number; they rise.
    ticket: u64,
    parcel: Rc<Parcel>,
}

/// Where the latest of each key waits, by ticket.
#[derive(Debug, Default)]
struct Latest(HashMap<Arc<str>, u64>);

/// The queue of one session: bounded in bytes, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// Bytes that cannot be given up.
    owed: usize,
    /// How much of the first packet's frames is already written.
    written: usize,
    next_ticket: u64,
    /// From the moment when a client is too slow until it has caught up; a box, because few ever are.
    latest: Option<Box<Latest>>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits.
    Kept,
    /// It waits, and so many older ones were given up for it.
    DroppedOldest(usize),
    /// What must not be given up is more than there is room for: the session is to be closed.
    Hopeless,
}

impl Outbox {
    /// Whether the budget does not suffice for one more packet.
    pub(crate) fn is_full_with(&self, packet: &Parcel, budget: usize) -> bool {
        self.bytes + packet.len() > budget
    }

    /// Queues a packet. When the budget is exceeded, older ones that are not half written are given up: those of which
    /// a later one has the same key, and if that does not suffice, the oldest. A client that leaves more than the budget
    /// of what cannot be given up unread is given up itself.
    pub(crate) fn push(&mut self, packet: Rc<Parcel>, budget: usize) -> Queued {
        let size = packet.len();
        if !packet.is_expendable() {
            // A single answer may be as large as it likes.
            if self.owed > 0 && self.owed + size > budget {
                return Queued::Hopeless;
            }
            self.owed += size;
        }
        self.bytes += size;
        let mut given_up = usize::from(self.place(packet));
        if self.bytes > budget {
            given_up += self.conflate();
            given_up += self.drop_oldest(budget);
        }
        if given_up > 0 { Queued::DroppedOldest(given_up) } else { Queued::Kept }
    }

    /// Puts a packet where one of its key waits, if this client is too slow for both, or else at the end. (One that says
    /// how far its client has heard goes to the end, in the stead of the other.) Returns whether another is given up.
    fn place(&mut self, packet: Rc<Parcel>) -> bool {
        let ticket = self.next_ticket;
        let mut given_up = false;
        if let Some(latest) = &mut self.latest
            && let Some(key) = packet.key()
            && let Some(known) = latest.0.insert(Arc::clone(key), ticket)
            && let Some(at) = position(&self.queue, known).filter(|at| *at >= usize::from(self.written > 0))
        {
            if !packet.placed {
                latest.0.insert(Arc::clone(key), known);
                self.bytes -= self.queue[at].parcel.len();
                self.queue[at].parcel = packet;
                return true;
            }
            given_up = true;
            if let Some(old) = self.queue.remove(at) {
                self.forget(&old);
            }
        }
        self.next_ticket += 1;
        self.queue.push_back(Waiting { ticket, parcel: packet });
        given_up
    }

    /// The client has become too slow: of each key only the latest stays, where the first of them was, or, if it says how
    /// far the client has heard, where it is. Returns how many were given up.
    fn conflate(&mut self) -> usize {
        if self.latest.is_some() || !self.queue.iter().any(|waiting| waiting.parcel.key().is_some()) {
            return 0;
        }
        let placed = self.queue.iter().filter(|waiting| waiting.parcel.placed);
        let last: HashMap<_, _> =
            placed.filter_map(|waiting| Some((Arc::clone(waiting.parcel.key()?), waiting.ticket))).collect();
        let mut latest = HashMap::new();
        let before = self.queue.len();
        let mut kept: VecDeque<Waiting> = VecDeque::with_capacity(before);
        for (at, waiting) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            let half_written = at == 0 && self.written > 0;
            if let Some(key) = waiting.parcel.key().filter(|_| !half_written) {
                if waiting.parcel.placed && last.get(key).is_some_and(|ticket| *ticket != waiting.ticket) {
                    self.bytes -= waiting.parcel.len();
                    continue;
                }
                if !waiting.parcel.placed
                    && let Some(first) = latest.get(key).and_then(|ticket| position(&kept, *ticket))
                {
                    self.bytes -= kept[first].parcel.len();
                    kept[first].parcel = waiting.parcel;
                    continue;
                }
                latest.insert(Arc::clone(key), waiting.ticket);
            }
            kept.push_back(waiting);
        }
        self.queue = kept;
        self.latest = Some(Box::new(Latest(latest)));
        before - self.queue.len()
    }

    /// Drops the oldest that may be dropped until the rest is within the budget. Returns how many were.
    fn drop_oldest(&mut self, budget: usize) -> usize {
        let before = self.queue.len();
        let mut at = usize::from(self.written > 0);
        while self.bytes > budget && at + 1 < self.queue.len() {
            if self.queue[at].parcel.is_expendable() {
                if let Some(old) = self.queue.remove(at) {
                    self.forget(&old);
                }
            } else {
                at += 1;
            }
        }
        before - self.queue.len()
    }

    /// Bytes that wait, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets that wait, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Parcel>> {
        self.queue.iter().map(|waiting| &waiting.parcel)
    }

    /// How much of the first packet is written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Notes that `count` bytes of the frames were written; `size` tells how long a packet's frames are.
    pub(crate) fn advance(&mut self, mut count: usize, size: impl Fn(&Parcel) -> usize) {
        while let Some(first) = self.queue.front() {
            let left = size(&first.parcel) - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            if let Some(first) = self.queue.pop_front() {
                self.forget(&first);
            }
        }
        self.latest = None;
    }

    /// One has left the queue.
    fn forget(&mut self, Waiting { ticket, parcel }: &Waiting) {
        self.bytes -= parcel.len();
        self.owed -= if parcel.is_expendable() { 0 } else { parcel.len() };
        if let (Some(latest), Some(key)) = (&mut self.latest, parcel.key())
            && latest.0.get(key) == Some(ticket)
        {
            latest.0.remove(key);
        }
    }

    /// Takes everything; its memory goes too, so that an idle session owns none.
    pub(crate) fn take(&mut self) -> Vec<Rc<Parcel>> {
        let queue = std::mem::take(self).queue;
        queue.into_iter().map(|waiting| waiting.parcel).collect()
    }

    /// Takes parcels of at most `most` packets, but at least one parcel.
    pub(crate) fn take_some(&mut self, most: usize) -> Vec<Rc<Parcel>> {
        let mut packets = 0;
        let fitting = self.iter().take_while(|parcel| {
            packets += parcel.count();
            packets <= most
        });
        let count = fitting.count().max(1);
        if count >= self.queue.len() {
            return self.take();
        }
        let taken: Vec<_> = self.queue.drain(..count).collect();
        taken.iter().for_each(|waiting| self.forget(waiting));
        taken.into_iter().map(|waiting| waiting.parcel).collect()
    }

    /// Gives the memory of an empty queue back.
    pub(crate) fn release(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
    }
}

/// Where the one with this ticket waits.
fn position(queue: &VecDeque<Waiting>, ticket: u64) -> Option<usize> {
    queue.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
}

#[cfg(test)]
mod tests;
