//! Keys that are published under a URL (RFC 7517 section 5) and change over time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;

use super::error::{SpecError, within};
use super::keys::KeySet;
use crate::policy::fetch::{Fetch, FetchRequest, Method, is_http_url};
use crate::policy::flight::SingleFlight;

/// The largest key set that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = 256 * 1024;

/// The least time between the beginnings of two requests for keys, in seconds, whatever they are for and whatever came
/// of the first: forged tokens must not make us ask often. So a key that is published just after its set was fetched is
/// found that much later.
pub const MIN_REFRESH_SECONDS: u64 = 30;

/// The same after each failure while there are no keys at all, until it is [`MIN_REFRESH_SECONDS`]: nobody can log in,
/// and who publishes keys may just be starting, too.
const FIRST_PAUSES_SECONDS: [u64; 4] = [2, 4, 8, 16];

/// Where keys are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksSpec {
    /// The URL of the JWK set.
    pub url: String,
    /// How long keys are used before they are asked for again, in seconds (30 to 86,400). When that fails, the old
    /// ones stay in use.
    pub refresh_seconds: u64,
    /// How long one request may take (1 ms to 60 s).
    pub timeout: Duration,
}

impl JwksSpec {
    /// Ten minutes between requests, five seconds for each.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), refresh_seconds: 600, timeout: Duration::from_secs(5) }
    }
}

/// `Ok` when a timeout lies between 1 ms and 60 s.
pub(super) fn check_timeout(timeout: Duration) -> Result<(), SpecError> {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    within("timeout (ms)", millis, 1, 60_000)
}

/// The keys behind one URL.
pub(super) struct RemoteKeys {
    spec: JwksSpec,
    fetch: Arc<dyn Fetch>,
    state: RwLock<State>,
    flight: SingleFlight<(), ()>,
}

#[derive(Default)]
struct State {
    keys: Arc<KeySet>,
    /// When these keys were asked for, by the steady clock; `None`: there are none yet.
    fetched_at: Option<u64>,
    /// When keys were last asked for.
    asked_at: Option<u64>,
    /// How often they were asked for in vain.
    failures: usize,
}

impl State {
    /// Whether the last request is long enough ago. Seconds are counted without their fractions, so as many as the
    /// pause has may be almost one less.
    fn may_ask(&self, now: u64) -> bool {
        let retried = FIRST_PAUSES_SECONDS.get(self.failures.wrapping_sub(1)).filter(|_| self.fetched_at.is_none());
        let pause = *retried.unwrap_or(&MIN_REFRESH_SECONDS);
        self.asked_at.is_none_or(|then| now.saturating_sub(then) > pause)
    }
}

impl fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteKeys").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl RemoteKeys {
    /// Fetches nothing yet.
    pub(super) fn new(spec: JwksSpec, fetch: Arc<dyn Fetch>) -> Result<Self, SpecError> {
        if !is_http_url(&spec.url) {
            return Err(SpecError::BadUrl(spec.url));
        }
        within("JWKS refresh (s)", spec.refresh_seconds, MIN_REFRESH_SECONDS, 86_400)?;
        check_timeout(spec.timeout)?;
        Ok(Self { spec, fetch, state: RwLock::default(), flight: SingleFlight::new(1) })
    }

    /// The keys as last fetched; `None` when they never were.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        let state = self.state.read();
        state.fetched_at.map(|_| Arc::clone(&state.keys))
    }

    /// Whether to call [`Self::refresh`] before judging a token. `wanting`: none of the keys is the token's. Who has
    /// a key that is merely old does not wait for another's refresh.
    pub(super) fn is_due(&self, now: u64, wanting: bool) -> bool {
        let state = self.state.read();
        if (wanting || state.fetched_at.is_none()) && self.flight.is_running(&()) {
            return true;
        }
        let is_old = state.fetched_at.is_none_or(|then| now.saturating_sub(then) >= self.spec.refresh_seconds);
        (wanting || is_old) && state.may_ask(now)
    }

    /// Asks for the keys, together with everybody else who does so now, unless they were asked for just before.
    pub(super) async fn refresh(self: &Arc<Self>, now: u64) {
        let this = Arc::clone(self);
        self.flight.run((), || async move { this.fetch_keys(now).await }).await;
    }

    async fn fetch_keys(&self, now: u64) {
        {
            let mut state = self.state.write();
            if !state.may_ask(now) {
                return;
            }
            state.asked_at = Some(now);
        }
        match self.ask().await {
            Ok(keys) => {
                let mut state = self.state.write();
                state.keys = Arc::new(keys);
                state.fetched_at = Some(now);
            }
            Err(why) => {
                self.state.write().failures += 1;
                tracing::warn!(url = %self.spec.url, %why, "key set not refreshed");
            }
        }
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let request = FetchRequest {
            method: Method::Get,
            url: self.spec.url.clone(),
            headers: vec![("accept".to_owned(), "application/json".to_owned())],
            body: Bytes::new(),
            timeout: self.spec.timeout,
            private: true,
        };
        let answer = tokio::time::timeout(self.spec.timeout, self.fetch.fetch(request));
        let answer = answer.await.map_err(|_| "no answer in time".to_owned())?.map_err(|e| e.to_string())?;
        if answer.status != 200 {
            return Err(format!("status {}", answer.status));
        }
        if answer.body.len() > MAX_JWKS_BYTES {
            return Err(format!("larger than {MAX_JWKS_BYTES} bytes"));
        }
        KeySet::from_jwks(&answer.body, false).map_err(|e| e.to_string())
    }
}
