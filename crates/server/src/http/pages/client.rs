//! The browser's Socket.IO client, served as socket.io on Node serves it: same names, types, ETag and caching.

use std::io::Write as _;
use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use oyez_protocol::websocket::handshake::has_token;

use crate::http::fresh::Known;

include!(concat!(env!("OUT_DIR"), "/client_files.rs"));

/// The names that socket.io serves, whether or not this build has the files.
pub(crate) const NAMES: [&str; 8] = [
    "socket.io.esm.min.js",
    "socket.io.esm.min.js.map",
    "socket.io.js",
    "socket.io.js.map",
    "socket.io.min.js",
    "socket.io.min.js.map",
    "socket.io.msgpack.min.js",
    "socket.io.msgpack.min.js.map",
];

/// Answers a request for one of the client's files; `None`: `name` is not one of them. A build without the files
/// answers 404 with the remedy.
pub(crate) fn client_file(name: &str, request: &HeaderMap) -> Option<Response> {
    let at = NAMES.iter().position(|known| *known == name)?;
    let Some((_, file)) = FILES.iter().find(|(known, _)| *known == name) else {
        return Some(absent());
    };
    let etag = format!("\"{VERSION}\"");
    if Known::of(request).has(&etag) {
        return Some(with_status(StatusCode::NOT_MODIFIED, Body::empty()));
    }
    let accepts = request.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    let gzip = accepts.is_some_and(|accepts| has_token(accepts, "gzip"));
    let body = if gzip { compressed(at, file) } else { Bytes::from_static(file) };
    let mut response = with_status(StatusCode::OK, Body::from(body));
    let headers = response.headers_mut();
    let kind = if name.ends_with(".map") {
        "application/json; charset=utf-8"
    } else {
        "application/javascript; charset=utf-8"
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=0"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    // Public code: pages of any origin may import it as a module.
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(ETAG, etag);
    }
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}

fn with_status(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn absent() -> Response {
    let message = "This server was built without the browser's Socket.IO client: install Node 20 with npm and build \
                   again, or load socket.io-client from elsewhere.\n";
    let mut response = with_status(StatusCode::NOT_FOUND, Body::from(message));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// A file as gzip, compressed when it is first asked for.
fn compressed(at: usize, file: &'static [u8]) -> Bytes {
    static KEPT: [OnceLock<Bytes>; NAMES.len()] = [const { OnceLock::new() }; NAMES.len()];
    let compress = || {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // Writing to memory does not fail.
        let _ = encoder.write_all(file);
        encoder.finish().unwrap_or_default().into()
    };
    KEPT[at].get_or_init(compress).clone()
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    fn get(name: &str, headers: &[(http::HeaderName, &'static str)]) -> Option<Response> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        client_file(name, &headers)
    }

    #[test]
    fn files_are_served_as_node_does() {
        for name in NAMES {
            let response = get(name, &[]).unwrap();
            if FILES.is_empty() {
                assert_eq!(response.status(), 404);
                continue;
            }
            assert_eq!(response.status(), 200);
            let kind = if name.ends_with(".map") { "json" } else { "javascript" };
            assert_eq!(response.headers()[CONTENT_TYPE], format!("application/{kind}; charset=utf-8"));
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=0");
            assert_eq!(response.headers()[ETAG], "\"4.8.4\"");
            for etag in ["\"4.8.4\"", "W/\"4.8.4\""] {
                assert_eq!(get(name, &[(IF_NONE_MATCH, etag)]).unwrap().status(), 304);
            }
            assert_eq!(get(name, &[(IF_NONE_MATCH, "\"4.8.3\"")]).unwrap().status(), 200);
            let packed = get(name, &[(ACCEPT_ENCODING, "gzip, br")]).unwrap();
            assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        }
        assert!(get("../package.json", &[]).is_none());
    }
}
