//! The secret under which a client asks for its session: the session's name, signed with the key of the node that gave the
//! name. So nothing has to be kept for it, and any node that knows the key can tell whether it is genuine.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::address::Address;

/// Bytes of the signature that are shown; a guess succeeds once in 2^96.
const MAC: usize = 12;
/// Characters of an address, which come first.
const ADDRESS: usize = 20;

/// What a node signs names with, in one of its lives.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PidKey(pub [u8; 32]);

impl fmt::Debug for PidKey {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PidKey")
    }
}

/// Makes and reads the names of sessions.
#[derive(Debug)]
pub struct Pids {
    own: PidKey,
    /// By node: this one, those that it has met, and those of which it has heard. A key is kept when its node has gone: its
    /// sessions may live elsewhere.
    keys: RwLock<HashMap<u16, (PidKey, hmac::Key)>>,
}

impl Pids {
    /// Of that node, with a key of its life.
    #[must_use]
    pub fn new(node: u16, own: PidKey) -> Self {
        let pids = Self { own, keys: RwLock::default() };
        pids.meet(node, own);
        pids
    }

    /// The key of this node, for the others.
    #[must_use]
    pub fn own(&self) -> PidKey {
        self.own
    }

    /// A node says what its key is.
    pub fn meet(&self, node: u16, key: PidKey) {
        if self.keys.read().get(&node).is_none_or(|(known, _)| *known != key) {
            self.keys.write().insert(node, (key, hmac::Key::new(hmac::HMAC_SHA256, &key.0)));
        }
    }

    /// Another node says with what that one signed, which this one may never have met.
    pub(crate) fn hear_of(&self, node: u16, key: PidKey) {
        // What a node says of itself counts for more.
        if !self.has_met(node) {
            self.meet(node, key);
        }
    }

    /// With what those nodes sign, as far as that is known.
    pub(crate) fn keys_of(&self, nodes: impl IntoIterator<Item = u16>) -> Vec<(u16, PidKey)> {
        let keys = self.keys.read();
        nodes.into_iter().filter_map(|node| Some((node, keys.get(&node)?.0))).collect()
    }

    /// Whether there is, or was, a node of that number.
    #[must_use]
    pub fn has_met(&self, node: u16) -> bool {
        self.keys.read().contains_key(&node)
    }

    /// The secret of a session: 36 URL-safe characters. `None`: its node is not known.
    #[must_use]
    pub fn of(&self, address: Address) -> Option<String> {
        let mut text = address.encode();
        let keys = self.keys.read();
        let (_, key) = keys.get(&address.node)?;
        let mac = hmac::sign(key, text.as_bytes());
        URL_SAFE_NO_PAD.encode_string(&mac.as_ref()[..MAC], &mut text);
        Some(text)
    }

    /// The session whose secret this is.
    #[must_use]
    pub fn read(&self, pid: &str) -> Option<Address> {
        let (name, _) = pid.split_at_checked(ADDRESS)?;
        let address = name.parse().ok()?;
        let expected = self.of(address)?;
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), pid.as_bytes());
        same.is_ok().then_some(address)
    }
}
