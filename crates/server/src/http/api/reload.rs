//! `POST /api/v1/reload`: the configuration is read again.

use axum::extract::State;
use oyez_protocol::code::Code;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// What came of reading the configuration again: what of it only a restart brings about, or why it is refused.
pub type ReloadAnswer = Result<Vec<String>, String>;

/// Where one asks for it.
pub type ReloadLane = mpsc::Sender<oneshot::Sender<ReloadAnswer>>;

/// The configuration as it is now holds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reloaded {
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
    /// Keys whose change needs a restart.
    #[schema(example = json!(["server.listen"]))]
    restart: Vec<String>,
}

/// Read the configuration again. Needs the right `reload`, and a key for all apps.
///
/// Nobody is disconnected. A file with a mistake in it is refused with 409, and the old configuration stays.
#[utoipa::path(post, path = "/api/v1/reload", tag = "configuration", security(("api_key" = [])),
    responses((status = 200, body = Reloaded), (status = "4XX", body = ErrorBody)))]
pub(super) async fn reload(State(api): State<Api>, caller: Caller) -> Result<axum::Json<Reloaded>, ApiError> {
    caller.demand_everywhere(Right::Reload)?;
    let nobody = || ApiError::new(Code::Unavailable, "this server does not read its configuration again; restart it");
    let (sender, answer) = oneshot::channel();
    api.reload.as_ref().ok_or_else(nobody)?.send(sender).await.map_err(|_| nobody())?;
    match answer.await.map_err(|_| nobody())? {
        Ok(restart) => Ok(axum::Json(Reloaded { status: "ok", restart })),
        Err(problems) => Err(ApiError::new(Code::Conflict, problems)),
    }
}
