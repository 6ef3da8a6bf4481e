//! Msgpack as tokens. Nothing is allocated for lengths that a message only announces.

use bytes::Bytes;

use crate::socketio::Error;

/// One msgpack value, or the head of one that has others in it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'b> {
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

/// Reads from where it stands; a copy of it comes back there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'b> {
    message: &'b Bytes,
    at: usize,
    timestamps: bool,
}

impl<'b> Reader<'b> {
    /// For a client's message: dates are notepack 2's own.
    pub(crate) const fn new(message: &'b Bytes) -> Self {
        Self { message, at: 0, timestamps: false }
    }

    /// For a message of a server: the timestamps of msgpack's specification are dates, too.
    pub(crate) const fn with_timestamps(message: &'b Bytes) -> Self {
        Self { message, at: 0, timestamps: true }
    }

    /// Whether nothing is left.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.at == self.message.len()
    }

    /// These bytes of the message.
    pub(crate) fn slice(&self, start: usize, end: usize) -> Bytes {
        self.message.slice(start..end)
    }

    pub(crate) fn token(&mut self) -> Result<Token<'b>, Error> {
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
                match self.fixed()? {
                    [0] => self.binary(length)?,
                    [0xff] if length == 12 && self.timestamps => self.long_timestamp()?,
                    _ => return Err(Error::Msgpack),
                }
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
            0xd4 => self.extension::<1>(0).map(|_| Token::Undefined)?,
            0xd6 if self.timestamps => {
                let seconds = u32::from_be_bytes(self.extension(0xff)?);
                Token::Date(i64::from(seconds) * 1_000)
            }
            0xd7 if self.timestamps && self.message.get(self.at) == Some(&0xff) => {
                let packed = u64::from_be_bytes(self.extension(0xff)?);
                timestamp(packed.cast_signed() & 0x3_ffff_ffff, packed >> 34)
            }
            0xd7 => Token::Date(i64::from_be_bytes(self.extension(0)?)),
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
    pub(crate) fn skip(&mut self) -> Result<(), Error> {
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

    pub(crate) fn array(&mut self) -> Result<usize, Error> {
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

    /// An extension of this type with `N` bytes.
    fn extension<const N: usize>(&mut self, expect: u8) -> Result<[u8; N], Error> {
        let [kind] = self.fixed()?;
        let data = self.fixed()?;
        if kind == expect { Ok(data) } else { Err(Error::Msgpack) }
    }

    /// Nanoseconds in four bytes, seconds in eight.
    fn long_timestamp(&mut self) -> Result<Token<'b>, Error> {
        let nanos = u32::from_be_bytes(self.fixed()?);
        Ok(timestamp(i64::from_be_bytes(self.fixed()?), nanos.into()))
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

fn timestamp(seconds: i64, nanos: u64) -> Token<'static> {
    Token::Date(seconds.saturating_mul(1_000).saturating_add_unsigned(nanos / 1_000_000))
}

fn signed(n: i64) -> Token<'static> {
    u64::try_from(n).map_or(Token::Signed(n), Token::Unsigned)
}
