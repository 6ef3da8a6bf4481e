//! Socket.IO: namespaces, events and acknowledgements, in the text codec and in msgpack.

pub mod msgpack;
pub mod packet;
pub mod text;

pub use packet::{Encoded, Packet};

use crate::code::Code;

/// Binaries that one packet may carry unless configured otherwise, as in the reference parser since 4.2.6.
pub const DEFAULT_MAX_ATTACHMENTS: usize = 10;

/// Why a Socket.IO packet was refused. Each of these ends the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A message without a byte.
    #[error("empty packet")]
    Empty,
    /// The type is not one of the protocol's, or not for a server.
    #[error("unknown packet type")]
    UnknownType,
    /// The number of attachments is missing or malformed, or the placeholders do not fit it.
    #[error("illegal attachments")]
    Attachments,
    /// More attachments than the limit.
    #[error("too many attachments")]
    TooManyAttachments,
    /// An acknowledgement id that is missing or too large.
    #[error("invalid acknowledgement id")]
    AckId,
    /// Not JSON, or not what this type of packet carries.
    #[error("invalid payload")]
    Payload,
    /// Nested deeper than any limit allows.
    #[error("nested too deeply")]
    TooDeep,
    /// An event whose name belongs to the library.
    #[error("reserved event name")]
    ReservedName,
    /// A namespace that is not text with a leading slash.
    #[error("invalid namespace")]
    Namespace,
    /// A text packet where an attachment was due.
    #[error("text packet while waiting for attachments")]
    UnexpectedText,
    /// A binary that no packet announced.
    #[error("binary message without a packet")]
    UnexpectedBinary,
    /// Not msgpack, or more of it than one value.
    #[error("invalid msgpack")]
    Msgpack,
}

impl Error {
    /// Its row in the table of codes.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::TooDeep => Code::TooDeep,
            Self::TooManyAttachments => Code::TooManyAttachments,
            _ => Code::ParseError,
        }
    }
}
