//! Several packets in the body of one polling request or answer.
//!
//! - v4: packets joined by 0x1e; a binary is `b<base64>`.
//! - v3 as text: `<length>:<packet>`, the length in UTF-16 code units; a binary is `b4<base64>`.
//! - v3 as `application/octet-stream`: `<0 text | 1 binary><length as digit bytes 0-9>ff<packet>`, the length in bytes.

use bytes::Bytes;

use super::packet::V3_MESSAGE;
use super::{Data, Error, Packet, Version};

/// The most packets one payload may carry.
pub const MAX_PACKETS: usize = 1024;

/// What separates the packets of version 4.
const SEPARATOR: char = '\u{1e}';

/// The most digits of a length in version 3: lengths beyond a gigabyte are nonsense.
const MAX_DIGITS: usize = 9;

/// The body of a polling answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// To be sent as `text/plain; charset=UTF-8`.
    Text(String),
    /// To be sent as `application/octet-stream`; only version 3 has it.
    Binary(Vec<u8>),
}

/// Reads the text body of a POST, at most [`MAX_PACKETS`] packets.
///
/// # Errors
/// The first bad packet refuses the whole payload.
pub fn decode(body: &str, version: Version) -> Result<Vec<Packet<'_>>, Error> {
    match version {
        Version::V4 => decode_v4(body),
        Version::V3 => decode_v3(body),
    }
}

fn decode_v4(body: &str) -> Result<Vec<Packet<'_>>, Error> {
    let mut packets = Vec::new();
    for text in body.split(SEPARATOR) {
        push(&mut packets, Packet::decode_text(text, Version::V4)?)?;
    }
    Ok(packets)
}

fn decode_v3(mut body: &str) -> Result<Vec<Packet<'_>>, Error> {
    let mut packets = Vec::new();
    while !body.is_empty() {
        let (digits, rest) = body.split_once(':').ok_or(Error::Length)?;
        let units = parse_length(digits.bytes().map(|b| b.wrapping_sub(b'0')))?;
        let (text, rest) = rest.split_at(utf16_prefix(rest, units).ok_or(Error::Length)?);
        push(&mut packets, Packet::decode_text(text, Version::V3)?)?;
        body = rest;
    }
    if packets.is_empty() { Err(Error::Empty) } else { Ok(packets) }
}

/// Reads the `application/octet-stream` body of a version 3 POST, at most [`MAX_PACKETS`] packets.
///
/// # Errors
/// The first bad packet refuses the whole payload.
pub fn decode_octets(body: &Bytes) -> Result<Vec<Packet<'_>>, Error> {
    let mut packets = Vec::new();
    let mut at = 0;
    while let Some((&marker, rest)) = body[at..].split_first() {
        let digits = rest.iter().take(MAX_DIGITS + 1).position(|&b| b == 0xff).ok_or(Error::Length)?;
        let length = parse_length(rest[..digits].iter().copied())?;
        let start = at + 1 + digits + 1;
        let end = start.checked_add(length).filter(|&end| end <= body.len()).ok_or(Error::Length)?;
        let packet = match marker {
            0 => {
                let text = std::str::from_utf8(&body[start..end]).map_err(|_| Error::Utf8)?;
                Packet::decode_text(text, Version::V3)?
            }
            1 => Packet::decode_binary(body.slice(start..end), Version::V3)?,
            _ => return Err(Error::UnknownType),
        };
        push(&mut packets, packet)?;
        at = end;
    }
    if packets.is_empty() { Err(Error::Empty) } else { Ok(packets) }
}

fn push<'a>(packets: &mut Vec<Packet<'a>>, packet: Packet<'a>) -> Result<(), Error> {
    if packets.len() == MAX_PACKETS {
        return Err(Error::TooManyPackets);
    }
    packets.push(packet);
    Ok(())
}

/// A length from its decimal digits, most significant first.
fn parse_length(digits: impl ExactSizeIterator<Item = u8>) -> Result<usize, Error> {
    if digits.len() == 0 || digits.len() > MAX_DIGITS {
        return Err(Error::Length);
    }
    digits.into_iter().try_fold(0, |sum, digit| match digit {
        0..=9 => Ok(sum * 10 + usize::from(digit)),
        _ => Err(Error::Length),
    })
}

/// How many bytes of `text` make up `units` UTF-16 code units; none if it is too short or a pair would be cut.
fn utf16_prefix(text: &str, units: usize) -> Option<usize> {
    let mut left = units;
    for (at, char) in text.char_indices() {
        if left == 0 {
            return Some(at);
        }
        left = left.checked_sub(char.len_utf16())?;
    }
    (left == 0).then_some(text.len())
}

/// Writes a batch of packets as one body.
///
/// `octets` says whether the client takes `application/octet-stream`, which version 3 uses when a packet is binary (it does
/// unless its query says `b64=1`). Version 4 is always text.
#[must_use]
pub fn encode(packets: &[Packet<'_>], version: Version, octets: bool) -> Body {
    let has_binary = || packets.iter().any(|packet| matches!(packet.data, Data::Binary(_)));
    match version {
        Version::V4 => Body::Text(encode_v4(packets)),
        Version::V3 if octets && has_binary() => Body::Binary(encode_octets(packets)),
        Version::V3 => Body::Text(encode_v3(packets)),
    }
}

fn encode_v4(packets: &[Packet<'_>]) -> String {
    let mut out = String::new();
    for (index, packet) in packets.iter().enumerate() {
        if index > 0 {
            out.push(SEPARATOR);
        }
        packet.encode_text(&mut out, Version::V4);
    }
    out
}

fn encode_v3(packets: &[Packet<'_>]) -> String {
    let mut out = String::new();
    for packet in packets {
        out.push_str(itoa::Buffer::new().format(packet.text_units()));
        out.push(':');
        packet.encode_text(&mut out, Version::V3);
    }
    out
}

fn encode_octets(packets: &[Packet<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for packet in packets {
        let (marker, data) = match &packet.data {
            Data::Text(text) => (0, text.as_bytes()),
            Data::Binary(bytes) => (1, bytes.as_ref()),
        };
        out.push(marker);
        let mut length = itoa::Buffer::new();
        out.extend(length.format(data.len() + 1).bytes().map(|digit| digit - b'0'));
        out.push(0xff);
        out.push(if marker == 1 { V3_MESSAGE } else { packet.kind.digit() as u8 });
        out.extend_from_slice(data);
    }
    out
}

#[cfg(test)]
mod tests;
