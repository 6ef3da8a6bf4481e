//! What the tests of tokens share: keys, a way to write any token, and a clock that stands still.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

#[rustfmt::skip] // tables: a row is a line
mod attacks;
#[rustfmt::skip]
mod authjs;
mod introspect;
mod jwks;
mod random;
mod revocation;
mod time;

use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::*;
use crate::policy::fetch::{Fetch, FetchError, FetchRequest, FetchResponse};

/// The tests' time, in seconds since the Unix epoch.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const SECRET: &[u8] = b"a shared secret for the tests, 32+ bytes";

/// One key pair of each kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Pair {
    Secret(&'static [u8]),
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Pair {
    pub(super) fn public_pem(self) -> &'static str {
        match self {
            Self::Secret(_) => unreachable!("a shared secret has no public half"),
            Self::Rsa => include_str!("keys/rsa.pub.pem"),
            Self::P256 => include_str!("keys/p256.pub.pem"),
            Self::P384 => include_str!("keys/p384.pub.pem"),
            Self::Ed25519 => include_str!("keys/ed25519.pub.pem"),
        }
    }

    pub(super) fn private(self) -> EncodingKey {
        match self {
            Self::Secret(secret) => EncodingKey::from_secret(secret),
            Self::Rsa => EncodingKey::from_rsa_pem(include_bytes!("keys/rsa.pem")).unwrap(),
            Self::P256 => EncodingKey::from_ec_pem(include_bytes!("keys/p256.pem")).unwrap(),
            Self::P384 => EncodingKey::from_ec_pem(include_bytes!("keys/p384.pem")).unwrap(),
            Self::Ed25519 => EncodingKey::from_ed_pem(include_bytes!("keys/ed25519.pem")).unwrap(),
        }
    }

    pub(super) fn spec(self) -> KeySpec {
        match self {
            Self::Secret(secret) => KeySpec::secret(secret),
            other => KeySpec::pem(other.public_pem()),
        }
    }

    /// The public half as a JWK with this `kid`.
    pub(super) fn jwk(self, id: &str, algorithm: Algorithm) -> Value {
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&self.private(), algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = id.into();
        jwk
    }
}

pub(super) fn encode(part: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

/// Signs any header and payload text, however wrong.
pub(super) fn sign_text(pair: Pair, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let message = format!("{}.{}", encode(header), encode(payload));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &pair.private(), algorithm).unwrap();
    format!("{message}.{signature}")
}

/// Signs claims under a header of `alg` and, where given, `kid`.
pub(super) fn sign(pair: Pair, algorithm: Algorithm, id: Option<&str>, claims: &Value) -> String {
    let mut header = json!({"alg": algorithm, "typ": "JWT"});
    if let Some(id) = id {
        header["kid"] = id.into();
    }
    sign_text(pair, algorithm, &header.to_string(), &claims.to_string())
}

/// Claims that are good for a minute.
pub(super) fn claims() -> Value {
    json!({"sub": "u1", "iat": NOW - 1, "exp": NOW + 60})
}

pub(super) fn jwt(algorithms: &[Algorithm], keys: Vec<KeySpec>) -> JwtSpec {
    JwtSpec { algorithms: algorithms.to_vec(), keys, ..JwtSpec::default() }
}

pub(super) fn hs256() -> JwtSpec {
    jwt(&[Algorithm::HS256], vec![KeySpec::secret(SECRET)])
}

pub(super) fn verifier(spec: JwtSpec) -> Verifier {
    Verifier::new(vec![VerifierSpec::Jwt(spec)], None).unwrap()
}

/// The verdict without the claims; a local verifier always has one at once.
pub(super) fn verdict(verifier: &Verifier, token: &str, now: u64) -> Result<(), TokenError> {
    verifier.verify_now(token, now).expect("local keys need no await").map(drop)
}

/// Compares with a name, so that one failing row of a table can be found.
#[track_caller]
pub(super) fn same<T: PartialEq + Debug>(name: &str, got: &T, want: &T) {
    assert!(got == want, "{name}: got {got:?}, want {want:?}");
}

/// Somebody to ask: gives the prepared answers in turn, the last one for ever, and remembers every request.
#[derive(Default)]
pub(super) struct Backend {
    answers: Mutex<VecDeque<Result<(u16, String), FetchError>>>,
    pub(super) requests: Mutex<Vec<FetchRequest>>,
    /// How long it thinks, by the paused clock of the test.
    pub(super) delay: Duration,
}

impl Backend {
    pub(super) fn new<const N: usize>(answers: [Result<(u16, String), FetchError>; N]) -> Self {
        Self { answers: Mutex::new(answers.into()), ..Self::default() }
    }

    pub(super) fn calls(&self) -> usize {
        self.requests.lock().len()
    }

    /// From now on, this answer.
    pub(super) fn answer(&self, answer: Result<(u16, String), FetchError>) {
        *self.answers.lock() = [answer].into();
    }
}

#[async_trait]
impl Fetch for Backend {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError> {
        self.requests.lock().push(request);
        tokio::time::sleep(self.delay).await;
        let mut answers = self.answers.lock();
        let next = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        let (status, body) = next.expect("an answer is prepared")?;
        Ok(FetchResponse { status, body: body.into() })
    }
}

/// The same backend as a test sees it and as a verifier uses it.
pub(super) fn shared(backend: Backend) -> (Arc<Backend>, Arc<dyn Fetch>) {
    let backend = Arc::new(backend);
    (Arc::clone(&backend), backend)
}
