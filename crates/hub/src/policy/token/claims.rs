//! Reading claims strictly, and checking those that every verifier checks (RFC 7519 section 4.1).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::error::{SpecError, TokenError, within};
use crate::policy::Now;

/// What a token says. Only [`super::Verified`] vouches for it.
pub type Claims = Map<String, Value>;

/// The longest leeway that may be configured, in seconds.
pub const MAX_LEEWAY_SECONDS: u64 = 600;

/// How far `iat` may lie ahead even without leeway. It grants nothing, unlike `exp` and `nbf`, and two clocks of one
/// deployment easily differ by a second, just when a token is fresh.
const ISSUED_AT_SKEW_SECONDS: u64 = 5;

/// What is asked of the registered claims. The default asks only that `exp`, `nbf` and `iat`, where present, fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimRules {
    /// The issuers (`iss`) that are accepted; empty: any, or none.
    pub issuers: Vec<String>,
    /// The audiences (`aud`), of which the token must name one; empty: any, or none.
    pub audiences: Vec<String>,
    /// How far the clocks may differ, in seconds; at most [`MAX_LEEWAY_SECONDS`].
    pub leeway_seconds: u64,
    /// Whether a token without `exp` is refused.
    pub require_expiry: bool,
}

/// The dates of a token that passed, in seconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dates {
    /// `exp` plus the leeway: from then on the same token is refused.
    pub(super) expires_at: Option<u64>,
    /// `iat`.
    pub(super) issued_at: Option<u64>,
}

impl ClaimRules {
    /// Refuses settings that make no sense.
    pub(super) fn validate(&self) -> Result<(), SpecError> {
        within("leeway", self.leeway_seconds, 0, MAX_LEEWAY_SECONDS)
    }

    /// Checks dates, issuer and audience at `now`.
    pub(super) fn check(&self, claims: &Claims, now: Now) -> Result<Dates, TokenError> {
        let expiry = numeric_date(claims, "exp", f64::floor)?;
        let not_before = numeric_date(claims, "nbf", f64::ceil)?;
        let issued_at = numeric_date(claims, "iat", f64::floor)?;
        let expires_at = expiry.map(|at| at.saturating_add(self.leeway_seconds));
        if let (Some(at), Some(limit)) = (expiry, expires_at)
            && now.latest >= limit
        {
            return Err(TokenError::Expired { at });
        }
        if expiry.is_none() && self.require_expiry {
            return Err(TokenError::MissingExpiry);
        }
        let skew = self.leeway_seconds.max(ISSUED_AT_SKEW_SECONDS);
        if not_before.is_some_and(|at| at > now.earliest.saturating_add(self.leeway_seconds))
            // A token that is made after the clock was set right is no worse for that.
            || issued_at.is_some_and(|at| at > now.latest.saturating_add(skew))
        {
            return Err(TokenError::NotYetValid);
        }
        if !self.issuers.is_empty() && !names_one(claims.get("iss"), &self.issuers, false) {
            return Err(TokenError::WrongIssuer);
        }
        if !self.audiences.is_empty() && !names_one(claims.get("aud"), &self.audiences, true) {
            return Err(TokenError::WrongAudience);
        }
        Ok(Dates { expires_at, issued_at })
    }
}

/// Whether a claim is one of `accepted`; `aud` may also be a list of which one is enough.
fn names_one(claim: Option<&Value>, accepted: &[String], list_allowed: bool) -> bool {
    let is_accepted = |value: &Value| value.as_str().is_some_and(|v| accepted.iter().any(|a| a == v));
    match claim {
        Some(Value::Array(values)) if list_allowed => values.iter().any(is_accepted),
        Some(value) => is_accepted(value),
        None => false,
    }
}

/// A `NumericDate`: seconds since the epoch, possibly with a fraction (RFC 7519 section 2).
fn numeric_date(claims: &Claims, name: &str, round: fn(f64) -> f64) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds));
    }
    match value.as_f64() {
        // `as` saturates, and a date beyond u64 is as good as the last one.
        #[expect(clippy::cast_possible_truncation)]
        Some(seconds) if seconds >= 0.0 => Ok(Some(round(seconds) as u64)),
        _ => Err(TokenError::Malformed),
    }
}

/// Reads one JSON object in which no name occurs twice, at any depth: two readers that keep different ones of a pair
/// would disagree about who the user is.
pub(super) fn parse_object(json: &[u8]) -> Result<Claims, TokenError> {
    match serde_json::from_slice(json) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        _ => Err(TokenError::Malformed),
    }
}

/// A JSON value without repeated names. Nesting is bounded by serde_json (128 levels).
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some((name, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a name occurs twice"));
            }
        }
        Ok(Value::Object(object))
    }
}
