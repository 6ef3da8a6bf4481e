//! Connections: look at them, put them into channels, take them out, end them.

use axum::extract::State;
use oyez_hub::address::Address;
use oyez_hub::app::App;
use oyez_hub::channel::EVERYONE;
use oyez_hub::command::{Command, Goodbye, Outcome, Select, SocketInfo};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::{Json, Params, Texts};
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right};

/// Connections shown unless asked for more.
const SHOWN: usize = 100;

/// Most connections that are shown.
const SHOWN_MAX: usize = 1_000;

/// Whom a command is about: exactly one of the three.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveBody {
    /// The app; see `publish`.
    app: Option<String>,
    /// All connections of this user.
    user: Option<String>,
    /// This connection.
    session: Option<String>,
    /// All connections in this channel; `*` is everybody in the app.
    channel: Option<String>,
    /// The channels to put them into, or to take them out of.
    #[serde(default)]
    channels: Texts,
}

/// Whom to disconnect: exactly one of `user`, `session` and `channel`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DisconnectBody {
    /// The app; see `publish`.
    app: Option<String>,
    /// All connections of this user.
    user: Option<String>,
    /// This connection.
    session: Option<String>,
    /// All connections in this channel; `*` is everybody in the app.
    channel: Option<String>,
    /// `true` closes the connection, and stock clients come back at once; `false` ends the namespace, and they stay away.
    #[serde(default)]
    transport: bool,
}

/// It was done, or is being done by the threads that own the connections.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {
    #[schema(example = true)]
    ok: bool,
}

/// Into the channels or out of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Movement {
    In,
    Out,
}

/// Which connections to show.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// The app; see `publish`.
    app: Option<String>,
    /// Only this user's.
    user: Option<String>,
    /// Only this one.
    session: Option<String>,
    /// Only members of this channel.
    channel: Option<String>,
    /// At most so many; 100 unless given, 1,000 at most.
    limit: Option<usize>,
}

/// Some connections, those that came first at the top.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Connections {
    /// How many there are.
    total: usize,
    /// As many of them as were asked for.
    #[schema(value_type = Vec<ConnectionInfo>)]
    connections: Vec<SocketInfo>,
}

/// The documentation of [`SocketInfo`], which knows nothing of HTTP.
#[derive(Debug, Serialize, ToSchema)]
struct ConnectionInfo {
    /// Its id, as the client knows it.
    id: String,
    user: String,
    name: Option<String>,
    roles: Vec<String>,
    /// `websocket` or `polling`.
    transport: String,
    address: Option<String>,
    /// Milliseconds since the Unix epoch.
    connected_at: u64,
    channels: Vec<String>,
}

/// List connections. Needs the right `read`.
#[utoipa::path(get, path = "/api/v1/connections", tag = "connections", security(("api_key" = [])), params(ListParams),
    responses((status = 200, body = Connections), (status = "4XX", body = ErrorBody)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<Connections>, ApiError> {
    let app = caller.app(Right::Read, params.app.as_deref())?;
    caller.may_name(&params.channel)?;
    let limit = params.limit.unwrap_or(SHOWN);
    if !(1..=SHOWN_MAX).contains(&limit) {
        return Err(ApiError::bad(format!("`limit`: {limit} is not within 1 to {SHOWN_MAX}")));
    }
    let nobody = params.user.is_none() && params.session.is_none() && params.channel.is_none();
    let chosen = match (params.session, params.user.clone(), params.channel.clone()) {
        _ if nobody => Select::Everyone,
        (Some(session), ..) => select(None, Some(session), None)?,
        (None, Some(user), _) => select(Some(user), None, None)?,
        (None, None, channel) => select(None, None, channel)?,
    };
    let mut connections = describe(&api, &app, chosen).await?;
    connections.retain(|one| {
        let among = |channel: &str| channel == EVERYONE || one.channels.iter().any(|own| **own == *channel);
        params.user.as_deref().is_none_or(|user| *one.user == *user) && params.channel.as_deref().is_none_or(among)
    });
    connections.sort_by(|a, b| (a.connected_at, &a.id).cmp(&(b.connected_at, &b.id)));
    let total = connections.len();
    connections.truncate(limit);
    connections.iter_mut().for_each(|one| one.channels.retain(|channel| caller.covers(channel)));
    Ok(axum::Json(Connections { total, connections }))
}

/// Put connections into channels. Needs the right `publish`.
///
/// The app's rules are not asked: whoever holds the key has decided.
#[utoipa::path(post, path = "/api/v1/subscribe", tag = "connections", security(("api_key" = [])),
    request_body(content = MoveBody, example = json!({"user": "42", "channels": ["site:1"]})), responses((status = 200, body = Done), (status = "4XX", body = ErrorBody)))]
pub(super) async fn subscribe(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<MoveBody>,
) -> Result<axum::Json<Done>, ApiError> {
    move_for(&api, &caller, body, Movement::In).await.map(axum::Json)
}

/// Take connections out of channels. Needs the right `publish`.
#[utoipa::path(post, path = "/api/v1/unsubscribe", tag = "connections", security(("api_key" = [])),
    request_body(content = MoveBody, example = json!({"user": "42", "channels": ["site:1"]})), responses((status = 200, body = Done), (status = "4XX", body = ErrorBody)))]
pub(super) async fn unsubscribe(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<MoveBody>,
) -> Result<axum::Json<Done>, ApiError> {
    move_for(&api, &caller, body, Movement::Out).await.map(axum::Json)
}

/// Disconnect connections. Needs the right `disconnect`.
#[utoipa::path(post, path = "/api/v1/disconnect", tag = "connections", security(("api_key" = [])),
    request_body(content = DisconnectBody, example = json!({"user": "42"})), responses((status = 200, body = Done), (status = "4XX", body = ErrorBody)))]
pub(super) async fn disconnect(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<DisconnectBody>,
) -> Result<axum::Json<Done>, ApiError> {
    disconnect_for(&api, &caller, body).await.map(axum::Json)
}

/// Moves connections for a key that may.
pub(super) async fn move_for(api: &Api, caller: &Caller, body: MoveBody, way: Movement) -> Result<Done, ApiError> {
    let app = caller.app(Right::Publish, body.app.as_deref())?;
    caller.may_name(body.channel.iter().chain(&body.channels.0))?;
    let chosen = select(body.user, body.session, body.channel)?;
    let Texts(channels) = body.channels;
    if channels.is_empty() {
        return Err(ApiError::bad("`channels` names none; name one or more"));
    }
    if channels.iter().any(|name| name == EVERYONE) {
        return Err(ApiError::bad("`channels`: everybody is in `*` for as long as they are connected"));
    }
    let command = match way {
        Movement::In => Command::Join(chosen, channels),
        Movement::Out => Command::Leave(chosen, channels),
    };
    api.execute(app.id, command).await?;
    Ok(Done::OK)
}

/// Disconnects for a key that may.
pub(super) async fn disconnect_for(api: &Api, caller: &Caller, body: DisconnectBody) -> Result<Done, ApiError> {
    let app = caller.app(Right::Disconnect, body.app.as_deref())?;
    caller.may_name(&body.channel)?;
    let chosen = select(body.user, body.session, body.channel)?;
    let how = if body.transport { Goodbye::Transport } else { Goodbye::Namespace };
    api.hub.execute(app.id, Command::Disconnect(chosen, how)).await?;
    Ok(Done::OK)
}

impl Done {
    /// Nothing more to say.
    pub(super) const OK: Self = Self { ok: true };
}

/// The connections that exactly one of the three names.
fn select(user: Option<String>, session: Option<String>, channel: Option<String>) -> Result<Select, ApiError> {
    match (user, session, channel) {
        (Some(user), None, None) => Ok(Select::User(user.into())),
        (None, Some(session), None) => session.parse::<Address>().map(Select::Socket).map_err(|_| {
            ApiError::bad(format!("`session`: {session:?} is no session id; /api/v1/connections shows them"))
        }),
        (None, None, Some(channel)) if channel == EVERYONE => Ok(Select::Everyone),
        (None, None, Some(channel)) => Ok(Select::Channels { to: vec![channel.into()], except: Vec::new() }),
        _ => Err(ApiError::bad("name exactly one of `user`, `session` and `channel`")),
    }
}

/// The connections of an app that `select` means.
pub(super) async fn describe(api: &Api, app: &App, select: Select) -> Result<Vec<SocketInfo>, ApiError> {
    match api.hub.execute(app.id, Command::Describe(select)).await? {
        Outcome::Sockets(sockets) => Ok(sockets),
        _ => Err(super::unexpected()),
    }
}

/// The members of a channel.
pub(super) async fn members(api: &Api, app: &App, channel: &str) -> Result<Vec<SocketInfo>, ApiError> {
    describe(api, app, select(None, None, Some(channel.to_owned()))?).await
}

/// One connection, if it is there.
pub(super) async fn find(api: &Api, app: &App, session: &str) -> Result<Option<SocketInfo>, ApiError> {
    let Ok(address) = session.parse::<Address>() else { return Ok(None) };
    Ok(describe(api, app, Select::Socket(address)).await?.pop())
}
