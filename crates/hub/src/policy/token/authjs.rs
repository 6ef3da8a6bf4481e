//! Session tokens of Auth.js (v5, and NextAuth v4): JWE compact serialisation with a key derived from `AUTH_SECRET`.
//!
//! RFC 7516 with `dir` and A256CBC-HS512 (RFC 7518 section 5.2.5) or A256GCM (5.3); key derivation as in `@auth/core`'s
//! `jwt.ts`: HKDF-SHA256, salted with the cookie's name.

use std::fmt;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::{hkdf, hmac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Verified;
use super::claims::{ClaimRules, Claims, parse_object};
use super::error::{SpecError, TokenError};
use super::jwt::{decode, key_id};
use crate::policy::Now;

/// The most secrets of one app: the current one and those that are being rotated out.
pub const MAX_SECRETS: usize = 8;

/// The most cookie names of one app.
pub const MAX_COOKIE_NAMES: usize = 4;

const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// How the sessions of an Auth.js application are read.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthJsSpec {
    /// `AUTH_SECRET`, and older ones during a rotation.
    pub secrets: Vec<String>,
    /// The names of the session cookie, which salt the key.
    pub cookie_names: Vec<String>,
    /// How far the clocks may differ, in seconds; Auth.js itself allows 15.
    pub leeway_seconds: u64,
}

impl AuthJsSpec {
    /// The cookie names and the leeway that Auth.js has unless told otherwise.
    #[must_use]
    pub fn new(secrets: Vec<String>) -> Self {
        let cookie_names = ["authjs.session-token", "__Secure-authjs.session-token"].map(str::to_owned).to_vec();
        Self { secrets, cookie_names, leeway_seconds: 15 }
    }
}

impl fmt::Debug for AuthJsSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthJsSpec")
            .field("secrets", &self.secrets.len())
            .field("cookie_names", &self.cookie_names)
            .field("leeway_seconds", &self.leeway_seconds)
            .finish()
    }
}

/// Reads sessions of one [`AuthJsSpec`].
#[derive(Debug)]
pub(super) struct AuthJsVerifier {
    keys: Vec<SessionKey>,
    rules: ClaimRules,
}

impl AuthJsVerifier {
    /// Derives the keys of every secret and cookie name.
    pub(super) fn new(spec: &AuthJsSpec) -> Result<Self, SpecError> {
        if spec.secrets.is_empty() || spec.secrets.iter().any(String::is_empty) {
            return Err(SpecError::EmptySecret);
        }
        for (what, count, most) in
            [("secrets", spec.secrets.len(), MAX_SECRETS), ("cookie names", spec.cookie_names.len(), MAX_COOKIE_NAMES)]
        {
            if count > most {
                return Err(SpecError::TooMany { what, count, most });
            }
        }
        let rules = ClaimRules { leeway_seconds: spec.leeway_seconds, require_expiry: true, ..ClaimRules::default() };
        rules.validate()?;
        let mut keys = Vec::new();
        for secret in spec.secrets.iter().map(String::as_bytes) {
            for name in &spec.cookie_names {
                let info = format!("Auth.js Generated Encryption Key ({name})");
                keys.push(SessionKey::cbc_hs512(&derive::<64>(secret, name, &info)));
                keys.push(SessionKey::gcm(&derive::<32>(secret, name, &info)));
            }
            keys.push(SessionKey::gcm(&derive::<32>(secret, "", "NextAuth.js Generated Encryption Key")));
        }
        let keys = keys.into_iter().collect::<Result<_, _>>();
        Ok(Self { keys: keys.map_err(|Unspecified| SpecError::BadKey("key derivation failed".into()))?, rules })
    }

    /// Decrypts a session and checks its dates at `now`.
    pub(super) fn verify(&self, token: &str, now: Now) -> Result<Verified, TokenError> {
        let claims = self.decrypt(&Jwe::parse(token)?)?;
        let dates = self.rules.check(&claims, now)?;
        Ok(Verified::new(token, claims, dates))
    }

    /// A `kid` selects the key, as in `@auth/core`; without one all keys of the encryption are tried.
    fn decrypt(&self, jwe: &Jwe<'_>) -> Result<Claims, TokenError> {
        let mut refusal = TokenError::UnknownKey;
        for key in self.keys.iter().filter(|key| key.encryption() == jwe.encryption) {
            if jwe.key_id.as_ref().is_none_or(|id| *id == key.thumbprint) {
                match key.open(jwe) {
                    Ok(plain) => return parse_object(&plain),
                    Err(Unspecified) => refusal = TokenError::BadSignature,
                }
            }
        }
        Err(refusal)
    }
}

/// HKDF-SHA256 (RFC 5869).
fn derive<const LENGTH: usize>(secret: &[u8], salt: &str, info: &str) -> [u8; LENGTH] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut key = [0; LENGTH];
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, salt.as_bytes()).extract(secret);
    let filled = prk.expand(&[info.as_bytes()], Length(LENGTH)).and_then(|okm| okm.fill(&mut key));
    // It fails only for keys beyond 255 times 32 bytes.
    assert!(filled.is_ok(), "an HKDF key of {LENGTH} bytes");
    key
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encryption {
    A256CbcHs512,
    A256Gcm,
}

/// A derived key and the `kid` that Auth.js gives it: its JWK thumbprint (RFC 7638).
#[derive(Debug)]
struct SessionKey {
    thumbprint: String,
    cipher: Cipher,
}

enum Cipher {
    CbcHs512(Box<(hmac::Key, PaddedBlockDecryptingKey)>),
    Gcm(LessSafeKey),
}

impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

impl SessionKey {
    /// The first half authenticates, the second encrypts (RFC 7518 section 5.2.2.1).
    fn cbc_hs512(key: &[u8; 64]) -> Result<Self, Unspecified> {
        let (mac, aes) = key.split_at(32);
        let mac = hmac::Key::new(hmac::HMAC_SHA512, mac);
        let aes = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, aes)?)?;
        let cipher = Cipher::CbcHs512(Box::new((mac, aes)));
        Ok(Self { thumbprint: thumbprint(&SHA512, key), cipher })
    }

    fn gcm(key: &[u8; 32]) -> Result<Self, Unspecified> {
        let cipher = Cipher::Gcm(LessSafeKey::new(UnboundKey::new(&aead::AES_256_GCM, key)?));
        Ok(Self { thumbprint: thumbprint(&SHA256, key), cipher })
    }

    fn encryption(&self) -> Encryption {
        match self.cipher {
            Cipher::CbcHs512(_) => Encryption::A256CbcHs512,
            Cipher::Gcm(_) => Encryption::A256Gcm,
        }
    }

    /// Authenticates, then decrypts.
    fn open(&self, jwe: &Jwe<'_>) -> Result<Vec<u8>, Unspecified> {
        let mut text = jwe.ciphertext.clone();
        let aad = jwe.header.as_bytes();
        let plain = match &self.cipher {
            Cipher::Gcm(key) => {
                let nonce = Nonce::try_assume_unique_for_key(&jwe.iv)?;
                text.extend_from_slice(&jwe.tag);
                key.open_in_place(nonce, Aad::from(aad), &mut text)?.len()
            }
            Cipher::CbcHs512(keys) => {
                let (mac, aes) = &**keys;
                let iv: [u8; IV_BYTES] = jwe.iv.as_slice().try_into().map_err(|_| Unspecified)?;
                let mut tag = hmac::Context::with_key(mac);
                tag.update(aad);
                tag.update(&iv);
                tag.update(&text);
                tag.update(&(aad.len() as u64 * 8).to_be_bytes());
                verify_slices_are_equal(&tag.sign().as_ref()[..TAG_BYTES], &jwe.tag)?;
                aes.decrypt(&mut text, DecryptionContext::Iv128((&iv).into()))?.len()
            }
        };
        text.truncate(plain);
        Ok(text)
    }
}

fn thumbprint(hash: &'static aws_lc_rs::digest::Algorithm, key: &[u8]) -> String {
    let jwk = format!(r#"{{"k":"{}","kty":"oct"}}"#, URL_SAFE_NO_PAD.encode(key));
    URL_SAFE_NO_PAD.encode(digest(hash, jwk.as_bytes()))
}

/// The parts of an encrypted token.
struct Jwe<'a> {
    encryption: Encryption,
    key_id: Option<String>,
    /// As sent: it is what the tag authenticates.
    header: &'a str,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

impl<'a> Jwe<'a> {
    fn parse(token: &'a str) -> Result<Self, TokenError> {
        let mut parts = token.split('.');
        let mut part = || parts.next().ok_or(TokenError::Malformed);
        let (header, wrapped_key, iv, ciphertext, tag) = (part()?, part()?, part()?, part()?, part()?);
        // With `dir` there is no wrapped key (RFC 7518 section 4.5).
        if parts.next().is_some() || !wrapped_key.is_empty() {
            return Err(TokenError::Malformed);
        }
        let fields = parse_object(&decode(header)?)?;
        if fields.contains_key("crit") || fields.contains_key("zip") {
            return Err(TokenError::Malformed);
        }
        let text = |name: &str| fields.get(name).and_then(|value| value.as_str()).ok_or(TokenError::Malformed);
        let encryption = match (text("alg")?, text("enc")?) {
            ("dir", "A256CBC-HS512") => Encryption::A256CbcHs512,
            ("dir", "A256GCM") => Encryption::A256Gcm,
            _ => return Err(TokenError::AlgorithmNotAllowed),
        };
        let key_id = key_id(&fields)?;
        Ok(Self { encryption, key_id, header, iv: decode(iv)?, ciphertext: decode(ciphertext)?, tag: decode(tag)? })
    }
}
