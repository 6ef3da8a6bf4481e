//! What is written, described once and written as JSON or as msgpack.

use bytes::Bytes;
use serde_json::Value;

use super::message::{Event, Rooms};
use crate::json;
use crate::message::Args;
use crate::socketio::msgpack::encode::{
    ARRAY, Integers, MAP, placeholder, push_all, push_head, push_text, push_unsigned, push_value,
};

/// A value of a message.
#[derive(Debug)]
pub(super) enum Document<'a> {
    Bool(bool),
    Number(u64),
    Text(&'a str),
    Rooms(&'a Rooms),
    /// An array of the name and the arguments.
    Event(&'a Event),
    /// The first of the arguments; JavaScript's `undefined` when there is none.
    Value(&'a Args),
    List(Vec<Document<'a>>),
    /// The entries that are, in this order.
    Map(Vec<Option<(&'static str, Document<'a>)>>),
}

/// An entry that is always there.
pub(super) const fn field<'a>(key: &'static str, value: Document<'a>) -> Option<(&'static str, Document<'a>)> {
    Some((key, value))
}

/// Which package writes msgpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Msgpack {
    /// `notepack.io`: what is undefined is left out.
    Notepack,
    /// `@msgpack/msgpack`: what is undefined is nil, and large integers are floating point.
    Official,
}

impl Document<'_> {
    /// Whether JSON could not hold it as it is.
    pub(super) fn has_binary(&self) -> bool {
        match self {
            Self::Event(event) => !event.args.attachments().is_empty(),
            Self::Value(args) => !args.attachments().is_empty(),
            Self::List(items) => items.iter().any(Self::has_binary),
            Self::Map(entries) => entries.iter().flatten().any(|(_, value)| value.has_binary()),
            Self::Bool(_) | Self::Number(_) | Self::Text(_) | Self::Rooms(_) => false,
        }
    }

    fn is_undefined(&self) -> bool {
        matches!(self, Self::Value(args) if args.text().is_empty())
    }

    /// As `JSON.stringify` writes it.
    pub(super) fn json(&self) -> String {
        let mut out = String::with_capacity(128);
        self.push_json(&mut out);
        out
    }

    fn push_json(&self, out: &mut String) {
        match self {
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Number(n) => out.push_str(itoa::Buffer::new().format(*n)),
            Self::Text(text) => json::push_string(out, text),
            Self::Rooms(rooms) => {
                separated(out, ['[', ']'], rooms.iter(), |out, room| json::push_string(out, room));
            }
            Self::Event(Event { name, args }) => {
                out.push('[');
                json::push_string(out, name);
                if !args.text().is_empty() {
                    out.push(',');
                    push_args(out, args, usize::MAX);
                }
                out.push(']');
            }
            Self::Value(args) if args.text().is_empty() => out.push_str("null"),
            Self::Value(args) => push_args(out, args, 1),
            Self::List(items) => separated(out, ['[', ']'], items.iter(), |out, item| item.push_json(out)),
            Self::Map(entries) => {
                let there = entries.iter().flatten().filter(|(_, value)| !value.is_undefined());
                separated(out, ['{', '}'], there, |out, (key, value)| {
                    json::push_string(out, key);
                    out.push(':');
                    value.push_json(out);
                });
            }
        }
    }

    /// As this package writes it.
    pub(super) fn msgpack(&self, package: Msgpack) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        self.push_msgpack(&mut out, package);
        out
    }

    fn push_msgpack(&self, out: &mut Vec<u8>, package: Msgpack) {
        let integers = match package {
            Msgpack::Notepack => Integers::All,
            Msgpack::Official => Integers::Safe,
        };
        match self {
            Self::Bool(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
            Self::Number(n) => push_unsigned(out, *n),
            Self::Text(text) => push_text(out, text),
            Self::Rooms(rooms) => {
                push_head(out, ARRAY, rooms.len());
                rooms.iter().for_each(|room| push_text(out, room));
            }
            Self::Event(Event { name, args }) => {
                let values = args.values();
                push_head(out, ARRAY, values.len() + 1);
                push_text(out, name);
                push_all(out, &values, args.attachments(), integers);
            }
            Self::Value(args) => {
                let value = args.values().into_iter().next().unwrap_or(Value::Null);
                push_value(out, &value, args.attachments(), integers);
            }
            Self::List(items) => {
                push_head(out, ARRAY, items.len());
                items.iter().for_each(|item| item.push_msgpack(out, package));
            }
            Self::Map(entries) => {
                let left_out = |value: &Self| package == Msgpack::Notepack && value.is_undefined();
                let there = || entries.iter().flatten().filter(|(_, value)| !left_out(value));
                push_head(out, MAP, there().count());
                for (key, value) in there() {
                    push_text(out, key);
                    value.push_msgpack(out, package);
                }
            }
        }
    }
}

/// Appends items between brackets, parted by commas.
fn separated<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl Iterator<Item = T>,
    push: impl Fn(&mut String, T),
) {
    out.push(open);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        push(out, item);
    }
    out.push(close);
}

/// Appends as many of the arguments; binaries become what `Buffer.toJSON` makes of them.
fn push_args(out: &mut String, args: &Args, most: usize) {
    if args.attachments().is_empty() && (most > 1 || args.sole().is_some()) {
        return out.push_str(args.text());
    }
    for (index, value) in args.values().iter().take(most).enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_spelled_out(out, value, args.attachments());
    }
}

fn push_spelled_out(out: &mut String, value: &Value, attachments: &[Bytes]) {
    match value {
        Value::Array(items) => {
            separated(out, ['[', ']'], items.iter(), |out, item| push_spelled_out(out, item, attachments));
        }
        Value::Object(object) => match placeholder(object, attachments) {
            Some(bytes) => {
                out.push_str(r#"{"type":"Buffer","data":"#);
                separated(out, ['[', ']'], bytes.iter(), |out, byte| out.push_str(itoa::Buffer::new().format(*byte)));
                out.push('}');
            }
            None => separated(out, ['{', '}'], object.iter(), |out, (key, value)| {
                json::push_string(out, key);
                out.push(':');
                push_spelled_out(out, value, attachments);
            }),
        },
        leaf => out.push_str(&leaf.to_string()),
    }
}
