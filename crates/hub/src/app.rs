//! One tenant: who its users are, what they may do, what it says to them. Nothing crosses from one app to another.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::code::Code;
use parking_lot::RwLock;

use crate::address::{Address, AppId};
use crate::backend::Backend;
use crate::command::Select;
use crate::dialect::{Dialect, Moment};
use crate::handler::Handlers;
use crate::lifecycle::Rules as LifecycleRules;
use crate::policy::identity::{IdentityRule, RightsPool};
use crate::policy::limits::{Rate, Usage};
use crate::policy::token::{Revocations, TokenError, Verifier, hash_id};
use crate::policy::{Identity, Now, Policy};
use crate::promise::{EventRule, InboxRules};
use crate::recovery::{Change, Log, Order, Recovery};
use crate::source::Source;

/// How an app learns who somebody is.
pub struct Credentials {
    /// Whether a token is genuine.
    pub verifier: Arc<Verifier>,
    /// Whose it is.
    pub rule: IdentityRule,
    /// Tokens that are good but no longer wanted.
    pub revocations: Arc<Revocations>,
    /// What clients hear that show no token.
    pub missing: String,
    /// What clients hear whose token is not accepted.
    pub invalid: String,
    /// What clients hear whose token names no user.
    pub unknown: String,
    rights: Arc<RightsPool>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

/// Why somebody is not let in: a word for logs, a code and a message for the client, none with the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For logs and metrics.
    pub word: &'static str,
    /// For the client's program.
    pub code: Code,
    /// For the client, in the app's words.
    pub message: String,
}

impl Credentials {
    /// From its parts; nothing is revoked yet. `messages`: for a missing, an unaccepted and a nameless token.
    #[must_use]
    pub fn new(verifier: Verifier, rule: IdentityRule, messages: [String; 3]) -> Self {
        let [missing, invalid, unknown] = messages;
        Self {
            verifier: Arc::new(verifier),
            rule,
            revocations: Arc::default(),
            missing,
            invalid,
            unknown,
            rights: Arc::default(),
        }
    }

    /// Verifies a token and reads whose it is. Of a clock that can be relied on, `now` is the seconds since the Unix
    /// epoch. Cancel-safe.
    ///
    /// # Errors
    /// Why not.
    pub async fn identify(&self, token: Option<&str>, now: impl Into<Now>) -> Result<Arc<Identity>, Refusal> {
        let now = now.into();
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(refusal(TokenError::Missing, &self.missing));
        };
        let refuse = |error| refusal(error, &self.invalid);
        let verified = match self.verifier.verify_now(token, now) {
            Some(outcome) => outcome,
            None => self.verifier.verify(token, now).await,
        };
        let verified = verified.map_err(refuse)?;
        let identity = self.rule.identify(&verified.claims, verified.token_id, verified.issued_at, verified.expires_at);
        let unknown = || Refusal { word: "unknown_user", code: Code::InvalidToken, message: self.unknown.clone() };
        let mut identity = identity.map_err(|_| unknown())?;
        let listed = || self.revocations.is_registered(token, &identity.token_id, now.earliest);
        if self.is_revoked(&identity, now.earliest) || listed().await {
            return Err(refuse(TokenError::Revoked));
        }
        identity.rights = self.rights.intern(identity.rights);
        Ok(Arc::new(identity))
    }

    /// How a revocation names a token: only one that verifies is believed about its `jti`.
    pub async fn name_of(&self, token: &str, now: impl Into<Now>) -> Arc<str> {
        self.verifier.verify(token, now).await.map_or_else(|_| hash_id(token), |verified| verified.token_id)
    }

    /// Forgets rights that nobody holds any more.
    pub(crate) fn shrink(&self) {
        self.rights.shrink();
    }

    /// Whether the credential behind an identity is no longer wanted.
    #[must_use]
    pub fn is_revoked(&self, identity: &Identity, now: u64) -> bool {
        self.revocations.is_revoked(&identity.user, &identity.token_id, identity.issued_at, now)
    }
}

fn refusal(error: TokenError, message: &str) -> Refusal {
    Refusal { word: error.word(), code: error.code(), message: message.to_owned() }
}

/// What happens when a user has as many connections as the app allows, and makes one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUserFull {
    /// The new one is refused.
    #[default]
    RefuseNew,
    /// The oldest one is closed.
    CloseOldest,
}

/// How much its clients may ask for. `None`: any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppLimits {
    /// Connections to the app.
    pub connections: Option<usize>,
    /// Connections of one user; who has no name is nobody's other connection.
    pub connections_per_user: Option<usize>,
    /// What happens when there is one too many of those.
    pub when_user_full: WhenUserFull,
    /// Channels that one session may be in because it asked for them; what handlers have it join is not counted.
    pub channels_per_session: Option<usize>,
    /// Connections from one address.
    pub connections_per_address: Option<usize>,
    /// Attempts to connect from one address.
    pub connects: Option<Rate>,
    /// Events of one session.
    pub events: Option<Rate>,
    /// Events of all sessions.
    pub app_events: Option<Rate>,
    /// Levels of JSON in an argument of an event, or in a frame.
    pub json_depth: Option<usize>,
}

impl Default for AppLimits {
    /// What holds unless it is said otherwise, in a file as in Rust.
    fn default() -> Self {
        Self {
            connections_per_user: Some(20),
            channels_per_session: Some(200),
            connections_per_address: Some(200),
            connects: Some(Rate::new(50, 50)),
            events: Some(Rate::new(100, 200)),
            json_depth: Some(64),
            ..Self::none()
        }
    }
}

impl AppLimits {
    /// No limits: for clients that all are your own.
    #[must_use]
    pub fn none() -> Self {
        Self {
            connections: None,
            connections_per_user: None,
            when_user_full: WhenUserFull::RefuseNew,
            channels_per_session: None,
            connections_per_address: None,
            connects: None,
            events: None,
            app_events: None,
            json_depth: None,
        }
    }

    /// How many connections a user keeps, the newest, if the oldest ones are closed for them.
    #[must_use]
    pub fn newest_of_user(&self) -> Option<usize> {
        self.connections_per_user.filter(|_| self.when_user_full == WhenUserFull::CloseOldest)
    }
}

/// What an app is.
#[derive(Debug)]
pub struct App {
    /// Its index.
    pub id: AppId,
    /// Its name in the configuration and the API.
    pub name: String,
    /// Its Socket.IO namespaces, each beginning with `/`.
    pub namespaces: Vec<String>,
    /// How users prove who they are; `None`: embedding code decides.
    pub credentials: Option<Credentials>,
    /// Who may hear and say what.
    pub policy: Arc<Policy>,
    /// The app's own backend, where a rule asks it.
    pub backend: Option<Arc<Backend>>,
    /// What its clients' words mean; `None`: embedding code decides.
    pub dialect: Option<Arc<Dialect>>,
    /// Whether raw WebSocket clients may be among its members.
    pub native: bool,
    /// How long a client may go without a sign of life that the app counts; `None`: transport heartbeats suffice.
    pub idle_timeout: Option<Duration>,
    /// Limits.
    pub limits: AppLimits,
    /// How much of them is used.
    pub usage: Arc<Usage>,
    /// What clients that are cut off get when they come back; `None`: they begin anew.
    pub recovery: Option<Arc<Recovery>>,
    /// The inbox of each of its users; `None`: nothing is durable.
    pub inbox: Option<Arc<InboxRules>>,
    /// What publications of its events promise; the first rule that fits counts.
    pub events: Vec<EventRule>,
    /// Where it is told that users and channels come and go; `None`: nobody hears of that.
    pub lifecycle: Option<Arc<LifecycleRules>>,
    /// Whence messages come that its rules make publications of.
    pub sources: Vec<Arc<Source>>,
    /// What embedding code registered.
    pub handlers: RwLock<Handlers>,
}

impl App {
    /// An app whose rules are Rust: everything about it is decided by handlers.
    #[must_use]
    pub fn embedded(id: AppId, name: &str, namespace: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            namespaces: vec![namespace.to_owned()],
            credentials: None,
            policy: Arc::default(),
            backend: None,
            dialect: None,
            native: false,
            idle_timeout: None,
            limits: AppLimits::default(),
            usage: Arc::default(),
            recovery: None,
            inbox: None,
            events: Vec::new(),
            lifecycle: None,
            sources: Vec::new(),
            handlers: RwLock::default(),
        }
    }

    /// What the rules say of an event in a channel.
    #[must_use]
    pub fn event(&self, event: &str, channel: &str) -> Option<&EventRule> {
        self.events.iter().find(|rule| rule.fits(event, channel))
    }

    /// Whether it tells anybody when users come or go.
    #[must_use]
    pub fn tells(&self, moment: Moment) -> bool {
        self.dialect.as_ref().is_some_and(|dialect| dialect.presence.iter().any(|(when, _)| *when == moment))
    }

    /// The source of that name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Arc<Source>> {
        self.sources.iter().find(|source| *source.name == *name)
    }

    /// Where a session lives: one that came back under the name that it had may be on another shard or node than that says.
    #[must_use]
    pub fn home_of(&self, name: Address) -> Address {
        self.recovery.as_ref().and_then(|recovery| recovery.home(name)).unwrap_or(name)
    }

    /// Has a command reach those who are away, and whoever is cut off until the order is dropped.
    pub(crate) fn order(&self, select: &Select, change: impl FnOnce(&Log) -> Change) -> Option<Order<'_>> {
        let recovery = self.recovery.as_ref()?;
        Some(recovery.ghosts.order(select.clone(), change(&recovery.log)))
    }

    /// The same app under the rules of `self`, with what it had learnt under those of `old`: which tokens are revoked,
    /// how many connections come from where, and that equal rights are one allocation.
    #[must_use]
    pub fn succeed(mut self, old: &Self) -> Self {
        self.usage = Arc::clone(&old.usage);
        if self.recovery.is_some() && old.recovery.is_some() {
            self.recovery.clone_from(&old.recovery);
        }
        if let Some(recovery) = self.recovery.as_ref().filter(|_| !self.policy.remembers_as(&old.policy)) {
            recovery.log.turn_leaf(|channel| self.policy.history(channel).is_some());
            // So has whoever reads the history that nodes share.
            recovery.unrecorded.lock().is_all = true;
        }
        if let (Some(own), Some(old)) = (&mut self.credentials, &old.credentials) {
            own.revocations = Arc::clone(&old.revocations);
            own.rights = Arc::clone(&old.rights);
        }
        if let (Some(own), Some(old)) = (&mut self.backend, &old.backend) {
            *own = own.succeed(old);
        }
        for source in &mut self.sources {
            if let Some(old) = old.source(&source.name) {
                *source = Arc::new(source.succeed(old));
            }
        }
        self
    }
}
