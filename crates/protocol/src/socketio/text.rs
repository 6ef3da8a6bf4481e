//! The text codec of Socket.IO 5 (and of the 2.x clients): `<type>[<attachments>-][<nsp>,][<ack id>][JSON]`.
//!
//! Reference: the Socket.IO protocol, revision 5, and socket.io-parser 4.2.6, whose refusals are ours.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::{Encoded, Error, Packet};
use crate::engineio::Version;
use crate::json;
use crate::message::{Args, RESERVED_EVENTS};

/// Reads a client's packets. Between packets it owns nothing.
#[derive(Debug)]
pub struct Decoder {
    version: Version,
    max_attachments: usize,
    waiting: Option<Box<Waiting>>,
}

/// A packet whose attachments are on their way.
#[derive(Debug)]
struct Waiting {
    packet: Packet,
    text: String,
    attachments: Vec<Bytes>,
    expected: usize,
}

impl Decoder {
    /// A decoder that takes at most `max_attachments` binaries per packet.
    #[must_use]
    pub const fn new(version: Version, max_attachments: usize) -> Self {
        Self { version, max_attachments, waiting: None }
    }

    /// Takes a text message; gives the packet, or none while attachments are due.
    ///
    /// # Errors
    /// After an error the connection must be closed.
    pub fn push_text(&mut self, text: &str) -> Result<Option<Packet>, Error> {
        if self.waiting.is_some() {
            return Err(Error::UnexpectedText);
        }
        let text = json::mend_surrogates(text);
        let head = Head::parse(&text, self.max_attachments)?;
        let (packet, args) = head.packet(self.version)?;
        if head.attachments == 0 {
            return Ok(Some(packet.with_args(args.to_owned(), Vec::new())));
        }
        let waiting = Waiting { packet, text: args.to_owned(), attachments: Vec::new(), expected: head.attachments };
        self.waiting = Some(Box::new(waiting));
        Ok(None)
    }

    /// Takes a binary message; gives the packet when it was its last attachment.
    ///
    /// # Errors
    /// [`Error::UnexpectedBinary`] when none was announced.
    pub fn push_binary(&mut self, bytes: Bytes) -> Result<Option<Packet>, Error> {
        let mut waiting = self.waiting.take().ok_or(Error::UnexpectedBinary)?;
        waiting.attachments.push(bytes);
        if waiting.attachments.len() < waiting.expected {
            self.waiting = Some(waiting);
            return Ok(None);
        }
        Ok(Some(waiting.packet.with_args(waiting.text, waiting.attachments)))
    }

    /// The namespace of the packet that waits for attachments.
    #[must_use]
    pub fn waiting_in(&self) -> Option<&str> {
        self.waiting.as_ref().map(|waiting| waiting.packet.nsp())
    }
}

impl Packet {
    /// Fills in the arguments of an event or an acknowledgement.
    pub(super) fn with_args(mut self, text: String, attachments: Vec<Bytes>) -> Self {
        if let Self::Event { args, .. } | Self::Ack { args, .. } = &mut self {
            *args = Args::from_validated(text, attachments);
        }
        self
    }
}

/// What stands before the JSON, and the JSON.
struct Head<'a> {
    kind: u8,
    attachments: usize,
    nsp: &'a str,
    id: Option<u64>,
    payload: &'a str,
}

impl<'a> Head<'a> {
    fn parse(text: &'a str, max_attachments: usize) -> Result<Self, Error> {
        let (kind, mut rest) = match text.as_bytes() {
            [] => return Err(Error::Empty),
            [kind @ b'0'..=b'6', ..] => (*kind, &text[1..]),
            _ => return Err(Error::UnknownType),
        };
        let mut attachments = 0;
        if matches!(kind, b'5' | b'6') {
            let (digits, after) = rest.split_once('-').ok_or(Error::Attachments)?;
            attachments = parse_number(digits).ok_or(Error::Attachments)?.try_into().unwrap_or(usize::MAX);
            if attachments > max_attachments {
                return Err(Error::TooManyAttachments);
            }
            rest = after;
        }
        let mut nsp = "/";
        if rest.starts_with('/') {
            (nsp, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let (digits, payload) = rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count());
        let id = if digits.is_empty() { None } else { Some(parse_number(digits).ok_or(Error::AckId)?) };
        Ok(Self { kind, attachments, nsp, id, payload })
    }

    /// The packet without its arguments, and the text of those.
    fn packet(&self, version: Version) -> Result<(Packet, &'a str), Error> {
        let packet = match self.kind {
            b'0' => self.connect(version)?,
            b'1' if self.payload.is_empty() => Packet::Disconnect { nsp: self.nsp.to_owned() },
            b'1' => return Err(Error::Payload),
            b'2' | b'5' => {
                let (name, text) = split_event(self.array()?)?;
                let packet = Packet::Event { nsp: self.nsp.to_owned(), ack: self.id, name, args: Args::none() };
                return Ok((packet, text));
            }
            b'3' | b'6' => {
                let id = self.id.ok_or(Error::AckId)?;
                let text = self.array()?;
                return Ok((Packet::Ack { nsp: self.nsp.to_owned(), id, args: Args::none() }, text));
            }
            _ if self.payload.trim_ascii_start().starts_with(['{', '"']) => {
                Packet::ConnectError { nsp: self.nsp.to_owned(), error: raw(self.payload.trim_ascii())? }
            }
            _ => return Err(Error::Payload),
        };
        Ok((packet, ""))
    }

    fn connect(&self, version: Version) -> Result<Packet, Error> {
        let auth = match self.payload.trim_ascii() {
            "" => None,
            object if object.starts_with('{') => Some(raw(object)?),
            _ => return Err(Error::Payload),
        };
        let (nsp, query) = match (version, self.nsp.split_once('?')) {
            (Version::V3, Some((nsp, query))) => (nsp, Some(query.to_owned())),
            _ => (self.nsp, None),
        };
        Ok(Packet::Connect { nsp: nsp.to_owned(), query, auth })
    }

    /// What stands between the brackets of the payload, checked.
    fn array(&self) -> Result<&'a str, Error> {
        let text = self.payload.trim_ascii();
        let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).ok_or(Error::Payload)?;
        json::check(text, self.attachments)
            .map_err(|error| if error.is_data() { Error::Attachments } else { unread(text) })?;
        Ok(inner.trim_ascii())
    }
}

/// A decimal number without sign; none when it has other characters or is too large.
fn parse_number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// A checked copy of one JSON value.
fn raw(text: &str) -> Result<Box<RawValue>, Error> {
    json::check(text, 0).map_err(|_| unread(text))?;
    RawValue::from_string(text.to_owned()).map_err(|_| Error::Payload)
}

/// Why this could not be read as JSON.
fn unread(text: &str) -> Error {
    if json::is_within(text, json::MAX_DEPTH) { Error::Payload } else { Error::TooDeep }
}

/// Parts the name from the arguments of an event; `items` is what stood between the brackets, valid JSON.
pub(super) fn split_event(items: &str) -> Result<(String, &str), Error> {
    let (name, rest) = split_name(items)?;
    if RESERVED_EVENTS.contains(&name.as_str()) { Err(Error::ReservedName) } else { Ok((name, rest)) }
}

/// Parts the name from the arguments, whatever the name.
pub(crate) fn split_name(items: &str) -> Result<(String, &str), Error> {
    let mut values = serde_json::Deserializer::from_str(items).into_iter::<Name>();
    let Some(Ok(Name(name))) = values.next() else {
        return Err(Error::Payload);
    };
    let (first, rest) = items.split_at(values.byte_offset());
    let name = name.unwrap_or_else(|| first.trim_ascii().to_owned());
    let rest = rest.trim_ascii_start();
    Ok((name, rest.strip_prefix(',').unwrap_or(rest).trim_ascii_start()))
}

/// The first item of an event: a string, or none for a number.
struct Name(Option<String>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name(Some(name.to_owned())))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Name, E> {
        Ok(Name(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Name, E> {
        Ok(Name(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Name, E> {
        Ok(Name(None))
    }
}

/// Writes a packet.
#[must_use]
pub fn encode(packet: &Packet) -> Encoded {
    let mut text = String::new();
    match packet {
        Packet::Event { nsp, ack, name, args } => return encode_event(nsp, *ack, name, args),
        Packet::Ack { nsp, id, args } => return encode_ack(nsp, *id, args),
        Packet::Connect { nsp, query, auth } => {
            text.push('0');
            match query {
                Some(query) => text.extend([nsp, "?", query, ","]),
                None => push_nsp(&mut text, nsp),
            }
            text.push_str(auth.as_ref().map_or("", |auth| auth.get()));
        }
        Packet::Disconnect { nsp } => {
            text.push('1');
            push_nsp(&mut text, nsp);
        }
        Packet::ConnectError { nsp, error } => {
            text.push('4');
            push_nsp(&mut text, nsp);
            text.push_str(error.get());
        }
    }
    Encoded { text, attachments: Vec::new() }
}

/// Writes an event, without building a packet first.
#[must_use]
pub fn encode_event(nsp: &str, ack: Option<u64>, name: &str, args: &Args) -> Encoded {
    let mut text = String::with_capacity(nsp.len() + name.len() + args.text().len() + 32);
    append_event(&mut text, nsp, ack, name, args);
    Encoded { text, attachments: args.attachments().to_vec() }
}

/// Appends the text of an event; its attachments must follow as binary messages.
pub fn append_event(text: &mut String, nsp: &str, ack: Option<u64>, name: &str, args: &Args) {
    push_head(text, ['2', '5'], nsp, ack, args);
    text.push('[');
    json::push_string(text, name);
    if !args.text().is_empty() {
        text.push(',');
        text.push_str(args.text());
    }
    text.push(']');
}

/// Writes an acknowledgement.
#[must_use]
pub fn encode_ack(nsp: &str, id: u64, args: &Args) -> Encoded {
    let mut text = String::with_capacity(nsp.len() + args.text().len() + 32);
    append_ack(&mut text, nsp, id, args);
    Encoded { text, attachments: args.attachments().to_vec() }
}

/// Appends the text of an acknowledgement; its attachments must follow as binary messages.
pub fn append_ack(text: &mut String, nsp: &str, id: u64, args: &Args) {
    push_head(text, ['3', '6'], nsp, Some(id), args);
    text.extend(["[", args.text(), "]"]);
}

/// Appends type, attachments, namespace and id; `types` are those without and with attachments.
fn push_head(text: &mut String, types: [char; 2], nsp: &str, id: Option<u64>, args: &Args) {
    match args.attachments().len() {
        0 => text.push(types[0]),
        count => {
            text.push(types[1]);
            text.push_str(itoa::Buffer::new().format(count));
            text.push('-');
        }
    }
    push_nsp(text, nsp);
    if let Some(id) = id {
        text.push_str(itoa::Buffer::new().format(id));
    }
}

fn push_nsp(text: &mut String, nsp: &str) {
    if nsp != "/" {
        text.push_str(nsp);
        text.push(',');
    }
}

#[cfg(test)]
mod tests;
