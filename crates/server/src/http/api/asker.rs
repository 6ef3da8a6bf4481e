//! Who asks about an inbox, and whose it is: a user, who shows the token that they connect with, or a backend, which names
//! the user.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::request::Parts;
use oyez_hub::app::App;
use oyez_hub::inbox::{Hearing, Inboxes};
use oyez_hub::policy::Identity;
use oyez_protocol::code::Code;

use super::Api;
use super::error::ApiError;
use super::key::{Caller, Right, bearer};
use super::user::{User, identify, may_subscribe, query_token};

/// Who asks: known before anything else of the request is looked at.
pub(super) enum Asker {
    Backend(Caller),
    /// With the token that they show.
    User(User, Option<String>),
}

impl<S: Sync> FromRequestParts<S> for Asker
where
    Api: FromRef<S>,
{
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let api = Api::from_ref(state);
        let shown = bearer(&parts.headers);
        if let Some(caller) = shown.and_then(|secret| Caller::of(&api, secret)) {
            return Ok(Self::Backend(caller));
        }
        let token = query_token(&parts.uri).or_else(|| shown.map(str::to_owned));
        let user = identify(&api, token.as_deref(), None).await?;
        Ok(Self::User(user, token))
    }
}

/// Whose inbox it is about.
pub(super) struct Inbox {
    pub(super) app: Arc<App>,
    pub(super) user: Arc<str>,
    /// The user asks: they see what they may hear.
    identity: Option<Arc<Identity>>,
}

impl Asker {
    /// The inbox that a request is about, if who asks has the right.
    pub(super) async fn inbox(
        self,
        api: &Api,
        right: Right,
        app: Option<&str>,
        user: Option<&str>,
    ) -> Result<Inbox, ApiError> {
        let (asks, token) = match self {
            Self::Backend(caller) => {
                let user = user.ok_or_else(|| ApiError::bad("`user`: whose inbox? Name the user"))?;
                return caller.inbox(right, app, user);
            }
            Self::User(asks, token) => (asks, token),
        };
        // The first app that accepts a token need not be the one that is meant.
        let User { app, identity } = match app {
            Some(named) if asks.app.name != named => identify(api, token.as_deref(), app).await?,
            _ => asks,
        };
        if user.is_some_and(|named| *named != *identity.user) {
            let message = "`user`: this token is of another user, and opens their inbox only; leave `user` out";
            return Err(ApiError::new(Code::Forbidden, message));
        }
        if identity.user.is_empty() {
            let message = "who is nobody has no inbox: ask with the token of a user";
            return Err(ApiError::new(Code::Forbidden, message));
        }
        Ok(Inbox { app, user: Arc::clone(&identity.user), identity: Some(identity) })
    }
}

impl Caller {
    /// The inbox of a user, for a backend that has the right.
    pub(super) fn inbox(&self, right: Right, app: Option<&str>, user: &str) -> Result<Inbox, ApiError> {
        let app = self.app(right, app)?;
        self.demand_all_channels()?;
        if user.is_empty() {
            return Err(ApiError::bad("`user`: nobody has that name; name a user"));
        }
        Ok(Inbox { app, user: user.into(), identity: None })
    }
}

impl Inbox {
    /// A refusal, as who asks may know it.
    pub(super) fn failed(&self, error: impl Into<ApiError>) -> ApiError {
        match &self.identity {
            Some(_) => error.into().for_user(),
            None => error.into(),
        }
    }

    pub(super) fn inboxes<'a>(&self, api: &'a Api) -> Result<&'a Inboxes, ApiError> {
        Ok(api.hub.inboxes_of(&self.app)?)
    }

    /// What the user who asks may hear now, as on a connect, of what lies in these channels; `None` for a backend: all.
    pub(super) async fn hearing(&self, channels: impl IntoIterator<Item = Arc<str>>) -> Option<Hearing> {
        let identity = self.identity.as_ref()?;
        let mut deaf_to = Vec::new();
        for channel in channels {
            if !may_subscribe(&self.app, identity, &channel).await {
                deaf_to.push(channel);
            }
        }
        Some(Hearing::new(Arc::clone(&identity.rights), deaf_to))
    }

    /// The same of all that they have.
    pub(super) async fn whole_hearing(&self, inboxes: &Inboxes) -> Result<Option<Hearing>, ApiError> {
        if self.identity.is_none() {
            return Ok(None);
        }
        let channels = if self.app.policy.has_rosters() {
            inboxes.store().channels(&self.app.owner(&self.user)).await.map_err(|error| self.failed(error))?
        } else {
            Vec::new()
        };
        Ok(self.hearing(channels).await)
    }
}
