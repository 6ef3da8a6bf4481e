//! How an app is named within a node, and a session on the wire: a name that leads back to the thread that owns it.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

/// Index of an app on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppId(pub u16);

/// Names one session or socket: node, shard, slot and 64 random bits, written as 20 URL-safe characters (the length
/// that Socket.IO's adapters expect of an id).
///
/// Any thread that reads such a name knows whom to forward to; the random part makes it unguessable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Address {
    /// The node that owns the session.
    pub node: u16,
    /// The shard of that node.
    pub shard: u8,
    /// The slot in the shard's table.
    pub slot: u32,
    /// What makes the name a secret and a reused slot a different session.
    pub nonce: u64,
}

impl Address {
    /// The 20 characters that clients see.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut bytes = [0u8; 15];
        bytes[0..8].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.node.to_le_bytes());
        bytes[10] = self.shard;
        bytes[11..15].copy_from_slice(&self.slot.to_le_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// The text is not the name of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct NotAnAddress;

impl FromStr for Address {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if text.len() != 20 {
            return Err(NotAnAddress);
        }
        let mut bytes = [0u8; 15];
        let written = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| NotAnAddress)?;
        if written != bytes.len() {
            return Err(NotAnAddress);
        }
        let (mut nonce, mut node, mut slot) = ([0u8; 8], [0u8; 2], [0u8; 4]);
        nonce.copy_from_slice(&bytes[0..8]);
        node.copy_from_slice(&bytes[8..10]);
        slot.copy_from_slice(&bytes[11..15]);
        Ok(Self {
            node: u16::from_le_bytes(node),
            shard: bytes[10],
            slot: u32::from_le_bytes(slot),
            nonce: u64::from_le_bytes(nonce),
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encode())
    }
}

/// Shows where the session lives, never the secret: log lines are not credentials.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.shard, self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_back_to_its_owner() {
        let address = Address { node: 7, shard: 3, slot: 70_000, nonce: u64::MAX - 5 };
        let text = address.encode();
        assert_eq!(text.len(), 20);
        assert_eq!(text.parse(), Ok(address));
        for wrong in ["", "zzz", "!!!!!!!!!!!!!!!!!!!!", "AAAAAAAAAAAAAAAAAAAAA", "héhéhéhéhé"] {
            assert_eq!(wrong.parse::<Address>(), Err(NotAnAddress), "{wrong}");
        }
    }
}
