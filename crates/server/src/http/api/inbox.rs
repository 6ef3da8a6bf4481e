//! What lies in a user's inbox: for the user, who shows the token that they connect with, and for backends, which name
//! the user. Somebody else's messages look like none at all.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use oyez_hub::command::{Command, Marking, Outcome};
use oyez_hub::delivery::Priority;
use oyez_hub::store::{self, Item, Query, Seq, State as Reached, Target, Which};
use oyez_protocol::code::Code;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::asker::Asker;
use super::body::{Json, Params, Texts, payload};
use super::connection::Done;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};
use crate::clock;

/// Most messages of one page.
const LIMIT_MAX: usize = 1_000;

/// So many, unless the request says otherwise.
const LIMIT: usize = 100;

/// Most ids in one request.
const IDS_MAX: usize = 1_000;

/// Which inbox, and which part of it.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// The app; see `publish`. A user's token says it by itself, unless several apps accept it.
    app: Option<String>,
    /// Whose. A user's token says it by itself.
    user: Option<String>,
    /// Only messages that have come so far: `pending`, `delivered`, `seen`, `read`, `archived`; several with commas.
    #[param(example = "pending,delivered,seen")]
    state: Option<String>,
    /// `newest` first, unless `oldest` is given.
    #[serde(default)]
    #[param(value_type = Option<String>, example = "newest")]
    order: Order,
    /// `next` of the page before.
    cursor: Option<String>,
    /// At most so many, 100 unless given, up to 1,000.
    limit: Option<usize>,
    /// A user's token, where no header can be sent.
    #[expect(dead_code, reason = "it is read from the query where the user is identified")]
    token: Option<String>,
}

/// Which comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Newest,
    Oldest,
}

/// Which inbox.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OwnerParams {
    /// The app; see `publish`. A user's token says it by itself, unless several apps accept it.
    app: Option<String>,
    /// Whose. A user's token says it by itself.
    user: Option<String>,
    /// A user's token, where no header can be sent.
    #[expect(dead_code, reason = "it is read from the query where the user is identified")]
    token: Option<String>,
}

/// A page of an inbox.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InboxPage {
    /// There may be fewer than asked for, even none, though more follow.
    messages: Vec<Entry>,
    /// Where the next page begins; without it, that was all.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A message as its user has it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Entry {
    #[schema(value_type = String)]
    id: Arc<str>,
    #[schema(value_type = String)]
    event: Arc<str>,
    /// The event's arguments as clients hear them; one alone is not in a list.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// How far it has come: `pending`, `delivered`, `seen`, `read`, `archived`.
    #[schema(value_type = String, example = "delivered")]
    state: Reached,
    #[schema(value_type = String, example = "normal")]
    priority: Priority,
    /// When it was published, in milliseconds since the Unix epoch.
    created_at: u64,
    /// From then on nobody gets it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<u64>,
    via: Via,
}

/// Through which inbox or channel a message came.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Via {
    User(String),
    Channel(String),
}

impl From<Target> for Via {
    fn from(target: Target) -> Self {
        match target {
            Target::User(user) => Self::User(user.to_string()),
            Target::Channel(channel) => Self::Channel(channel.to_string()),
        }
    }
}

impl From<Item> for Entry {
    fn from(item: Item) -> Self {
        let store::Message { id, event, args, priority, created, expires_at, .. } = item.message;
        let (data, via) = (payload(&args), item.via.into());
        Self { id, event, data, state: item.state, priority, created_at: created, expires_at, via }
    }
}

/// How many messages are not read.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unread {
    /// Neither read nor archived. Of the user's own inbox and of each channel, at most 10,000 are counted.
    count: u64,
}

/// What has happened to which messages: exactly one of `ids`, `up_to` and `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MarkBody {
    /// The app; see `publish`. A user's token says it by itself, unless several apps accept it.
    app: Option<String>,
    /// Whose. A user's token says it by itself.
    user: Option<String>,
    /// These, at most 1,000.
    ids: Option<Texts>,
    /// This one and all before it.
    up_to: Option<String>,
    /// All.
    #[serde(default)]
    all: bool,
    /// `delivered`, `seen`, `read` or `archived`. A message only goes forward; one that is that far already stays.
    #[schema(value_type = String, example = "read")]
    state: Reached,
}

/// What a mark has changed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MarkAnswer {
    /// How many messages have come further.
    changed: usize,
    /// Ids of which the user has no message.
    #[schema(value_type = Vec<String>)]
    unknown: Vec<Arc<str>>,
}

/// What to take from a user.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteBody {
    /// The app; see `publish`. A user's token says it by itself, unless several apps accept it.
    app: Option<String>,
    /// From whom. A user's token says it by itself.
    user: Option<String>,
    /// At most 1,000.
    ids: Texts,
}

/// What is gone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeleteAnswer {
    /// How many messages.
    deleted: usize,
    /// Ids of which the user has no message.
    #[schema(value_type = Vec<String>)]
    unknown: Vec<Arc<str>>,
}

/// What to give a user again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResendBody {
    /// The app; see `publish`.
    app: Option<String>,
    /// To whom.
    user: String,
    /// The message's id.
    id: String,
}

impl ListParams {
    fn query(&self) -> Result<Query, ApiError> {
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(ApiError::bad(format!("`limit`: {limit} is not within 1 to {LIMIT_MAX}")));
        }
        let state = |word: &str| {
            serde_json::from_value::<Reached>(word.into()).map_err(|_| {
                let message = "is no state; there are pending, delivered, seen, read, archived";
                ApiError::bad(format!("`state`: {:?} {message}", word.chars().take(40).collect::<String>()))
            })
        };
        Ok(Query {
            states: self.state.iter().flat_map(|states| states.split(',')).map(state).collect::<Result<_, _>>()?,
            newest_first: self.order == Order::Newest,
            after: self.cursor.as_deref().map(|cursor| self.order.place(cursor)).transpose()?,
            limit,
        })
    }
}

impl Order {
    fn letter(self) -> char {
        match self {
            Self::Newest => 'n',
            Self::Oldest => 'o',
        }
    }

    /// A place as a cursor, which is good for this order only.
    fn cursor(self, place: Seq) -> String {
        format!("{}{place:x}", self.letter())
    }

    fn place(self, cursor: &str) -> Result<Seq, ApiError> {
        let digits = cursor.strip_prefix(self.letter()).filter(|digits| !digits.starts_with('+'));
        digits.and_then(|digits| Seq::from_str_radix(digits, 16).ok()).ok_or_else(|| {
            ApiError::bad("`cursor`: not of this list; take `next` of a page in the same `order`, or begin without it")
        })
    }
}

/// List a user's messages. Needs a user's own token, or a key with the right `read`, for all channels.
///
/// A user sees what they may hear now, as on a connect.
#[utoipa::path(get, path = "/api/v1/inbox", tag = "inbox", security(("api_key" = []), ("user_token" = [])), params(ListParams),
    responses((status = 200, body = InboxPage), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(
    State(api): State<Api>,
    asker: Asker,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<InboxPage>, ApiError> {
    let inbox = asker.inbox(&api, Right::Read, params.app.as_deref(), params.user.as_deref()).await?;
    let inboxes = inbox.inboxes(&api)?;
    let query = params.query()?;
    let page = inboxes.store().list(&inbox.app.owner(&inbox.user), query, clock::span().earliest).await;
    let page = page.map_err(|error| inbox.failed(error))?;
    let mut items = page.items;
    let channels: BTreeSet<_> = items.iter().filter_map(|item| item.via.channel().cloned()).collect();
    if let Some(hearing) = inbox.hearing(channels).await {
        items.retain(|item| hearing.hears(&inbox.app, item));
    }
    // What came through an inbox and a channel lies side by side, and is one message.
    items.dedup_by(|item, before| item.message.id == before.message.id);
    let messages = items.into_iter().map(Entry::from).collect();
    Ok(axum::Json(InboxPage { messages, next: page.next.map(|next| params.order.cursor(next)) }))
}

/// Count a user's unread messages. Needs a user's own token, or a key with the right `read`, for all channels.
///
/// Counting stops at 10,000, of the user's own inbox and of each channel.
#[utoipa::path(get, path = "/api/v1/inbox/unread", tag = "inbox", security(("api_key" = []), ("user_token" = [])), params(OwnerParams),
    responses((status = 200, body = Unread), (status = "4XX", body = ErrorBody)))]
pub(super) async fn unread(
    State(api): State<Api>,
    asker: Asker,
    Params(params): Params<OwnerParams>,
) -> Result<axum::Json<Unread>, ApiError> {
    let inbox = asker.inbox(&api, Right::Read, params.app.as_deref(), params.user.as_deref()).await?;
    let inboxes = inbox.inboxes(&api)?;
    let hearing = inbox.whole_hearing(inboxes).await?;
    let count = inboxes.unread(&inbox.app, &inbox.app.owner(&inbox.user), hearing.as_slice()).await;
    let count = count.map_err(|error| inbox.failed(error))?;
    Ok(axum::Json(Unread { count }))
}

/// Say how far messages have come. Needs a user's own token, or a key with the right `publish`, for all channels.
///
/// Everything from `delivered` on acknowledges. The user's devices hear what has been seen, read or archived.
#[utoipa::path(post, path = "/api/v1/inbox/mark", tag = "inbox", security(("api_key" = []), ("user_token" = [])),
    request_body(content = MarkBody, example = json!({"user": "42", "ids": ["order-7"], "state": "read"})),
    responses((status = 200, body = MarkAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn mark(
    State(api): State<Api>,
    asker: Asker,
    Json(body): Json<MarkBody>,
) -> Result<axum::Json<MarkAnswer>, ApiError> {
    let inbox = asker.inbox(&api, Right::Publish, body.app.as_deref(), body.user.as_deref()).await?;
    let to = body.state;
    if to == Reached::Pending {
        let message = "`state`: what is `pending` is not marked so; use delivered, seen, read, archived, or `resend`";
        return Err(ApiError::bad(message));
    }
    let which = match (body.ids, body.up_to, body.all) {
        (Some(ids), None, false) => Which::Ids(named(ids)?),
        (None, Some(id), false) => Which::UpTo(id.into()),
        (None, None, true) => Which::All,
        _ => return Err(ApiError::bad("which messages? Give exactly one of `ids`, `up_to` and `\"all\": true`")),
    };
    let hearing = inbox.whole_hearing(inbox.inboxes(&api)?).await?;
    let marking = Marking { user: Arc::clone(&inbox.user), which, to, by: None, hearing };
    match api.execute(inbox.app.id, Command::Mark(marking)).await.map_err(|error| inbox.failed(error))? {
        Outcome::Marked(mut marked) => {
            // One that came through an inbox and a channel is one message.
            marked.changed.dedup_by(|change, before| change.id == before.id);
            Ok(axum::Json(MarkAnswer { changed: marked.changed.len(), unknown: marked.unknown }))
        }
        _ => Err(super::unexpected()),
    }
}

/// Take messages from a user. Needs a user's own token, or a key with the right `publish`, for all channels.
///
/// Other users keep theirs. The user's devices hear it.
#[utoipa::path(post, path = "/api/v1/inbox/delete", tag = "inbox", security(("api_key" = []), ("user_token" = [])),
    request_body(content = DeleteBody, example = json!({"user": "42", "ids": ["order-7"]})),
    responses((status = 200, body = DeleteAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn delete(
    State(api): State<Api>,
    asker: Asker,
    Json(body): Json<DeleteBody>,
) -> Result<axum::Json<DeleteAnswer>, ApiError> {
    let inbox = asker.inbox(&api, Right::Publish, body.app.as_deref(), body.user.as_deref()).await?;
    let ids = named(body.ids)?;
    let hearing = inbox.whole_hearing(inbox.inboxes(&api)?).await?;
    let command = Command::Delete(Arc::clone(&inbox.user), ids, hearing);
    match api.execute(inbox.app.id, command).await.map_err(|error| inbox.failed(error))? {
        Outcome::Deleted(deleted) => {
            Ok(axum::Json(DeleteAnswer { deleted: deleted.removed.len(), unknown: deleted.unknown }))
        }
        _ => Err(super::unexpected()),
    }
}

/// Give a user a message again, as if it were new and addressed to them: all of their devices hear it, also what a channel
/// withheld from some. Needs the right `publish`, for all channels.
#[utoipa::path(post, path = "/api/v1/inbox/resend", tag = "inbox", security(("api_key" = [])),
    request_body(content = ResendBody, example = json!({"user": "42", "id": "order-7"})),
    responses((status = 200, body = Done), (status = "4XX", body = ErrorBody)))]
pub(super) async fn resend(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<ResendBody>,
) -> Result<axum::Json<Done>, ApiError> {
    let inbox = caller.inbox(Right::Publish, body.app.as_deref(), &body.user)?;
    api.pace(&caller, &inbox.app)?;
    match api.execute(inbox.app.id, Command::Resend(inbox.user, body.id.into())).await? {
        Outcome::Resent(true) => Ok(axum::Json(Done::OK)),
        Outcome::Resent(false) => {
            let message = "the user has no such message: it was never theirs, or is gone; `oyez trace` says which";
            Err(ApiError::new(Code::NotFound, message))
        }
        _ => Err(super::unexpected()),
    }
}

fn named(ids: Texts) -> Result<Vec<Arc<str>>, ApiError> {
    match ids.0.len() {
        1..=IDS_MAX => Ok(ids.0.into_iter().map(Arc::from).collect()),
        count => Err(ApiError::bad(format!("`ids`: {count} is not within 1 to {IDS_MAX}; send several requests"))),
    }
}
