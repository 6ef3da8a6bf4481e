//! Channels: which there are, how many listen, and who.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use oyez_hub::command::is_channel_name;
use oyez_hub::presence::UserPresence;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::Params;
use super::connection::members;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// Most channels that are shown.
const SHOWN_MAX: usize = 1_000;

/// Which channels to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// The app; see `publish`.
    app: Option<String>,
    /// Only channels whose name begins so.
    #[serde(default)]
    prefix: String,
    /// At most so many, 1,000 unless given.
    limit: Option<usize>,
}

/// Which app.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AppParams {
    /// The app; see `publish`.
    pub(super) app: Option<String>,
}

/// A channel with members on this node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelInfo {
    #[schema(value_type = String, example = "site:1")]
    channel: Arc<str>,
    /// How many connections are in it.
    count: usize,
}

/// Channels, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelList {
    /// How many there are.
    total: usize,
    channels: Vec<ChannelInfo>,
}

/// Who is in a channel.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ChannelPresence {
    channel: String,
    /// How many connections are in it.
    count: usize,
    /// Whose they are, by id; `connections` counts those in the channel.
    #[schema(value_type = Vec<super::online::UserInfo>)]
    users: Vec<UserPresence>,
}

/// List channels that have members. Needs the right `read`.
#[utoipa::path(get, path = "/api/v1/channels", tag = "channels", security(("api_key" = [])), params(ListParams),
    responses((status = 200, body = ChannelList), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<ChannelList>, ApiError> {
    let app = caller.app(Right::Read, params.app.as_deref())?;
    let limit = params.limit.unwrap_or(SHOWN_MAX);
    if !(1..=SHOWN_MAX).contains(&limit) {
        return Err(ApiError::bad(format!("`limit`: {limit} is not within 1 to {SHOWN_MAX}")));
    }
    let mut found = api.hub.occupied(app.id);
    found.retain(|(name, _)| name.starts_with(&params.prefix) && caller.covers(name));
    found.sort_unstable();
    let total = found.len();
    let channels = found.into_iter().take(limit).map(|(channel, count)| ChannelInfo { channel, count }).collect();
    Ok(axum::Json(ChannelList { total, channels }))
}

/// Count a channel's members. Needs the right `read`.
///
/// A channel is there while somebody is in it; one that nobody is in has the count 0. In the path, `/` is written `%2F`.
#[utoipa::path(get, path = "/api/v1/channels/{channel}", tag = "channels", security(("api_key" = [])),
    params(("channel" = String, Path, description = "Its name"), AppParams),
    responses((status = 200, body = ChannelInfo), (status = "4XX", body = ErrorBody)))]
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path(channel): Path<String>,
    Params(params): Params<AppParams>,
) -> Result<axum::Json<ChannelInfo>, ApiError> {
    let app = caller.app(Right::Read, params.app.as_deref())?;
    caller.may_name([&channel])?;
    check(&channel)?;
    let count = api.hub.members(app.id, &channel);
    Ok(axum::Json(ChannelInfo { channel: channel.into(), count }))
}

/// List the users in a channel. Needs the right `read`.
#[utoipa::path(get, path = "/api/v1/channels/{channel}/presence", tag = "channels", security(("api_key" = [])),
    params(("channel" = String, Path, description = "Its name"), AppParams),
    responses((status = 200, body = ChannelPresence), (status = "4XX", body = ErrorBody)))]
pub(super) async fn presence(
    State(api): State<Api>,
    caller: Caller,
    Path(channel): Path<String>,
    Params(params): Params<AppParams>,
) -> Result<axum::Json<ChannelPresence>, ApiError> {
    let app = caller.app(Right::Read, params.app.as_deref())?;
    caller.may_name([&channel])?;
    check(&channel)?;
    let sockets = members(&api, &app, &channel).await?;
    let mut users: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for socket in &sockets {
        *users.entry(Arc::clone(&socket.user)).or_default() += 1;
    }
    let users =
        users.into_iter().map(|(user, connections)| UserPresence { connections, ..api.hub.user(app.id, &user) });
    Ok(axum::Json(ChannelPresence { channel, count: sockets.len(), users: users.collect() }))
}

pub(super) fn check(channel: &str) -> Result<(), ApiError> {
    let good = is_channel_name(channel);
    good.then_some(()).ok_or_else(|| ApiError::bad("this is no channel name: 1 to 200 bytes, no control characters"))
}
