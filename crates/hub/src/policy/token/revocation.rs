//! What is no longer accepted although it verifies.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::expiring::ExpiringMap;

/// How long a revocation is kept unless told otherwise: as long as Auth.js sessions live by default, in seconds.
pub const DEFAULT_REVOCATION_SECONDS: u64 = 30 * 24 * 3600;

/// The longest token id or user that can be revoked, in bytes.
pub const MAX_REVOKED_NAME_BYTES: usize = 1024;

/// What to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revocation {
    /// One token, by its `jti` or its [`super::hash_id`].
    Token(Arc<str>),
    /// Every token of a user, whenever it was or will be issued: a ban.
    User(Arc<str>),
    /// Tokens issued before a moment, or without saying when: "sign out everywhere", a leaked secret.
    IssuedBefore {
        /// Whose tokens; `None`: everybody's.
        user: Option<Arc<str>>,
        /// The moment, in seconds since the Unix epoch. A token issued in this very second stays good.
        at: u64,
    },
}

/// Why something was not revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RevokeError {
    /// Dropping an older revocation would let somebody in again, so the new one is refused.
    #[error("too many revocations are in force ({0})")]
    Full(usize),
    /// An empty name, or one longer than [`MAX_REVOKED_NAME_BYTES`].
    #[error("the token id or user to revoke is empty or too long")]
    BadName,
}

/// Where somebody else writes down which tokens are no longer accepted.
#[async_trait]
pub trait Register: Send + Sync + fmt::Debug {
    /// Until when a token is refused, in seconds since the Unix epoch; `None`: it is not written there, or nobody answers
    /// in time.
    async fn until(&self, token: &str) -> Option<u64>;
}

/// The revocations in force. Share it; it is `Sync`. Closing live sessions is the caller's business.
#[derive(Debug)]
pub struct Revocations {
    capacity: usize,
    state: RwLock<State>,
    register: RwLock<Option<Arc<dyn Register>>>,
}

#[derive(Debug)]
struct State {
    tokens: ExpiringMap<Arc<str>, ()>,
    users: ExpiringMap<Arc<str>, ()>,
    issued_before: ExpiringMap<Arc<str>, u64>,
    /// "Issued before" for everybody, and until when that is kept.
    everybody: Option<(u64, u64)>,
}

impl Default for Revocations {
    /// Room for 100,000 of each kind.
    fn default() -> Self {
        Self::new(100_000)
    }
}

impl Revocations {
    /// Room for `capacity` tokens, as many users, and as many users' "issued before".
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let state = State {
            tokens: ExpiringMap::new(capacity),
            users: ExpiringMap::new(capacity),
            issued_before: ExpiringMap::new(capacity),
            everybody: None,
        };
        Self { capacity, state: RwLock::new(state), register: RwLock::default() }
    }

    /// Puts a revocation in force until `until`; it should be at least the `exp` of the tokens meant. Both times are
    /// in seconds since the Unix epoch. Revoking again never shortens or weakens.
    ///
    /// # Errors
    /// When there is no room, or the name cannot be one.
    pub fn revoke(&self, what: Revocation, until: u64, now: u64) -> Result<(), RevokeError> {
        let mut state = self.state.write();
        let inserted = match what {
            Revocation::Token(id) => insert(&mut state.tokens, normal(id), (), until, now),
            Revocation::User(user) => insert(&mut state.users, user, (), until, now),
            Revocation::IssuedBefore { user: Some(user), at } => insert(&mut state.issued_before, user, at, until, now),
            Revocation::IssuedBefore { user: None, at } => {
                let earlier = state.everybody.filter(|(_, end)| now < *end).unwrap_or((0, 0));
                state.everybody = Some((at.max(earlier.0), until.max(earlier.1)));
                Ok(())
            }
        };
        inserted.map_err(|refusal| refusal.unwrap_or(RevokeError::Full(self.capacity)))
    }

    /// Whether this token is revoked by its name.
    #[must_use]
    pub fn has(&self, token_id: &str, now: u64) -> bool {
        self.state.read().tokens.get(token_id, now).is_some()
    }

    /// Has this register asked about each token that is shown from now on; `None`: none.
    pub fn ask(&self, register: Option<Arc<dyn Register>>) {
        *self.register.write() = register;
    }

    /// Whether the register, if there is one, has this token; what it has is remembered as a revocation of `token_id`.
    pub async fn is_registered(&self, token: &str, token_id: &Arc<str>, now: u64) -> bool {
        let register = self.register.read().clone();
        let Some(register) = register else { return false };
        let Some(until) = register.until(token).await else { return false };
        // Where there is no room, it is asked again.
        let _ = self.revoke(Revocation::Token(Arc::clone(token_id)), until, now);
        true
    }

    /// All that are in force, each with its end.
    #[must_use]
    pub fn all(&self, now: u64) -> Vec<(Revocation, u64)> {
        let state = self.state.read();
        let tokens = state.tokens.iter(now).map(|(id, (), end)| (Revocation::Token(Arc::clone(id)), end));
        let users = state.users.iter(now).map(|(user, (), end)| (Revocation::User(Arc::clone(user)), end));
        let before = |user, at| Revocation::IssuedBefore { user, at };
        let some = state.issued_before.iter(now).map(|(user, at, end)| (before(Some(Arc::clone(user)), *at), end));
        let all = state.everybody.filter(|(_, end)| now < *end).map(|(at, end)| (before(None, at), end));
        tokens.chain(users).chain(some).chain(all).collect()
    }

    /// Whether a verified token is refused at `now`: `user` as the app knows it, `token_id` and `issued_at` of
    /// [`super::Verified`].
    #[must_use]
    pub fn is_revoked(&self, user: &str, token_id: &str, issued_at: Option<u64>, now: u64) -> bool {
        let state = self.state.read();
        let before = |at: u64| issued_at.is_none_or(|issued| issued < at);
        state.tokens.get(token_id, now).is_some()
            || state.users.get(user, now).is_some()
            || state.issued_before.get(user, now).is_some_and(|(&at, _)| before(at))
            || state.everybody.is_some_and(|(at, end)| now < end && before(at))
    }
}

/// Keeps the greater value and the later end of two. `Err(None)`: there is no room.
fn insert<V: Ord + Copy>(
    map: &mut ExpiringMap<Arc<str>, V>,
    name: Arc<str>,
    value: V,
    until: u64,
    now: u64,
) -> Result<(), Option<RevokeError>> {
    if name.is_empty() || name.len() > MAX_REVOKED_NAME_BYTES {
        return Err(Some(RevokeError::BadName));
    }
    map.purge(now);
    let (value, until) = match map.get(&name, now) {
        Some((&earlier, end)) => (value.max(earlier), until.max(end)),
        None if map.is_full() => return Err(None),
        None => (value, until),
    };
    map.insert(name, value, until);
    Ok(())
}

/// Hashes are compared in lower case, whichever tool printed them.
fn normal(id: Arc<str>) -> Arc<str> {
    if id.starts_with("sha256:") { id.to_ascii_lowercase().into() } else { id }
}
