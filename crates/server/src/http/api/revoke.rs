//! `POST /api/v1/revoke`: tokens that are good but no longer wanted.

use axum::extract::State;
use oyez_hub::app::{App, Credentials};
use oyez_hub::command::Command;
use oyez_hub::policy::token::{DEFAULT_REVOCATION_SECONDS, Revocation};
use oyez_protocol::code::Code;
use serde::Deserialize;
use utoipa::ToSchema;

use super::Api;
use super::body::Json;
use super::connection::Done;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};
use crate::clock::unix_seconds;

/// How far the clock of who asks may be ahead, in seconds. A later moment would refuse tokens that are yet to be issued.
const AHEAD_MAX: u64 = 60;

/// What to revoke: `token_id`, `token`, `user` (a ban), or `issued_before` (with `user`: only theirs).
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevokeBody {
    /// The app; see `publish`.
    app: Option<String>,
    /// A token's `jti`, or, for a token that has none, `sha256:` and the hex of its hash.
    token_id: Option<String>,
    /// The token itself; it is named by its `jti` or its hash, and not kept.
    token: Option<String>,
    /// Every token of this user, past and future.
    user: Option<String>,
    /// Tokens issued before this moment, in seconds since the Unix epoch; not one to come.
    issued_before: Option<u64>,
    /// How long it counts, in seconds since the Unix epoch: at least until the tokens expire. 30 days unless given.
    until: Option<u64>,
}

/// Revoke tokens. Needs the right `revoke`.
///
/// Live connections that used one are closed within a second.
#[utoipa::path(post, path = "/api/v1/revoke", tag = "tokens", security(("api_key" = [])), request_body(content = RevokeBody, example = json!({"user": "42"})),
    responses((status = 200, body = Done), (status = "4XX", body = ErrorBody)))]
pub(super) async fn revoke(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<RevokeBody>,
) -> Result<axum::Json<Done>, ApiError> {
    let app = caller.app(Right::Revoke, body.app.as_deref())?;
    let credentials = credentials(&app)?;
    let now = unix_seconds();
    let until = body.until.unwrap_or(now + DEFAULT_REVOCATION_SECONDS);
    if until <= now {
        return Err(ApiError::bad("`until` is over already; name a moment to come, in seconds since the Unix epoch"));
    }
    if body.issued_before.is_some_and(|at| at > now + AHEAD_MAX) {
        let message = "`issued_before` is yet to come; name a moment that was, in seconds since the Unix epoch";
        return Err(ApiError::bad(message));
    }
    let what = body.what(credentials, now).await?;
    api.hub.execute(app.id, Command::Revoke(what, until)).await?;
    Ok(axum::Json(Done::OK))
}

fn credentials(app: &App) -> Result<&Credentials, ApiError> {
    app.credentials.as_ref().ok_or_else(|| {
        let message = format!("the program itself signs in the users of `{}`: there is no token to revoke", app.name);
        ApiError::new(Code::Conflict, message)
    })
}

impl RevokeBody {
    async fn what(self, credentials: &Credentials, now: u64) -> Result<Revocation, ApiError> {
        match (self.token_id, self.token, self.user, self.issued_before) {
            (Some(id), None, None, None) => Ok(Revocation::Token(id.into())),
            (None, Some(token), None, None) => Ok(Revocation::Token(credentials.name_of(&token, now).await)),
            (None, None, Some(user), None) => Ok(Revocation::User(user.into())),
            (None, None, user, Some(at)) => Ok(Revocation::IssuedBefore { user: user.map(Into::into), at }),
            _ => Err(ApiError::bad(
                "name one of `token_id`, `token`, `user` and `issued_before`; only `user` and `issued_before` go together",
            )),
        }
    }
}
