//! `/ws/*`: what GinForge's pages ask of their gateway beside the socket (seeds/003).
//!
//! Asked with a user's own token, in the query or in the header. Answers wear the gateway's envelope
//! `{"code", "message", "data"}`, code 0 for success; unlike the original, `/ws/stats` needs a token and a session
//! answers its owner only.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, Uri};
use oyez_hub::app::Refusal;
use oyez_hub::command::SocketInfo;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::key::bearer;
use super::user::{User, identify, query_token};
use super::{Api, connection, online};

/// The gateway's envelope.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Envelope {
    /// 0 for success, else as an HTTP status.
    code: u16,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl Envelope {
    fn success(data: Value) -> Self {
        Self { code: 0, message: "success".to_owned(), data: Some(data) }
    }

    fn failure(status: StatusCode, message: impl Into<String>) -> Self {
        Self { code: status.as_u16(), message: message.into(), data: None }
    }
}

async fn asker(api: &Api, uri: &Uri, headers: &HeaderMap) -> Result<User, Refusal> {
    let queried = query_token(uri);
    identify(api, queried.as_deref().or_else(|| bearer(headers)), None).await
}

/// Before the upgrade, as the original's middleware refuses.
fn refuse(refusal: Refusal) -> Response {
    let status = StatusCode::UNAUTHORIZED;
    (status, axum::Json(Envelope::failure(status, refusal.message))).into_response()
}

fn answer(envelope: Envelope) -> Response {
    axum::Json(envelope).into_response()
}

/// Count connections, users and rooms, with a user's own token.
#[utoipa::path(get, path = "/ws/stats", tag = "users", security(("user_token" = [])),
    responses((status = 200, body = Envelope), (status = 401, body = Envelope)))]
pub(super) async fn stats(State(api): State<Api>, uri: Uri, headers: HeaderMap) -> Response {
    let User { app, .. } = match asker(&api, &uri, &headers).await {
        Ok(user) => user,
        Err(refusal) => return refuse(refusal),
    };
    let counts = online::counts(&api, &app);
    answer(Envelope::success(json!({
        "total_clients": counts.connections,
        "online_users": counts.users,
        "total_rooms": api.hub.occupied(app.id).len(),
        "uptime": api.started.elapsed().as_secs(),
    })))
}

/// List who is online, with a user's own token.
#[utoipa::path(get, path = "/ws/online-users", tag = "users", security(("user_token" = [])),
    responses((status = 200, body = Envelope), (status = 401, body = Envelope)))]
pub(super) async fn online_users(State(api): State<Api>, uri: Uri, headers: HeaderMap) -> Response {
    match asker(&api, &uri, &headers).await {
        Ok(User { app, .. }) => {
            let users = online::users(&api, &app);
            answer(Envelope::success(json!({ "total": users.len(), "users": users })))
        }
        Err(refusal) => refuse(refusal),
    }
}

/// Show a connection to its owner, with the owner's token.
///
/// A token that is not accepted is answered with HTTP 200 and code 401, as the original does here.
#[utoipa::path(get, path = "/ws/session/client/{client_id}", tag = "users", security(("user_token" = [])),
    params(("client_id" = String, Path, description = "As `welcome` gave it")),
    responses((status = 200, body = Envelope), (status = 404, body = Envelope)))]
pub(super) async fn session(
    State(api): State<Api>,
    Path(client): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let User { app, identity } = match asker(&api, &uri, &headers).await {
        Ok(user) => user,
        Err(refusal) => return answer(Envelope::failure(StatusCode::UNAUTHORIZED, refusal.message)),
    };
    let found = connection::find(&api, &app, &client).await.ok().flatten();
    match found.filter(|info| info.user == identity.user) {
        Some(info) => answer(Envelope::success(session_data(&info))),
        None => {
            // A stranger's session and none at all look alike.
            let status = StatusCode::NOT_FOUND;
            (status, axum::Json(Envelope::failure(status, "会话不存在"))).into_response()
        }
    }
}

fn session_data(info: &SocketInfo) -> Value {
    json!({
        "client_id": info.id,
        "user_id": info.user,
        "user_name": info.name,
        "rooms": info.channels,
        "transport": info.transport,
        "connected_at": info.connected_at / 1000,
    })
}
