//! Cross-origin rules of the realtime paths: which pages may connect, which may use the browser's cookies, and what
//! browsers are told of that.
//!
//! A browser names the page that asks in `Origin`, but not in a GET to the page's own origin, which is how polling
//! begins there. `Sec-Fetch-Site` says so then; no page can set either.

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_LENGTH, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::session::Shown;
use crate::settings::Origins;

/// What a browser says of the page that asks (`Sec-Fetch-Site`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Site {
    /// Nothing, or that no page asks: a program, an old browser, plain HTTP from another machine, a typed address.
    #[default]
    Untold,
    /// It is of the origin that it asks.
    Same,
    /// It is of another.
    Other,
}

impl Site {
    /// As a request says it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            Some(b"same-origin") => Self::Same,
            Some(b"same-site" | b"cross-site") => Self::Other,
            _ => Self::Untold,
        }
    }
}

/// The `Origin` of a request. Browsers send one, in ASCII; whatever else stands there is kept so that no list has it.
pub(crate) fn origin(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(ORIGIN).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    let first = all.next()?.into_owned();
    Some(all.fold(first, |list, next| format!("{list}, {next}")))
}

/// Whether a page asks, as far as its browser says so.
pub(crate) fn is_page(shown: &Shown) -> bool {
    shown.origin.is_some() || shown.site != Site::Untold
}

/// Whether a client may connect. Without `Origin` it is no page, unless its browser says that it is another site's.
pub(crate) fn may_connect(origins: &Origins, shown: &Shown) -> bool {
    match &shown.origin {
        Some(origin) => origins.allow(Some(origin)),
        None => *origins == Origins::Any || shown.site != Site::Other,
    }
}

/// Whether a cookie counts: browsers send it whichever page asks, so the page must be one that the app lists, or of the
/// origin that the cookie is for.
pub(crate) fn may_use_cookies(origins: &Origins, shown: &Shown) -> bool {
    match (origins, &shown.origin) {
        (Origins::Any, _) => false,
        (Origins::List(_), Some(origin)) => origins.allow(Some(origin)),
        (Origins::List(_), None) => shown.site == Site::Same,
    }
}

/// Tells the browser that a page of this origin may read the response.
pub(crate) fn permit(response: &mut Response<Body>, origins: &Origins, request: &HeaderMap) {
    let headers = response.headers_mut();
    match origins {
        Origins::Any => {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        }
        Origins::List(_) => {
            headers.append(VARY, HeaderValue::from_static("Origin"));
            let Some(origin) = origin(request).filter(|origin| origins.allow(Some(origin))) else { return };
            if let Ok(origin) = HeaderValue::try_from(origin) {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            }
        }
    }
}

/// Answers a preflight as the `cors` package of Node does.
pub(crate) fn preflight(request: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in list {
            headers.append(*name, HeaderValue::from_bytes(value).expect("a header"));
        }
        headers
    }

    /// Who may connect, and with cookies, where `https://a.example` is listed and where any page may come.
    fn check(list: &[(&'static str, &[u8])], listed: (bool, bool), any: (bool, bool)) {
        let headers = headers(list);
        let shown = Shown { origin: origin(&headers), site: Site::of(&headers), ..Shown::default() };
        let one = Origins::List(vec!["https://a.example".to_owned()]);
        for (origins, expect) in [(one, listed), (Origins::Any, any)] {
            let got = (may_connect(&origins, &shown), may_use_cookies(&origins, &shown));
            assert_eq!(got, expect, "{list:?} {origins:?}");
        }
    }

    #[test]
    #[rustfmt::skip] // a row a line
    fn a_page_is_known_by_its_browsers_word() {
        let (no, plain, full) = ((false, false), (true, false), (true, true));
        check(&[], plain, plain);
        check(&[("origin", b"https://a.example")], full, plain);
        check(&[("origin", b"https://a.example"), ("sec-fetch-site", b"cross-site")], full, plain);
        check(&[("origin", b"https://b.example")], no, plain);
        check(&[("origin", b"https://b.example"), ("sec-fetch-site", b"same-origin")], no, plain);
        check(&[("origin", b"null"), ("sec-fetch-site", b"same-origin")], no, plain);
        check(&[("origin", b"")], no, plain);
        check(&[("origin", "https://\u{e4}.example".as_bytes())], no, plain);
        check(&[("origin", b"https://a.example"), ("origin", b"https://b.example")], no, plain);
        check(&[("origin", b"https://a.example"), ("origin", b"https://a.example")], no, plain);
        check(&[("sec-fetch-site", b"same-origin")], full, plain);
        check(&[("sec-fetch-site", b"same-site")], no, plain);
        check(&[("sec-fetch-site", b"cross-site")], no, plain);
        check(&[("sec-fetch-site", b"none")], plain, plain);
        check(&[("sec-fetch-site", b"Same-Origin")], plain, plain);
    }
}
