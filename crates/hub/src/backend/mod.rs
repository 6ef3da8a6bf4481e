//! The app's own backend, spoken to over HTTP: may this user do that, what does this event mean to you, this has happened.
//!
//! There is one way for all of it: signed as `endpoint` says, in time, and not again and again while it fails (`breaker`).

mod address;
mod breaker;
mod endpoint;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock::unix_millis;
use crate::policy::expiring::ExpiringMap;
use crate::policy::fetch::{Fetch, FetchError, FetchResponse};
use crate::policy::flight::SingleFlight;
use crate::policy::grants::Question;
pub use address::is_public;
use breaker::{Breaker, Turn};
pub(crate) use endpoint::jittered;
pub use endpoint::{Endpoint, shown};

/// Answers that are remembered; beyond that some of them are forgotten.
const ANSWERS_MAX: usize = 10_000;

/// Different questions under way at once; a further one gets its default.
const ASKING_MAX: usize = 256;

/// Requests to one endpoint that are under way at once; a further one is refused.
const UNDER_WAY_MAX: usize = 256;

/// Why a backend has taken nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// It is not even asked: it has failed too often.
    #[error("it has failed too often, and is left alone for a moment")]
    Broken {
        /// For how long.
        wait: Duration,
    },
    /// It has not answered what it was asked before.
    #[error("too many requests to it are under way")]
    Busy,
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] FetchError),
    /// It said no.
    #[error("it answered {0}")]
    Status(u16),
    /// What it said cannot be read.
    #[error("its answer is not JSON")]
    NotJson,
}

impl Refused {
    /// Whether the backend itself is at fault, and not what it was told.
    fn is_failure(answer: &Result<FetchResponse, FetchError>) -> bool {
        match answer {
            Ok(answer) => matches!(answer.status, 429 | 500..),
            Err(_) => true,
        }
    }
}

/// What has happened, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Requests that were sent.
    pub sent: AtomicU64,
    /// Requests that the backend could not answer: no answer in time, or one from 500 on.
    pub failed: AtomicU64,
    /// Requests that were not sent, because it had failed too often or too many were under way.
    pub spared: AtomicU64,
    /// How often an endpoint had failed too often.
    pub broken: AtomicU64,
}

/// Speaks to an app's backend, and remembers what it was told.
pub struct Backend {
    app: String,
    fetch: Arc<dyn Fetch>,
    answers: Mutex<ExpiringMap<String, bool>>,
    asking: SingleFlight<String, Option<bool>>,
    /// One for each URL of the file.
    lines: Mutex<HashMap<String, Arc<Mutex<Breaker>>>>,
    figures: Arc<Figures>,
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

/// What a backend may answer to a question.
#[derive(Deserialize)]
struct Answer {
    allow: bool,
}

impl Backend {
    /// The backend of an app, which is reached through `fetch`.
    #[must_use]
    pub fn new(app: &str, fetch: Arc<dyn Fetch>) -> Arc<Self> {
        Arc::new(Self {
            app: app.to_owned(),
            fetch,
            answers: Mutex::new(ExpiringMap::new(ANSWERS_MAX)),
            asking: SingleFlight::new(ASKING_MAX),
            lines: Mutex::default(),
            figures: Arc::default(),
        })
    }

    /// The same with the figures of `old`: other rules are no reason to count anew, but one to try again what has failed.
    #[must_use]
    pub fn succeed(&self, old: &Self) -> Arc<Self> {
        let mut new = Self::new(&self.app, Arc::clone(&self.fetch));
        if let Some(new) = Arc::get_mut(&mut new) {
            new.figures = Arc::clone(&old.figures);
        }
        new
    }

    /// What has happened since the start.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// How many endpoints are left alone at the moment, because they have failed too often.
    #[must_use]
    pub fn broken(&self) -> usize {
        self.lines.lock().values().filter(|line| line.lock().is_open()).count()
    }

    /// Whether the backend allows it: a remembered answer, a fresh one, or the rule's default when there is none in
    /// time. `now` is in seconds, by a clock that does not jump.
    pub async fn allows(self: &Arc<Self>, question: &Question, now: u64) -> bool {
        let ask = Arc::clone(&question.ask);
        let key = format!("{} {}", ask.endpoint.url, question.body);
        if let Some((answer, _)) = self.answers.lock().get(&key, now) {
            return *answer;
        }
        let (backend, asked, body) = (Arc::clone(self), Arc::clone(&ask), question.body.clone());
        let call = || async move {
            let answer = backend.exchange(&asked.endpoint, &Uuid::now_v7().to_string(), &body).await;
            answer.ok().and_then(|answer| verdict(answer.status, &answer.body))
        };
        match self.asking.run(key.clone(), call).await.flatten() {
            Some(answer) => {
                let mut answers = self.answers.lock();
                if answers.is_full() {
                    answers.purge(now);
                    answers.make_room();
                }
                answers.insert(key, answer, now.saturating_add(ask.cache.as_secs()));
                answer
            }
            None => ask.default,
        }
    }

    /// Tells a backend something and gives what it says, which is empty or JSON. `id` is the same when the same is told again.
    ///
    /// # Errors
    /// Why it has not taken it.
    pub async fn ask(&self, endpoint: &Endpoint, id: &str, body: &Value) -> Result<Option<Value>, Refused> {
        let answer = self.tell(endpoint, id, body).await?;
        if answer.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&answer).map(Some).map_err(|_| Refused::NotJson)
    }

    /// Tells a backend something; it need say no more than that it took it.
    ///
    /// # Errors
    /// As for [`Backend::ask`].
    pub async fn tell(&self, endpoint: &Endpoint, id: &str, body: &Value) -> Result<Bytes, Refused> {
        let answer = self.exchange(endpoint, id, body).await?;
        if (200..300).contains(&answer.status) { Ok(answer.body) } else { Err(Refused::Status(answer.status)) }
    }

    /// One request and its answer, unless the endpoint is left alone.
    async fn exchange(&self, endpoint: &Endpoint, id: &str, body: &Value) -> Result<FetchResponse, Refused> {
        let line = Arc::clone(self.lines.lock().entry(endpoint.url.clone()).or_default());
        let permit = match line.lock().admit(Instant::now(), UNDER_WAY_MAX) {
            Ok(probes) => Permit { line: &line, probes, done: false },
            Err(refused) => {
                self.figures.spared.fetch_add(1, Relaxed);
                return Err(refused);
            }
        };
        self.figures.sent.fetch_add(1, Relaxed);
        let request = endpoint.request(id, unix_millis() / 1_000, Bytes::from(body.to_string()));
        let answer = self.fetch.fetch(request).await;
        let failed = Refused::is_failure(&answer);
        if failed {
            self.figures.failed.fetch_add(1, Relaxed);
        }
        let turn = permit.end(failed);
        self.note(endpoint, turn, &answer);
        Ok(answer?)
    }

    fn note(&self, endpoint: &Endpoint, turn: Turn, answer: &Result<FetchResponse, FetchError>) {
        let (app, url) = (&self.app, shown(&endpoint.url));
        if let Err(FetchError::Private) = answer {
            let help = "write private = true beside the URL, if that is meant";
            warn!(event = "backend_private", app, url, help, "it has no public address, so it was not asked");
        }
        match turn {
            Turn::None => {}
            Turn::Opened(wait) => {
                self.figures.broken.fetch_add(1, Relaxed);
                let reason = match answer {
                    Ok(answer) => Refused::Status(answer.status).to_string(),
                    Err(error) => error.to_string(),
                };
                warn!(event = "backend_broken", app, url, reason, ?wait, "it is not asked for so long");
            }
            Turn::Closed => info!(event = "backend_mended", app, url),
        }
    }
}

/// A request under way. When its caller goes away, nothing is known of the endpoint.
struct Permit<'a> {
    line: &'a Mutex<Breaker>,
    /// It is the one that tries whether the endpoint is well again.
    probes: bool,
    done: bool,
}

impl Permit<'_> {
    fn end(mut self, failed: bool) -> Turn {
        self.done = true;
        self.line.lock().note(self.probes, failed, Instant::now())
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.line.lock().abandon(self.probes);
        }
    }
}

/// `{"allow": …}` or a bare 2xx decide, and so does 403; anything else is no answer.
fn verdict(status: u16, body: &[u8]) -> Option<bool> {
    match status {
        403 => Some(false),
        200..300 if body.is_empty() => Some(true),
        200..300 => serde_json::from_slice::<Answer>(body).ok().map(|answer| answer.allow),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
