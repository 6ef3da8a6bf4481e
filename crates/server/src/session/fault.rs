//! Why a session ends, in one conversion: what closes the connection, with which code, and what Socket.IO calls it.

use oyez_protocol::code::Code;

/// What ended a session: a code of the one table and Socket.IO's word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The code of the close frame.
    pub code: Code,
    /// The reason that Socket.IO servers report.
    pub word: &'static str,
}

impl Reason {
    /// Whether it is the server's wish, and no fault of the client or the network: then the client is still there to
    /// hear the last words.
    pub(crate) fn is_a_wish(self) -> bool {
        let gone = matches!(self.code, Code::PingTimeout | Code::Normal);
        !gone && !self.code.is_offence()
    }
}

/// Something that a connection does not survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The bytes are not what the protocol says.
    #[error("{}", .0.message())]
    Protocol(Code),
    /// The packet is well-formed but not allowed now (twice CONNECT, event before CONNECT, ...).
    #[error("the packet does not fit the session's state")]
    State,
    /// The client said goodbye.
    #[error("the client closed")]
    Closed,
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
}

impl From<Fault> for Reason {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Protocol(
                code @ (Code::ProtocolError | Code::InvalidPayload | Code::MessageTooBig | Code::Flood),
            ) => Self { code, word: "transport error" },
            Fault::Protocol(code) => Self { code, word: "parse error" },
            Fault::State => Self { code: Code::BadState, word: "forced close" },
            Fault::Closed => Self { code: Code::Normal, word: "transport close" },
            Fault::Broken => Self { code: Code::Normal, word: "transport error" },
        }
    }
}
