//! `POST /api/v1/batch`: several commands in one request, carried out and answered in order.

use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::Api;
use super::body::{Json, object, parse};
use super::connection::{DisconnectBody, Done, MoveBody, Movement, disconnect_for, move_for};
use super::error::{ApiError, ErrorBody};
use super::key::Caller;
use super::publish::{PublishAnswer, PublishBody, publish_for};

/// Most commands in one request.
const COMMANDS_MAX: usize = 1_000;

/// Several commands.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchBody {
    /// At most 1,000; each is an object with one key, the command's name.
    #[schema(value_type = Vec<BatchCommand>)]
    commands: Vec<Box<RawValue>>,
}

/// One command; the bodies are those of the requests of the same name.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum BatchCommand {
    Publish(#[serde(deserialize_with = "object")] Box<PublishBody>),
    Subscribe(#[serde(deserialize_with = "object")] MoveBody),
    Unsubscribe(#[serde(deserialize_with = "object")] MoveBody),
    Disconnect(#[serde(deserialize_with = "object")] DisconnectBody),
}

/// The answers, in the order of the commands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BatchAnswer {
    results: Vec<BatchResult>,
}

/// What the request of the same name would have answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum BatchResult {
    Published(PublishAnswer),
    Done(Done),
    Refused(ErrorBody),
}

/// Carry out several commands in order. Needs the right of each.
///
/// A command that is refused does not keep the next from being carried out. Acknowledgements cannot be waited for here.
#[utoipa::path(post, path = "/api/v1/batch", tag = "publish", security(("api_key" = [])), request_body(content = BatchBody, example = json!({"commands": [{"publish": {"to": "site:1", "event": "tick", "data": 1}}, {"disconnect": {"user": "42"}}]})),
    responses((status = 200, body = BatchAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn batch(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<BatchBody>,
) -> Result<axum::Json<BatchAnswer>, ApiError> {
    if body.commands.len() > COMMANDS_MAX {
        return Err(ApiError::bad(format!("`commands`: at most {COMMANDS_MAX} at once; send several batches")));
    }
    let mut results = Vec::with_capacity(body.commands.len());
    for command in &body.commands {
        results.push(one(&api, &caller, command).await.unwrap_or_else(|error| BatchResult::Refused(error.body())));
    }
    Ok(axum::Json(BatchAnswer { results }))
}

async fn one(api: &Api, caller: &Caller, command: &RawValue) -> Result<BatchResult, ApiError> {
    match parse(command.get().as_bytes())? {
        BatchCommand::Publish(body) if body.ack.is_some() => {
            Err(ApiError::bad("`publish.ack`: a batch does not wait for acknowledgements; publish this one alone"))
        }
        BatchCommand::Publish(body) => publish_for(api, caller, *body).await.map(BatchResult::Published),
        BatchCommand::Subscribe(body) => move_for(api, caller, body, Movement::In).await.map(BatchResult::Done),
        BatchCommand::Unsubscribe(body) => move_for(api, caller, body, Movement::Out).await.map(BatchResult::Done),
        BatchCommand::Disconnect(body) => disconnect_for(api, caller, body).await.map(BatchResult::Done),
    }
}
