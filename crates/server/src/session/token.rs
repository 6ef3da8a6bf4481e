//! Where a client shows its token: the places that its app names, in their order.

use oyez_hub::policy::token::cookie;
use serde_json::Value;

use crate::config::TokenSource;
use crate::http::cors;
use crate::session::Shown;
use crate::settings::Origins;

/// The subprotocol behind which a token may stand: `Sec-WebSocket-Protocol: bearer, TOKEN`.
pub(crate) const SUBPROTOCOL: &str = "bearer";

/// The first token found. A cookie counts only from a page that may use it.
pub(crate) fn find(sources: &[TokenSource], auth: &Value, request: &Shown, origins: &Origins) -> Option<String> {
    let cookies = cors::may_use_cookies(origins, request);
    sources.iter().find_map(|source| {
        let token = match source {
            TokenSource::Auth(field) => auth.get(field).and_then(Value::as_str).map(str::to_owned),
            TokenSource::Query(name) => request.query(name).map(str::to_owned),
            TokenSource::Bearer => bearer(request.authorization.as_deref()?),
            TokenSource::Cookie(name) if cookies => cookie::session_token(request.cookie.as_deref()?, name),
            TokenSource::Cookie(_) => None,
            TokenSource::Subprotocol => subprotocol(request.subprotocol.as_deref()?),
        };
        token.filter(|token| !token.is_empty())
    })
}

/// The token of an `Authorization` header.
pub(crate) fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn subprotocol(header: &str) -> Option<String> {
    let mut protocols = header.split(',').map(str::trim);
    protocols.find(|protocol| *protocol == SUBPROTOCOL)?;
    protocols.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sources: &[TokenSource], request: &Shown, expect: Option<&str>) {
        let origins = Origins::List(vec!["https://app.example".to_owned()]);
        let auth = serde_json::json!({"token": "from-auth"});
        assert_eq!(find(sources, &auth, request, &origins).as_deref(), expect, "{sources:?}");
    }

    #[test]
    fn a_token_is_looked_for_where_the_app_says() {
        let cookie = TokenSource::Cookie("sid".to_owned());
        let mut request = Shown {
            authorization: Some("bearer  from-header".to_owned()),
            cookie: Some("a=b; sid=from-cookie".to_owned()),
            subprotocol: Some("chat, bearer, from-protocol".to_owned()),
            query: vec![("token".to_owned(), "from-query".to_owned())],
            ..Shown::default()
        };
        check(&[], &request, None);
        check(
            &[TokenSource::Auth("jwt".to_owned()), TokenSource::Auth("token".to_owned())],
            &request,
            Some("from-auth"),
        );
        check(&[TokenSource::Query("token".to_owned())], &request, Some("from-query"));
        check(&[TokenSource::Bearer], &request, Some("from-header"));
        check(&[TokenSource::Subprotocol], &request, Some("from-protocol"));
        check(std::slice::from_ref(&cookie), &request, None);
        request.origin = Some("https://evil.example".to_owned());
        check(std::slice::from_ref(&cookie), &request, None);
        request.origin = Some("https://app.example".to_owned());
        check(&[cookie], &request, Some("from-cookie"));
    }
}
