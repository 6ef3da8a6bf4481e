//! The PROXY protocol, versions 1 and 2: what a forwarder says of a connection before anything else is said on it.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>

// Addresses and nothing that connects.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;

/// How a header in text begins.
const V1: &[u8] = b"PROXY ";

/// How a binary header begins.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header in text, with its line's end (section 2.1).
const V1_MAX: usize = 107;

/// Bytes of a binary header before the block of addresses.
const V2_HEAD: usize = 16;

/// Bytes of a binary header; what the forwarder adds about TLS needs some hundred.
pub const MAX: usize = 4096;

/// What is added (`PP2_TYPE_CRC32C`) to a binary header whose bytes can be checked.
const CRC32C: u8 = 3;

/// Of whom a forwarder speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announced {
    /// Of itself: it wants to know whether the server is there.
    Itself,
    /// Of somebody whose address it does not know, or who has none on the internet.
    Unknown,
    /// Of a client that came to it from this address.
    Client(SocketAddr),
}

/// A connection that does not begin with a header, or with a bad one. Nothing else on it can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It begins with something else.
    #[error("there is no PROXY header")]
    Missing,
    /// Its header has no end within the limit.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Its header does not follow the specification.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// Its header has changed on the way.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Reads the header with which a connection begins: what it says, and its length. None: it goes on after `bytes`, all
/// of which belong to it.
///
/// # Errors
/// What is wrong with it, as soon as that is seen.
pub fn read(bytes: &[u8]) -> Result<Option<(Announced, usize)>, ProxyError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(one, other)| one == other);
    if begins(V1) {
        read_text(bytes)
    } else if begins(V2) {
        read_binary(bytes)
    } else {
        Err(ProxyError::Missing)
    }
}

fn read_text(bytes: &[u8]) -> Result<Option<(Announced, usize)>, ProxyError> {
    let bytes = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_MAX { Ok(None) } else { Err(ProxyError::TooLong) };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(ProxyError::Malformed)?;
    let line = str::from_utf8(line).map_err(|_| ProxyError::Malformed)?;
    // After UNKNOWN may stand anything.
    let announced = if line == "PROXY UNKNOWN" || line.starts_with("PROXY UNKNOWN ") {
        Announced::Unknown
    } else {
        Announced::Client(source(line).ok_or(ProxyError::Malformed)?)
    };
    Ok(Some((announced, end + 1)))
}

/// Where the client came from, in a line that is whole.
fn source(line: &str) -> Option<SocketAddr> {
    let mut fields = line.split(' ').skip(1);
    let family = fields.next()?;
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => Some(text.parse::<Ipv4Addr>().ok()?.into()),
            "TCP6" => Some(text.parse::<Ipv6Addr>().ok()?.into()),
            _ => None,
        }
    };
    // One way of writing each port, so no sign and no zero before it.
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| port.to_string() == text);
    let (from, _to) = (address(fields.next()?)?, address(fields.next()?)?);
    let (from_port, _to_port) = (port(fields.next()?)?, port(fields.next()?)?);
    fields.next().is_none().then(|| SocketAddr::new(from, from_port))
}

fn read_binary(bytes: &[u8]) -> Result<Option<(Announced, usize)>, ProxyError> {
    let Some((head, rest)) = bytes.split_first_chunk::<V2_HEAD>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 || command & 0xf > 1 {
        return Err(ProxyError::Malformed);
    }
    if V2_HEAD + length > MAX {
        return Err(ProxyError::TooLong);
    }
    if rest.len() < length {
        return Ok(None);
    }
    let header = &bytes[..V2_HEAD + length];
    // Of its own connections a forwarder need not say anything that makes sense (section 2.2).
    let announced = if command & 0xf == 0 { Announced::Itself } else { client(family, header)? };
    Ok(Some((announced, header.len())))
}

/// Who is announced by a header that is whole.
fn client(family: u8, header: &[u8]) -> Result<Announced, ProxyError> {
    let block = &header[V2_HEAD..];
    let (announced, size) = match (family >> 4, family & 0xf) {
        (4.., _) | (_, 3..) => return Err(ProxyError::Malformed),
        (0, _) | (_, 0) => return Ok(Announced::Unknown),
        (1, _) => (internet4(block).map(Announced::Client), 12),
        (2, _) => (internet6(block).map(Announced::Client), 36),
        // Two paths of sockets, which are nobody's address.
        (3, _) => (Some(Announced::Unknown), 216),
    };
    check_extras(header, V2_HEAD + size)?;
    announced.ok_or(ProxyError::Malformed)
}

fn internet4(block: &[u8]) -> Option<SocketAddr> {
    let [a, b, c, d, _, _, _, _, high, low, ..] = *block.first_chunk::<12>()?;
    Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
}

fn internet6(block: &[u8]) -> Option<SocketAddr> {
    let block = block.first_chunk::<36>()?;
    let address = Ipv6Addr::from(*block.first_chunk::<16>()?);
    Some(SocketAddr::new(address.into(), u16::from_be_bytes([block[32], block[33]])))
}

/// Goes through what follows the addresses: each a type, a length and a value.
fn check_extras(header: &[u8], begin: usize) -> Result<(), ProxyError> {
    let mut rest = begin..header.len();
    let mut checked = false;
    while rest.start != rest.end {
        let (kind, value) = extra(header, &rest).ok_or(ProxyError::Malformed)?;
        if kind == CRC32C {
            let told = header[value.clone()].try_into().map_err(|_| ProxyError::Malformed)?;
            // One is enough, and each costs as much as all the rest.
            if std::mem::replace(&mut checked, true) {
                return Err(ProxyError::Malformed);
            }
            if crc32c(header, &value) != u32::from_be_bytes(told) {
                return Err(ProxyError::Checksum);
            }
        }
        rest.start = value.end;
    }
    Ok(())
}

/// The first of these extras: its type, and where its value stands.
fn extra(header: &[u8], rest: &Range<usize>) -> Option<(u8, Range<usize>)> {
    let [kind, high, low] = *header.get(rest.clone())?.first_chunk()?;
    let begin = rest.start + 3;
    let value = begin..begin + usize::from(u16::from_be_bytes([high, low]));
    (value.end <= rest.end).then_some((kind, value))
}

/// The checksum over a header in which itself counts as zeros (section 2.2.3; RFC 3720, appendix B.4).
fn crc32c(header: &[u8], itself: &Range<usize>) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg());
    let sum = header.iter().enumerate().fold(u32::MAX, |sum, (at, byte)| {
        let byte = if itself.contains(&at) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), step)
    });
    !sum
}

#[cfg(test)]
mod tests;
