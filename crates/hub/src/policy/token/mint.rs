//! Signing tokens with a shared secret, for development and `oyez token`. Nothing else in Oyez issues credentials.

use jsonwebtoken::{Algorithm, EncodingKey, Header};

use super::claims::Claims;
use super::error::SpecError;

/// Signs `claims` as an HS256 JWT (RFC 7519). The caller sets `exp`, `iat` and the like.
///
/// # Errors
/// When the secret is empty.
pub fn mint(secret: &[u8], claims: &Claims) -> Result<String, SpecError> {
    if secret.is_empty() {
        return Err(SpecError::EmptySecret);
    }
    let key = EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(|e| SpecError::BadKey(e.to_string()))
}
