//! `POST /api/v1/publish`: tell members of channels something.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use oyez_hub::app::App;
use oyez_hub::command::{Acked, Command, Level, Outcome, Publish, Published};
use oyez_hub::delivery::{self, Priority};
use oyez_hub::policy::expression::Kind;
use oyez_hub::policy::grants::Audience;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::json;
use oyez_protocol::message::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::Api;
use super::body::{Json, Texts, raw};
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// Longest id that a publisher may choose, in bytes.
const ID_MAX: usize = 200;

/// Longest wait for acknowledgements, in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;

/// A publication.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishBody {
    /// The app; may be left out when the key is for one app only, or the file has only one.
    app: Option<String>,
    /// Channels; a session that is in several hears it once. `*` is everybody in the app, a session's id that session.
    to: Texts,
    /// The event's name.
    event: String,
    /// The payload: any JSON, passed on as it is; the app's dialect may wrap it.
    #[serde(default, deserialize_with = "raw")]
    #[schema(value_type = Option<Value>)]
    data: Option<Box<RawValue>>,
    /// The publication's id, at most 200 bytes; one is made when it is left out.
    id: Option<String>,
    /// Members of these channels do not hear it.
    #[serde(default)]
    except: Texts,
    /// How urgent it is.
    #[serde(default)]
    #[schema(schema_with = priority)]
    priority: Priority,
    /// Who among the members may hear it: `roles` and attributes, each with the values of which one must fit, and
    /// `expression`, a condition on `user`. All must hold.
    #[schema(value_type = Option<Object>)]
    audience: Option<Value>,
    /// Dropped for sessions whose connection is busy.
    #[serde(default)]
    volatile: bool,
    /// Wait for the members' acknowledgements.
    pub(super) ack: Option<AckBody>,
}

/// The lanes, as the API's document shows them.
fn priority() -> Object {
    let names = Priority::ALL.map(Priority::name);
    let object = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names)).default(Some(json!("normal")));
    object
        .description(Some("The lane in which it waits for clients that read too slowly; urgent ones overtake."))
        .build()
}

/// How long to wait for acknowledgements.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AckBody {
    /// 1 to 60,000.
    #[schema(minimum = 1, maximum = 60_000)]
    timeout_ms: u64,
}

/// Where a publication has come to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PublishAnswer {
    /// Its id.
    #[schema(value_type = String)]
    id: Arc<str>,
    /// `accepted`: its order is fixed, it is being delivered.
    #[schema(value_type = String, example = "accepted")]
    level: Level,
    /// With `ack`: how many sessions were sent the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<usize>,
    /// With `ack`: the first argument of each acknowledgement, in the order in which they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    answers: Option<Vec<Box<RawValue>>>,
}

impl From<Published> for PublishAnswer {
    fn from(published: Published) -> Self {
        Self { id: published.id, level: published.level, reached: None, answers: None }
    }
}

impl From<Acked> for PublishAnswer {
    fn from(acked: Acked) -> Self {
        let first = |args: &Args| args.first().unwrap_or(RawValue::NULL).to_owned();
        let answers = acked.answers.iter().map(first).collect();
        Self { id: acked.id, level: Level::Accepted, reached: Some(acked.reached), answers: Some(answers) }
    }
}

/// Publish an event. Needs the right `publish`.
///
/// Answered as soon as the order is fixed, before delivery; with `ack`, when all who were reached have answered or the
/// time is over.
#[utoipa::path(post, path = "/api/v1/publish", tag = "publish", security(("api_key" = [])), request_body(content = PublishBody, example = json!({"to": "user:42", "event": "notification", "data": {"title": "Hello"}})),
    responses((status = 200, body = PublishAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn publish(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<PublishBody>,
) -> Result<axum::Json<PublishAnswer>, ApiError> {
    publish_for(&api, &caller, body).await.map(axum::Json)
}

/// Publishes for a key that may.
pub(super) async fn publish_for(api: &Api, caller: &Caller, body: PublishBody) -> Result<PublishAnswer, ApiError> {
    let app = caller.app(Right::Publish, body.app.as_deref())?;
    caller.may_name(&body.to.0)?;
    let wait = body.ack.as_ref().map(AckBody::wait).transpose()?;
    let publish = body.publish(&app, &api.user(app.id))?;
    if let Some(levels) = app.limits.json_depth.filter(|levels| !json::is_within(publish.args.text(), *levels)) {
        let place = format!("`json_depth` of [app.{}.limits]", app.name);
        return Err(api.over(Limit::JsonDepth, format!("`data` has more than the {levels} levels of {place}")));
    }
    api.pace(caller, &app)?;
    let command = match wait {
        Some(wait) => Command::PublishWithAck(publish, wait),
        None => Command::Publish(publish),
    };
    match api.execute(app.id, command).await? {
        Outcome::Published(published) => Ok(published.into()),
        Outcome::Acked(acked) => Ok(acked.into()),
        Outcome::Sockets(_) | Outcome::Done => Err(super::unexpected()),
    }
}

impl AckBody {
    fn wait(&self) -> Result<Duration, ApiError> {
        match self.timeout_ms {
            1..=WAIT_MAX_MS => Ok(Duration::from_millis(self.timeout_ms)),
            other => {
                let message = format!("`ack.timeout_ms`: {other} is not within 1 to {WAIT_MAX_MS} milliseconds");
                Err(ApiError::bad(message))
            }
        }
    }
}

impl PublishBody {
    fn publish(self, app: &App, user: &Kind) -> Result<Publish, ApiError> {
        if let Some(id) = &self.id
            && (id.is_empty() || id.len() > ID_MAX || id.chars().any(char::is_control))
        {
            return Err(ApiError::bad(format!("`id`: use 1 to {ID_MAX} bytes without control characters")));
        }
        let args = self.data.map_or_else(Args::none, |data| Args::raw(&data));
        let audience = self.audience.map(|audience| self::audience(app, &audience, user)).transpose()?;
        Ok(Publish {
            except: self.except.0,
            id: self.id,
            audience,
            priority: self.priority,
            volatile: self.volatile,
            ..Publish::new(self.to.0, self.event, args)
        })
    }
}

/// Who may hear it, as a question about rights.
fn audience(app: &App, wanted: &Value, user: &Kind) -> Result<delivery::Audience, ApiError> {
    let wrong = |message: &str| ApiError::bad(format!("`audience`: {message}"));
    if let (Value::Object(keys), Kind::Record(known)) = (wanted, user) {
        let lists = || known.iter().filter(|(_, kind)| *kind == Kind::List).map(|(name, _)| &**name);
        if let Some(key) = keys.keys().find(|key| *key != "expression" && !lists().any(|name| name == key.as_str())) {
            let names: Vec<_> = lists().chain(["expression"]).collect();
            return Err(wrong(&format!("users have no list `{key}`; there are {}", names.join(", "))));
        }
    }
    let parsed = Audience::parse(wanted, user).map_err(|error| wrong(&error.to_string()))?;
    let policy = Arc::clone(&app.policy);
    Ok(Arc::new(move |rights| parsed.iter().all(|audience| policy.admits(audience, rights))))
}
