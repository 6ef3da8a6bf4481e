//! What is read: a value of a message, in JSON or in msgpack. Nothing is read but what is asked for, and no tree is built.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::message::{Event, Rooms};
use super::{Error, Limits};
use crate::json;
use crate::message::{Args, RESERVED_EVENTS};
use crate::socketio;
use crate::socketio::msgpack::decode::name;
use crate::socketio::msgpack::reader::{Reader, Token};
use crate::socketio::msgpack::values::Writer;
use crate::socketio::text::split_name;

/// The longest id of a server or a request; those of the packages have 6 or 16 characters.
const MAX_ID: usize = 256;

/// Reads a message: JSON when it begins like an object, as Node tells it, or else msgpack.
pub(super) fn open<T>(
    payload: &Bytes,
    limits: &Limits,
    read: impl FnOnce(Cursor<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    if payload.len() > limits.bytes {
        return Err(Error::TooLarge);
    }
    if payload.first() == Some(&b'{') {
        let text = String::from_utf8_lossy(payload);
        let text = json::mend_surrogates(&text);
        return read(Cursor::Json(serde_json::from_str(&text).map_err(|_| Error::Malformed)?));
    }
    let start = Reader::with_timestamps(payload);
    let mut end = start;
    end.skip().map_err(|_| Error::Malformed)?;
    if end.is_at_end() { read(Cursor::Msgpack(start)) } else { Err(Error::Malformed) }
}

/// Where a value stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cursor<'a> {
    Json(&'a RawValue),
    Msgpack(Reader<'a>),
}

impl<'a> Cursor<'a> {
    /// These entries of an object. An array has none, to which languages with one type for both turn an empty object.
    pub(super) fn fields<const N: usize>(
        self,
        this: &'static str,
        names: [&str; N],
    ) -> Result<[Option<Self>; N], Error> {
        let mut found = [None; N];
        match self {
            Self::Json(raw) => {
                let fields = Fields { names: &names, found: &mut found };
                let mut reader = serde_json::Deserializer::from_str(raw.get());
                reader.deserialize_any(fields).map_err(|_| Error::Field(this))?;
            }
            Self::Msgpack(mut reader) => match token(&mut reader)? {
                Token::Map(entries) => {
                    for _ in 0..entries {
                        let key = token(&mut reader)?;
                        let value = reader;
                        reader.skip().map_err(|_| Error::Malformed)?;
                        let Token::Text(key) = key else { continue };
                        if let Some(index) = names.iter().position(|name| name.as_bytes() == key) {
                            found[index] = Some(Self::Msgpack(value)).filter(|value| !value.is_undefined());
                        }
                    }
                }
                Token::Array(_) => {}
                _ => return Err(Error::Field(this)),
            },
        }
        Ok(found)
    }

    fn is_undefined(self) -> bool {
        match self {
            Self::Json(_) => false,
            Self::Msgpack(mut reader) => matches!(reader.token(), Ok(Token::Undefined)),
        }
    }

    pub(super) fn is_null(self) -> bool {
        match self {
            Self::Json(raw) => raw.get() == "null",
            Self::Msgpack(mut reader) => matches!(reader.token(), Ok(Token::Nil | Token::Undefined)),
        }
    }

    /// The items of an array.
    pub(super) fn items(self, this: &'static str, most: usize) -> Result<Vec<Self>, Error> {
        let mut found = Vec::new();
        match self {
            Self::Json(raw) => {
                let mut reader = serde_json::Deserializer::from_str(raw.get());
                let read = reader.deserialize_seq(Items { found: &mut found, most });
                if read.is_err() {
                    return Err(if found.len() == most { Error::TooMany(this) } else { Error::Field(this) });
                }
            }
            Self::Msgpack(mut reader) => {
                let items = reader.array().map_err(|_| Error::Field(this))?;
                if items > most {
                    return Err(Error::TooMany(this));
                }
                for _ in 0..items {
                    found.push(Self::Msgpack(reader));
                    reader.skip().map_err(|_| Error::Malformed)?;
                }
            }
        }
        Ok(found)
    }

    /// A string.
    pub(super) fn text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Json(raw) if raw.get().contains('\\') => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
            Self::Json(raw) => serde_json::from_str::<&str>(raw.get()).ok().map(Cow::Borrowed),
            Self::Msgpack(mut reader) => match reader.token().ok()? {
                Token::Text(text) => Some(String::from_utf8_lossy(text)),
                _ => None,
            },
        }
    }

    /// The id of a server or a request.
    pub(super) fn id(self) -> Option<String> {
        self.text().filter(|id| id.len() <= MAX_ID).map(Cow::into_owned)
    }

    /// A number; none for other things.
    pub(super) fn number(self) -> Option<f64> {
        match self {
            Self::Json(raw) => serde_json::from_str(raw.get()).ok(),
            Self::Msgpack(mut reader) => match reader.token().ok()? {
                #[expect(clippy::cast_precision_loss, reason = "what JavaScript does")]
                Token::Unsigned(n) => Some(n as f64),
                #[expect(clippy::cast_precision_loss, reason = "what JavaScript does")]
                Token::Signed(n) => Some(n as f64),
                Token::Float(n) => Some(n),
                _ => None,
            },
        }
    }

    /// A number that counts: whole, and not below zero.
    pub(super) fn count(self) -> Option<u64> {
        const MOST: f64 = 9_007_199_254_740_991.0;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and within the range")]
        self.number().filter(|n| n.trunc() == *n && (0.0..=MOST).contains(n)).map(|n| n as u64)
    }

    /// What JavaScript takes for true.
    pub(super) fn truthy(self) -> bool {
        let other = match self {
            Self::Json(raw) => !matches!(raw.get(), "false" | "null" | "\"\""),
            Self::Msgpack(mut reader) => match reader.token() {
                Ok(Token::Nil | Token::Undefined | Token::Bool(false)) | Err(_) => false,
                Ok(Token::Text(text)) => !text.is_empty(),
                Ok(_) => true,
            },
        };
        other && self.number().is_none_or(|n| n != 0.0 && !n.is_nan())
    }

    /// Names of rooms. Node's rooms may be numbers, which are their text here; a list that is missing is empty.
    pub(super) fn rooms(this: &'static str, list: Option<Self>, limits: &Limits) -> Result<Rooms, Error> {
        let Some(list) = list.filter(|list| !list.is_null()) else {
            return Ok(Rooms::default());
        };
        let room = |item: Self| match (item.text(), item.number()) {
            (Some(room), _) => Ok(room.into_owned()),
            (None, Some(number)) if number.is_finite() => Ok(number.to_string()),
            _ => Err(Error::Field(this)),
        };
        list.items(this, limits.items)?.into_iter().map(room).collect::<Result<Vec<_>, _>>().map(Rooms::from_iter)
    }

    /// An event for other servers: an array of a name and arguments.
    pub(super) fn event(self, this: &'static str, limits: &Limits) -> Result<Event, Error> {
        match self {
            Self::Json(raw) => {
                let inner = raw.get().strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let inner = inner.ok_or(Error::Field(this))?;
                check(raw.get())?;
                let (name, args) = split_name(inner).map_err(|_| Error::Field(this))?;
                Ok(Event { name, args: Args::from_validated(args.trim_ascii_end().to_owned(), Vec::new()) })
            }
            Self::Msgpack(mut reader) => {
                let items = reader.array().ok().and_then(|items| items.checked_sub(1)).ok_or(Error::Field(this))?;
                let name = name(token(&mut reader)?).map_err(|_| Error::Field(this))?;
                let args = Writer::new(limits.attachments).args(&mut reader, items)?;
                Ok(Event { name, args })
            }
        }
    }

    /// An event for clients, who would close the connection over a reserved name.
    pub(super) fn client_event(self, this: &'static str, limits: &Limits) -> Result<Event, Error> {
        let event = self.event(this, limits)?;
        if RESERVED_EVENTS.contains(&event.name.as_str()) {
            return Err(Error::Data(socketio::Error::ReservedName));
        }
        Ok(event)
    }

    /// Any one value; none for what is missing.
    pub(super) fn value(value: Option<Self>, limits: &Limits) -> Result<Args, Error> {
        match value {
            None => Ok(Args::none()),
            Some(Self::Json(raw)) => {
                check(raw.get())?;
                // As a list of one it is a level deeper.
                if !json::is_within(raw.get(), json::MAX_DEPTH - 1) {
                    return Err(Error::Data(socketio::Error::TooDeep));
                }
                Ok(Args::raw(raw))
            }
            Some(Self::Msgpack(mut reader)) => Ok(Writer::new(limits.attachments).args(&mut reader, 1)?),
        }
    }
}

/// Whether a client's codec could write this JSON.
fn check(text: &str) -> Result<(), Error> {
    json::check(text, 0).map_err(|_| {
        let is_deep = !json::is_within(text, json::MAX_DEPTH);
        Error::Data(if is_deep { socketio::Error::TooDeep } else { socketio::Error::Payload })
    })
}

fn token<'b>(reader: &mut Reader<'b>) -> Result<Token<'b>, Error> {
    reader.token().map_err(|_| Error::Malformed)
}

/// Entries of a JSON object by name; of those that come twice, the last, as in JavaScript.
struct Fields<'f, 'a> {
    names: &'f [&'f str],
    found: &'f mut [Option<Cursor<'a>>],
}

impl<'a> Visitor<'a> for Fields<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(index) = entries.next_key_seed(Key(self.names))? {
            let value: &'a RawValue = entries.next_value()?;
            if let Some(index) = index {
                self.found[index] = Some(Cursor::Json(value));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Which of the names a key is.
struct Key<'f>(&'f [&'f str]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|name| *name == key))
    }
}

/// The items of a JSON array, as many as are allowed.
struct Items<'f, 'a> {
    found: &'f mut Vec<Cursor<'a>>,
    most: usize,
}

impl<'a> Visitor<'a> for Items<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(value) = items.next_element()? {
            if self.found.len() == self.most {
                return Err(A::Error::custom("too many items"));
            }
            self.found.push(Cursor::Json(value));
        }
        Ok(())
    }
}
