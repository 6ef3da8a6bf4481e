//! One Engine.IO packet, in a WebSocket message or in a polling payload.
//!
//! Text is `<type digit><data>`. Binary is always a message: bare bytes (v4) or bytes behind 0x04 (v3), and where only text
//! travels `b<base64>` (v4) or `b4<base64>` (v3).

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::STANDARD};
use bytes::Bytes;

use super::Error;

/// Padding is optional, as in the reference server.
pub(crate) const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The byte that starts a binary message of version 3.
pub(crate) const V3_MESSAGE: u8 = 4;

/// A version of the Engine.IO protocol: the `EIO` of the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// `EIO=3`: Socket.IO clients 1 and 2. The client sends the pings.
    V3,
    /// `EIO=4`: Socket.IO clients 3 and 4. The server sends the pings.
    V4,
}

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// The handshake, from the server.
    Open,
    /// The end of the session.
    Close,
    /// A heartbeat, or the probe of an upgrade.
    Ping,
    /// The answer to a ping.
    Pong,
    /// A Socket.IO packet.
    Message,
    /// The client has moved to the new transport.
    Upgrade,
    /// Nothing: releases a pending poll.
    Noop,
}

impl PacketType {
    /// The digit that stands for this type.
    #[must_use]
    pub const fn digit(self) -> char {
        match self {
            Self::Open => '0',
            Self::Close => '1',
            Self::Ping => '2',
            Self::Pong => '3',
            Self::Message => '4',
            Self::Upgrade => '5',
            Self::Noop => '6',
        }
    }

    const fn from_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Open,
            b'1' => Self::Close,
            b'2' => Self::Ping,
            b'3' => Self::Pong,
            b'4' => Self::Message,
            b'5' => Self::Upgrade,
            b'6' => Self::Noop,
            _ => return None,
        })
    }
}

/// What a packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data<'a> {
    /// Text, possibly empty.
    Text(&'a str),
    /// Bytes; only in a [`PacketType::Message`].
    Binary(Bytes),
}

/// One packet. Text is borrowed from what it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is for.
    pub kind: PacketType,
    /// What it carries.
    pub data: Data<'a>,
}

impl<'a> Packet<'a> {
    /// A packet with text.
    #[must_use]
    pub const fn text(kind: PacketType, text: &'a str) -> Self {
        Self { kind, data: Data::Text(text) }
    }

    /// A binary message.
    #[must_use]
    pub const fn binary(bytes: Bytes) -> Self {
        Self { kind: PacketType::Message, data: Data::Binary(bytes) }
    }

    /// Reads a text packet, the base64 form of a binary included.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::UnknownType`], [`Error::Base64`].
    pub fn decode_text(text: &'a str, version: Version) -> Result<Self, Error> {
        let first = *text.as_bytes().first().ok_or(Error::Empty)?;
        if first == b'b' {
            let encoded = match version {
                Version::V4 => &text[1..],
                Version::V3 => text[1..].strip_prefix('4').ok_or(Error::UnknownType)?,
            };
            let bytes = LENIENT.decode(encoded).map_err(|_| Error::Base64)?;
            return Ok(Self::binary(bytes.into()));
        }
        let kind = PacketType::from_digit(first).ok_or(Error::UnknownType)?;
        Ok(Self::text(kind, &text[1..]))
    }

    /// Reads a binary WebSocket message, without copying.
    ///
    /// # Errors
    /// In version 3 the first byte must be 4: [`Error::Empty`], [`Error::UnknownType`].
    pub fn decode_binary(mut bytes: Bytes, version: Version) -> Result<Self, Error> {
        if version == Version::V3 {
            match bytes.first() {
                None => return Err(Error::Empty),
                Some(&V3_MESSAGE) => drop(bytes.split_to(1)),
                Some(_) => return Err(Error::UnknownType),
            }
        }
        Ok(Self::binary(bytes))
    }

    /// Appends the text form; a binary becomes base64.
    pub fn encode_text(&self, out: &mut String, version: Version) {
        match &self.data {
            Data::Text(text) => {
                out.push(self.kind.digit());
                out.push_str(text);
            }
            Data::Binary(bytes) => push_base64(out, bytes, version),
        }
    }

    /// The length of [`Packet::encode_text`] in UTF-16 code units, which is how version 3 counts.
    pub(crate) fn text_units(&self) -> usize {
        match &self.data {
            Data::Text(text) => 1 + text.encode_utf16().count(),
            Data::Binary(bytes) => 2 + bytes.len().div_ceil(3) * 4,
        }
    }
}

/// Appends `b<base64>` (v4) or `b4<base64>` (v3).
pub(crate) fn push_base64(out: &mut String, bytes: &[u8], version: Version) {
    out.push_str(match version {
        Version::V4 => "b",
        Version::V3 => "b4",
    });
    STANDARD.encode_string(bytes, out);
}

#[cfg(test)]
mod tests {
    use super::Version::{V3, V4};
    use super::*;

    #[track_caller]
    fn check(text: &str, version: Version, expect: Result<Packet<'_>, Error>) {
        let packet = Packet::decode_text(text, version);
        assert_eq!(packet, expect);
        if let Ok(packet) = packet {
            let mut out = String::new();
            packet.encode_text(&mut out, version);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn text_packets() {
        check("0{}", V4, Ok(Packet::text(PacketType::Open, "{}")));
        check("1", V4, Ok(Packet::text(PacketType::Close, "")));
        check("2probe", V4, Ok(Packet::text(PacketType::Ping, "probe")));
        check("3probe", V3, Ok(Packet::text(PacketType::Pong, "probe")));
        check("42[\"é\"]", V4, Ok(Packet::text(PacketType::Message, "2[\"é\"]")));
        check("5", V4, Ok(Packet::text(PacketType::Upgrade, "")));
        check("6", V4, Ok(Packet::text(PacketType::Noop, "")));
        check("", V4, Err(Error::Empty));
        check("abc", V4, Err(Error::UnknownType));
        check("7", V3, Err(Error::UnknownType));
        check("é", V4, Err(Error::UnknownType));
    }

    #[test]
    fn binary_as_text() {
        check("bAQIDBA==", V4, Ok(Packet::binary(vec![1, 2, 3, 4].into())));
        check("b4AQIDBA==", V3, Ok(Packet::binary(vec![1, 2, 3, 4].into())));
        check("b", V4, Ok(Packet::binary(Bytes::new())));
        check("b!", V4, Err(Error::Base64));
        check("bé", V4, Err(Error::Base64));
        check("bAQ==", V3, Err(Error::UnknownType));
        check("b", V3, Err(Error::UnknownType));
        assert_eq!(Packet::decode_text("bAQ", V4), Ok(Packet::binary(vec![1].into())));
    }

    #[test]
    fn binary_messages() {
        assert_eq!(Packet::decode_binary(vec![4, 1].into(), V4), Ok(Packet::binary(vec![4, 1].into())));
        assert_eq!(Packet::decode_binary(vec![4, 1].into(), V3), Ok(Packet::binary(vec![1].into())));
        assert_eq!(Packet::decode_binary(vec![1, 1].into(), V3), Err(Error::UnknownType));
        assert_eq!(Packet::decode_binary(Bytes::new(), V3), Err(Error::Empty));
        assert_eq!(Packet::decode_binary(Bytes::new(), V4), Ok(Packet::binary(Bytes::new())));
    }
}
