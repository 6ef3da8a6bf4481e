//! Who is online: per node, per app, per user.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use oyez_hub::app::App;
use oyez_hub::channel::EVERYONE;
use oyez_hub::presence::UserPresence;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::body::Params;
use super::channel::AppParams;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// How many are online.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(super) struct Counts {
    /// Open connections.
    pub(super) connections: usize,
    /// Different users.
    pub(super) users: usize,
}

/// How many are online, in all and per app.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Online {
    #[serde(flatten)]
    all: Counts,
    /// The apps that the key is for.
    apps: BTreeMap<String, Counts>,
}

/// The documentation of [`UserPresence`], which knows nothing of HTTP.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct UserInfo {
    user: String,
    name: Option<String>,
    online: bool,
    /// What the user says of themselves, else `online` or `offline`.
    status: String,
    /// Open connections.
    connections: usize,
}

/// Count who is online. Needs the right `read`.
#[utoipa::path(get, path = "/api/v1/online", tag = "presence", security(("api_key" = [])), params(AppParams),
    responses((status = 200, body = Online), (status = "4XX", body = ErrorBody)))]
pub(super) async fn online(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<AppParams>,
) -> Result<axum::Json<Online>, ApiError> {
    let named = params.app.as_deref();
    let apps: Vec<Arc<App>> = match named {
        Some(_) => vec![caller.app(Right::Read, named)?],
        None => {
            caller.demand(Right::Read)?;
            caller.apps().collect()
        }
    };
    let apps: BTreeMap<_, _> = apps.into_iter().map(|app| (app.name.clone(), counts(&api, &app))).collect();
    let all = apps.values().fold(Counts::default(), |sum, app| Counts {
        connections: sum.connections + app.connections,
        users: sum.users + app.users,
    });
    Ok(axum::Json(Online { all, apps }))
}

/// Say whether a user is online. Needs the right `read`.
#[utoipa::path(get, path = "/api/v1/users/{user}/presence", tag = "presence", security(("api_key" = [])),
    params(("user" = String, Path, description = "The user's id"), AppParams),
    responses((status = 200, body = UserInfo), (status = "4XX", body = ErrorBody)))]
pub(super) async fn user(
    State(api): State<Api>,
    caller: Caller,
    Path(user): Path<String>,
    Params(params): Params<AppParams>,
) -> Result<axum::Json<UserPresence>, ApiError> {
    let app = caller.app(Right::Read, params.app.as_deref())?;
    Ok(axum::Json(api.hub.user(app.id, &user)))
}

/// How many are online in an app.
pub(super) fn counts(api: &Api, app: &App) -> Counts {
    Counts { connections: api.hub.members(app.id, EVERYONE), users: api.hub.online(app.id) }
}

/// The ids of the users who are online in an app, sorted.
pub(super) fn users(api: &Api, app: &App) -> Vec<std::sync::Arc<str>> {
    api.hub.users(app.id)
}
