//! Who calls: API keys, the apps and channels they are for and what they may do there.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use axum::extract::{FromRef, FromRequestParts};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::channel::EVERYONE;
use oyez_hub::policy::channel::{MAX_NAME, Pattern};
use oyez_hub::policy::limits::Rate;
use oyez_protocol::code::Code;
use parking_lot::Mutex;

use super::Api;
use super::error::ApiError;
use crate::config::ApiKey;
use crate::observe::event;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    Publish,
    Read,
    Disconnect,
    Revoke,
    Reload,
}

impl Right {
    fn word(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Read => "read",
            Self::Disconnect => "disconnect",
            Self::Revoke => "revoke",
            Self::Reload => "reload",
        }
    }
}

/// A key and how much it has published lately.
struct Key {
    config: ApiKey,
    /// What [`Rate::allows`] remembers, by app; the key's apps are few.
    paces: Mutex<HashMap<AppId, Cell<u64>>>,
}

/// The keys of a node, by the hash of each secret: comparing takes as long for a near miss as for a far one.
pub(super) struct Keys {
    keys: Vec<Arc<Key>>,
    secrets: Vec<(Digest, usize)>,
}

impl Keys {
    pub(super) fn new(keys: Vec<ApiKey>) -> Self {
        let key = |config| Arc::new(Key { config, paces: Mutex::default() });
        let keys: Vec<_> = keys.into_iter().map(key).collect();
        let hash = |secret: &String| digest(&SHA256, secret.as_bytes());
        let secrets = keys
            .iter()
            .enumerate()
            .flat_map(|(at, key)| key.config.secrets.iter().map(move |secret| (hash(secret), at)));
        Self { secrets: secrets.collect(), keys }
    }

    /// The key that this secret opens. Every key is compared, whichever fits.
    fn find(&self, secret: &str) -> Option<Arc<Key>> {
        let shown = digest(&SHA256, secret.as_bytes());
        let mut found = None;
        for (known, at) in &self.secrets {
            if verify_slices_are_equal(known.as_ref(), shown.as_ref()).is_ok() {
                found = self.keys.get(*at);
            }
        }
        found.cloned()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.config)).finish()
    }
}

/// The token of `Authorization: Bearer …`, the only place where the API looks for a key.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A backend that has shown a key.
pub(super) struct Caller {
    key: Arc<Key>,
    hub: Hub,
}

impl Caller {
    /// The backend whose key this is, if it is one.
    pub(super) fn of(api: &Api, secret: &str) -> Option<Self> {
        let key = api.access.rules().keys.find(secret)?;
        Some(Self { key, hub: api.hub.clone() })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller
where
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let api = Api::from_ref(state);
        let refuse = |message| {
            event::api_denied(parts.uri.path(), None, message);
            ApiError::new(Code::Unauthorized, message)
        };
        let Some(secret) = bearer(&parts.headers) else {
            return Err(refuse("no API key: send the header `Authorization: Bearer <key>`"));
        };
        let found = Self::of(&api, secret);
        found.ok_or_else(|| refuse("this API key is unknown: compare it with [key.NAME] of the file"))
    }
}

impl Caller {
    /// Refuses a key that has not this right.
    pub(super) fn demand(&self, right: Right) -> Result<(), ApiError> {
        let word = right.word();
        if self.key.config.rights.iter().any(|own| own == "*" || own == word) {
            return Ok(());
        }
        let name = &self.key.config.name;
        self.deny(format!("the key `{name}` may not {word}: add \"{word}\" to `rights` of [key.{name}]"))
    }

    /// Refuses a key that has not this right, or has it for some apps only.
    pub(super) fn demand_everywhere(&self, right: Right) -> Result<(), ApiError> {
        self.demand(right)?;
        if self.may_use("*") {
            return Ok(());
        }
        let name = &self.key.config.name;
        self.deny(format!("the key `{name}` is not for all apps: see `apps` of [key.{name}]"))
    }

    /// The app that a request is about: the one it names, else the key's only app, else the only one in the file.
    pub(super) fn app(&self, right: Right, named: Option<&str>) -> Result<Arc<App>, ApiError> {
        self.demand(right)?;
        if let Some(name) = named {
            if !self.may_use(name) {
                let key = &self.key.config.name;
                return self.deny(format!("the key `{key}` is not for app `{name}`: see `apps` of [key.{key}]"));
            }
            return Ok(self.hub.find_app(name)?);
        }
        let mut apps = self.apps();
        match (apps.next(), apps.next()) {
            (Some(app), None) => Ok(app),
            (None, _) => Err(ApiError::new(Code::NotFound, format!("no app for the key `{}`", self.key.config.name))),
            (Some(_), Some(_)) => {
                let names: Vec<_> = self.apps().map(|app| app.name.clone()).collect();
                Err(ApiError::bad(format!("which app? Name it in `app`: {}", names.join(", "))))
            }
        }
    }

    /// Refuses channels that the key is not for.
    pub(super) fn may_name<'a>(&self, channels: impl IntoIterator<Item = &'a String>) -> Result<(), ApiError> {
        let Some(foreign) = channels.into_iter().find(|channel| !self.covers(channel)) else { return Ok(()) };
        let (key, foreign) = (&self.key.config.name, foreign.chars().take(MAX_NAME).collect::<String>());
        self.deny(format!("the key `{key}` is not for the channel {foreign:?}: see `channels` of [key.{key}]"))
    }

    /// Refuses a key that is for some channels only: what lies in an inbox comes from any.
    pub(super) fn demand_all_channels(&self) -> Result<(), ApiError> {
        if self.key.config.channels.is_none() {
            return Ok(());
        }
        let name = &self.key.config.name;
        let why = "is for some channels only, and inboxes hold messages of all";
        self.deny(format!("the key `{name}` {why}: see `channels` of [key.{name}]"))
    }

    /// Refuses a key that is for some channels only: the rules of a source name any.
    pub(super) fn demand_every_channel(&self) -> Result<(), ApiError> {
        if self.key.config.channels.is_none() {
            return Ok(());
        }
        let name = &self.key.config.name;
        let why = "is for some channels only, and the rules of a source name any";
        self.deny(format!("the key `{name}` {why}: see `channels` of [key.{name}]"))
    }

    /// Whether the key is for this channel. Everybody is a channel only of keys that are for all.
    pub(super) fn covers(&self, channel: &str) -> bool {
        let fits = |pattern: &Pattern| channel != EVERYONE && pattern.matches(channel).is_some();
        self.key.config.channels.as_ref().is_none_or(|patterns| patterns.iter().any(fits))
    }

    /// The apps that the key is for.
    pub(super) fn apps(&self) -> impl Iterator<Item = Arc<App>> {
        self.hub.apps().filter(|app| self.may_use(&app.name))
    }

    /// Whether one more publication in `app` may happen at `now`.
    pub(super) fn paced(&self, app: AppId, rate: Rate, now: u64) -> bool {
        rate.allows(self.key.paces.lock().entry(app).or_default(), now)
    }

    fn may_use(&self, app: &str) -> bool {
        self.key.config.apps.iter().any(|own| own == "*" || own == app)
    }

    fn deny<T>(&self, message: String) -> Result<T, ApiError> {
        event::api_denied("", Some(&self.key.config.name), &message);
        Err(ApiError::new(Code::Forbidden, message))
    }
}
