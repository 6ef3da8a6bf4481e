//! The HTTP API: backends publish and ask, administrators look and disconnect, probes measure.
//!
//! One file per noun. Every request makes a command, as every other door does; what it asks about is read from the
//! hub. `Caller` says who may; `ApiError` is the one shape of a refusal.

mod asker;
mod batch;
mod body;
mod channel;
mod connection;
mod error;
mod gateway;
mod health;
mod history;
mod inbox;
mod key;
mod message;
mod online;
mod openapi;
mod publish;
mod reference;
mod reload;
mod revoke;
mod roster;
mod source;
#[cfg(test)]
mod tests;
mod user;
mod websocket;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::Uri;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use http::HeaderValue;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::command::{Command, CommandError, Outcome};
use oyez_hub::policy::expression::Kind;
use oyez_hub::policy::limits::{Limit, Rate};
use oyez_protocol::code::Code;
use parking_lot::RwLock;
use percent_encoding::percent_decode_str;
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
use self::key::{Caller, Keys};
pub use self::reload::{ReloadAnswer, ReloadLane};
use super::pages;
pub use super::pages::Demo;
use crate::config::{ApiKey, AppConfig, Config};
use crate::observe::metrics::Metrics;
pub use reference::reference;

/// What the API needs of its node.
#[derive(Debug)]
pub struct ApiState {
    /// Where commands go.
    pub hub: Hub,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Who may use the API, and how much.
    pub access: Access,
    /// What the demo page connects with; `None`: there is none.
    pub demo: Option<Demo>,
    /// Cancelled when the node goes down: `/readyz` then says so.
    pub stop: CancellationToken,
    /// Who reads the configuration again; `None`: nobody does.
    pub reload: Option<ReloadLane>,
}

/// Who may use the API, as the configuration says it now. Clones share it.
#[derive(Debug, Clone)]
pub struct Access(Arc<RwLock<Arc<Rules>>>);

#[derive(Debug)]
struct Rules {
    keys: Keys,
    /// By app id; an app beyond the end is open.
    apps: Vec<AppFacts>,
    /// What browsers are told about coming by TLS only.
    hsts: Option<HeaderValue>,
}

impl Access {
    /// These keys, for apps about which this is known, by id.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>, apps: Vec<AppFacts>) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(Rules { keys: Keys::new(keys), apps, hsts: None }))))
    }

    /// What a configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let hsts =
            config.server.tls.as_ref().and_then(|tls| tls.hsts).map(|time| format!("max-age={}", time.as_secs()));
        let rules = Rules {
            keys: Keys::new(config.keys.clone()),
            apps: config.apps.iter().map(AppFacts::from).collect(),
            hsts: hsts.and_then(|hsts| hsts.parse().ok()),
        };
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// Says what another configuration says, from now on.
    pub(crate) fn replace(&self, config: &Config) {
        let rules = Self::of(config).rules();
        *self.0.write() = rules;
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read())
    }
}

/// What the API needs to know of an app beside what the hub knows.
#[derive(Debug, Clone)]
pub struct AppFacts {
    /// What `user` is in its expressions ([`crate::config::AppConfig::user`]); for audiences.
    pub user: Kind,
    /// Publications of one key; `None`: any number.
    pub publishes: Option<Rate>,
}

impl From<&AppConfig> for AppFacts {
    fn from(app: &AppConfig) -> Self {
        Self { user: app.user.clone(), publishes: app.limits.publishes }
    }
}

/// [`ApiState`], ready for requests.
#[derive(Debug, Clone)]
struct Api(Arc<Shared>);

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

#[derive(Debug)]
struct Shared {
    hub: Hub,
    metrics: Arc<Metrics>,
    access: Access,
    stop: CancellationToken,
    reload: Option<ReloadLane>,
    started: Instant,
}

impl Api {
    /// What `user` is in an app's expressions.
    fn user(&self, app: AppId) -> Kind {
        self.access.rules().apps.get(usize::from(app.0)).map_or(Kind::Any, |facts| facts.user.clone())
    }

    /// Counts one publication of `caller`, or refuses it because the last ones were too many.
    fn pace(&self, caller: &Caller, app: &App) -> Result<(), ApiError> {
        let rate = self.access.rules().apps.get(usize::from(app.id.0)).and_then(|facts| facts.publishes);
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if rate.is_none_or(|rate| caller.paced(app.id, rate, now)) {
            return Ok(());
        }
        let message = format!("too many publications: see `publishes_per_second` of [app.{}.limits]; wait", app.name);
        Err(self.over(Limit::Publishes, message))
    }

    /// Counts that a limit was exceeded, and says so.
    fn over(&self, limit: Limit, message: String) -> ApiError {
        self.metrics.limited(limit);
        ApiError::new(limit.code(), message)
    }

    /// Has a command executed that may exceed a limit.
    async fn execute(&self, app: AppId, command: Command) -> Result<Outcome, ApiError> {
        let outcome = self.hub.execute(app, command).await;
        outcome.map_err(|error| match &error {
            CommandError::OverLimit { limit, .. } => self.over(*limit, error.to_string()),
            _ => error.into(),
        })
    }
}

/// The API, its documentation, the probes and the pages. Mount it with [`crate::Server::with_router`].
pub fn router(state: ApiState) -> Router {
    let pages = pages::router(state.demo.as_ref());
    let access = state.access.clone();
    let api = Api(Arc::new(Shared {
        hub: state.hub,
        metrics: state.metrics,
        access: state.access,
        stop: state.stop,
        reload: state.reload,
        started: Instant::now(),
    }));
    let (router, document) = routes().split_for_parts();
    router
        .with_state(api)
        .merge(openapi::router(&document))
        .merge(pages)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(readable))
        .layer(MapResponseLayer::new(move |response| pages::guard(response, access.rules().hsts.clone())))
}

/// Every operation with its documentation.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(publish::publish))
        .routes(routes!(batch::batch))
        .routes(routes!(source::push))
        .routes(routes!(source::push_to))
        .route("/api/v1/source/{name}", axum::routing::put(source::push))
        .route("/api/v1/source/{name}/{address}", axum::routing::put(source::push_to))
        .routes(routes!(channel::list))
        .routes(routes!(channel::show))
        .routes(routes!(channel::presence))
        .routes(routes!(history::history))
        .routes(routes!(roster::show, roster::enroll, roster::dismiss))
        .routes(routes!(inbox::list))
        .routes(routes!(inbox::unread))
        .routes(routes!(inbox::mark))
        .routes(routes!(inbox::delete))
        .routes(routes!(inbox::resend))
        .routes(routes!(message::trace))
        .routes(routes!(online::online))
        .routes(routes!(online::user))
        .routes(routes!(connection::list))
        .routes(routes!(connection::subscribe))
        .routes(routes!(connection::unsubscribe))
        .routes(routes!(connection::disconnect))
        .routes(routes!(revoke::revoke))
        .routes(routes!(reload::reload))
        .routes(routes!(websocket::notify))
        .routes(routes!(websocket::status))
        .routes(routes!(gateway::stats))
        .routes(routes!(gateway::online_users))
        .routes(routes!(gateway::session))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
}

/// Refuses names that no text can be, in the one shape of a refusal.
async fn readable(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if percent_decode_str(path).decode_utf8().is_err() {
        return ApiError::bad(format!("{path} is not UTF-8 once its %XX are bytes; encode names as UTF-8"))
            .into_response();
    }
    next.run(request).await
}

async fn nothing_here(uri: Uri) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is nothing at {}; /api/docs lists what there is", uri.path()))
}

async fn wrong_method(uri: Uri) -> ApiError {
    let message = format!("{} does not take this method; /api/docs says which it takes", uri.path());
    ApiError::new(Code::MethodNotAllowed, message)
}

/// The hub answered with the outcome of another command; it does not.
fn unexpected() -> ApiError {
    ApiError::new(Code::Internal, "the hub gave another answer than was asked for; please report this")
}
