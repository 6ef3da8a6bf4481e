//! The hub's [`Fetch`] over reqwest and rustls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use oyez_hub::policy::fetch::{Fetch, FetchError, FetchRequest, FetchResponse, Method};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Response, redirect};
use tokio::runtime::Handle;

use super::address::{NotPublic, Resolver, names_private};
use super::lookup::Lookups;

#[cfg(test)]
mod tests;

/// The largest response body that is read, in bytes.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// Connecting (name, TCP, TLS) may take this long even when a request may take longer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle connections that are kept for each host.
const IDLE_PER_HOST: usize = 16;

/// How requests leave this machine.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HttpOptions {
    /// The URL of a proxy for all requests. The environment's `HTTP_PROXY` and the like count for nothing unless the
    /// program reads them and passes one on.
    pub proxy: Option<String>,
    /// PEM certificates that are trusted besides the system's.
    pub extra_roots: Option<Vec<u8>>,
}

impl fmt::Debug for HttpOptions {
    /// A proxy's URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (proxy, extra_roots) = (self.proxy.is_some(), self.extra_roots.is_some());
        f.debug_struct("HttpOptions").field("proxy", &proxy).field("extra_roots", &extra_roots).finish()
    }
}

/// An HTTP client that follows no redirects and keeps no cookies.
#[derive(Debug, Clone)]
pub struct HttpFetch {
    client: Client,
    /// Connects to public addresses only, and has connections of its own.
    public: Client,
    runtime: Handle,
}

impl HttpFetch {
    /// A client whose connections live on `runtime`. Callers may be on other threads: a shard that asks must not own
    /// the connection that others will reuse.
    ///
    /// # Errors
    /// A proxy or certificates that cannot be read, or a system without any trusted certificates.
    pub fn new(runtime: Handle, options: &HttpOptions) -> Result<Self, FetchError> {
        let lookups = Lookups::new();
        let client = |public| {
            let lookups = Arc::clone(&lookups);
            client(options)?.dns_resolver(Resolver { lookups, public }).build().map_err(failed)
        };
        Ok(Self { client: client(false)?, public: client(true)?, runtime })
    }

    /// The client for a request, unless it may not go where it names.
    fn client_for(&self, request: &FetchRequest) -> Result<Client, FetchError> {
        if request.private {
            return Ok(self.client.clone());
        }
        if names_private(&request.url) { Err(FetchError::Private) } else { Ok(self.public.clone()) }
    }
}

fn client(options: &HttpOptions) -> Result<ClientBuilder, FetchError> {
    let mut builder = Client::builder()
        .user_agent(concat!("oyez/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST);
    if let Some(proxy) = &options.proxy {
        builder = builder.proxy(Proxy::all(proxy).map_err(failed)?);
    }
    if let Some(pem) = &options.extra_roots {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem).map_err(failed)?);
    }
    Ok(builder)
}

#[async_trait]
impl Fetch for HttpFetch {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError> {
        // When the caller goes away the exchange goes on, at most until its timeout.
        let exchange = self.runtime.spawn(exchange(self.client_for(&request)?, request));
        exchange.await.map_err(|_| FetchError::Failed("the HTTP runtime has stopped".to_owned()))?
    }
}

async fn exchange(client: Client, request: FetchRequest) -> Result<FetchResponse, FetchError> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
    };
    let mut builder = client.request(method, &request.url).timeout(request.timeout);
    for (name, value) in &request.headers {
        builder = builder.header(header_name(name)?, header_value(name, value)?);
    }
    if !request.body.is_empty() {
        builder = builder.body(request.body);
    }
    let response = builder.send().await.map_err(failed)?;
    let status = response.status().as_u16();
    Ok(FetchResponse { status, body: read(response).await? })
}

/// Reads a body of at most [`MAX_RESPONSE_BYTES`], whatever its headers say.
async fn read(mut response: Response) -> Result<Bytes, FetchError> {
    let too_large = FetchError::TooLarge { most: MAX_RESPONSE_BYTES };
    if response.content_length().is_some_and(|length| length > MAX_RESPONSE_BYTES as u64) {
        return Err(too_large);
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
            return Err(too_large);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn header_name(name: &str) -> Result<HeaderName, FetchError> {
    name.parse().map_err(|_| FetchError::Failed(format!("{name:?} is not a header name")))
}

/// Marked as sensitive, so that no layer logs it.
fn header_value(name: &str, value: &str) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| FetchError::Failed(format!("the value of header {name:?} has characters that cannot be sent")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Says what went wrong and its cause, without the URL, whose query may hold a credential.
fn failed(error: reqwest::Error) -> FetchError {
    if error.is_timeout() {
        return FetchError::Timeout;
    }
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        if inner.is::<NotPublic>() {
            return FetchError::Private;
        }
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    FetchError::Failed(text)
}
