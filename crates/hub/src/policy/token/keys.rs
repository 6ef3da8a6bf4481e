//! Keys that verify signatures: each knows which algorithms it may serve, so a public key can never be used as a
//! shared secret (RFC 8725 section 3.1).

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind};
use serde_json::Value;

use super::error::{SpecError, TokenError};

/// The most keys that are configured for one verifier, and the most that are tried for one token.
pub const MAX_KEYS: usize = 16;

/// The most keys that are kept from one key set.
pub const MAX_KEY_SET: usize = 64;

/// The modulus of an RSA key, in bytes: 2048 to 8192 bits.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The fewest bytes that a shared secret for `algorithm` should have: as many as its hash (RFC 7518 section 3.2). A
/// shorter one can be found by trying, from a single token. 0 for algorithms with public keys.
#[must_use]
pub fn least_secret_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        _ => 0,
    }
}

/// One key as the configuration gives it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// The key itself.
    pub material: KeyMaterial,
    /// The `kid` that selects it; a JWK's own `kid` is used when this is `None`.
    pub id: Option<String>,
}

/// What a key is made of.
#[derive(Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// A shared secret for HS256, HS384, HS512.
    Secret(Vec<u8>),
    /// A public key or certificate in PEM: RSA (PKCS#1 or SPKI), P-256, P-384 or Ed25519.
    Pem(String),
    /// A JSON Web Key (RFC 7517), possibly a shared secret (`oct`).
    Jwk(String),
}

impl KeySpec {
    /// A shared secret without a `kid`.
    #[must_use]
    pub fn secret(secret: impl Into<Vec<u8>>) -> Self {
        Self { material: KeyMaterial::Secret(secret.into()), id: None }
    }

    /// A PEM public key without a `kid`.
    #[must_use]
    pub fn pem(pem: impl Into<String>) -> Self {
        Self { material: KeyMaterial::Pem(pem.into()), id: None }
    }
}

impl fmt::Debug for KeySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySpec").field("material", &self.material).field("id", &self.id).finish()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret(..)",
            Self::Pem(_) => "Pem(..)",
            Self::Jwk(_) => "Jwk(..)",
        })
    }
}

/// A key that is ready to verify.
#[derive(Debug, Clone)]
pub(super) struct VerifyingKey {
    id: Option<Arc<str>>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    /// The key of HS256, ready for use: setting it up for each token would take longer than checking it.
    hs256: Option<hmac::Key>,
}

impl VerifyingKey {
    /// Reads a configured key.
    pub(super) fn new(spec: &KeySpec) -> Result<Self, SpecError> {
        let mut key = match &spec.material {
            KeyMaterial::Secret(secret) => Self::from_secret(secret)?,
            KeyMaterial::Pem(pem) => Self::from_pem(pem)?,
            KeyMaterial::Jwk(json) => {
                let value = serde_json::from_str(json).map_err(|e| SpecError::BadKey(e.to_string()))?;
                Self::from_jwk(value)?
            }
        };
        key.id = spec.id.as_deref().map(Arc::from).or(key.id);
        Ok(key)
    }

    fn from_secret(secret: &[u8]) -> Result<Self, SpecError> {
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(SpecError::PemAsSecret);
        }
        Self::checked(DecodingKey::from_secret(secret))
    }

    fn from_pem(pem: &str) -> Result<Self, SpecError> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(SpecError::PrivateKey);
        }
        let bytes = pem.as_bytes();
        let key = DecodingKey::from_ec_pem(bytes)
            .or_else(|_| DecodingKey::from_ed_pem(bytes))
            .or_else(|_| DecodingKey::from_rsa_pem(bytes))
            .map_err(|_| SpecError::BadKey("not a PEM public key (RSA, P-256, P-384 or Ed25519)".to_owned()))?;
        Self::checked(key)
    }

    /// Reads a JWK that may be used to verify; its `alg`, where given, is the only algorithm it serves.
    fn from_jwk(value: Value) -> Result<Self, SpecError> {
        let bad = |why: &str| SpecError::BadKey(why.to_owned());
        let jwk: Jwk = serde_json::from_value(value).map_err(|e| SpecError::BadKey(e.to_string()))?;
        let common = &jwk.common;
        if common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
            return Err(bad("its `use` is not `sig`"));
        }
        if common.key_operations.as_ref().is_some_and(|ops| !ops.contains(&KeyOperations::Verify)) {
            return Err(bad("its `key_ops` do not contain `verify`"));
        }
        if let AlgorithmParameters::OctetKeyPair(pair) = &jwk.algorithm
            && pair.curve != jsonwebtoken::jwk::EllipticCurve::Ed25519
        {
            return Err(bad("its curve is not supported"));
        }
        let mut key = Self::checked(DecodingKey::from_jwk(&jwk).map_err(|_| bad("its kind is not supported"))?)?;
        if let Some(named) = common.key_algorithm {
            key.algorithms.retain(|algorithm| named == (*algorithm).into());
            if key.algorithms.is_empty() {
                return Err(bad("its `alg` does not fit its kind"));
            }
        }
        key.retain_long_enough();
        if key.algorithms.is_empty() {
            return Err(bad("its secret is shorter than the hash of its algorithm"));
        }
        key.id = common.key_id.as_deref().map(Arc::from);
        Ok(key)
    }

    /// A shared secret serves only algorithms for which it is long enough.
    fn retain_long_enough(&mut self) {
        if let (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) = (self.key.family(), self.key.kind()) {
            let bytes = secret.len();
            self.algorithms.retain(|&algorithm| bytes >= least_secret_bytes(algorithm));
        }
    }

    /// Parses the key once, so that a bad one is a configuration error and not a login that never works, and says
    /// which algorithms it may serve.
    fn checked(key: DecodingKey) -> Result<Self, SpecError> {
        let algorithms = match (key.family(), key.kind()) {
            (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) if secret.is_empty() => {
                return Err(SpecError::EmptySecret);
            }
            (AlgorithmFamily::Ec, DecodingKeyKind::SecretOrDer(point)) => {
                if ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok() {
                    vec![Algorithm::ES256]
                } else if ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).is_ok() {
                    vec![Algorithm::ES384]
                } else {
                    return Err(SpecError::BadKey("not a point of P-256 or P-384".to_owned()));
                }
            }
            (AlgorithmFamily::Ed, DecodingKeyKind::SecretOrDer(point))
                if ParsedPublicKey::new(&ED25519, point).is_err() =>
            {
                return Err(SpecError::BadKey("not an Ed25519 key".to_owned()));
            }
            (AlgorithmFamily::Rsa, _) if !RSA_MODULUS_BYTES.contains(&modulus_bytes(&key)) => {
                return Err(SpecError::BadKey("not an RSA key of 2048 to 8192 bits".to_owned()));
            }
            (family, _) => family.algorithms().to_vec(),
        };
        let hs256 = match (key.family(), key.kind()) {
            (AlgorithmFamily::Hmac, DecodingKeyKind::SecretOrDer(secret)) => {
                Some(hmac::Key::new(hmac::HMAC_SHA256, secret))
            }
            _ => None,
        };
        Ok(Self { id: None, algorithms, key, hs256 })
    }

    /// Whether this key may serve `algorithm`.
    pub(super) fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// How a message names this key.
    pub(super) fn name(&self) -> String {
        self.id.as_deref().map_or_else(|| format!("({:?})", self.key.family()), |id| format!("`{id}`"))
    }

    fn is_named(&self, id: Option<&str>) -> bool {
        id.is_some() && self.id.as_deref() == id
    }

    fn verifies(&self, signed: &Signed<'_>) -> bool {
        if let (Algorithm::HS256, Some(key)) = (signed.algorithm, &self.hs256) {
            let tag = super::jwt::decode(signed.signature);
            return tag.is_ok_and(|tag| hmac::verify(key, signed.message.as_bytes(), &tag).is_ok());
        }
        jsonwebtoken::crypto::verify(signed.signature, signed.message.as_bytes(), &self.key, signed.algorithm)
            .unwrap_or(false)
    }
}

/// The length of an RSA key's modulus; 0 when the key cannot be read.
fn modulus_bytes(key: &DecodingKey) -> usize {
    match Jwk::from_decoding_key(key, None).map(|jwk| jwk.algorithm) {
        Ok(AlgorithmParameters::RSA(rsa)) => {
            let modulus = super::jwt::decode(&rsa.n).unwrap_or_default();
            modulus.iter().skip_while(|&&byte| byte == 0).count()
        }
        _ => 0,
    }
}

/// What a signature is checked against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signed<'a> {
    /// The algorithm that the header names, already known to be allowed.
    pub(super) algorithm: Algorithm,
    /// The `kid` that the header names.
    pub(super) key_id: Option<&'a str>,
    /// Encoded header, dot, encoded payload.
    pub(super) message: &'a str,
    /// The encoded signature.
    pub(super) signature: &'a str,
}

/// Keys of which one may verify a token.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet(Vec<VerifyingKey>);

impl KeySet {
    /// Reads the configured keys.
    pub(super) fn new(specs: &[KeySpec]) -> Result<Self, SpecError> {
        if specs.len() > MAX_KEYS {
            return Err(SpecError::TooMany { what: "keys", count: specs.len(), most: MAX_KEYS });
        }
        specs.iter().map(VerifyingKey::new).collect::<Result<_, _>>().map(Self)
    }

    /// Reads a JWK set (RFC 7517 section 5). Keys that cannot verify anything here are passed over, as the RFC asks;
    /// so are shared secrets unless `secrets_allowed`, for what is fetched over the network is not a secret.
    pub(super) fn from_jwks(json: &[u8], secrets_allowed: bool) -> Result<Self, SpecError> {
        let bad = |why: &str| SpecError::BadKeySet(why.to_owned());
        let mut set: Value = serde_json::from_slice(json).map_err(|e| SpecError::BadKeySet(e.to_string()))?;
        let Some(Value::Array(keys)) = set.get_mut("keys").map(Value::take) else {
            return Err(bad("it has no `keys` list"));
        };
        let usable: Vec<_> = keys
            .into_iter()
            .filter_map(|key| VerifyingKey::from_jwk(key).ok())
            .filter(|key| secrets_allowed || key.key.family() != AlgorithmFamily::Hmac)
            .take(MAX_KEY_SET)
            .collect();
        if usable.is_empty() {
            return Err(bad("it has no usable key"));
        }
        Ok(Self(usable))
    }

    /// Adds the keys of another set.
    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The keys.
    pub(super) fn keys(&self) -> &[VerifyingKey] {
        &self.0
    }

    /// Whether a key has this `kid`.
    pub(super) fn knows(&self, id: Option<&str>) -> bool {
        self.0.iter().any(|key| key.is_named(id))
    }

    /// Checks the signature. A `kid` that names a key selects it; a missing or unknown one tries every key that fits
    /// the algorithm, up to [`MAX_KEYS`].
    pub(super) fn verify(&self, signed: &Signed<'_>) -> Result<(), TokenError> {
        let fitting = || self.0.iter().filter(|key| key.fits(signed.algorithm));
        let named = fitting().any(|key| key.is_named(signed.key_id));
        let verified = fitting()
            .filter(|key| !named || key.is_named(signed.key_id))
            .take(MAX_KEYS)
            .any(|key| key.verifies(signed));
        match (verified, named || (signed.key_id.is_none() && fitting().next().is_some())) {
            (true, _) => Ok(()),
            (false, true) => Err(TokenError::BadSignature),
            (false, false) => Err(TokenError::UnknownKey),
        }
    }
}
