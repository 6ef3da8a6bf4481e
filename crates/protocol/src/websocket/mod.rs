//! The server's side of WebSocket (RFC 6455) and permessage-deflate (RFC 7692), without I/O.

pub mod deflate;
pub mod frame;
pub mod handshake;
mod mask;
pub mod reader;

pub use frame::Opcode;
pub use reader::{Event, Limits, Reader};

use crate::code::Code;

/// What a client did wrong on the level of frames. The connection must be closed with its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Against the rules of framing: 1002. The text says which.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text that is not UTF-8, or a compressed message that is not deflate: 1007.
    #[error("{0}")]
    Payload(&'static str),
    /// Longer than the limit: 1009.
    #[error("message too big")]
    TooBig,
}

impl Violation {
    /// Its row in the table of codes.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Protocol(_) => Code::ProtocolError,
            Self::Payload(_) => Code::InvalidPayload,
            Self::TooBig => Code::MessageTooBig,
        }
    }
}
