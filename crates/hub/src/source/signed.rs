//! Messages that are pushed over HTTP and signed, as standardwebhooks.com has it: HMAC-SHA256 of id, time and body. Of those
//! that are pushed to us, what was taken is not taken again, and what is too old never.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use parking_lot::Mutex;
use thiserror::Error;

use crate::policy::expiring::ExpiringMap;

/// How old, or how far in the future, a message may be, in seconds.
pub const TOLERANCE_SECONDS: u64 = 5 * 60;

/// The longest id of a message, in bytes.
const ID_MAX: usize = 256;

/// The most signatures that one message may have: one for each secret that is in use.
const SIGNATURES_MAX: usize = 8;

/// Ids that are remembered. Each has been signed, so that only who knows a secret fills this up.
const SEEN_MAX: usize = 100_000;

/// How a secret begins that is written in base64.
const PREFIX: &str = "whsec_";

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unsigned {
    /// It is not complete.
    #[error(
        "send webhook-id, webhook-timestamp (seconds since the Unix epoch) and webhook-signature, as standardwebhooks.com has them"
    )]
    Incomplete,
    /// It was signed too long ago, or will be.
    #[error("webhook-timestamp is more than {TOLERANCE_SECONDS} s away from now: sign again, by a clock that is right")]
    Late,
    /// Nobody who knows a secret has signed this.
    #[error("webhook-signature is of no secret that is known here, or of another body")]
    Forged,
    /// Too many messages came of late to know this one from them.
    #[error("too many messages came of late; send it again later")]
    Full,
}

/// The headers of a message, as they came.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`: one or several, with spaces between.
    pub signature: &'a str,
}

/// Whose signatures are believed, or with what is signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secrets(Arc<[Vec<u8>]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// These: texts, or base64 after `whsec_`.
    ///
    /// # Errors
    /// What is wrong with one, without showing it.
    pub fn new(secrets: &[String]) -> Result<Self, &'static str> {
        let key = |secret: &String| {
            let bytes = match secret.strip_prefix(PREFIX) {
                Some(encoded) => STANDARD.decode(encoded).map_err(|_| "what follows whsec_ is not base64")?,
                None => secret.as_bytes().to_vec(),
            };
            if bytes.len() < 16 {
                return Err("a secret has at least 16 bytes");
            }
            Ok(bytes)
        };
        secrets.iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    fn keys(&self) -> impl Iterator<Item = hmac::Key> {
        self.0.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The signatures of a message, one for each secret: the value of `webhook-signature`. `now`: in seconds since the Unix
    /// epoch, the value of `webhook-timestamp`.
    #[must_use]
    pub fn sign(&self, id: &str, now: u64, body: &[u8]) -> String {
        let text = [id.as_bytes(), b".", now.to_string().as_bytes(), b".", body].concat();
        let signed = self.keys().map(|key| format!("v1,{}", STANDARD.encode(hmac::sign(&key, &text))));
        signed.collect::<Vec<_>>().join(" ")
    }

    /// Whether somebody who knows a secret has signed this of late; `now` in seconds since the Unix epoch. Gives when.
    ///
    /// # Errors
    /// Why it is not believed.
    pub fn verify(&self, signed: Signed<'_>, body: &[u8], now: u64) -> Result<u64, Unsigned> {
        let Signed { id, timestamp, signature } = signed;
        let digits = !timestamp.is_empty() && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent: u64 = timestamp.parse().ok().filter(|_| digits).ok_or(Unsigned::Incomplete)?;
        if id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control) {
            return Err(Unsigned::Incomplete);
        }
        if sent.abs_diff(now) > TOLERANCE_SECONDS {
            return Err(Unsigned::Late);
        }
        let text = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
        let tags = signature.split(' ').filter_map(|one| one.strip_prefix("v1,")).take(SIGNATURES_MAX);
        for tag in tags.filter_map(|tag| STANDARD_NO_PAD.decode(tag.trim_end_matches('=')).ok()) {
            // In constant time, as HMACs are to be compared.
            if self.keys().any(|key| hmac::verify(&key, &text, &tag).is_ok()) {
                return Ok(sent);
            }
        }
        Err(Unsigned::Forged)
    }
}

/// The messages that were taken, for as long as somebody could send them again.
#[derive(Debug)]
pub struct Seen(Mutex<ExpiringMap<Arc<str>, ()>>);

impl Default for Seen {
    fn default() -> Self {
        Self(Mutex::new(ExpiringMap::new(SEEN_MAX)))
    }
}

impl Seen {
    /// Holds a message's id; `None`: it was taken already, or is being taken. `now` in seconds of the Unix epoch.
    ///
    /// # Errors
    /// [`Unsigned::Full`].
    pub fn hold(&self, id: &str, now: u64) -> Result<Option<Held<'_>>, Unsigned> {
        let mut seen = self.0.lock();
        seen.purge(now);
        if seen.get(id, now).is_some() {
            return Ok(None);
        }
        if seen.is_full() {
            return Err(Unsigned::Full);
        }
        let id: Arc<str> = id.into();
        // Its time may be as far in the future as in the past.
        seen.insert(Arc::clone(&id), (), now + 2 * TOLERANCE_SECONDS + 1);
        Ok(Some(Held { seen: self, id, taken: false }))
    }
}

/// A message that is being taken; when that fails, it may come again.
#[derive(Debug)]
pub struct Held<'a> {
    seen: &'a Seen,
    id: Arc<str>,
    taken: bool,
}

impl Held<'_> {
    /// It is taken.
    pub fn taken(mut self) {
        self.taken = true;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.seen.0.lock().insert(Arc::clone(&self.id), (), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_614_265_330;
    // The example of standardwebhooks.com, as its libraries compute it.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const TAG: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[track_caller]
    fn check(signed: (&str, &str, &str), body: &[u8], now: u64, expect: Result<u64, Unsigned>) {
        let secrets = Secrets::new(&["another-secret-of-24-byte".to_owned(), SECRET.to_owned()]).expect("secrets");
        let (id, timestamp, signature) = signed;
        assert_eq!(secrets.verify(Signed { id, timestamp, signature }, body, now), expect, "{signed:?}");
    }

    #[test]
    fn only_what_is_signed_and_new_is_believed() {
        let at = "1614265330";
        check((ID, at, TAG), BODY, NOW, Ok(NOW));
        check((ID, at, &format!("v1a,x v1,AAAA {TAG}")), BODY, NOW + 300, Ok(NOW));
        check((ID, at, TAG), BODY, NOW - 300, Ok(NOW));
        check((ID, at, TAG), BODY, NOW + 301, Err(Unsigned::Late));
        check((ID, at, TAG), BODY, NOW - 301, Err(Unsigned::Late));
        check((ID, at, TAG), b"{}", NOW, Err(Unsigned::Forged));
        check(("msg_2", at, TAG), BODY, NOW, Err(Unsigned::Forged));
        check((ID, "1614265331", TAG), BODY, NOW, Err(Unsigned::Forged));
        check((ID, at, ""), BODY, NOW, Err(Unsigned::Forged));
        check((ID, at, "v1,"), BODY, NOW, Err(Unsigned::Forged));
        check((ID, at, "v1,\u{fffd}"), BODY, NOW, Err(Unsigned::Forged));
        check(("", at, TAG), BODY, NOW, Err(Unsigned::Incomplete));
        check((ID, "+1614265330", TAG), BODY, NOW, Err(Unsigned::Incomplete));
        check((ID, "", TAG), BODY, NOW, Err(Unsigned::Incomplete));
        check((ID, "99999999999999999999999", TAG), BODY, NOW, Err(Unsigned::Incomplete));
        let many = "v1,AAAA ".repeat(SIGNATURES_MAX) + TAG;
        check((ID, at, &many), BODY, NOW, Err(Unsigned::Forged));
    }

    #[test]
    fn what_is_signed_here_is_believed_elsewhere() {
        let secrets = Secrets::new(&[SECRET.to_owned()]).expect("secrets");
        assert_eq!(secrets.sign(ID, NOW, BODY), TAG, "as the libraries of standardwebhooks.com sign it");
        let both = Secrets::new(&[SECRET.to_owned(), "another-secret-of-24-byte".to_owned()]).expect("secrets");
        let signature = both.sign(ID, NOW, BODY);
        assert_eq!(signature.split(' ').count(), 2, "{signature}");
        check((ID, "1614265330", &signature), BODY, NOW, Ok(NOW));
    }

    #[test]
    fn weak_secrets_are_refused() {
        for weak in ["", "short", "whsec_", "whsec_!!!", "whsec_c2hvcnQ="] {
            assert!(Secrets::new(&[weak.to_owned()]).is_err(), "{weak}");
        }
    }

    #[test]
    fn what_was_taken_is_known_and_what_was_not_may_come_again() {
        let seen = Seen::default();
        let held = seen.hold("a", NOW).expect("room").expect("new");
        assert!(seen.hold("a", NOW).expect("room").is_none(), "it is being taken");
        drop(held);
        seen.hold("a", NOW).expect("room").expect("it failed").taken();
        assert!(seen.hold("a", NOW + 2 * TOLERANCE_SECONDS).expect("room").is_none());
        // By then its signature is too old.
        assert!(seen.hold("a", NOW + 2 * TOLERANCE_SECONDS + 1).expect("room").is_some());
    }
}
