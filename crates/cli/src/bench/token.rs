//! Who the clients of a benchmark are.

use std::time::{SystemTime, UNIX_EPOCH};

use oyez_hub::policy::token::mint;
use serde_json::{Map, Value};

use super::template::{Template, Values};
use crate::failure::Failure;

/// How long a token is good, in seconds: longer than any benchmark runs.
const LIFETIME: u64 = 86_400;

/// Where tokens come from.
pub(crate) enum Tokens {
    /// There are none.
    None,
    /// All clients have the same.
    Fixed(String),
    /// Each has one of its own, signed with HS256.
    Minted {
        /// The secret.
        secret: String,
        /// The claims, as JSON with places to fill in.
        claims: Template,
    },
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// The token of a client; empty when there is none.
    pub(super) fn token(&self, i: usize) -> Result<String, Failure> {
        match self {
            Self::None => Ok(String::new()),
            Self::Fixed(token) => Ok(token.clone()),
            Self::Minted { secret, claims } => {
                let text = claims.text(&Values { i, ..Values::default() });
                let mut claims: Map<String, Value> = serde_json::from_str(&text)
                    .map_err(|error| Failure::new(format!("--claims is no JSON object: {error}")))?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
                claims.entry("iat").or_insert(now.into());
                claims.entry("exp").or_insert((now + LIFETIME).into());
                mint(secret.as_bytes(), &claims).map_err(|error| Failure::new(error.to_string()))
            }
        }
    }
}
