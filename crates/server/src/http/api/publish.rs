//! `POST /api/v1/publish`: tell members of channels something.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use chrono::DateTime;
use oyez_hub::address::Address;
use oyez_hub::app::App;
use oyez_hub::channel::EVERYONE;
use oyez_hub::command::{Acked, Command, CommandError, Level, Outcome, Promise, Publish, Published, is_channel_name};
use oyez_hub::delivery::Priority;
use oyez_hub::policy::expression::Kind;
use oyez_hub::policy::grants::Audience;
use oyez_hub::policy::limits::Limit;
use oyez_hub::promise::Class;
use oyez_hub::store::{ReceiptTo, Target};
use oyez_protocol::json;
use oyez_protocol::message::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use super::Api;
use super::body::{Json, Texts, raw, some_object};
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// Longest id that a publisher may choose, in bytes.
const ID_MAX: usize = 200;

/// Longest wait for acknowledgements, in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;

/// Most channels that a hint names.
const HINTED_MAX: usize = 5;

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
    /// Members of these channels do not hear it; not with what is durable.
    #[serde(default)]
    except: Texts,
    /// How urgent it is.
    #[serde(default)]
    #[schema(schema_with = priority)]
    priority: Option<Priority>,
    /// Who among the members may hear it: `roles` and attributes, each with the values of which one must fit, and
    /// `expression`, a condition on `user`. All must hold.
    #[schema(value_type = Option<Object>)]
    audience: Option<Value>,
    /// Dropped for sessions whose connection is busy.
    #[serde(default)]
    volatile: bool,
    /// Wait for the members' acknowledgements.
    #[serde(default, deserialize_with = "some_object")]
    pub(super) ack: Option<AckBody>,
    /// What is promised, if not what the rule of the event says.
    #[schema(value_type = Option<String>, example = "durable")]
    delivery: Option<Class>,
    /// How certain a durable publication must be before the answer: `stored` or `synced`.
    #[schema(value_type = Option<String>, example = "synced")]
    level: Option<Level>,
    /// How long a durable publication is kept that nobody acknowledges, in milliseconds.
    #[schema(minimum = 1)]
    ttl_ms: Option<u64>,
    /// A durable publication is delivered then: RFC 3339, or milliseconds since the Unix epoch.
    deliver_at: Option<Moment>,
    /// Who hears what becomes of a durable publication: `"webhook"`, that of `[app.NAME.inbox]`, or `{"channel": NAME}`.
    #[schema(value_type = Option<Value>)]
    receipts: Option<Receipts>,
}

/// A moment, as backends write one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "neither milliseconds since the Unix epoch nor a moment such as \"2026-01-31T08:00:00Z\""
)]
enum Moment {
    Millis(u64),
    Text(String),
}

impl Moment {
    fn millis(self) -> Result<u64, ApiError> {
        match self {
            Self::Millis(millis) => Ok(millis),
            Self::Text(text) => DateTime::parse_from_rfc3339(&text)
                .ok()
                .and_then(|at| u64::try_from(at.timestamp_millis()).ok())
                .ok_or_else(|| {
                    ApiError::bad(format!("`deliver_at`: {text:?} is no moment such as 2026-01-31T08:00:00Z"))
                }),
        }
    }
}

/// Who wants to hear what becomes of a publication.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Receipts {
    Webhook,
    Channel(String),
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
    /// `accepted`: its order is fixed, it is being delivered. Of a durable one, `stored`: it survives the process, or
    /// `synced`: the machine.
    #[schema(value_type = String, example = "accepted")]
    level: Level,
    /// It was published before: nothing was stored or delivered now.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
    /// Where a durable one is not stored, because there was no room for it (`when_full`); all others have it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    full: Vec<FullInbox>,
    /// With `ack`: how many sessions were sent the event.
    #[serde(skip_serializing_if = "Option::is_none")]
    reached: Option<usize>,
    /// With `ack`: the first argument of each acknowledgement, in the order in which they came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Value>>)]
    answers: Option<Vec<Box<RawValue>>>,
    /// What is odd about it, for people: no rule of the app covers some of its channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// An inbox, or the log of a channel with a roster.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FullInbox {
    /// Of this user.
    #[schema(value_type = String)]
    User(Arc<str>),
    /// Of this channel.
    #[schema(value_type = String)]
    Channel(Arc<str>),
}

impl From<Target> for FullInbox {
    fn from(target: Target) -> Self {
        match target {
            Target::User(user) => Self::User(user),
            Target::Channel(channel) => Self::Channel(channel),
        }
    }
}

impl From<Published> for PublishAnswer {
    fn from(published: Published) -> Self {
        let Published { id, level, duplicate, full } = published;
        let full = full.into_iter().map(FullInbox::from).collect();
        Self { id, level, duplicate, full, reached: None, answers: None, hint: None }
    }
}

impl From<Acked> for PublishAnswer {
    fn from(acked: Acked) -> Self {
        let first = |args: &Args| args.first().unwrap_or(RawValue::NULL).to_owned();
        let answers = acked.answers.iter().map(first).collect();
        Self {
            id: acked.id,
            level: Level::Accepted,
            duplicate: false,
            full: Vec::new(),
            reached: Some(acked.reached),
            answers: Some(answers),
            hint: None,
        }
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
    if let Some(Receipts::Channel(channel)) = &body.receipts {
        caller.may_name([channel])?;
    }
    let hint = hint(&app, &body.to.0);
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
    let answer = match api.execute(app.id, command).await? {
        Outcome::Published(published) => published.into(),
        Outcome::Acked(acked) => acked.into(),
        _ => return Err(super::unexpected()),
    };
    Ok(PublishAnswer { hint, ..answer })
}

/// What to think of when nobody hears it: a backend may publish where no rule leads, since other members (a backend put
/// them there, or they are of Node's servers) may be there; but mostly it is a slip in the name. Embedding code has no
/// rules.
fn hint(app: &App, to: &[String]) -> Option<String> {
    app.dialect.as_ref()?;
    let is_channel = |name: &str| name != EVERYONE && name.parse::<Address>().is_err();
    let odd = |name: &&String| app.policy.pattern(name).is_none() && is_channel(name);
    let mut odd = to.iter().filter(odd);
    let names: Vec<_> = odd.by_ref().take(HINTED_MAX).map(|name| format!("`{name}`")).collect();
    let (names, more) = (Some(names.join(", ")).filter(|names| !names.is_empty())?, odd.count());
    let more = if more > 0 { format!(", nor {more} more") } else { String::new() };
    Some(format!("no [[app.{}.channel]] matches {names}{more}: no client can subscribe there", app.name))
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
        let promise = Promise {
            class: self.delivery,
            level: self.level,
            ttl: self.ttl_ms.map(ttl).transpose()?,
            deliver_at: self.deliver_at.map(Moment::millis).transpose()?,
            receipt: self.receipts.map(|receipts| receipt_to(app, receipts)).transpose()?,
        };
        let audience = self.audience.map(|audience| self::audience(&audience, user)).transpose()?;
        Ok(Publish {
            except: self.except.0,
            id: self.id,
            audience,
            priority: self.priority,
            volatile: self.volatile,
            promise,
            ..Publish::new(self.to.0, self.event, args)
        })
    }
}

fn ttl(millis: u64) -> Result<Duration, ApiError> {
    match millis {
        0 => Err(ApiError::bad("`ttl_ms`: nothing is kept for 0 milliseconds; without it, as long as the file says")),
        _ => Ok(Duration::from_millis(millis)),
    }
}

/// Who hears what becomes of it, if there is such a one.
fn receipt_to(app: &App, receipts: Receipts) -> Result<ReceiptTo, ApiError> {
    match receipts {
        Receipts::Channel(channel) if is_channel_name(&channel) => Ok(ReceiptTo::Channel(channel.into())),
        Receipts::Channel(channel) => Err(CommandError::BadChannel(channel).into()),
        Receipts::Webhook if app.inbox.as_ref().is_some_and(|inbox| inbox.webhook.is_some()) => Ok(ReceiptTo::Webhook),
        Receipts::Webhook => {
            Err(ApiError::bad(format!("`receipts`: the file names no webhook: add [app.{}.inbox.webhook]", app.name)))
        }
    }
}

/// Who may hear it, as a question about rights.
fn audience(wanted: &Value, user: &Kind) -> Result<Arc<[Audience]>, ApiError> {
    let wrong = |message: &str| ApiError::bad(format!("`audience`: {message}"));
    if let (Value::Object(keys), Kind::Record(known)) = (wanted, user) {
        let lists = || known.iter().filter(|(_, kind)| *kind == Kind::List).map(|(name, _)| &**name);
        if let Some(key) = keys.keys().find(|key| *key != "expression" && !lists().any(|name| name == key.as_str())) {
            let names: Vec<_> = lists().chain(["expression"]).collect();
            return Err(wrong(&format!("users have no list `{key}`; there are {}", names.join(", "))));
        }
    }
    Ok(Audience::parse(wanted, user).map_err(|error| wrong(&error.to_string()))?.into())
}
