//! `/api/v1/channels/{channel}/roster`: who gets what is durable in a channel, connected or not.

use std::sync::Arc;

use axum::extract::{Path, State};
use oyez_hub::app::App;
use oyez_hub::command::{Command, CommandError, Outcome};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::{Json, Params, Texts};
use super::channel::check;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// Most users of one request or page.
const USERS_MAX: usize = 1_000;

/// Which part of a roster.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RosterParams {
    /// The app; see `publish`.
    app: Option<String>,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many, 1,000 unless given.
    limit: Option<usize>,
}

/// Whom to put on a roster, or to take off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RosterBody {
    /// The app; see `publish`.
    app: Option<String>,
    /// At most 1,000.
    users: Texts,
}

/// A page of a roster.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Roster {
    #[schema(value_type = String)]
    channel: String,
    /// In no order that means anything.
    #[schema(value_type = Vec<String>)]
    users: Vec<Arc<str>>,
    /// Where the next page begins; without it, that was all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    next: Option<Arc<str>>,
}

/// What has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rostered {
    /// How many users were put on, or taken off; the others were on it already, or were not.
    changed: usize,
}

/// Say who is on a channel's roster. Needs the right `read`.
#[utoipa::path(get, path = "/api/v1/channels/{channel}/roster", tag = "inbox", security(("api_key" = [])),
    params(("channel" = String, Path, description = "Its name"), RosterParams),
    responses((status = 200, body = Roster), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(channel): Path<String>,
    Params(params): Params<RosterParams>,
) -> Result<axum::Json<Roster>, ApiError> {
    let app = app(&caller, Right::Read, params.app.as_deref(), &channel)?;
    let inboxes = api.hub.inboxes_of(&app)?;
    if app.policy.roster(&channel).is_none() {
        return Err(CommandError::NoRoster(channel).into());
    }
    let limit = params.limit.unwrap_or(USERS_MAX);
    if !(1..=USERS_MAX).contains(&limit) {
        return Err(ApiError::bad(format!("`limit`: {limit} is not within 1 to {USERS_MAX}")));
    }
    let after = params.cursor.map(Arc::from);
    // One more than is shown tells whether that was all.
    let mut users = inboxes.store().members(&app.name, &channel, after, limit + 1).await?;
    let more = users.len() > limit;
    users.truncate(limit);
    let next = users.last().filter(|_| more).cloned();
    Ok(axum::Json(Roster { channel, users, next }))
}

/// Put users on a channel's roster. Needs the right `publish`.
///
/// They get what is published from now on, connected or not.
#[utoipa::path(put, path = "/api/v1/channels/{channel}/roster", tag = "inbox", security(("api_key" = [])),
    params(("channel" = String, Path, description = "Its name")),
    request_body(content = RosterBody, example = json!({"users": ["41", "42"]})),
    responses((status = 200, body = Rostered), (status = "4XX", body = ErrorBody)))]
pub(super) async fn enroll(
    State(api): State<Api>,
    caller: Caller,
    Path(channel): Path<String>,
    Json(body): Json<RosterBody>,
) -> Result<axum::Json<Rostered>, ApiError> {
    change(&api, &caller, channel, body, Command::Enroll).await
}

/// Take users off a channel's roster, and what they have from it. Needs the right `publish`.
#[utoipa::path(delete, path = "/api/v1/channels/{channel}/roster", tag = "inbox", security(("api_key" = [])),
    params(("channel" = String, Path, description = "Its name")),
    request_body(content = RosterBody, example = json!({"users": ["42"]})),
    responses((status = 200, body = Rostered), (status = "4XX", body = ErrorBody)))]
pub(super) async fn dismiss(
    State(api): State<Api>,
    caller: Caller,
    Path(channel): Path<String>,
    Json(body): Json<RosterBody>,
) -> Result<axum::Json<Rostered>, ApiError> {
    change(&api, &caller, channel, body, Command::Dismiss).await
}

async fn change(
    api: &Api,
    caller: &Caller,
    channel: String,
    body: RosterBody,
    command: impl FnOnce(String, Vec<Arc<str>>) -> Command,
) -> Result<axum::Json<Rostered>, ApiError> {
    let app = app(caller, Right::Publish, body.app.as_deref(), &channel)?;
    let count = body.users.0.len();
    if !(1..=USERS_MAX).contains(&count) {
        return Err(ApiError::bad(format!("`users`: {count} is not within 1 to {USERS_MAX}; send several requests")));
    }
    if body.users.0.iter().any(String::is_empty) {
        return Err(ApiError::bad("`users`: nobody has an empty name; leave it out"));
    }
    let users = body.users.0.into_iter().map(Arc::from).collect();
    match api.execute(app.id, command(channel, users)).await? {
        Outcome::Rostered(changed) => Ok(axum::Json(Rostered { changed })),
        _ => Err(super::unexpected()),
    }
}

/// The app, if the key may do that there, in that channel.
fn app(caller: &Caller, right: Right, named: Option<&str>, channel: &String) -> Result<Arc<App>, ApiError> {
    let app = caller.app(right, named)?;
    check(channel)?;
    caller.may_name([channel])?;
    Ok(app)
}
