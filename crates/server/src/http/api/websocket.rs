//! `/api/websocket/*`: what the ticket desk's pages and scripts already ask of their backend (seeds/001).
//!
//! Asked with a user's own token. Administrators may notify anyone, others themselves.

use std::sync::Arc;

use axum::extract::State;
use http::HeaderMap;
use oyez_hub::command::{Command, Publish};
use oyez_hub::policy::expression::iso_millis;
use oyez_protocol::code::Code;
use oyez_protocol::message::Args;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::body::Json;
use super::error::{ApiError, ErrorBody};
use super::key::bearer;
use super::user::User;
use super::{online, user};
use crate::clock::unix_millis;

/// A notification to try things with. What is left out is filled in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct NotifyBody {
    /// Whom to notify.
    user_id: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    priority: Option<String>,
}

/// The notification as it is published.
#[derive(Debug, Serialize)]
struct Notification<'a> {
    id: String,
    title: &'a str,
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    priority: &'a str,
}

/// It was sent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Notified {
    success: bool,
    #[schema(value_type = String, example = "Notification sent")]
    message: &'static str,
}

/// Who is online in the asker's app.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// Open connections.
    online: usize,
    /// The users' ids.
    #[schema(value_type = Vec<String>)]
    users: Vec<Arc<str>>,
    /// ISO 8601.
    timestamp: String,
}

async fn asker(api: &Api, headers: &HeaderMap) -> Result<User, ApiError> {
    user::identify(api, bearer(headers), None).await.map_err(|refusal| ApiError::from(refusal).wants_a_user())
}

/// Send a test notification, with a user's own token.
///
/// Published as event `notification` to `user:{userId}`. Administrators may notify anyone, others only themselves.
#[utoipa::path(post, path = "/api/websocket/test-notification", tag = "users", security(("user_token" = [])),
    request_body(content = NotifyBody, example = json!({"userId": "user-1"})), responses((status = 200, body = Notified), (status = "4XX", body = ErrorBody)))]
pub(super) async fn notify(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Result<Json<NotifyBody>, ApiError>,
) -> Result<axum::Json<Notified>, ApiError> {
    let User { app, identity } = asker(&api, &headers).await?;
    let Json(body) = body?;
    if *identity.user != *body.user_id && !identity.rights.admin {
        let message = "`userId`: only administrators may notify others; name yourself, or ask as an administrator";
        return Err(ApiError::new(Code::Forbidden, message));
    }
    let notification = Notification {
        id: format!("test-{}", unix_millis()),
        title: body.title.as_deref().unwrap_or("测试通知"),
        message: body.message.as_deref().unwrap_or("这是一条测试消息"),
        kind: body.kind.as_deref().unwrap_or("info"),
        priority: body.priority.as_deref().unwrap_or("medium"),
    };
    let publish = Publish::new(vec![format!("user:{}", body.user_id)], "notification", Args::one(&notification));
    api.hub.execute(app.id, Command::Publish(publish)).await?;
    Ok(axum::Json(Notified { success: true, message: "Notification sent" }))
}

/// Say who is online, with a user's own token.
#[utoipa::path(get, path = "/api/websocket/status", tag = "users", security(("user_token" = [])),
    responses((status = 200, body = Status), (status = "4XX", body = ErrorBody)))]
pub(super) async fn status(State(api): State<Api>, headers: HeaderMap) -> Result<axum::Json<Status>, ApiError> {
    let User { app, .. } = asker(&api, &headers).await?;
    Ok(axum::Json(Status {
        online: online::counts(&api, &app).connections,
        users: online::users(&api, &app),
        timestamp: iso_millis(unix_millis()),
    }))
}
