//! An incremental reader of a client's frames (RFC 6455 section 5) that owns nothing between messages.
//!
//! The caller reads from the socket into a buffer it shares between connections and hands each piece over. A frame that is
//! whole in that piece is unmasked in place and lent; only a frame or message that is not yet whole is kept.

use std::borrow::Cow;
use std::mem;

use bytes::Bytes;

use super::frame::Opcode;
use super::mask::{key_at, unmask};
use super::{Violation, deflate};

/// The most bytes a header takes: two, a length of eight, a mask of four.
const MAX_HEADER: usize = 14;

/// A message may come in so many fragments, and in one more for every [`BYTES_PER_FRAGMENT`] bytes it has: crumbs cost
/// more to read than they carry.
const FREE_FRAGMENTS: usize = 1024;
const BYTES_PER_FRAGMENT: usize = 16;

/// Pieces of a message that are shorter than this are crumbs: reading one costs more than what is in it.
pub const CRUMB: usize = 128;

/// What a reader takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes in one message, after decompression.
    pub max_message: usize,
    /// Whether permessage-deflate was agreed.
    pub deflate: bool,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message.
    Text(Cow<'a, str>),
    /// A binary message.
    Binary(Bytes),
    /// To be answered by a pong with the same bytes, at most 125.
    Ping(Bytes),
    /// An answer to our ping, or unasked.
    Pong(Bytes),
    /// The client ends the connection; nothing after it is read. Without a code it is 1005 to us.
    Close(Option<u16>, Cow<'a, str>),
}

/// Reads one connection.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    closed: bool,
    crumbs: u32,
    partial: Option<Box<Partial>>,
}

/// What is kept of an unfinished frame and of an unfinished message.
#[derive(Debug, Default)]
struct Partial {
    /// The bytes of an unfinished frame's header.
    head: [u8; MAX_HEADER],
    head_length: usize,
    /// What has come of an unfinished frame's payload, unmasked.
    payload: Vec<u8>,
    /// The fragments so far.
    message: Option<Message>,
}

/// A message in fragments.
#[derive(Debug)]
struct Message {
    opcode: Opcode,
    compressed: bool,
    fragments: usize,
    data: Vec<u8>,
}

/// A frame's header.
#[derive(Debug, Clone, Copy)]
struct Header {
    last: bool,
    compressed: bool,
    opcode: Opcode,
    key: [u8; 4],
    length: usize,
    /// How many bytes the header itself takes.
    size: usize,
}

impl Reader {
    /// A reader for a connection after its handshake.
    #[must_use]
    pub const fn new(limits: Limits) -> Self {
        Self { limits, closed: false, crumbs: 0, partial: None }
    }

    /// Whether nothing is kept: no frame or message is unfinished.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.partial.is_none()
    }

    /// How many fragments were shorter than [`CRUMB`] since this was last asked.
    pub const fn take_crumbs(&mut self) -> u32 {
        mem::replace(&mut self.crumbs, 0)
    }

    /// Gives the next event in `input` and moves `input` behind it; none when all of it was taken.
    ///
    /// To be called with the same `input` until it gives none, then with the bytes read next. `input` is written to.
    ///
    /// # Errors
    /// After a violation, as after [`Event::Close`], all input is ignored.
    pub fn read<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Event<'a>>, Violation> {
        while !input.is_empty() && !self.closed {
            match self.step(input) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    self.closed = matches!(event, Event::Close(..));
                    return Ok(Some(event));
                }
                Err(violation) => {
                    self.closed = true;
                    self.partial = None;
                    return Err(violation);
                }
            }
        }
        if self.closed {
            self.partial = None;
            *input = &mut [];
        }
        Ok(None)
    }

    /// Takes one frame, or what there is of it.
    fn step<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Event<'a>>, Violation> {
        if self.partial.as_ref().is_some_and(|partial| partial.head_length > 0) {
            return self.resume(input);
        }
        match self.header(input)? {
            Some(header) if input.len() >= header.length.saturating_add(header.size) => {
                let payload = &mut take(input, header.size + header.length)[header.size..];
                unmask(payload, header.key);
                self.finish(header, Payload::Lent(payload))
            }
            _ => {
                self.partial.get_or_insert_default();
                self.resume(input)
            }
        }
    }

    /// Adds to an unfinished frame.
    fn resume<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Event<'a>>, Violation> {
        let mut partial = self.partial.take().unwrap_or_default();
        let result = self.resume_with(&mut partial, input);
        match result {
            Ok(Some(header)) => {
                partial.head_length = 0;
                let payload = mem::take(&mut partial.payload);
                self.partial = partial.message.is_some().then_some(partial);
                self.finish(header, Payload::Kept(payload))
            }
            Ok(None) => {
                self.partial = Some(partial);
                Ok(None)
            }
            Err(violation) => Err(violation),
        }
    }

    /// Adds `input` to the frame in `partial`; gives its header when the frame is whole.
    fn resume_with(&self, partial: &mut Partial, input: &mut &mut [u8]) -> Result<Option<Header>, Violation> {
        let header = loop {
            let fragments = partial.message.as_ref();
            if let Some(header) = parse_header(&partial.head[..partial.head_length], self.limits, fragments)? {
                break header;
            }
            if input.is_empty() {
                return Ok(None);
            }
            // Byte by byte, so that nothing of the payload is taken for header. At most 14 times.
            partial.head[partial.head_length] = take(input, 1)[0];
            partial.head_length += 1;
        };
        let have = partial.payload.len();
        let piece = take(input, (header.length - have).min(input.len()));
        unmask(piece, key_at(header.key, have));
        if partial.payload.capacity() - have < piece.len() {
            // Twice what has come, never beyond what was announced: a header alone costs the client nothing, and us nothing.
            partial.payload.reserve_exact((header.length - have).min(piece.len() + have));
        }
        partial.payload.extend_from_slice(piece);
        Ok((partial.payload.len() == header.length).then_some(header))
    }

    fn header(&self, input: &[u8]) -> Result<Option<Header>, Violation> {
        parse_header(input, self.limits, self.message())
    }

    fn message(&self) -> Option<&Message> {
        self.partial.as_ref()?.message.as_ref()
    }

    /// Makes an event of a whole frame, or adds it to its message.
    fn finish<'a>(&mut self, header: Header, payload: Payload<'a>) -> Result<Option<Event<'a>>, Violation> {
        if payload.as_slice().len() < CRUMB && !(header.last && header.opcode != Opcode::Continuation) {
            self.crumbs = self.crumbs.saturating_add(1);
        }
        match header.opcode {
            Opcode::Ping => return Ok(Some(Event::Ping(payload.into_bytes()))),
            Opcode::Pong => return Ok(Some(Event::Pong(payload.into_bytes()))),
            Opcode::Close => return close(payload).map(Some),
            Opcode::Text | Opcode::Binary if header.last => {
                return self.whole(header.opcode, header.compressed, payload).map(Some);
            }
            Opcode::Text | Opcode::Binary => {
                let Header { opcode, compressed, .. } = header;
                let message = Message { opcode, compressed, fragments: 1, data: payload.into_vec() };
                self.partial.get_or_insert_default().message = Some(message);
                return Ok(None);
            }
            Opcode::Continuation => {}
        }
        let Some(mut message) = self.partial.as_mut().and_then(|partial| partial.message.take()) else {
            return Err(Violation::Protocol("continuation without a message"));
        };
        message.fragments += 1;
        message.data.extend_from_slice(payload.as_slice());
        if header.last {
            self.partial = None;
            return self.whole(message.opcode, message.compressed, Payload::Kept(message.data)).map(Some);
        }
        if message.fragments > FREE_FRAGMENTS + message.data.len() / BYTES_PER_FRAGMENT {
            return Err(Violation::Protocol("too many fragments"));
        }
        self.partial.get_or_insert_default().message = Some(message);
        Ok(None)
    }

    /// Makes an event of a whole message.
    fn whole<'a>(&self, opcode: Opcode, compressed: bool, payload: Payload<'a>) -> Result<Event<'a>, Violation> {
        let payload = if compressed {
            Payload::Kept(deflate::inflate(payload.as_slice(), self.limits.max_message)?)
        } else {
            payload
        };
        match opcode {
            Opcode::Text => payload.into_text().map(Event::Text),
            _ => Ok(Event::Binary(payload.into_bytes())),
        }
    }
}

/// Parts the first `length` bytes from `input`, which has as many.
fn take<'a>(input: &mut &'a mut [u8], length: usize) -> &'a mut [u8] {
    let (head, tail) = mem::take(input).split_at_mut(length);
    *input = tail;
    head
}

/// Reads a header and checks it against the rules, the limits and the message it continues; none when bytes are missing.
fn parse_header(bytes: &[u8], limits: Limits, message: Option<&Message>) -> Result<Option<Header>, Violation> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::Protocol("reserved opcode"))?;
    let (last, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
    let starts = matches!(opcode, Opcode::Text | Opcode::Binary);
    if first & 0x30 != 0 || (compressed && !(limits.deflate && starts)) {
        return Err(Violation::Protocol("reserved bit"));
    }
    if second & 0x80 == 0 {
        return Err(Violation::Protocol("frame without mask"));
    }
    if opcode.is_control() && (!last || second & 0x7f > 125) {
        return Err(Violation::Protocol("fragmented or long control frame"));
    }
    if starts && message.is_some() {
        return Err(Violation::Protocol("message within a message"));
    }
    if opcode == Opcode::Continuation && message.is_none() {
        return Err(Violation::Protocol("continuation without a message"));
    }
    let Some((length, rest)) = parse_length(second & 0x7f, rest)? else {
        return Ok(None);
    };
    let before = message.map_or(0, |message| if opcode.is_control() { 0 } else { message.data.len() });
    if !opcode.is_control() && length > limits.max_message.saturating_sub(before) {
        return Err(Violation::TooBig);
    }
    let Some(key) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    let size = bytes.len() - rest.len() + key.len();
    Ok(Some(Header { last, compressed, opcode, key: *key, length, size }))
}

/// The length of the payload, and the bytes behind it; none when bytes are missing.
fn parse_length(short: u8, rest: &[u8]) -> Result<Option<(usize, &[u8])>, Violation> {
    let (length, least, rest) = match short {
        126 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), 0x1_0000, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, rest),
    };
    if length < least || length >> 63 != 0 {
        return Err(Violation::Protocol("malformed length"));
    }
    Ok(Some((usize::try_from(length).unwrap_or(usize::MAX), rest)))
}

/// A frame's unmasked payload, in the caller's buffer or in our own.
enum Payload<'a> {
    Lent(&'a [u8]),
    Kept(Vec<u8>),
}

impl<'a> Payload<'a> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Lent(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        }
    }

    fn into_vec(self) -> Vec<u8> {
        match self {
            Self::Lent(bytes) => bytes.to_vec(),
            Self::Kept(bytes) => bytes,
        }
    }

    fn into_bytes(self) -> Bytes {
        self.into_vec().into()
    }

    fn into_text(self) -> Result<Cow<'a, str>, Violation> {
        let text = match self {
            Self::Lent(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Self::Kept(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        };
        text.ok_or(Violation::Payload("invalid UTF-8"))
    }
}

/// Reads a close frame's code and reason (RFC 6455 sections 5.5.1 and 7.4).
fn close(payload: Payload<'_>) -> Result<Event<'_>, Violation> {
    let code = match *payload.as_slice() {
        [] => return Ok(Event::Close(None, Cow::Borrowed(""))),
        [_] => return Err(Violation::Protocol("close code of one byte")),
        [high, low, ..] => u16::from_be_bytes([high, low]),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("invalid close code"));
    }
    let reason = match payload {
        Payload::Lent(bytes) => Payload::Lent(&bytes[2..]),
        Payload::Kept(bytes) => Payload::Kept(bytes[2..].to_vec()),
    };
    Ok(Event::Close(Some(code), reason.into_text()?))
}

#[cfg(test)]
mod tests;
