//! Requests of users: they show the token that they connect with, and are who it says, in the app that accepts it.

use std::sync::Arc;

use http::Uri;
use oyez_hub::app::{App, Refusal};
use oyez_hub::policy::token::TokenError;
use oyez_hub::policy::{Identity, Verdict};

use super::Api;
use crate::clock;

/// Who asks.
#[derive(Debug)]
pub(super) struct User {
    pub(super) app: Arc<App>,
    pub(super) identity: Arc<Identity>,
}

/// Tries the token on each app in turn, or on the one that is named. When none accepts it, the first app's words say why.
pub(super) async fn identify(api: &Api, token: Option<&str>, named: Option<&str>) -> Result<User, Refusal> {
    let mut refused = None;
    let meant = |app: &Arc<App>| named.is_none_or(|named| app.name == named);
    for app in api.hub.apps().filter(meant) {
        let Some(credentials) = &app.credentials else { continue };
        match credentials.identify(token, clock::now()).await {
            Ok(identity) => return Ok(User { app, identity }),
            Err(refusal) => {
                refused.get_or_insert(refusal);
            }
        }
    }
    Err(refused.unwrap_or_else(|| Refusal {
        word: TokenError::Missing.word(),
        code: TokenError::Missing.code(),
        message: match named {
            Some(_) => "`app`: there is none of that name that takes tokens".to_owned(),
            None => "no app of this server takes tokens".to_owned(),
        },
    }))
}

/// The query's `token`.
pub(super) fn query_token(uri: &Uri) -> Option<String> {
    let query = uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "token").map(|(_, value)| value.into_owned())
}

/// Whether a user may subscribe to a channel, asking the app's backend where the rule says so.
pub(super) async fn may_subscribe(app: &App, identity: &Identity, channel: &str) -> bool {
    match app.policy.subscribe(identity, channel) {
        Verdict::Allow(_) => true,
        Verdict::Deny { .. } => false,
        Verdict::Ask(question) => match &app.backend {
            Some(backend) => backend.allows(&question, clock::steady_seconds()).await,
            None => question.ask.default,
        },
    }
}
