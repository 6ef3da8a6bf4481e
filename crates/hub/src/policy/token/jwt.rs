//! Signed tokens: JWS compact serialisation (RFC 7515, RFC 7519), read as RFC 8725 advises.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

use super::Verified;
use super::claims::{ClaimRules, Claims, parse_object};
use super::error::{SpecError, TokenError};
use super::jwks::{JwksSpec, RemoteKeys};
use super::keys::{KeySet, KeySpec, Signed};
use crate::policy::Now;
use crate::policy::fetch::Fetch;

/// What a JWT must be to be accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtSpec {
    /// The algorithms that are accepted. A key serves only those that fit its kind as well.
    pub algorithms: Vec<Algorithm>,
    /// Keys of which one must have signed; several during a rotation.
    pub keys: Vec<KeySpec>,
    /// A JWK set given as text, used beside `keys`.
    pub key_set: Option<String>,
    /// A JWK set behind a URL, used beside the others.
    pub jwks: Option<JwksSpec>,
    /// The kinds (`typ`) that are accepted, in any case; empty: any. A token that does not say its kind passes.
    pub types: Vec<String>,
    /// What is asked of the claims.
    pub rules: ClaimRules,
}

/// Verifies tokens of one [`JwtSpec`].
#[derive(Debug)]
pub(super) struct JwtVerifier {
    algorithms: Vec<Algorithm>,
    keys: KeySet,
    remote: Option<Arc<RemoteKeys>>,
    types: Vec<String>,
    rules: ClaimRules,
}

impl JwtVerifier {
    /// Reads the keys and refuses a configuration under which some setting could never matter.
    pub(super) fn new(spec: JwtSpec, fetch: Option<&Arc<dyn Fetch>>) -> Result<Self, SpecError> {
        if spec.algorithms.is_empty() {
            return Err(SpecError::NoAlgorithm);
        }
        spec.rules.validate()?;
        let mut keys = KeySet::new(&spec.keys)?;
        for key in keys.keys() {
            if !spec.algorithms.iter().any(|&algorithm| key.fits(algorithm)) {
                return Err(SpecError::UnusedKey(key.name()));
            }
        }
        if let Some(json) = &spec.key_set {
            keys.extend(KeySet::from_jwks(json.as_bytes(), true)?);
        }
        let remote = match (spec.jwks, fetch) {
            (None, _) => None,
            (Some(jwks), Some(fetch)) => Some(Arc::new(RemoteKeys::new(jwks, Arc::clone(fetch))?)),
            (Some(_), None) => return Err(SpecError::NoFetch("a JWKS URL")),
        };
        for &algorithm in &spec.algorithms {
            if remote.is_none() && !keys.keys().iter().any(|key| key.fits(algorithm)) {
                return Err(SpecError::NoKeyFor(algorithm));
            }
        }
        Ok(Self { algorithms: spec.algorithms, keys, remote, types: spec.types, rules: spec.rules })
    }

    /// Verifies with the keys at hand; `None` when newer ones have to be fetched first.
    pub(super) fn verify_now(&self, token: &str, now: Now) -> Option<Result<Verified, TokenError>> {
        self.try_verify(token, now, true)
    }

    fn try_verify(&self, token: &str, now: Now, may_ask: bool) -> Option<Result<Verified, TokenError>> {
        let jws = match Jws::parse(token, &self.algorithms) {
            Ok(jws) => jws,
            Err(refusal) => return Some(Err(refusal)),
        };
        let signature = self.check_signature(&jws.signed(), now, may_ask)?;
        Some(signature.and_then(|()| {
            let claims = jws.claims()?;
            self.check_type(jws.kind.as_deref())?;
            let dates = self.rules.check(&claims, now)?;
            Ok(Verified::new(token, claims, dates))
        }))
    }

    /// A token of another kind by the same issuer, say one that signs out, does not sign in (RFC 8725 section 3.11).
    fn check_type(&self, kind: Option<&str>) -> Result<(), TokenError> {
        let Some(kind) = kind.filter(|_| !self.types.is_empty()) else { return Ok(()) };
        // A media type, whose `application/` may be left out (RFC 7515 section 4.1.9).
        let bare = |kind: &str| match kind.split_at_checked(12) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest.to_owned(),
            _ => kind.to_owned(),
        };
        let accepted = self.types.iter().any(|own| bare(own).eq_ignore_ascii_case(&bare(kind)));
        if accepted { Ok(()) } else { Err(TokenError::WrongType) }
    }

    /// Verifies, after fetching keys if need be.
    pub(super) async fn verify(&self, token: &str, now: Now) -> Result<Verified, TokenError> {
        if let Some(outcome) = self.verify_now(token, now) {
            return outcome;
        }
        if let Some(remote) = &self.remote {
            remote.refresh(now.steady).await;
        }
        self.try_verify(token, now, false).unwrap_or(Err(TokenError::Unavailable))
    }

    /// `None`: newer keys should be fetched first, and `may_ask` says that they may be.
    fn check_signature(&self, signed: &Signed<'_>, now: Now, may_ask: bool) -> Option<Result<(), TokenError>> {
        let own = self.keys.verify(signed);
        let (Some(remote), Err(refusal)) = (&self.remote, own) else {
            return Some(own);
        };
        let keys = remote.current();
        let fetched = keys.as_ref().map_or(Err(TokenError::Unavailable), |keys| keys.verify(signed));
        let named = keys.is_some_and(|keys| keys.knows(signed.key_id));
        if may_ask && remote.is_due(now.steady, fetched.is_err() && !named) {
            return None;
        }
        Some(fetched.map_err(|other| other.max(refusal)))
    }
}

/// The parts of a signed token; nothing in it is believed yet.
#[derive(Debug)]
struct Jws<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    kind: Option<String>,
    message: &'a str,
    payload: &'a str,
    signature: &'a str,
}

impl<'a> Jws<'a> {
    /// Takes the token apart. Of the header only `alg`, `kid` and `typ` are used: keys or URLs in it (`jwk`, `jku`,
    /// `x5u`, `x5c`) are never looked at, and `crit` is refused because nothing critical is understood here.
    fn parse(token: &'a str, allowed: &[Algorithm]) -> Result<Self, TokenError> {
        let (message, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        if payload.contains('.') {
            return Err(TokenError::Malformed);
        }
        let header = parse_object(&decode(header)?)?;
        if header.contains_key("crit") {
            return Err(TokenError::Malformed);
        }
        let algorithm = header.get("alg").and_then(|alg| alg.as_str()).ok_or(TokenError::Malformed)?;
        let algorithm = Algorithm::from_str(algorithm).map_err(|_| TokenError::AlgorithmNotAllowed)?;
        if !allowed.contains(&algorithm) {
            return Err(TokenError::AlgorithmNotAllowed);
        }
        let (key_id, kind) = (key_id(&header)?, text(&header, "typ")?);
        Ok(Self { algorithm, key_id, kind, message, payload, signature })
    }

    fn signed(&self) -> Signed<'_> {
        Signed {
            algorithm: self.algorithm,
            key_id: self.key_id.as_deref(),
            message: self.message,
            signature: self.signature,
        }
    }

    fn claims(&self) -> Result<Claims, TokenError> {
        parse_object(&decode(self.payload)?)
    }
}

/// The header's `kid`, which must be a string where it is given.
pub(super) fn key_id(header: &Claims) -> Result<Option<String>, TokenError> {
    text(header, "kid")
}

/// A field of the header that must be a string where it is given.
fn text(header: &Claims, name: &str) -> Result<Option<String>, TokenError> {
    match header.get(name) {
        None => Ok(None),
        Some(text) => text.as_str().map(|text| Some(text.to_owned())).ok_or(TokenError::Malformed),
    }
}

/// What is signed of a token whose signature its holder can write in a second way that is as valid: of ECDSA, (r, −s).
/// `None`: it is no such token.
pub(super) fn rewritable(token: &str) -> Option<&str> {
    let (message, _) = token.rsplit_once('.')?;
    let (header, payload) = message.split_once('.')?;
    let header = parse_object(&decode(header).ok()?).ok()?;
    let ecdsa = header.get("alg").and_then(|alg| alg.as_str()).is_some_and(|alg| alg.starts_with("ES"));
    (!payload.contains('.') && ecdsa).then_some(message)
}

/// Base64url without padding, refusing unused bits that are not zero (RFC 7515 section 2).
pub(super) fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed)
}
