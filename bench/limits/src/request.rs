//! The little HTTP and WebSocket that the limits speak.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// A ping.
pub const PING: &[u8] = &[0x89, 0];
/// The opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// A text frame that is not continued.
const TEXT: u8 = 0x81;
/// What a published request is answered.
pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// RFC 6455, 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What was asked.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// To hear what is published.
    Subscribe { key: &'a str },
    /// To send this to all subscribers.
    Publish { body: &'a [u8] },
    /// Anything else, for instance whether anybody is there.
    Other,
}

/// The first request, when it is complete, and its length.
pub fn parse(bytes: &[u8]) -> Option<(Request<'_>, usize)> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).unwrap_or_default();
    let header = |wanted: &str| {
        text.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    let start = head + 4;
    let length = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let body = bytes.get(start..start + length)?;
    let request = match header("sec-websocket-key") {
        Some(key) => Request::Subscribe { key },
        None if text.starts_with("POST ") => Request::Publish { body },
        None => Request::Other,
    };
    Some((request, start + length))
}

/// The answer that makes a WebSocket of a connection.
pub fn upgrade(key: &str) -> String {
    let accept = STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// A payload as one unmasked text frame.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![TEXT];
    match payload.len() {
        length @ 0..=125 => frame.push(length as u8),
        length @ 126..=0xffff => {
            frame.push(126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_come_one_after_the_other_or_in_halves() {
        let bytes = b"POST /publish HTTP/1.1\r\ncontent-length: 2\r\n\r\nhiGET /";
        assert_eq!(parse(bytes), Some((Request::Publish { body: b"hi" }, 47)));
        assert_eq!(parse(&bytes[..46]), None);
        assert_eq!(parse(&bytes[47..]), None);
        let upgrade = b"GET / HTTP/1.1\r\nSec-WebSocket-Key: abc\r\n\r\n";
        assert_eq!(parse(upgrade), Some((Request::Subscribe { key: "abc" }, upgrade.len())));
    }

    #[test]
    fn the_accept_header_is_the_one_of_the_rfc() {
        assert!(upgrade("dGhlIHNhbXBsZSBub25jZQ==").contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    }

    #[test]
    fn lengths_take_one_three_or_nine_bytes() {
        assert_eq!(frame(&[b'a'; 125])[..2], [0x81, 125]);
        assert_eq!(frame(&[b'a'; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(frame(&[b'a'; 65_536])[..10], [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
