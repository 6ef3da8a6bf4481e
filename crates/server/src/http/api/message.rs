//! `GET /api/v1/messages/{id}/trace`: why did that user not get it?

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use oyez_hub::cluster::Devices;
use oyez_hub::policy::expression::iso_millis;
use oyez_hub::store::{self, Gone, State as Reached, Target};
use oyez_protocol::code::Code;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::Params;
use super::error::{ApiError, ErrorBody};
use super::inbox::Via;
use super::key::{Caller, Right};

/// With whom.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TraceParams {
    /// The app; see `publish`.
    app: Option<String>,
    /// The user.
    user: String,
}

/// What became of a message with a user. Times are milliseconds since the Unix epoch.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TraceAnswer {
    id: String,
    user: String,
    /// Where it stands.
    verdict: Verdict,
    /// The same in words.
    summary: String,
    /// When it was published.
    stored_at: u64,
    /// When it is due, if it is not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_for: Option<u64>,
    /// Through which inbox or channel the user has it, or had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<Via>,
    /// How far it has come: `pending`, `delivered`, `seen`, `read`, `archived`.
    #[schema(value_type = String, example = "delivered")]
    state: Reached,
    /// When it came to each state; those that were skipped have the time of the next one.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"delivered": 1_769_846_400_000_u64}))]
    reached: BTreeMap<Reached, u64>,
    /// How many sessions of the user are connected, to this node or another one.
    connections: usize,
    /// How many of those were handed it, and have not acknowledged it.
    handed: usize,
    /// Nodes that did not answer in time, by the numbers that logs call them: who is connected there is not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    silent: Vec<u16>,
    /// That it was sent to sessions which ended without acknowledging it.
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<SentInfo>,
    /// Why it was last not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    withheld: Option<Withheld>,
    /// Why it is not there any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    gone: Option<GoneInfo>,
}

/// What explains it best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// It is not due yet.
    Scheduled,
    /// It was for others.
    NotAddressed,
    /// The user has acknowledged it.
    Acknowledged,
    /// The user deleted it.
    Deleted,
    /// Its time was over.
    Expired,
    /// There was no room.
    Dropped,
    /// It was acknowledged long ago.
    Trimmed,
    /// The user may not hear it.
    Withheld,
    /// Connected sessions were handed it, and have not acknowledged it.
    Unacknowledged,
    /// Sessions are connected, and none of them was handed it: they are behind, or may not hear it.
    NotHanded,
    /// The user is not connected.
    NotConnected,
}

/// Sessions that were sent it.
#[derive(Debug, Serialize, ToSchema)]
struct SentInfo {
    /// When the end of the first was noted.
    first_at: u64,
    /// How many.
    times: u32,
}

/// A message that was kept from its user.
#[derive(Debug, Serialize, ToSchema)]
struct Withheld {
    reason: String,
    at: u64,
}

/// A message that is not there any more.
#[derive(Debug, Serialize, ToSchema)]
struct GoneInfo {
    #[schema(value_type = String, example = "expired")]
    why: Verdict,
    at: u64,
}

/// Say what became of a durable message with a user. Needs the right `read`, for all channels.
///
/// The answer to "why did they not get it?". Messages are known for as long as they lie in an inbox, and for 24 hours.
#[utoipa::path(get, path = "/api/v1/messages/{id}/trace", tag = "inbox", security(("api_key" = [])),
    params(("id" = String, Path, description = "The message's id"), TraceParams),
    responses((status = 200, body = TraceAnswer), (status = "4XX", body = ErrorBody)))]
pub(super) async fn trace(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<TraceParams>,
) -> Result<axum::Json<TraceAnswer>, ApiError> {
    let app = caller.app(Right::Read, params.app.as_deref())?;
    caller.demand_all_channels()?;
    let store = api.hub.inboxes_of(&app)?.store();
    let user: Arc<str> = params.user.as_str().into();
    let Some(trace) = store.trace(&app.owner(&user), &id).await? else {
        let message = format!(
            "no message {:?} is known to app `{}`: compare it with `id` of the publisher's answer. Live publications are \
             not kept; durable ones are known while they lie in an inbox, and for 24 hours",
            id.chars().take(200).collect::<String>(),
            app.name
        );
        return Err(ApiError::new(Code::NotFound, message));
    };
    let devices = api.hub.devices(&app, &user, &id.as_str().into()).await;
    Ok(axum::Json(TraceAnswer::new(id, params.user, trace, devices)))
}

impl TraceAnswer {
    fn new(id: String, user: String, trace: store::Trace, devices: Devices) -> Self {
        let verdict = verdict(&trace, &devices);
        let summary = verdict.words(&user, &trace, &devices) + &unknown(&devices.silent);
        Self {
            id,
            user,
            verdict,
            summary,
            stored_at: trace.stored_at,
            scheduled_for: trace.scheduled_for,
            via: trace.place.map(|(target, _)| target.into()),
            state: trace.state,
            reached: trace.reached.into_iter().collect(),
            connections: devices.connected,
            handed: devices.handed,
            silent: devices.silent,
            sent: trace.sent.map(|(first_at, times)| SentInfo { first_at, times }),
            withheld: trace.withheld.map(|(reason, at)| Withheld { reason, at }),
            gone: trace.gone.and_then(|(why, at)| Some(GoneInfo { why: left(why)?, at })),
        }
    }
}

/// Of what is sent again the later place is traced, where it is.
fn left(gone: Gone) -> Option<Verdict> {
    match gone {
        Gone::Deleted => Some(Verdict::Deleted),
        Gone::Expired => Some(Verdict::Expired),
        Gone::Dropped => Some(Verdict::Dropped),
        Gone::Trimmed => Some(Verdict::Trimmed),
        Gone::Resent => None,
    }
}

/// The first that holds explains the rest.
fn verdict(trace: &store::Trace, devices: &Devices) -> Verdict {
    let gone = trace.gone.and_then(|(why, _)| left(why));
    match (trace, gone) {
        (store::Trace { scheduled_for: Some(_), .. }, _) => Verdict::Scheduled,
        (store::Trace { place: None, .. }, _) => Verdict::NotAddressed,
        (_, Some(gone)) => gone,
        (store::Trace { state, .. }, None) if *state > Reached::Pending => Verdict::Acknowledged,
        _ if devices.handed > 0 => Verdict::Unacknowledged,
        (store::Trace { withheld: Some(_), .. }, None) => Verdict::Withheld,
        _ if devices.connected > 0 => Verdict::NotHanded,
        _ => Verdict::NotConnected,
    }
}

impl Verdict {
    fn words(self, user: &str, trace: &store::Trace, devices: &Devices) -> String {
        let Devices { connected, handed, .. } = devices;
        let place = match &trace.place {
            Some((Target::Channel(channel), _)) => format!("the channel {channel}"),
            _ => "their inbox".to_owned(),
        };
        let stored = iso_millis(trace.stored_at);
        let gone = trace.gone.map_or_else(String::new, |(_, at)| iso_millis(at));
        let got = got(trace);
        match self {
            Self::Scheduled => {
                let due = iso_millis(trace.scheduled_for.unwrap_or_default());
                format!("It was stored at {stored} and is scheduled for {due}; nobody gets it before.")
            }
            Self::NotAddressed => format!(
                "It was stored at {stored}, but not for {user}: it went neither to their inbox nor to a channel on whose \
                 roster they are and were then, or there was no room for it there."
            ),
            Self::Acknowledged => format!("{user} has it: {got}."),
            Self::Deleted => format!("It was deleted from {place} at {gone}; before, {got}."),
            Self::Expired => format!("It expired at {gone}; before, {got}. Its `ttl` was over."),
            Self::Dropped => {
                format!("It was dropped from {place} at {gone}, to make room for newer ones; before, {got}.")
            }
            Self::Trimmed => format!("It was acknowledged long ago, and trimmed from {place} at {gone}: {got}."),
            Self::Withheld => {
                let (reason, at) = trace.withheld.clone().unwrap_or_default();
                format!(
                    "{user} is not authorised: it was withheld at {}, because {reason}. It waits in {place}, and is sent \
                     on a connect with the right to it.",
                    iso_millis(at)
                )
            }
            Self::Unacknowledged => format!(
                "It was handed to {handed} of {connected} connected session(s) of {user}, and {got}. It is sent again on \
                 every connect until it is acknowledged."
            ),
            Self::NotHanded => format!(
                "{user} is connected, but none of {connected} session(s) was handed it: they are behind, or may not hear \
                 it; {got}. It waits in {place}, and is sent at the latest on the next connect with the right to it."
            ),
            Self::NotConnected => {
                format!("{user} is not connected, and {got}. It waits in {place}, and is sent when they connect.")
            }
        }
    }
}

/// What is not known because nodes did not answer.
fn unknown(silent: &[u16]) -> String {
    if silent.is_empty() {
        return String::new();
    }
    let nodes: Vec<_> = silent.iter().map(ToString::to_string).collect();
    format!(" Node(s) {} did not answer in time: who is connected there is not known.", nodes.join(", "))
}

/// What the user has heard and said of it.
fn got(trace: &store::Trace) -> String {
    let sent = trace.sent.map(|(first, times)| format!("it was sent {times} time(s), first at {}", iso_millis(first)));
    let name = |state: &Reached| serde_json::to_value(state).ok().and_then(|name| Some(name.as_str()?.to_owned()));
    let reached: Vec<_> = trace
        .reached
        .iter()
        .filter_map(|(state, at)| Some(format!("{} at {}", name(state)?, iso_millis(*at))))
        .collect();
    match (sent, reached.is_empty()) {
        (_, false) => format!("it was {}", reached.join(", ")),
        (Some(sent), true) => format!("{sent}, and not acknowledged"),
        (None, true) => "it has not been acknowledged".to_owned(),
    }
}
