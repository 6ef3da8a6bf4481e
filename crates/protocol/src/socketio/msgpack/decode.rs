//! Reading: a map becomes a packet.

use bytes::Bytes;

use super::reader::{Reader, Token};
use super::values::Writer;
use crate::message::RESERVED_EVENTS;
use crate::socketio::{Error, Packet};

/// Reads a packet from one binary message with at most `max_attachments` binaries.
///
/// Nothing is allocated for lengths that the message only announces.
///
/// # Errors
/// After an error the connection must be closed.
pub fn decode(message: &Bytes, max_attachments: usize) -> Result<Packet, Error> {
    let fields = Fields::read(message)?;
    let mut writer = Writer::new(max_attachments);
    let nsp = fields.nsp.ok_or(Error::Namespace)?;
    match fields.kind.ok_or(Error::UnknownType)? {
        0 => Ok(Packet::Connect { nsp, query: None, auth: writer.optional(fields.data)? }),
        1 => match writer.optional(fields.data)? {
            None => Ok(Packet::Disconnect { nsp }),
            Some(_) => Err(Error::Payload),
        },
        2 => {
            let mut data = fields.data.ok_or(Error::Payload)?;
            let items = data.array()?.checked_sub(1).ok_or(Error::Payload)?;
            let name = name(data.token()?)?;
            if RESERVED_EVENTS.contains(&name.as_str()) {
                return Err(Error::ReservedName);
            }
            let args = writer.args(&mut data, items)?;
            Ok(Packet::Event { nsp, ack: fields.id, name, args })
        }
        3 => {
            let id = fields.id.ok_or(Error::AckId)?;
            let mut data = fields.data.ok_or(Error::Payload)?;
            let items = data.array()?;
            Ok(Packet::Ack { nsp, id, args: writer.args(&mut data, items)? })
        }
        4 => {
            let mut data = fields.data.ok_or(Error::Payload)?;
            match data.token()? {
                token @ (Token::Map(_) | Token::Text(_)) => {
                    Ok(Packet::ConnectError { nsp, error: writer.raw(&mut data, token)? })
                }
                _ => Err(Error::Payload),
            }
        }
        _ => Err(Error::UnknownType),
    }
}

/// The first item of an event: a string, or a number, which keeps its JSON text.
pub(crate) fn name(token: Token<'_>) -> Result<String, Error> {
    match token {
        Token::Text(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        Token::Unsigned(n) => Ok(n.to_string()),
        Token::Signed(n) => Ok(n.to_string()),
        Token::Float(n) if n.is_finite() => Ok(n.to_string()),
        _ => Err(Error::Payload),
    }
}

/// The fields of a packet's map, in whatever order they came; unknown ones are passed over.
#[derive(Default)]
struct Fields<'b> {
    kind: Option<u64>,
    nsp: Option<String>,
    id: Option<u64>,
    data: Option<Reader<'b>>,
}

impl<'b> Fields<'b> {
    fn read(message: &'b Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new(message);
        if message.is_empty() {
            return Err(Error::Empty);
        }
        let Token::Map(entries) = reader.token()? else {
            return Err(Error::Msgpack);
        };
        let mut fields = Self::default();
        for _ in 0..entries {
            let Token::Text(key) = reader.token()? else {
                return Err(Error::Msgpack);
            };
            let value = reader;
            reader.skip()?;
            fields.set(key, value)?;
        }
        if reader.is_at_end() { Ok(fields) } else { Err(Error::Msgpack) }
    }

    fn set(&mut self, key: &[u8], mut value: Reader<'b>) -> Result<(), Error> {
        match key {
            b"type" => match value.token()? {
                Token::Unsigned(kind) => self.kind = Some(kind),
                _ => return Err(Error::UnknownType),
            },
            b"nsp" => match value.token()? {
                Token::Text(nsp) if nsp.starts_with(b"/") => {
                    let nsp = std::str::from_utf8(nsp).map_err(|_| Error::Namespace)?;
                    self.nsp = Some(nsp.to_owned());
                }
                _ => return Err(Error::Namespace),
            },
            b"id" => match value.token()? {
                Token::Unsigned(id) => self.id = Some(id),
                Token::Undefined | Token::Nil => self.id = None,
                _ => return Err(Error::AckId),
            },
            b"data" => self.data = Some(value),
            _ => {}
        }
        Ok(())
    }
}
