//! Reading: msgpack values become JSON text and attachments.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::json;
use crate::message::{Args, RESERVED_EVENTS};
use crate::socketio::{Error, Packet};

/// Reads a packet from one binary message with at most `max_attachments` binaries.
///
/// Nothing is allocated for lengths that the message only announces.
///
/// # Errors
/// After an error the connection must be closed.
pub fn decode(message: &Bytes, max_attachments: usize) -> Result<Packet, Error> {
    let fields = Fields::read(message)?;
    let mut writer = Writer { max_attachments, text: String::new(), attachments: Vec::new() };
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
fn name(token: Token<'_>) -> Result<String, Error> {
    let name = match token {
        Token::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Token::Unsigned(n) => n.to_string(),
        Token::Signed(n) => n.to_string(),
        Token::Float(n) if n.is_finite() => n.to_string(),
        _ => return Err(Error::Payload),
    };
    if RESERVED_EVENTS.contains(&name.as_str()) { Err(Error::ReservedName) } else { Ok(name) }
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
        let mut reader = Reader { message, at: 0 };
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
            let value = Reader { message, at: reader.at };
            reader.skip()?;
            fields.set(key, value)?;
        }
        if reader.at == message.len() { Ok(fields) } else { Err(Error::Msgpack) }
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

/// One msgpack value, or the head of one that has others in it.
#[derive(Clone, Copy)]
enum Token<'b> {
    Nil,
    Undefined,
    Bool(bool),
    Unsigned(u64),
    /// Below zero.
    Signed(i64),
    Float(f64),
    /// UTF-8, unless the client wrote half an emoji.
    Text(&'b [u8]),
    /// Where the bytes stand in the message.
    Binary(usize, usize),
    /// Milliseconds since 1970.
    Date(i64),
    Array(usize),
    Map(usize),
}

struct Reader<'b> {
    message: &'b Bytes,
    at: usize,
}

impl<'b> Reader<'b> {
    fn token(&mut self) -> Result<Token<'b>, Error> {
        let [marker] = self.fixed()?;
        Ok(match marker {
            0x00..=0x7f => Token::Unsigned(marker.into()),
            0x80..=0x8f => self.container(Token::Map, (marker & 0x0f).into(), 2)?,
            0x90..=0x9f => self.container(Token::Array, (marker & 0x0f).into(), 1)?,
            0xa0..=0xbf => Token::Text(self.take((marker & 0x1f).into())?),
            0xc0 => Token::Nil,
            0xc2 | 0xc3 => Token::Bool(marker == 0xc3),
            0xc4..=0xc6 => {
                let length = self.length(marker - 0xc4)?;
                self.binary(length)?
            }
            0xc7..=0xc9 => {
                let length = self.length(marker - 0xc7)?;
                self.extension::<0>()?;
                self.binary(length)?
            }
            0xca => Token::Float(f32::from_be_bytes(self.fixed()?).into()),
            0xcb => Token::Float(f64::from_be_bytes(self.fixed()?)),
            0xcc => Token::Unsigned(u8::from_be_bytes(self.fixed()?).into()),
            0xcd => Token::Unsigned(u16::from_be_bytes(self.fixed()?).into()),
            0xce => Token::Unsigned(u32::from_be_bytes(self.fixed()?).into()),
            0xcf => Token::Unsigned(u64::from_be_bytes(self.fixed()?)),
            0xd0 => signed(i8::from_be_bytes(self.fixed()?).into()),
            0xd1 => signed(i16::from_be_bytes(self.fixed()?).into()),
            0xd2 => signed(i32::from_be_bytes(self.fixed()?).into()),
            0xd3 => signed(i64::from_be_bytes(self.fixed()?)),
            0xd4 => self.extension::<1>().map(|_| Token::Undefined)?,
            0xd7 => self.extension::<8>().map(|ms| Token::Date(i64::from_be_bytes(ms)))?,
            0xd9..=0xdb => {
                let length = self.length(marker - 0xd9)?;
                Token::Text(self.take(length)?)
            }
            0xdc | 0xdd => {
                let length = self.length(marker - 0xdc + 1)?;
                self.container(Token::Array, length, 1)?
            }
            0xde | 0xdf => {
                let length = self.length(marker - 0xde + 1)?;
                self.container(Token::Map, length, 2)?
            }
            0xe0..=0xff => Token::Signed(i8::from_be_bytes([marker]).into()),
            // Never used, and the extensions nobody sends.
            0xc1 | 0xd5 | 0xd6 | 0xd8 => return Err(Error::Msgpack),
        })
    }

    /// Passes over one value, however deep.
    fn skip(&mut self) -> Result<(), Error> {
        let mut left = 1usize;
        while left > 0 {
            left -= 1;
            // Each item is a byte at least, so the sum stays below the message's length.
            left += match self.token()? {
                Token::Array(items) => items,
                Token::Map(entries) => entries * 2,
                _ => 0,
            };
        }
        Ok(())
    }

    fn array(&mut self) -> Result<usize, Error> {
        match self.token()? {
            Token::Array(items) => Ok(items),
            _ => Err(Error::Payload),
        }
    }

    /// An array or map, refused when the rest of the message cannot hold so many entries.
    fn container(&self, token: fn(usize) -> Token<'b>, entries: usize, least: usize) -> Result<Token<'b>, Error> {
        let room = (self.message.len() - self.at) / least;
        if entries <= room { Ok(token(entries)) } else { Err(Error::Msgpack) }
    }

    fn binary(&mut self, length: usize) -> Result<Token<'b>, Error> {
        let start = self.at;
        self.take(length)?;
        Ok(Token::Binary(start, self.at))
    }

    /// An extension of type 0 with `N` bytes.
    fn extension<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let [kind] = self.fixed()?;
        let data = self.fixed()?;
        if kind == 0 { Ok(data) } else { Err(Error::Msgpack) }
    }

    /// A length of one, two or four bytes.
    fn length(&mut self, width: u8) -> Result<usize, Error> {
        Ok(match width {
            0 => u8::from_be_bytes(self.fixed()?).into(),
            1 => u16::from_be_bytes(self.fixed()?).into(),
            _ => usize::try_from(u32::from_be_bytes(self.fixed()?)).map_err(|_| Error::Msgpack)?,
        })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = *self.message[self.at..].first_chunk().ok_or(Error::Msgpack)?;
        self.at += N;
        Ok(bytes)
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Error> {
        let bytes = self.message[self.at..].get(..length).ok_or(Error::Msgpack)?;
        self.at += length;
        Ok(bytes)
    }
}

fn signed(n: i64) -> Token<'static> {
    u64::try_from(n).map_or(Token::Signed(n), Token::Unsigned)
}

/// Writes values as JSON, their binaries as placeholders.
struct Writer {
    max_attachments: usize,
    text: String,
    attachments: Vec<Bytes>,
}

impl Writer {
    /// The arguments: `items` values.
    fn args(mut self, data: &mut Reader<'_>, items: usize) -> Result<Args, Error> {
        self.text.push('[');
        for index in 0..items {
            if index > 0 {
                self.text.push(',');
            }
            let token = data.token()?;
            self.value(data, token, 1)?;
        }
        self.text.push(']');
        // A client may have written objects that look like placeholders of its binaries.
        json::check(&self.text, self.attachments.len()).map_err(|_| Error::Attachments)?;
        self.text.pop();
        self.text.remove(0);
        Ok(Args::from_validated(self.text, self.attachments))
    }

    /// A credentials object, if there is one.
    fn optional(&mut self, data: Option<Reader<'_>>) -> Result<Option<Box<RawValue>>, Error> {
        let Some(mut data) = data else {
            return Ok(None);
        };
        match data.token()? {
            Token::Undefined | Token::Nil => Ok(None),
            token @ Token::Map(_) => self.raw(&mut data, token).map(Some),
            _ => Err(Error::Payload),
        }
    }

    /// A value that may not have binaries in it.
    fn raw(&mut self, data: &mut Reader<'_>, token: Token<'_>) -> Result<Box<RawValue>, Error> {
        self.max_attachments = 0;
        self.value(data, token, 0)?;
        RawValue::from_string(std::mem::take(&mut self.text)).map_err(|_| Error::Payload)
    }

    fn value(&mut self, data: &mut Reader<'_>, token: Token<'_>, depth: usize) -> Result<(), Error> {
        if depth == json::MAX_DEPTH && matches!(token, Token::Array(_) | Token::Map(_)) {
            return Err(Error::TooDeep);
        }
        match token {
            Token::Nil | Token::Undefined => self.text.push_str("null"),
            Token::Bool(value) => self.text.push_str(if value { "true" } else { "false" }),
            Token::Unsigned(n) => self.text.push_str(itoa::Buffer::new().format(n)),
            Token::Signed(n) => self.text.push_str(itoa::Buffer::new().format(n)),
            // What has no JSON is null, as JSON.stringify has it.
            Token::Float(n) => self.text.push_str(&serde_json::Value::from(n).to_string()),
            Token::Text(text) => json::push_string(&mut self.text, &String::from_utf8_lossy(text)),
            Token::Date(ms) => match iso_date(ms) {
                Some(date) => self.text.extend(["\"", &date, "\""]),
                None => self.text.push_str("null"),
            },
            Token::Binary(start, end) => self.attach(data.message.slice(start..end))?,
            Token::Array(items) => {
                self.text.push('[');
                for index in 0..items {
                    if index > 0 {
                        self.text.push(',');
                    }
                    let item = data.token()?;
                    self.value(data, item, depth + 1)?;
                }
                self.text.push(']');
            }
            Token::Map(entries) => self.map(data, entries, depth)?,
        }
        Ok(())
    }

    fn map(&mut self, data: &mut Reader<'_>, entries: usize, depth: usize) -> Result<(), Error> {
        self.text.push('{');
        let mut first = true;
        for _ in 0..entries {
            let key: Cow<'_, str> = match data.token()? {
                Token::Text(key) => String::from_utf8_lossy(key),
                Token::Unsigned(n) => n.to_string().into(),
                Token::Signed(n) => n.to_string().into(),
                _ => return Err(Error::Payload),
            };
            let value = data.token()?;
            if matches!(value, Token::Undefined) {
                continue;
            }
            if !std::mem::take(&mut first) {
                self.text.push(',');
            }
            json::push_string(&mut self.text, &key);
            self.text.push(':');
            self.value(data, value, depth + 1)?;
        }
        self.text.push('}');
        Ok(())
    }

    fn attach(&mut self, bytes: Bytes) -> Result<(), Error> {
        if self.attachments.len() == self.max_attachments {
            return Err(Error::TooManyAttachments);
        }
        let num = itoa::Buffer::new().format(self.attachments.len()).to_owned();
        self.text.extend([r#"{"_placeholder":true,"num":"#, &num, "}"]);
        self.attachments.push(bytes);
        Ok(())
    }
}

/// A date as `Date.prototype.toJSON` writes it; none outside of what a JavaScript date can be.
pub(super) fn iso_date(ms: i64) -> Option<String> {
    const DAY: i64 = 86_400_000;
    if ms.unsigned_abs() > 8_640_000_000_000_000 {
        return None;
    }
    let (days, time) = (ms.div_euclid(DAY), ms.rem_euclid(DAY));
    // Days to year, month and day by counting from 1 March 0000 (Howard Hinnant, chrono-compatible date algorithms).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        _ => format!("{year:+07}"),
    };
    let (hour, minute) = (time / 3_600_000, time / 60_000 % 60);
    let (second, milli) = (time / 1_000 % 60, time % 1_000);
    Some(format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"))
}
