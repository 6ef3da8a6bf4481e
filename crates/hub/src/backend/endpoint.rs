//! Where a backend is told something, and how it knows who tells it: by a signature as standardwebhooks.com has it, by a
//! bearer token, or both.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::policy::fetch::{FetchRequest, Method};
use crate::source::Secrets;

/// A URL of the app's backend.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub url: String,
    /// What requests are signed with; several while one is being replaced.
    pub secrets: Option<Secrets>,
    /// A bearer token, if it wants one.
    pub token: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// It may have an address that is not public.
    pub private: bool,
}

impl fmt::Debug for Endpoint {
    /// Without what it knows us by.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("url", &shown(&self.url)).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// A POST of JSON. `now`: in seconds of the Unix epoch.
    pub(super) fn request(&self, id: &str, now: u64, body: Bytes) -> FetchRequest {
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("webhook-id".to_owned(), id.to_owned()),
            ("webhook-timestamp".to_owned(), now.to_string()),
        ];
        headers.extend(
            self.secrets.as_ref().map(|secrets| ("webhook-signature".to_owned(), secrets.sign(id, now, &body))),
        );
        headers.extend(self.token.as_ref().map(|token| ("authorization".to_owned(), format!("Bearer {token}"))));
        let (url, timeout, private) = (self.url.clone(), self.timeout, self.private);
        FetchRequest { method: Method::Post, url, headers, body, timeout, private }
    }
}

/// A URL for logs: without credentials and without its query, which may hold some.
#[must_use]
pub fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = plain.split_once("://") else { return plain.to_owned() };
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// So long, or up to a quarter longer: not all who wait for the same come back at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 + rand::random::<f64>() / 4.0)
}
