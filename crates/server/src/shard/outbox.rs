//! What waits to be written to one client: references to packets that were encoded once for all who hear them.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use oyez_protocol::engineio::packet::{Data, Packet, PacketType, Version};
use oyez_protocol::websocket::deflate::Compressor;
use oyez_protocol::websocket::frame;
use smallvec::SmallVec;

/// Packets shorter than this are sent as they are, even where compression was negotiated: deflate would cost more
/// than it saves (the threshold of `ws` and engine.io).
const COMPRESS_FROM: usize = 1_024;

/// One message of the transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// A text message; for Engine.IO it begins with the packet's type digit.
    Text(String),
    /// A binary message, as the application means it.
    Binary(Bytes),
}

/// One packet, encoded once per shard and variant, shared by every outbox that holds it.
#[derive(Debug)]
pub(crate) struct Encoded {
    parts: SmallVec<[Part; 1]>,
    version: Version,
    compress: bool,
    frames: OnceCell<Bytes>,
    deflated: OnceCell<Bytes>,
}

impl Encoded {
    /// A packet of one or more transport messages that must stay together.
    pub(crate) fn new(parts: SmallVec<[Part; 1]>, version: Version, compress: bool) -> Rc<Self> {
        Rc::new(Self { parts, version, compress, frames: OnceCell::new(), deflated: OnceCell::new() })
    }

    /// Bytes for a WebSocket as they are: a control frame. Means nothing to other transports.
    pub(crate) fn frame(bytes: Vec<u8>, version: Version) -> Rc<Self> {
        let packet = Self { parts: SmallVec::new(), version, compress: false, frames: OnceCell::new(), deflated: OnceCell::new() };
        let _ = packet.frames.set(bytes.into());
        Rc::new(packet)
    }

    /// A packet of one text message.
    pub(crate) fn text(text: String, version: Version) -> Rc<Self> {
        Self::new(SmallVec::from_iter([Part::Text(text)]), version, true)
    }

    /// A packet of Engine.IO itself.
    pub(crate) fn engine(kind: PacketType, data: &str, version: Version) -> Rc<Self> {
        let mut text = String::with_capacity(1 + data.len());
        text.push(kind.digit());
        text.push_str(data);
        Self::text(text, version)
    }

    /// Bytes that it will occupy, about.
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|part| match part {
            Part::Text(text) => text.len() + 4,
            Part::Binary(bytes) => bytes.len() + 4,
        }).sum()
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
        self.deflated.get_or_init(|| self.write(Some(&mut Compressor::new())))
    }

    fn write(&self, mut compressor: Option<&mut Compressor>) -> Bytes {
        let mut out = Vec::with_capacity(self.len() + 10 * self.parts.len());
        for part in &self.parts {
            match (part, compressor.as_deref_mut()) {
                (Part::Text(text), None) => frame::encode(frame::Opcode::Text, false, text.as_bytes(), &mut out),
                (Part::Text(text), Some(deflate)) => {
                    frame::encode(frame::Opcode::Text, true, &deflate.compress(text.as_bytes()), &mut out);
                }
                (Part::Binary(bytes), None) => {
                    frame::encode(frame::Opcode::Binary, false, &self.binary(bytes), &mut out);
                }
                (Part::Binary(bytes), Some(deflate)) => {
                    frame::encode(frame::Opcode::Binary, true, &deflate.compress(&self.binary(bytes)), &mut out);
                }
            }
        }
        out.into()
    }

    /// Engine.IO 3 marks a binary message with its packet type.
    fn binary(&self, bytes: &Bytes) -> Bytes {
        match self.version {
            Version::V4 => bytes.clone(),
            Version::V3 => [&[4u8], &bytes[..]].concat().into(),
        }
    }

    /// As packets of a polling payload.
    pub(crate) fn packets(&self) -> impl Iterator<Item = Packet<'_>> {
        self.parts.iter().map(|part| match part {
            Part::Text(text) => Packet::decode_text(text, self.version).unwrap_or(Packet::text(PacketType::Noop, "")),
            Part::Binary(bytes) => Packet { kind: PacketType::Message, data: Data::Binary(bytes.clone()) },
        })
    }
}

/// The queue of one session: bounded in bytes and packets, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Rc<Encoded>>,
    bytes: usize,
    /// How much of the first packet's frames is already written.
    written: usize,
    /// Packets given up because the client reads too slowly.
    dropped: u64,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits.
    Kept,
    /// It waits, and older ones were given up for it.
    DroppedOldest,
}

impl Outbox {
    /// Queues a packet; when the budget is exceeded the oldest packets that are not half written are given up.
    pub(crate) fn push(&mut self, packet: Rc<Encoded>, budget: usize) -> Queued {
        self.bytes += packet.len();
        self.queue.push_back(packet);
        let mut outcome = Queued::Kept;
        let keep = usize::from(self.written > 0);
        while self.bytes > budget && self.queue.len() > keep + 1 {
            if let Some(old) = self.queue.remove(keep) {
                self.bytes -= old.len();
                self.dropped += 1;
                outcome = Queued::DroppedOldest;
            }
        }
        outcome
    }

    /// Puts a packet before all that is not yet begun (control frames).
    pub(crate) fn push_first(&mut self, packet: Rc<Encoded>) {
        self.bytes += packet.len();
        let at = usize::from(self.written > 0).min(self.queue.len());
        self.queue.insert(at, packet);
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets that wait, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Encoded>> {
        self.queue.iter()
    }

    /// How much of the first packet is written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// Notes that `count` bytes of the frames were written; `size` tells how long a packet's frames are.
    pub(crate) fn advance(&mut self, mut count: usize, size: impl Fn(&Encoded) -> usize) {
        while let Some(first) = self.queue.front() {
            let left = size(first) - self.written;
            if count < left {
                self.written += count;
                return;
            }
            count -= left;
            self.written = 0;
            self.bytes -= first.len();
            self.queue.pop_front();
        }
    }

    /// Takes everything; its memory goes too, so that an idle session owns none.
    pub(crate) fn take(&mut self) -> VecDeque<Rc<Encoded>> {
        self.bytes = 0;
        self.written = 0;
        std::mem::take(&mut self.queue)
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

    fn packet(text: &str) -> Rc<Encoded> {
        Encoded::text(text.to_owned(), Version::V4)
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
        let left: Vec<_> = outbox.iter().map(|packet| packet.parts[0].clone()).collect();
        assert_eq!(left, ["aaaa", "cccc", "dddd"].map(|text| Part::Text(text.to_owned())));
        let all: usize = outbox.iter().map(|packet| packet.frames().len()).sum();
        outbox.advance(all - 2, |packet| packet.frames().len());
        assert!(outbox.is_empty());
    }
}
