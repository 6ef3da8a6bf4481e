//! Probes: alive, ready, measured.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use oyez_protocol::code::Code;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::{ApiError, ErrorBody};

/// How the node is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// The process lives.
#[utoipa::path(get, path = "/healthz", tag = "probes", responses((status = 200, body = Health)))]
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// The node takes connections. Answers 503 as soon as it goes down, so that load balancers look elsewhere.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses((status = 200, body = Health), (status = 503, body = ErrorBody)))]
pub(super) async fn ready(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    if api.stop.is_cancelled() {
        return Err(ApiError::new(Code::Unavailable, "the server is shutting down; use another node"));
    }
    Ok(Json(Health { status: "ready" }))
}

/// Counters in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "probes",
    responses((status = 200, content_type = "application/openmetrics-text", body = String)))]
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(CONTENT_TYPE, kind)], api.metrics.text()).into_response()
}
