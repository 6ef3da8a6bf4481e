//! Why a token is refused, and why a verifier cannot be built.

use jsonwebtoken::Algorithm;
use oyez_protocol::code::Code;
use thiserror::Error;

/// Why a token is refused.
///
/// Neither the word nor the message ever contains the token or a claim's value, so both may go to the client and
/// into the log. The variants are ordered from "not even looked at" to "genuine, but": when several verifiers refuse
/// the same token, the greatest reason is the one worth telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum TokenError {
    /// There is no token.
    #[error("authentication token is missing")]
    Missing,
    /// It is longer than [`super::MAX_TOKEN_BYTES`]; it was not decoded.
    #[error("authentication token is too large")]
    TooLarge,
    /// It is not what any configured verifier reads: wrong number of parts, bad base64url or JSON, a name given
    /// twice, a critical header, a claim of the wrong type.
    #[error("authentication token is malformed")]
    Malformed,
    /// Its header names an algorithm that the configuration does not allow (`none` is never allowed).
    #[error("authentication token uses an algorithm that is not allowed")]
    AlgorithmNotAllowed,
    /// No configured key has its `kid` or fits its algorithm.
    #[error("authentication token is signed with an unknown key")]
    UnknownKey,
    /// The signature or the authentication tag is wrong.
    #[error("authentication token has an invalid signature")]
    BadSignature,
    /// Whoever has to say whether it is good cannot be reached. Refused, but worth another try.
    #[error("authentication is temporarily unavailable")]
    Unavailable,
    /// The issuer says that it is not active.
    #[error("authentication token is not active")]
    Inactive,
    /// It has no `exp`, and the configuration asks for one.
    #[error("authentication token has no expiry")]
    MissingExpiry,
    /// `typ` is not in the list: it was issued for another purpose.
    #[error("authentication token is of another kind")]
    WrongType,
    /// `iss` is missing or not in the list.
    #[error("authentication token is from another issuer")]
    WrongIssuer,
    /// `aud` is missing or names nobody in the list.
    #[error("authentication token is for another audience")]
    WrongAudience,
    /// `nbf` or `iat` lies in the future.
    #[error("authentication token is not valid yet")]
    NotYetValid,
    /// `exp` is over.
    #[error("authentication token has expired")]
    Expired {
        /// The `exp` claim, in seconds since the Unix epoch.
        at: u64,
    },
    /// It was revoked, or its user was (see [`super::Revocations`]).
    #[error("authentication token has been revoked")]
    Revoked,
}

impl TokenError {
    /// A short word that never changes, for logs, metrics and clients.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::Unavailable => "unavailable",
            Self::Inactive => "inactive",
            Self::MissingExpiry => "missing_expiry",
            Self::WrongType => "wrong_type",
            Self::WrongIssuer => "wrong_issuer",
            Self::WrongAudience => "wrong_audience",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired { .. } => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// What its holder hears: of a genuine token, what helps to get a better one; of any other, not what is wrong with it.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::Missing => Code::Unauthorized,
            Self::Unavailable => Code::Unavailable,
            Self::Expired { .. } => Code::ExpiredToken,
            Self::Revoked => Code::RevokedToken,
            _ => Code::InvalidToken,
        }
    }
}

/// Why a verifier cannot be built: a mistake in the configuration, said so that it can be mended. Never contains a
/// secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// No verifier at all.
    #[error("no way to verify a token is configured")]
    NoVerifier,
    /// `algorithms` is empty.
    #[error("no algorithm is allowed; name at least one, for example HS256")]
    NoAlgorithm,
    /// An allowed algorithm that no key can serve.
    #[error("algorithm {0:?} is allowed, but no key fits it")]
    NoKeyFor(Algorithm),
    /// A key that no allowed algorithm uses.
    #[error("key {0} fits none of the allowed algorithms")]
    UnusedKey(String),
    /// A secret of no bytes verifies anything.
    #[error("the secret is empty")]
    EmptySecret,
    /// A PEM text where a shared secret belongs: with it, anybody who knows the public key could sign.
    #[error("the secret is a PEM text; give it as a public key instead")]
    PemAsSecret,
    /// A private key where a public one belongs.
    #[error("the key is a private key; give the public key")]
    PrivateKey,
    /// A key that cannot be read or is of no supported kind.
    #[error("the key cannot be used: {0}")]
    BadKey(String),
    /// A key set that cannot be read.
    #[error("the key set cannot be used: {0}")]
    BadKeySet(String),
    /// More than can be tried for one token.
    #[error("too many {what}: {count}, at most {most}")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// Not an `http://` or `https://` URL.
    #[error("not an http or https URL: {0}")]
    BadUrl(String),
    /// A number outside its bounds.
    #[error("{what} must be between {least} and {most}, not {value}")]
    OutOfBounds {
        /// The setting.
        what: &'static str,
        /// What was given.
        value: u64,
        /// The smallest value.
        least: u64,
        /// The greatest value.
        most: u64,
    },
    /// A verifier that has to ask over HTTP, in a program that gave it no client.
    #[error("{0} needs an HTTP client, and none is available here")]
    NoFetch(&'static str),
}

/// `Ok` when `value` lies between `least` and `most`, both included.
pub(super) fn within(what: &'static str, value: u64, least: u64, most: u64) -> Result<(), SpecError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SpecError::OutOfBounds { what, value, least, most })
}
