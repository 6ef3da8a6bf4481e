//! The HTTP API: backends publish and ask, administrators look and disconnect, probes measure.
//!
//! One file per noun. Every request makes a command, as every other door does; what it asks about is read from the
//! hub. `Caller` says who may; `ApiError` is the one shape of a refusal.

mod batch;
mod body;
mod channel;
mod connection;
mod error;
mod gateway;
mod health;
mod key;
mod online;
mod openapi;
mod publish;
mod reference;
mod revoke;
#[cfg(test)]
mod tests;
mod user;
mod websocket;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::http::Uri;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::policy::expression::Kind;
use oyez_hub::policy::limits::Rate;
use oyez_protocol::code::Code;
use tokio_util::sync::CancellationToken;
use tower::util::MapResponseLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::error::ApiError;
use self::key::{Caller, Keys};
use super::pages;
pub use super::pages::Demo;
use crate::config::{ApiKey, AppConfig};
use crate::observe::metrics::Metrics;
pub use reference::reference;

/// What the API needs of its node.
#[derive(Debug)]
pub struct ApiState {
    /// Where commands go.
    pub hub: Hub,
    /// What `/metrics` shows.
    pub metrics: Arc<Metrics>,
    /// Who may use the API.
    pub keys: Vec<ApiKey>,
    /// What the API needs to know of each app, by app id; an app beyond the end is open.
    pub apps: Vec<AppFacts>,
    /// What the demo page connects with; `None`: there is none.
    pub demo: Option<Demo>,
    /// Cancelled when the node goes down: `/readyz` then says so.
    pub stop: CancellationToken,
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
    /// A second's worth of publications may come at once.
    fn from(app: &AppConfig) -> Self {
        let publishes = app.limits.publishes_per_second.map(|rate| Rate::new(rate, rate));
        Self { user: app.user.clone(), publishes }
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
    keys: Keys,
    apps: Vec<AppFacts>,
    stop: CancellationToken,
    started: Instant,
}

impl Api {
    /// What `user` is in an app's expressions.
    fn user(&self, app: AppId) -> &Kind {
        self.apps.get(usize::from(app.0)).map_or(&Kind::Any, |facts| &facts.user)
    }

    /// Counts one publication of `caller`, or refuses it because the last ones were too many.
    fn pace(&self, caller: &Caller, app: &App) -> Result<(), ApiError> {
        let rate = self.apps.get(usize::from(app.id.0)).and_then(|facts| facts.publishes);
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if rate.is_none_or(|rate| caller.paced(app.id, rate, now)) {
            return Ok(());
        }
        let message = format!("too many publications: see `publishes_per_second` of [app.{}.limits]; wait", app.name);
        Err(ApiError::new(Code::RateLimited, message))
    }
}

/// The API, its documentation, the probes and the pages. Mount it with [`crate::Server::with_router`].
pub fn router(state: ApiState) -> Router {
    let pages = pages::router(state.demo.as_ref());
    let api = Api(Arc::new(Shared {
        hub: state.hub,
        metrics: state.metrics,
        keys: Keys::new(state.keys),
        apps: state.apps,
        stop: state.stop,
        started: Instant::now(),
    }));
    let (router, document) = routes().split_for_parts();
    router
        .with_state(api)
        .merge(openapi::router(&document))
        .layer(MapResponseLayer::new(pages::guard_data))
        .merge(pages)
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
}

/// Every operation with its documentation.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(publish::publish))
        .routes(routes!(batch::batch))
        .routes(routes!(channel::list))
        .routes(routes!(channel::show))
        .routes(routes!(channel::presence))
        .routes(routes!(online::online))
        .routes(routes!(online::user))
        .routes(routes!(connection::list))
        .routes(routes!(connection::subscribe))
        .routes(routes!(connection::unsubscribe))
        .routes(routes!(connection::disconnect))
        .routes(routes!(revoke::revoke))
        .routes(routes!(websocket::notify))
        .routes(routes!(websocket::status))
        .routes(routes!(gateway::stats))
        .routes(routes!(gateway::online_users))
        .routes(routes!(gateway::session))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
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
