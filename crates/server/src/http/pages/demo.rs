//! The demo page's data: tokens that it connects with. Only `oyez dev` has it, and only this machine may ask.

use std::fmt;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::json;

/// What the demo page shows and connects with.
#[derive(Clone, Serialize)]
pub struct Demo {
    /// Tokens of the two panes' users.
    pub tokens: [String; 2],
    /// The key in the page's `curl` line.
    pub api_key: String,
}

impl fmt::Debug for Demo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Demo")
    }
}

pub(super) fn router(demo: &Demo) -> Router {
    let body = json!(demo).to_string();
    Router::new().route("/demo.json", get(move |headers: HeaderMap| async move { answer(&headers, body) }))
}

/// The tokens, for a page that was loaded from this machine under its own name: a page elsewhere whose name was made
/// to point here (DNS rebinding) shows that name in `Host`.
fn answer(headers: &HeaderMap, body: String) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Authority>().ok());
    if host.is_some_and(|host| matches!(host.host(), "127.0.0.1" | "localhost" | "[::1]")) {
        return ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response();
    }
    let remedy = r#"{"error":{"code":"forbidden","message":"the demo's tokens are for this machine: open it under 127.0.0.1 or localhost"}}"#;
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], remedy).into_response()
}
