//! Engine.IO: the packets that carry Socket.IO, versions 3 and 4 of the protocol.

pub mod open;
pub mod packet;
pub mod payload;

pub use open::Open;
pub use packet::{Data, Packet, PacketType, Version};

use crate::code::Code;

/// Why Engine.IO bytes were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A packet without a byte.
    #[error("empty packet")]
    Empty,
    /// The first character is not a packet type.
    #[error("unknown packet type")]
    UnknownType,
    /// A binary that is not base64 where it must be.
    #[error("invalid base64")]
    Base64,
    /// A length that is missing, malformed or does not fit the payload.
    #[error("invalid packet length")]
    Length,
    /// Text that is not UTF-8.
    #[error("invalid UTF-8")]
    Utf8,
    /// More packets in one payload than the limit.
    #[error("too many packets in one payload")]
    TooManyPackets,
}

impl Error {
    /// Its row in the table of codes.
    #[must_use]
    pub const fn code(self) -> Code {
        Code::ParseError
    }
}
