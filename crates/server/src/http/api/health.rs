//! Probes: alive, ready, measured.

use std::sync::atomic::Ordering::Relaxed;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use oyez_hub::inbox::Inboxes;
use oyez_protocol::code::Code;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorBody};
use crate::clock;
use crate::observe::readiness::Unready;

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// Why the node is not ready: a refusal as every other, and each reason by itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NotReady {
    #[serde(flatten)]
    refusal: ErrorBody,
    reasons: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reason {
    /// A stable name for programs: `starting`, `stalled`, `cannot_accept`, `shutting_down`, `store`, `broker`.
    #[schema(value_type = String, example = "shutting_down")]
    reason: &'static str,
    /// What it means, for people.
    message: String,
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, body = Health)))]
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The node takes connections. Otherwise, and as soon as it goes down, 503 with every reason, so that load balancers look
/// elsewhere and people know why.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses((status = 200, body = Health), (status = 503, body = NotReady)))]
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let mut unready = api.metrics.unready(api.stop.is_cancelled(), clock::steady_nanos());
    if let Some(error) = api.hub.inboxes().and_then(Inboxes::trouble) {
        unready.push(Unready::new("store", error.to_string()));
    }
    let is_alone = api.hub.cluster().is_some_and(|cluster| !cluster.is_reached());
    if is_alone || api.hub.neighbours().any(|standing| !standing.reached.load(Relaxed)) {
        unready
            .push(Unready::new("broker", "the broker is not reached: other servers do not hear this one".to_owned()));
    }
    let Some(first) = unready.first() else { return Json(Health { status: "ready" }).into_response() };
    let refusal = ApiError::new(Code::Unavailable, first.message.clone()).body();
    let reasons = unready.into_iter().map(|Unready { reason, message }| Reason { reason, message }).collect();
    (StatusCode::SERVICE_UNAVAILABLE, Json(NotReady { refusal, reasons })).into_response()
}

/// Counters in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "probes",
    responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], api.metrics.text()).into_response()
}
