//! The msgpack codec, as socket.io-msgpack-parser 3 speaks it: one binary message per packet, a map `{type, data?, nsp, id?}`.
//!
//! Binaries stand in place on the wire and become attachments with placeholders, so that the rest of the server sees one
//! kind of packet. Three extensions of type 0 come from its msgpack library (notepack 2): `undefined`, dates and
//! `ArrayBuffer`s.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod reader;
pub(crate) mod values;

pub use decode::decode;
pub use encode::{encode, encode_ack, encode_event};

#[cfg(test)]
mod tests;
