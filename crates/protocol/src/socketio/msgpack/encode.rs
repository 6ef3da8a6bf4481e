//! Writing: JSON arguments become msgpack values, placeholders become the binaries they stand for.

use bytes::Bytes;
use serde_json::{Map, Number, Value};

use crate::message::Args;
use crate::socketio::{Encoded, Packet};

/// Writes a packet as one binary message.
#[must_use]
pub fn encode(packet: &Packet) -> Encoded {
    let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
    match packet {
        Packet::Event { nsp, ack, name, args } => encode_event(nsp, *ack, name, args),
        Packet::Ack { nsp, id, args } => encode_ack(nsp, *id, args),
        Packet::Connect { nsp, auth, .. } => match auth {
            Some(auth) => finish(0, nsp, None, |out| push_value(out, &json(auth.get()), &[], Integers::All)),
            None => without_data(0, nsp),
        },
        Packet::Disconnect { nsp } => without_data(1, nsp),
        Packet::ConnectError { nsp, error } => {
            finish(4, nsp, None, |out| push_value(out, &json(error.get()), &[], Integers::All))
        }
    }
}

/// Writes an event, without building a packet first.
#[must_use]
pub fn encode_event(nsp: &str, ack: Option<u64>, name: &str, args: &Args) -> Encoded {
    let values = args.values();
    finish(2, nsp, ack, |out| {
        push_head(out, ARRAY, values.len() + 1);
        push_text(out, name);
        push_all(out, &values, args.attachments(), Integers::All);
    })
}

/// Writes an acknowledgement.
#[must_use]
pub fn encode_ack(nsp: &str, id: u64, args: &Args) -> Encoded {
    let values = args.values();
    finish(3, nsp, Some(id), |out| {
        push_head(out, ARRAY, values.len());
        push_all(out, &values, args.attachments(), Integers::All);
    })
}

fn without_data(kind: u8, nsp: &str) -> Encoded {
    let mut out = vec![0x82];
    push_text(&mut out, "type");
    out.push(kind);
    push_text(&mut out, "nsp");
    push_text(&mut out, nsp);
    Encoded { text: String::new(), attachments: vec![out.into()] }
}

fn finish(kind: u8, nsp: &str, id: Option<u64>, data: impl FnOnce(&mut Vec<u8>)) -> Encoded {
    let mut out = vec![if id.is_some() { 0x84 } else { 0x83 }];
    push_text(&mut out, "type");
    out.push(kind);
    push_text(&mut out, "data");
    data(&mut out);
    if let Some(id) = id {
        push_text(&mut out, "id");
        push_unsigned(&mut out, id);
    }
    push_text(&mut out, "nsp");
    push_text(&mut out, nsp);
    Encoded { text: String::new(), attachments: vec![out.into()] }
}

/// How a kind of value writes its length: within the marker (as many as `fix`), or in one, two or four bytes behind a
/// marker of its own; 0 where there is none.
pub(crate) struct Head {
    fix: (u8, usize),
    markers: [u8; 3],
}

const TEXT: Head = Head { fix: (0xa0, 32), markers: [0xd9, 0xda, 0xdb] };
const BINARY: Head = Head { fix: (0, 0), markers: [0xc4, 0xc5, 0xc6] };
pub(crate) const ARRAY: Head = Head { fix: (0x90, 16), markers: [0, 0xdc, 0xdd] };
pub(crate) const MAP: Head = Head { fix: (0x80, 16), markers: [0, 0xde, 0xdf] };

#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits, and nothing has 4 GiB")]
#[expect(clippy::needless_pass_by_value, reason = "constants read better so")]
pub(crate) fn push_head(out: &mut Vec<u8>, head: Head, length: usize) {
    match length {
        _ if length < head.fix.1 => out.push(head.fix.0 | length as u8),
        0..=0xff if head.markers[0] != 0 => out.extend([head.markers[0], length as u8]),
        0..=0xffff => {
            out.push(head.markers[1]);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(head.markers[2]);
            out.extend((length as u32).to_be_bytes());
        }
    }
}

pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_head(out, TEXT, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn push_all(out: &mut Vec<u8>, values: &[Value], attachments: &[Bytes], integers: Integers) {
    for value in values {
        push_value(out, value, attachments, integers);
    }
}

/// Appends a value; `serde_json` has seen to it that it nests no deeper than 128.
pub(crate) fn push_value(out: &mut Vec<u8>, value: &Value, attachments: &[Bytes], integers: Integers) {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Number(number) => push_number(out, number, integers),
        Value::String(text) => push_text(out, text),
        Value::Array(items) => {
            push_head(out, ARRAY, items.len());
            push_all(out, items, attachments, integers);
        }
        Value::Object(object) => {
            if let Some(bytes) = placeholder(object, attachments) {
                push_head(out, BINARY, bytes.len());
                return out.extend_from_slice(bytes);
            }
            push_head(out, MAP, object.len());
            for (key, value) in object {
                push_text(out, key);
                push_value(out, value, attachments, integers);
            }
        }
    }
}

/// The binary an object stands for, if it does.
pub(crate) fn placeholder<'a>(object: &Map<String, Value>, attachments: &'a [Bytes]) -> Option<&'a Bytes> {
    if attachments.is_empty() || object.get("_placeholder") != Some(&Value::Bool(true)) {
        return None;
    }
    attachments.get(usize::try_from(object.get("num")?.as_u64()?).ok()?)
}

/// Which whole numbers are written as integers; the others are floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Integers {
    /// All that fit, as notepack does.
    All,
    /// Those that JavaScript counts exactly, as `@msgpack/msgpack` does.
    Safe,
}

impl Integers {
    /// The largest.
    const fn most(self) -> u64 {
        match self {
            Self::All => u64::MAX,
            Self::Safe => (1 << 53) - 1,
        }
    }
}

/// JavaScript has one type of number: `1.0` is written as 1.
fn push_number(out: &mut Vec<u8>, number: &Number, integers: Integers) {
    match (number.as_u64(), number.as_i64(), number.as_f64().unwrap_or(f64::NAN)) {
        (Some(n), ..) if n <= integers.most() => push_unsigned(out, n),
        (None, Some(n), _) if n.unsigned_abs() <= integers.most() => push_negative(out, n),
        (.., float) => match whole(float).filter(|n| n.unsigned_abs() <= integers.most()) {
            Some(n) if n < 0 => push_negative(out, n),
            Some(n) => push_unsigned(out, n.unsigned_abs()),
            None => {
                out.push(0xcb);
                out.extend(float.to_be_bytes());
            }
        },
    }
}

/// The integer that this is, if it is one and fits.
#[expect(clippy::cast_possible_truncation, reason = "whole and within the range")]
pub(super) fn whole(float: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (float.trunc() == float && float.abs() < LIMIT).then_some(float as i64)
}

#[expect(clippy::cast_possible_truncation, reason = "each arm's range fits its type")]
pub(crate) fn push_unsigned(out: &mut Vec<u8>, n: u64) {
    match n {
        0..=0x7f => out.push(n as u8),
        0x80..=0xff => out.extend([0xcc, n as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((n as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((n as u32).to_be_bytes());
        }
        _ => {
            out.push(0xcf);
            out.extend(n.to_be_bytes());
        }
    }
}

fn push_negative(out: &mut Vec<u8>, n: i64) {
    if let Ok(n) = i8::try_from(n) {
        if n < -32 {
            out.push(0xd0);
        }
        out.extend(n.to_be_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xd1);
        out.extend(n.to_be_bytes());
    } else if let Ok(n) = i32::try_from(n) {
        out.push(0xd2);
        out.extend(n.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend(n.to_be_bytes());
    }
}
