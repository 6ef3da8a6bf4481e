//! What waits to be written to one client: references to packets that were encoded once for all who hear them.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
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
    /// A live publication, which may be given up for a client that reads too slowly; what belongs to the protocol or
    /// answers the client is not.
    expendable: bool,
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
        Rc::new(Self { content, version, base64, compress, expendable: false, journey: None, frames, deflated })
    }

    /// The same parcel as a live publication; to be called before it is shared.
    pub(crate) fn expendable(mut self: Rc<Self>) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.expendable = true;
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

/// The queue of one session: bounded in bytes and packets, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Rc<Parcel>>,
    bytes: usize,
    /// Bytes that cannot be given up.
    owed: usize,
    /// How much of the first packet's frames is already written.
    written: usize,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits.
    Kept,
    /// It waits, and older ones were given up for it.
    DroppedOldest,
    /// The client does not read its answers: the session is to be closed.
    Hopeless,
}

impl Outbox {
    /// Whether the budget does not suffice for one more packet.
    pub(crate) fn is_full_with(&self, packet: &Parcel, budget: usize) -> bool {
        self.bytes + packet.len() > budget
    }

    /// Queues a packet. When the budget is exceeded, the oldest live publications that are not half written are given
    /// up; a client that leaves more than the budget of answers unread is given up itself.
    pub(crate) fn push(&mut self, packet: Rc<Parcel>, budget: usize) -> Queued {
        let size = packet.len();
        self.bytes += size;
        if !packet.expendable {
            self.owed += size;
            // A single answer may be as large as it likes.
            if self.owed > budget && self.owed > size {
                return Queued::Hopeless;
            }
        }
        self.queue.push_back(packet);
        let mut outcome = Queued::Kept;
        let mut at = usize::from(self.written > 0);
        while self.bytes > budget && at + 1 < self.queue.len() {
            if self.queue[at].expendable {
                self.bytes -= self.queue.remove(at).map_or(0, |old| old.len());
                outcome = Queued::DroppedOldest;
            } else {
                at += 1;
            }
        }
        outcome
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
        self.queue.iter()
    }

    /// How much of the first packet is written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Notes that `count` bytes of the frames were written; `size` tells how long a packet's frames are.
    pub(crate) fn advance(&mut self, mut count: usize, size: impl Fn(&Parcel) -> usize) {
        while let Some(first) = self.queue.front() {
            let left = size(first) - self.written;
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
    }

    /// A parcel has left the queue.
    fn forget(&mut self, parcel: &Parcel) {
        self.bytes -= parcel.len();
        self.owed -= if parcel.expendable { 0 } else { parcel.len() };
    }

    /// Takes everything; its memory goes too, so that an idle session owns none.
    pub(crate) fn take(&mut self) -> VecDeque<Rc<Parcel>> {
        self.bytes = 0;
        self.owed = 0;
        self.written = 0;
        std::mem::take(&mut self.queue)
    }

    /// Takes parcels of at most `most` packets, but at least one parcel.
    pub(crate) fn take_some(&mut self, most: usize) -> VecDeque<Rc<Parcel>> {
        let mut packets = 0;
        let fitting = self.queue.iter().take_while(|parcel| {
            packets += parcel.count();
            packets <= most
        });
        let count = fitting.count().max(1);
        if count >= self.queue.len() {
            return self.take();
        }
        let taken: VecDeque<_> = self.queue.drain(..count).collect();
        taken.iter().for_each(|parcel| self.forget(parcel));
        taken
    }

    /// Gives the memory of an empty queue back.
    pub(crate) fn release(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 0 {
            self.queue = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(text: &str) -> Rc<Parcel> {
        Parcel::native(text.to_owned(), false).expendable()
    }

    #[test]
    fn answers_are_never_given_up_but_a_client_that_reads_none_is() {
        let mut outbox = Outbox::default();
        let answer = |text: &str| Parcel::native(text.to_owned(), false);
        let budget = 3 * packet("aaaa").len();
        assert_eq!(outbox.push(answer("large beyond the budget, but alone"), budget), Queued::Kept);
        outbox.take();
        for (parcel, expect) in [
            (packet("1111"), Queued::Kept),
            (answer("aaaa"), Queued::Kept),
            (answer("bbbb"), Queued::Kept),
            (packet("2222"), Queued::DroppedOldest),
            (answer("cccc"), Queued::DroppedOldest),
            (answer("dddd"), Queued::Hopeless),
        ] {
            assert_eq!(outbox.push(parcel, budget), expect);
        }
        let left: Vec<_> = outbox.iter().map(|packet| packet.frames()[2..].to_vec()).collect();
        assert_eq!(left, [b"aaaa", b"bbbb", b"cccc"]);
    }

    #[test]
    fn a_full_outbox_gives_up_the_oldest_but_never_a_half_written_packet() {
        let mut outbox = Outbox::default();
        let budget = 3 * packet("aaaa").len();
        for text in ["aaaa", "bbbb", "cccc"] {
            assert_eq!(outbox.push(packet(text), budget), Queued::Kept);
        }
        outbox.advance(2, |packet| packet.frames().len());
        assert_eq!(outbox.push(packet("dddd"), budget), Queued::DroppedOldest);
        let left: Vec<_> = outbox.iter().map(|packet| packet.frames()[2..].to_vec()).collect();
        assert_eq!(left, [b"aaaa", b"cccc", b"dddd"]);
        let all: usize = outbox.iter().map(|packet| packet.frames().len()).sum();
        outbox.advance(all - 2, |packet| packet.frames().len());
        assert!(outbox.is_empty());
    }
}
