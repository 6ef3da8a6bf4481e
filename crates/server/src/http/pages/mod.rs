//! Pages for people: the start page, the demo, the API's documentation; and the browser's client.
//!
//! Everything comes from this server: no script, style or font of anybody else, nothing inline.

mod client;
mod demo;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderName, HeaderValue};
use tower::util::MapResponseLayer;

pub(crate) use self::client::client_file;
pub use self::demo::Demo;

/// What pages may do: nothing that does not come from this server, and no text becomes markup or script. (Browsers
/// count its websockets as its own.)
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Of what a browser offers to pages, ours use none.
const PERMISSIONS: &str = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";

/// The files of the pages, with their types.
const ASSETS: [(&str, &str, &str); 5] = [
    ("/assets/icon.svg", "image/svg+xml", include_str!("../../../assets/icon.svg")),
    ("/assets/oyez.css", "text/css; charset=utf-8", include_str!("../../../assets/oyez.css")),
    ("/assets/page.js", "text/javascript; charset=utf-8", include_str!("../../../assets/page.js")),
    ("/assets/docs.js", "text/javascript; charset=utf-8", include_str!("../../../assets/docs.js")),
    ("/assets/demo.js", "text/javascript; charset=utf-8", include_str!("../../../assets/demo.js")),
];

/// The pages. With `demo` the start page is the demo.
pub(crate) fn router(demo: Option<&Demo>) -> Router {
    let start = if demo.is_some() { include_str!("../../../assets/demo.html") } else { START };
    let mut router = Router::new()
        .route("/", get(move || async move { text("text/html; charset=utf-8", start) }))
        .route("/api/docs", get(|| async { text("text/html; charset=utf-8", DOCS) }));
    for (path, kind, body) in ASSETS {
        router = router.route(path, get(move || async move { text(kind, body) }));
    }
    if let Some(demo) = demo {
        router = router.merge(demo::router(demo));
    }
    router.layer(MapResponseLayer::new(guard_page))
}

const START: &str = include_str!("../../../assets/start.html");
const DOCS: &str = include_str!("../../../assets/docs.html");

fn text(kind: &'static str, body: &'static str) -> ([(HeaderName, &'static str); 2], &'static str) {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], body)
}

/// Keeps a page to this server's own scripts and away from pages that open it.
fn guard_page(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("permissions-policy", HeaderValue::from_static(PERMISSIONS));
    response
}

/// Keeps data from being taken for a page, and everything out of other pages. What a page has of its own stays. `hsts`
/// says how long browsers shall come by TLS only.
pub(crate) fn guard(mut response: Response, hsts: Option<HeaderValue>) -> Response {
    if let Some(hsts) = hsts {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
    }
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
