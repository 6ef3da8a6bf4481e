//! The API's description: OpenAPI 3.1, written from the handlers.

use axum::Router;
use axum::routing::get;
use http::header::CONTENT_TYPE;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Oyez",
        description = "Publish to browsers, phones and services; ask who listens; end what should end. Refusals have one \
                       shape: `{\"error\": {\"code\", \"message\"}}`."
    ),
    tags(
        (name = "publish", description = "Tell the members of channels something"),
        (name = "channels", description = "Which channels there are and who is in them"),
        (name = "inbox", description = "What users have, for them and for backends; who has it; what became of a message"),
        (name = "presence", description = "Who is online"),
        (name = "connections", description = "Look at connections, move them, end them"),
        (name = "tokens", description = "Tokens that are no longer wanted"),
        (name = "configuration", description = "The configuration is read again"),
        (name = "users", description = "Asked with a user's own token, by pages that exist already"),
        (name = "probes", description = "For load balancers and Prometheus"),
    )
)]
struct Document;

/// The description without operations, which the router adds.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    let bearer = |about: &str| {
        let http = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build();
        SecurityScheme::Http(http)
    };
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("api_key", bearer("A key of `[key.NAME]`"));
    components.add_security_scheme("user_token", bearer("The token that the user connects with"));
    document
}

/// Serves the description.
pub(super) fn router(document: &utoipa::openapi::OpenApi) -> Router {
    // It holds nothing that cannot be written as JSON.
    let text = axum::body::Bytes::from(document.to_json().unwrap_or_default());
    Router::new().route("/api/openapi.json", get(move || async move { ([(CONTENT_TYPE, "application/json")], text) }))
}
