//! The secret under which a client asks for its session: the session's name, signed. So nothing has to be kept for it.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::address::Address;

/// Bytes of the signature that are shown; a guess succeeds once in 2^96.
const MAC: usize = 12;
/// Characters of an address, which come first.
const ADDRESS: usize = 20;

/// Makes and reads the names of one node's sessions.
#[derive(Debug)]
pub struct Pids(hmac::Key);

impl Pids {
    /// With a key of this node's life.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The secret of a session: 36 URL-safe characters.
    #[must_use]
    pub fn of(&self, address: Address) -> String {
        let mut text = address.encode();
        let mac = hmac::sign(&self.0, text.as_bytes());
        URL_SAFE_NO_PAD.encode_string(&mac.as_ref()[..MAC], &mut text);
        text
    }

    /// The session whose secret this is.
    #[must_use]
    pub fn read(&self, pid: &str) -> Option<Address> {
        let (name, _) = pid.split_at_checked(ADDRESS)?;
        let address = name.parse().ok()?;
        let expected = self.of(address);
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_bytes(), pid.as_bytes());
        same.is_ok().then_some(address)
    }
}
