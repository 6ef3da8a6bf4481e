//! `POST /api/v1/source/{name}`: what is pushed to a source, signed or by a backend with a key. `PUT` does the same, which
//! is what watches of Consul send.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, Path, Request, State};
use http::HeaderMap;
use oyez_hub::app::App;
use oyez_hub::source::{Arrival, Intake, Secrets, Signed, Source, Taken, Unsigned};
use oyez_protocol::code::Code;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::{Params, Raw};
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right, bearer};
use crate::clock::unix_seconds;
use crate::observe::event;

/// How long a message may take; who sent it may send it again then.
const PATIENCE: Duration = Duration::from_secs(10);

/// Headers that the rules do not see: what somebody signs in with, and with what a message is signed.
const HIDDEN: [&str; 3] = ["authorization", "cookie", "webhook-signature"];

/// Of which app the source is.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceParams {
    /// The app; needed where several have a source of this name.
    app: Option<String>,
}

/// What became of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TakenAnswer {
    ok: bool,
    /// It came before: nothing was published now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Push a message to a source of the kind `webhook`.
///
/// Its rules make publications of it. Either signed (`webhook-id`, `webhook-timestamp`, `webhook-signature`, as
/// standardwebhooks.com has them), or with an API key that has the right `publish` and is for all channels. Answered when
/// what is durable is stored; a message that was taken before is not taken again.
#[utoipa::path(post, path = "/api/v1/source/{name}", tag = "publish", params(("name" = String, Path, description = "The source"), SourceParams), security(("api_key" = []), ()),
    request_body(content = serde_json::Value, example = json!({"orderId": 7, "userId": "42"})), responses((status = 200, body = TakenAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn push(
    state: State<Api>,
    Path(name): Path<String>,
    params: Params<SourceParams>,
    request: Request,
) -> Result<axum::Json<TakenAnswer>, ApiError> {
    push_to(state, Path((name.clone(), name)), params, request).await
}

/// Push a message to a source of the kind `webhook`, with an address for its rules: their `match`.
#[utoipa::path(post, path = "/api/v1/source/{name}/{address}", tag = "publish", params(("name" = String, Path, description = "The source"), ("address" = String, Path, description = "What `match` is held against"), SourceParams), security(("api_key" = []), ()),
    request_body(content = serde_json::Value, example = json!({"orderId": 7, "userId": "42"})), responses((status = 200, body = TakenAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn push_to(
    State(api): State<Api>,
    Path((name, address)): Path<(String, String)>,
    Params(SourceParams { app }): Params<SourceParams>,
    request: Request,
) -> Result<axum::Json<TakenAnswer>, ApiError> {
    let headers = request.headers().clone();
    let Raw(body) = Raw::from_request(request, &api).await?;
    let door = Door::of(&api, &headers, &name, app.as_deref())?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (id, timestamp, signature) = ("webhook-id", "webhook-timestamp", "webhook-signature");
    let signed = Signed { id: header(id), timestamp: header(timestamp), signature: header(signature) };
    let now = unix_seconds();
    let sent = door.secrets.as_ref().map(|secrets| secrets.verify(signed, &body, now)).transpose();
    let sent = sent.map_err(|why| door.refused(why))?;
    let held = match sent {
        None => None,
        Some(_) => match door.source.seen.hold(signed.id, now).map_err(|why| door.refused(why))? {
            Some(held) => Some(held),
            None => return Ok(axum::Json(TakenAnswer { ok: true, duplicate: true })),
        },
    };
    let shown = shown(&headers);
    let id = Some(signed.id).filter(|id| !id.is_empty());
    let arrival = Arrival { headers: &shown, id, sent: sent.map(|sent| sent * 1_000), ..Arrival::new(&address, &body) };
    door.take(&api, &arrival).await?;
    if let Some(held) = held {
        held.taken();
    }
    Ok(axum::Json(TakenAnswer { ok: true, duplicate: false }))
}

/// A source to which messages are pushed, seen by who does.
struct Door {
    app: Arc<App>,
    source: Arc<Source>,
    /// What the message is signed with; none: a key was shown.
    secrets: Option<Secrets>,
}

impl Door {
    fn of(api: &Api, headers: &HeaderMap, name: &str, app: Option<&str>) -> Result<Self, ApiError> {
        let Some(key) = bearer(headers) else { return Self::signed(api, name, app) };
        let caller = Caller::of(api, key).ok_or_else(|| unauthorized("this API key is unknown"))?;
        caller.demand(Right::Publish)?;
        caller.demand_every_channel()?;
        let door = match app {
            Some(_) => Self::among([caller.app(Right::Publish, app)?], name)?,
            None => Self::among(caller.apps(), name)?,
        };
        api.pace(&caller, &door.app)?;
        Ok(Self { secrets: None, ..door })
    }

    /// What is signed names the source, and the app where that is not enough.
    fn signed(api: &Api, name: &str, app: Option<&str>) -> Result<Self, ApiError> {
        Self::among(api.hub.apps().filter(|known| app.is_none_or(|app| app == known.name)), name)
    }

    /// That of the only one of these apps that has such a source.
    fn among(apps: impl IntoIterator<Item = Arc<App>>, name: &str) -> Result<Self, ApiError> {
        let mut found = apps.into_iter().filter_map(|app| {
            let (source, secrets) = pushed(&app, name)?;
            Some(Self { app, source, secrets: Some(secrets) })
        });
        match (found.next(), found.next()) {
            (Some(door), None) => Ok(door),
            (None, _) => Err(nothing(name)),
            (Some(_), Some(_)) => Err(ApiError::bad("several apps have a source of this name: say which with `?app=`")),
        }
    }

    async fn take(&self, api: &Api, arrival: &Arrival<'_>) -> Result<(), ApiError> {
        let name = &self.source.name;
        let intake = Intake::new(api.hub.clone(), self.app.id, name).ok_or_else(|| nothing(name))?;
        match timeout(PATIENCE, intake.take(arrival)).await {
            Ok(Taken::Done) => Ok(()),
            Ok(Taken::Dead(poison)) => Err(ApiError::bad(format!("{}: {}", poison.word, poison.reason))),
            Ok(Taken::Not) => Err(ApiError::new(Code::Unavailable, "the server is shutting down; send it again")),
            Err(_) => Err(ApiError::new(Code::Unavailable, "it could not be published in time; send it again")),
        }
    }

    fn refused(&self, why: Unsigned) -> ApiError {
        let said = why.to_string();
        // No key was shown: nothing is called one.
        event::api_denied(&format!("/api/v1/source/{}", self.source.name), None, &said);
        if why == Unsigned::Full { ApiError::new(Code::LimitReached, said) } else { unauthorized(said) }
    }
}

/// The source of that name, and whose signatures it believes, if messages are pushed to it.
fn pushed(app: &App, name: &str) -> Option<(Arc<Source>, Secrets)> {
    let source = app.source(name)?;
    Some((Arc::clone(source), source.pushed.clone()?))
}

/// The headers of a request as a JSON object of texts.
fn shown(headers: &HeaderMap) -> String {
    let shown = headers.iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str()));
    let texts = shown.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.into())));
    serde_json::Value::Object(texts.collect()).to_string()
}

fn nothing(name: &str) -> ApiError {
    let name: String = name.chars().take(100).collect();
    ApiError::new(Code::NotFound, format!("nothing is pushed to {name:?}: name a source of the kind \"webhook\""))
}

fn unauthorized(why: impl std::fmt::Display) -> ApiError {
    let message = format!("{why}; or show an API key: `Authorization: Bearer <key>`");
    ApiError::new(Code::Unauthorized, message)
}
