//! Complete server frames, appended to a buffer. They are unmasked, so every subscriber can share the same bytes.

use super::deflate;
use crate::code::Code;
use crate::engineio::Version;
use crate::engineio::packet::{V3_MESSAGE, push_base64};
use crate::socketio::Encoded;

/// The most bytes a frame's header takes when it is not masked.
const MAX_HEADER: usize = 10;

/// What a frame is (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// More of the message before.
    Continuation = 0,
    /// A message in UTF-8.
    Text = 1,
    /// A message of bytes.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// To be answered with the same bytes.
    Ping = 9,
    /// The answer to a ping.
    Pong = 10,
}

impl Opcode {
    pub(super) const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Whether it is a control frame: at most 125 bytes, never fragmented.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// Appends the header of a final, unmasked frame with `length` bytes of payload; `compressed` sets RSV1.
#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits its type")]
pub fn append_header(out: &mut Vec<u8>, opcode: Opcode, compressed: bool, length: usize) {
    out.push(0x80 | if compressed { 0x40 } else { 0 } | opcode as u8);
    match length {
        0..=125 => out.push(length as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends one complete frame. A control frame's payload is cut to 125 bytes.
pub fn append(out: &mut Vec<u8>, opcode: Opcode, compressed: bool, payload: &[u8]) {
    let payload = if opcode.is_control() { &payload[..payload.len().min(125)] } else { payload };
    out.reserve(MAX_HEADER + payload.len());
    append_header(out, opcode, compressed, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame; without a code it is empty, which the client sees as 1005.
///
/// The reason is cut to 123 bytes, at a character's border.
pub fn append_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        return append_header(out, Opcode::Close, false, 0);
    };
    let reason = &reason[..reason.floor_char_boundary(123)];
    append_header(out, Opcode::Close, false, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// A close frame that tells one of our codes: its close code and its name.
#[must_use]
pub fn close(code: Code) -> Vec<u8> {
    let mut out = Vec::new();
    append_close(&mut out, Some(code.close_code()), code.name());
    out
}

/// How a WebSocket session wants its Engine.IO messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Framing {
    /// Version 3 puts 0x04 before a binary.
    pub version: Version,
    /// Binaries travel as base64 text: the client's query said `b64=1`.
    pub base64: bool,
    /// Messages of at least so many bytes are compressed; none when permessage-deflate was not agreed.
    pub deflate: Option<usize>,
}

impl Framing {
    /// Bare frames without compression.
    #[must_use]
    pub const fn plain(version: Version) -> Self {
        Self { version, base64: false, deflate: None }
    }
}

/// All frames of one packet, in one buffer: the text and each attachment, as Engine.IO messages.
#[must_use]
pub fn message_frames(encoded: &Encoded, version: Version) -> Vec<u8> {
    let binaries: usize = encoded.attachments.iter().map(|bytes| bytes.len() + 1 + MAX_HEADER).sum();
    let mut out = Vec::with_capacity(encoded.text.len() + 1 + MAX_HEADER + binaries);
    append_message(&mut out, encoded, Framing::plain(version));
    out
}

/// Appends all frames of one packet.
pub fn append_message(out: &mut Vec<u8>, encoded: &Encoded, framing: Framing) {
    if !encoded.text.is_empty() {
        append_data(out, Opcode::Text, b"4", encoded.text.as_bytes(), framing.deflate);
    }
    for bytes in &encoded.attachments {
        match framing {
            Framing { base64: true, .. } => {
                let mut text = String::new();
                push_base64(&mut text, bytes, framing.version);
                append_data(out, Opcode::Text, b"", text.as_bytes(), framing.deflate);
            }
            Framing { version: Version::V3, .. } => {
                append_data(out, Opcode::Binary, &[V3_MESSAGE], bytes, framing.deflate);
            }
            Framing { version: Version::V4, .. } => {
                append_data(out, Opcode::Binary, b"", bytes, framing.deflate);
            }
        }
    }
}

/// Appends a data frame whose payload is `head` and `body`, compressed if it has at least `threshold` bytes.
pub fn append_data(out: &mut Vec<u8>, opcode: Opcode, head: &[u8], body: &[u8], threshold: Option<usize>) {
    let length = head.len() + body.len();
    if threshold.is_some_and(|threshold| length >= threshold) {
        append(out, opcode, true, &deflate::compress(&[head, body]));
    } else {
        out.reserve(MAX_HEADER + length);
        append_header(out, opcode, false, length);
        out.extend_from_slice(head);
        out.extend_from_slice(body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn headers_are_minimal() {
        #[track_caller]
        fn check(length: usize, expect: &[u8]) {
            let mut out = Vec::new();
            append_header(&mut out, Opcode::Text, false, length);
            assert_eq!(out, expect);
        }
        check(0, &[0x81, 0]);
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(0xffff, &[0x81, 126, 0xff, 0xff]);
        check(0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn closes_fit_a_control_frame() {
        let mut out = Vec::new();
        append_close(&mut out, None, "ignored");
        assert_eq!(out, [0x88, 0]);
        out.clear();
        append_close(&mut out, Some(1009), &"é".repeat(100));
        assert_eq!(out.len(), 2 + 2 + 122);
        assert_eq!(&out[..4], [0x88, 124, 0x03, 0xf1]);
        assert_eq!(close(Code::Kicked), [b"\x88\x08\x11\x95".as_slice(), b"kicked"].concat());
        out.clear();
        append(&mut out, Opcode::Ping, false, &[7; 200]);
        assert_eq!(out.len(), 2 + 125);
    }

    #[test]
    fn a_packet_becomes_one_buffer() {
        let encoded = Encoded { text: "51-[\"x\"]".to_owned(), attachments: vec![Bytes::from_static(b"\x01\x02")] };
        let text = [b"\x81\x09", b"451-[\"x\"]".as_slice()].concat();
        assert_eq!(message_frames(&encoded, Version::V4), [&text[..], b"\x82\x02\x01\x02"].concat());
        assert_eq!(message_frames(&encoded, Version::V3), [&text[..], b"\x82\x03\x04\x01\x02"].concat());
        let mut out = Vec::new();
        append_message(&mut out, &encoded, Framing { base64: true, ..Framing::plain(Version::V4) });
        assert_eq!(out, [&text[..], b"\x81\x05bAQI="].concat());
        let binary = Encoded { text: String::new(), attachments: vec![Bytes::from_static(b"\x80")] };
        assert_eq!(message_frames(&binary, Version::V4), b"\x82\x01\x80");
    }
}
