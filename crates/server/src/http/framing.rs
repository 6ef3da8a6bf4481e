//! Requests over which two readers could disagree, so that one of them takes a request for the body of another, and which
//! hyper lets pass: they are refused, or nothing is read behind them.

use axum::body::Body;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};

/// What a host may be made of, beside letters and digits (RFC 3986, section 3.2.2), and its port.
const HOST_MARKS: &[u8] = b"-._~%!$&'()*+,;=:[]";

/// Whether a request names one host, as HTTP/1.1 demands (RFC 9112, section 3.2).
pub(crate) fn is_sound<B>(request: &Request<B>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => is_host(host),
        (None, _) => request.version() < Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

fn is_host(host: &HeaderValue) -> bool {
    host.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || HOST_MARKS.contains(byte))
}

/// Whether a request must be the last on its connection: a length beside its chunks, which hyper drops, would have
/// it end elsewhere for somebody in between (RFC 9112, section 6.1).
pub(crate) fn is_last(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
}

/// The answer to a request that is not sound.
pub(crate) fn refuse() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    end(response)
}

/// The same answer, and then the end of the connection.
pub(crate) fn end(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[(&str, &str)], expect: bool) {
        let request = headers.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
        assert_eq!(is_sound(&request.body(()).unwrap()), expect, "{headers:?}");
    }

    #[test]
    fn a_request_names_one_host() {
        check(&[("host", "a.example:8443")], true);
        check(&[("host", "[::1]:3000")], true);
        check(&[("host", "")], true);
        check(&[], false);
        check(&[("host", "a"), ("host", "a")], false);
        for host in ["a b", "a/b", "user@a", "a?b", "a#b", "a\\b", "\u{e9}.example"] {
            check(&[("host", host)], false);
        }
        let old = Request::builder().version(Version::HTTP_10).body(()).unwrap();
        assert!(is_sound(&old));
    }
}
