//! The one way in which the hub asks somebody else over HTTP (key sets, introspection, a backend's opinion on a
//! right) and tells them something. The hub knows no HTTP client; the program gives it one.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;

/// Sends one HTTP request and reads the whole answer.
#[async_trait]
pub trait Fetch: Send + Sync {
    /// Answers with whatever status the other side gave; redirects are not followed. An implementation keeps to
    /// [`FetchRequest::timeout`] for the whole exchange and bounds the answer's size.
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError>;
}

/// How a resource is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`, without a body.
    Get,
    /// `POST`.
    Post,
}

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// How.
    pub method: Method,
    /// An absolute `http://` or `https://` URL.
    pub url: String,
    /// Header names and values.
    pub headers: Vec<(String, String)>,
    /// What is sent; empty for `GET`.
    pub body: Bytes,
    /// How long connecting, sending and reading may take together.
    pub timeout: Duration,
    /// It may go to an address that is not public: of this machine, or of its networks.
    pub private: bool,
}

impl fmt::Debug for FetchRequest {
    /// Headers and body carry credentials, and so may the query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        f.debug_struct("FetchRequest").field("method", &self.method).field("url", &url).finish_non_exhaustive()
    }
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchResponse {
    /// The HTTP status code.
    pub status: u16,
    /// The whole body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// It took longer than [`FetchRequest::timeout`].
    #[error("no answer in time")]
    Timeout,
    /// The answer is larger than the client reads.
    #[error("the answer is larger than {most} bytes")]
    TooLarge {
        /// The most that is read.
        most: usize,
    },
    /// The name leads to this machine or into its networks, and the request may not go there.
    #[error("it has no public address, and `private = true` is not said of it")]
    Private,
    /// Name resolution, connection, TLS, protocol, or a request that cannot be sent. Never contains the URL's query,
    /// a header or a body.
    #[error("request failed: {0}")]
    Failed(String),
}

/// Whether a URL is absolute and of a scheme that [`Fetch`] speaks.
#[must_use]
pub fn is_http_url(url: &str) -> bool {
    let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    host.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#', ':']))
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}
