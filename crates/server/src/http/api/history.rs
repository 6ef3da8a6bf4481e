//! What a channel remembers: for backends, and for users with their own token, who may read what they may subscribe to.
//! With an `ETag` and with `wait` it is what polling pages need.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use oyez_hub::app::App;
use oyez_hub::delivery::{Publication, Target};
use oyez_hub::policy::Identity;
use oyez_hub::recovery::{Mark, Past, Recovery};
use oyez_protocol::code::Code;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::body::{Params, payload};
use super::channel::check;
use super::error::{ApiError, ErrorBody};
use super::key::{Caller, Right, bearer};
use super::user::{User, identify, may_subscribe, query_token};
use crate::http::fresh::Known;

/// Most publications of one answer.
const LIMIT_MAX: usize = 1_000;
/// So many, unless the request says otherwise.
const LIMIT: usize = 100;
/// The longest wait: shorter than what proxies usually allow.
const WAIT_MAX: u64 = 50;

/// How soon after it was heard what is said can be read.
const MOMENT: Duration = Duration::from_millis(100);

/// Which part of the past.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryParams {
    /// The app; see `publish`. A user's token says it by itself, unless several apps accept it.
    app: Option<String>,
    /// Only what was said after this `offset`; the newest without it.
    #[param(example = "5f3a9c01.1b")]
    since: Option<String>,
    /// At most so many, 100 unless given, up to 1,000.
    limit: Option<usize>,
    /// If there is nothing new, wait for it so many seconds, up to 50.
    wait: Option<u64>,
    /// A user's token, where no header can be sent.
    #[expect(dead_code, reason = "it is read from the query where the user is identified")]
    token: Option<String>,
}

/// What a channel remembers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct History {
    #[schema(value_type = String)]
    channel: Arc<str>,
    /// Oldest first.
    publications: Vec<Remembered>,
    /// What to ask from next time.
    #[schema(example = "5f3a9c01.1b")]
    offset: String,
    /// Some of what was said after `since` is not remembered any more.
    gap: bool,
    /// There is more: ask again at once.
    more: bool,
}

/// A publication.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Remembered {
    #[schema(value_type = String)]
    id: Arc<str>,
    #[schema(value_type = String)]
    event: Arc<str>,
    /// The event's arguments as clients hear them; one alone is not in a list.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Its place.
    offset: String,
}

/// Who asks; a backend hears all.
enum Asker {
    Backend,
    User(Arc<Identity>),
}

/// Read what a channel remembers. Needs a key with the right `read`, or a user's token that may subscribe to the channel.
///
/// With `If-None-Match` and nothing new the answer is 304, with `wait` after that time. In the path, `/` is written `%2F`.
#[utoipa::path(get, path = "/api/v1/channels/{channel}/history", tag = "channels",
    security(("api_key" = []), ("user_token" = [])),
    params(("channel" = String, Path, description = "Its name"), HistoryParams),
    responses((status = 200, body = History), (status = 304, description = "Nothing new"), (status = "4XX", body = ErrorBody)))]
pub(super) async fn history(
    State(api): State<Api>,
    Path(channel): Path<String>,
    Params(params): Params<HistoryParams>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    check(&channel)?;
    let (app, asker) = asker(&api, &params, &uri, &headers, &channel).await?;
    let limit = params.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(ApiError::bad(format!("`limit`: {limit} is not within 1 to {LIMIT_MAX}")));
    }
    let wait = params.wait.unwrap_or_default();
    if wait > WAIT_MAX {
        return Err(ApiError::bad(format!("`wait`: {wait} is more than {WAIT_MAX} seconds; ask again instead")));
    }
    let since = params.since.as_deref().map(str::parse::<Mark>).transpose();
    let since = since.map_err(|_| ApiError::bad("`since`: no offset; take `offset` of an earlier answer"))?;
    let recovery = app.recovery.as_ref().filter(|_| app.policy.history(&channel).is_some());
    let recovery = recovery.ok_or_else(|| {
        let help = format!("nothing is remembered of {channel:?}: give its [[app.{}.channel]] a `history`", app.name);
        ApiError::new(Code::NotFound, help)
    })?;
    let channel: Arc<str> = channel.into();
    let known = Known::of(&headers);
    let query = Query { channel, since, limit, known };
    // What other nodes say is heard from now on: who asks again soon, on this node, misses nothing.
    let _listening = api.hub.listen(app.id, [Arc::clone(&query.channel)]).await;
    let past = query.read(&api, &app, recovery, Duration::from_secs(wait)).await?;
    // Who has waited may have lost the right meanwhile.
    let asker = if wait == 0 { asker } else { self::asker(&api, &params, &uri, &headers, &query.channel).await?.1 };
    Ok(query.answer(&past, &asker))
}

/// Who asks, if they may.
async fn asker(
    api: &Api,
    params: &HistoryParams,
    uri: &Uri,
    headers: &HeaderMap,
    channel: &str,
) -> Result<(Arc<App>, Asker), ApiError> {
    if let Some(caller) = bearer(headers).and_then(|secret| Caller::of(api, secret)) {
        let app = caller.app(Right::Read, params.app.as_deref())?;
        caller.may_name([&channel.to_owned()])?;
        return Ok((app, Asker::Backend));
    }
    let queried = query_token(uri);
    let user = identify(api, queried.as_deref().or_else(|| bearer(headers)), params.app.as_deref()).await;
    let User { app, identity } = user?;
    if !may_subscribe(&app, &identity, channel).await {
        return Err(ApiError::new(Code::Forbidden, format!("not allowed to subscribe to {channel}")));
    }
    Ok((app, Asker::User(identity)))
}

/// What is asked.
struct Query {
    channel: Arc<str>,
    since: Option<Mark>,
    limit: usize,
    /// What the asker has already.
    known: Known,
}

impl Query {
    /// Reads; if there is nothing new, again when something is said, until the time is over or the node goes down.
    async fn read(&self, api: &Api, app: &App, recovery: &Recovery, wait: Duration) -> Result<Past, ApiError> {
        let until = Instant::now() + wait;
        let mut news = recovery.log.next_in(&self.channel);
        let mut nap = wait;
        loop {
            let past = api.hub.past(app, recovery, &self.channel, self.since, self.limit).await?;
            if past.gap || !self.is_known(&past) || Instant::now() >= until || api.stop.is_cancelled() {
                return Ok(past);
            }
            let is_told = tokio::select! {
                told = timeout_at(until.min(Instant::now() + nap), news) => told.is_ok(),
                () = api.stop.cancelled() => false,
            };
            news = recovery.log.next_in(&self.channel);
            // What others keep may be heard here a moment before it can be read.
            nap = if is_told { MOMENT } else { wait };
        }
    }

    /// Nothing is new to who asks.
    fn is_known(&self, past: &Past) -> bool {
        if self.known.is_none() {
            return self.since.is_some() && past.publications.is_empty();
        }
        self.known.has(&tag(past))
    }

    fn answer(&self, past: &Past, asker: &Asker) -> Response {
        let mut response = if !self.known.is_none() && self.is_known(past) && !past.gap {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let publications = past.publications.iter().filter(|(_, publication)| self.is_for(publication, asker));
            let remembered = |(position, publication): &(u64, Arc<Publication>)| Remembered {
                id: Arc::clone(&publication.id),
                event: Arc::clone(&publication.event),
                data: payload(&publication.args),
                offset: Mark { position: *position, ..past.until }.to_string(),
            };
            axum::Json(History {
                channel: Arc::clone(&self.channel),
                publications: publications.map(remembered).collect(),
                offset: past.until.to_string(),
                gap: past.gap,
                more: past.more,
            })
            .into_response()
        };
        if let Ok(tag) = HeaderValue::try_from(tag(past)) {
            response.headers_mut().insert(ETAG, tag);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        response
    }

    /// Whether who asks would have heard it in the channel.
    fn is_for(&self, publication: &Publication, asker: &Asker) -> bool {
        let (Asker::User(identity), Target::Channels(heard)) = (asker, &publication.to) else { return true };
        if publication.except.contains(&self.channel) {
            return false;
        }
        let mut here = heard.iter().filter(|heard| heard.channel == self.channel);
        here.any(|heard| heard.audience.as_ref().is_none_or(|audience| audience.admits(&identity.rights)))
    }
}

fn tag(past: &Past) -> String {
    format!("\"{}\"", past.last)
}
