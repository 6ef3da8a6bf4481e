//! Verifying credentials: a token goes in, claims that somebody trusted vouches for come out.
//!
//! A [`Verifier`] holds the ways in which one app accepts tokens. Nothing here reads a clock, a file or the
//! environment: the time is an argument, keys are configuration, and what must be asked over HTTP goes through
//! [`Fetch`]. Tokens never appear in an error or in a log.

mod authjs;
mod claims;
pub mod cookie;
mod error;
mod introspect;
mod jwks;
mod jwt;
mod keys;
mod mint;
mod revocation;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
pub use jsonwebtoken::Algorithm;

use self::authjs::AuthJsVerifier;
pub use self::authjs::{AuthJsSpec, MAX_COOKIE_NAMES, MAX_SECRETS};
use self::claims::Dates;
pub use self::claims::{ClaimRules, Claims, MAX_LEEWAY_SECONDS};
pub use self::error::{SpecError, TokenError};
use self::introspect::Introspector;
pub use self::introspect::{IntrospectSpec, MAX_ANSWER_BYTES, MAX_CONCURRENT_QUESTIONS, Question};
pub use self::jwks::{JwksSpec, MAX_JWKS_BYTES, MIN_REFRESH_SECONDS};
pub use self::jwt::JwtSpec;
use self::jwt::{JwtVerifier, rewritable};
pub use self::keys::{KeyMaterial, KeySpec, MAX_KEY_SET, MAX_KEYS, least_secret_bytes};
pub use self::mint::mint;
pub use self::revocation::{
    DEFAULT_REVOCATION_SECONDS, MAX_REVOKED_NAME_BYTES, Register, Revocation, Revocations, RevokeError,
};
use crate::policy::Now;
use crate::policy::fetch::Fetch;

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The most verifiers that one app may have.
pub const MAX_VERIFIERS: usize = 8;

/// The longest `jti` that names a token, in bytes; a token with a longer one is named by its hash.
const MAX_TOKEN_ID_BYTES: usize = 256;

/// One way of accepting tokens.
#[derive(Debug, Clone)]
pub enum VerifierSpec {
    /// Signed JWTs.
    Jwt(JwtSpec),
    /// Encrypted session tokens of Auth.js.
    AuthJs(AuthJsSpec),
    /// Opaque tokens, asked about over HTTP.
    Introspect(IntrospectSpec),
}

/// A token that was accepted: its claims may be believed.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// From when on the same token is refused (`exp` plus the leeway), in seconds since the Unix epoch.
    pub expires_at: Option<u64>,
    /// When it was issued (`iat`), in seconds since the Unix epoch.
    pub issued_at: Option<u64>,
    /// How a revocation names it: its `jti`, else [`hash_id`].
    pub token_id: Arc<str>,
}

impl Verified {
    fn new(token: &str, claims: Claims, dates: Dates) -> Self {
        let named = claims.get("jti").and_then(|id| id.as_str());
        let token_id = match named {
            Some(id) if !id.is_empty() && id.len() <= MAX_TOKEN_ID_BYTES => id.into(),
            _ => hash_id(token),
        };
        Self { claims, expires_at: dates.expires_at, issued_at: dates.issued_at, token_id }
    }
}

/// How a token without a `jti` is named in a revocation: `sha256:` and 64 hex digits of a hash.
///
/// It is the hash of the whole token, as backends compute it; but of an ES256 or ES384 token it is the hash of what is
/// signed, because its holder can write the signature in a second way that is as valid, and must not escape by that.
#[must_use]
pub fn hash_id(token: &str) -> Arc<str> {
    let token = rewritable(token).unwrap_or(token);
    let mut id = String::with_capacity(7 + 64);
    id.push_str("sha256:");
    let hex = |digit: u8| char::from(b"0123456789abcdef"[usize::from(digit & 15)]);
    for byte in digest(&SHA256, token.as_bytes()).as_ref() {
        id.extend([hex(byte >> 4), hex(*byte)]);
    }
    id.into()
}

/// The ways in which one app accepts tokens, in the order in which they are tried. Share it; it is `Sync`.
#[derive(Debug)]
pub struct Verifier {
    ways: Vec<Way>,
}

#[derive(Debug)]
enum Way {
    Jwt(JwtVerifier),
    AuthJs(AuthJsVerifier),
    Introspect(Arc<Introspector>),
}

impl Verifier {
    /// Reads the keys of every way. `fetch` is needed only where something has to be asked over HTTP.
    ///
    /// # Errors
    /// What is wrong with the configuration; nothing is fetched yet.
    pub fn new(specs: Vec<VerifierSpec>, fetch: Option<&Arc<dyn Fetch>>) -> Result<Self, SpecError> {
        if specs.is_empty() {
            return Err(SpecError::NoVerifier);
        }
        if specs.len() > MAX_VERIFIERS {
            return Err(SpecError::TooMany { what: "verifiers", count: specs.len(), most: MAX_VERIFIERS });
        }
        let ways = specs.into_iter().map(|spec| Way::new(spec, fetch)).collect::<Result<_, _>>()?;
        Ok(Self { ways })
    }

    /// Verifies without waiting, which is all that local keys, fresh key sets and cached answers need. `None`: call
    /// [`Self::verify`]. Of a clock that can be relied on, `now` is the seconds since the Unix epoch.
    #[must_use]
    pub fn verify_now(&self, token: &str, now: impl Into<Now>) -> Option<Result<Verified, TokenError>> {
        let now = now.into();
        let mut refusal = match check_size(token) {
            Ok(()) => TokenError::Missing,
            Err(refusal) => return Some(Err(refusal)),
        };
        let mut undecided = false;
        for way in &self.ways {
            match way.verify_now(token, now) {
                Some(Ok(verified)) => return Some(Ok(verified)),
                Some(Err(other)) => refusal = refusal.max(other),
                None => undecided = true,
            }
        }
        if undecided { None } else { Some(Err(refusal)) }
    }

    /// Verifies, asking others where need be. `now`: see [`Self::verify_now`]. Call it inside a tokio runtime with a
    /// timer; what it has begun to ask, it asks to the end even when this future is dropped.
    ///
    /// # Errors
    /// The most telling reason of all ways why the token is refused.
    pub async fn verify(&self, token: &str, now: impl Into<Now>) -> Result<Verified, TokenError> {
        let now = now.into();
        if let Some(outcome) = self.verify_now(token, now) {
            return outcome;
        }
        let mut refusal = TokenError::Missing;
        for way in &self.ways {
            match way.verify(token, now).await {
                Ok(verified) => return Ok(verified),
                Err(other) => refusal = refusal.max(other),
            }
        }
        Err(refusal)
    }
}

impl Way {
    fn new(spec: VerifierSpec, fetch: Option<&Arc<dyn Fetch>>) -> Result<Self, SpecError> {
        match spec {
            VerifierSpec::Jwt(spec) => JwtVerifier::new(spec, fetch).map(Self::Jwt),
            VerifierSpec::AuthJs(spec) => AuthJsVerifier::new(&spec).map(Self::AuthJs),
            VerifierSpec::Introspect(spec) => {
                let fetch = fetch.ok_or(SpecError::NoFetch("introspection"))?;
                Introspector::new(spec, Arc::clone(fetch)).map(|asks| Self::Introspect(Arc::new(asks)))
            }
        }
    }

    fn verify_now(&self, token: &str, now: Now) -> Option<Result<Verified, TokenError>> {
        match self {
            Self::Jwt(jwt) => jwt.verify_now(token, now),
            Self::AuthJs(sessions) => Some(sessions.verify(token, now)),
            Self::Introspect(asks) => asks.verify_now(token, now),
        }
    }

    async fn verify(&self, token: &str, now: Now) -> Result<Verified, TokenError> {
        match self {
            Self::Jwt(jwt) => jwt.verify(token, now).await,
            Self::AuthJs(sessions) => sessions.verify(token, now),
            Self::Introspect(asks) => asks.verify(token, now).await,
        }
    }
}

/// Refuses what is not worth decoding.
fn check_size(token: &str) -> Result<(), TokenError> {
    match token.len() {
        0 => Err(TokenError::Missing),
        1..=MAX_TOKEN_BYTES => Ok(()),
        _ => Err(TokenError::TooLarge),
    }
}
