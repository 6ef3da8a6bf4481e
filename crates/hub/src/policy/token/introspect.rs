//! Opaque tokens: the app's own backend says whether they are good (RFC 7662, or any JSON endpoint that takes the
//! token as a bearer).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use parking_lot::Mutex;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Verified;
use super::claims::{ClaimRules, Claims, parse_object};
use super::error::{SpecError, TokenError, within};
use super::jwks::check_timeout;
use crate::policy::Now;
use crate::policy::expiring::ExpiringMap;
use crate::policy::fetch::{Fetch, FetchError, FetchRequest, Method, is_http_url};
use crate::policy::flight::SingleFlight;

/// The most tokens that are being asked about at once; further ones are refused as [`TokenError::Unavailable`].
pub const MAX_CONCURRENT_QUESTIONS: usize = 256;

/// The largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How the backend is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Question {
    /// `POST` of the form `token=…`; the answer's `active` must be `true` (RFC 7662 section 2).
    #[default]
    Form,
    /// `GET` with `Authorization: Bearer <token>`: a JSON object with status 200 is the claims; 401, 403, 404, `null`,
    /// `{}` and `"active": false` say that the token is not good.
    Bearer,
}

/// Where and how opaque tokens are asked about.
#[derive(Clone, PartialEq, Eq)]
pub struct IntrospectSpec {
    /// The URL that is asked.
    pub url: String,
    /// In which form.
    pub question: Question,
    /// Headers to send along, such as our own `Authorization`.
    pub headers: Vec<(String, String)>,
    /// How long a good answer is believed, in seconds (0 to 3600), but never past the token's `exp`.
    pub cache_seconds: u64,
    /// How long "not active" is believed, in seconds (0 to 300).
    pub refusal_seconds: u64,
    /// The most answers that are kept (1 to 1,000,000); beyond that, those go that would end soonest.
    pub cache_entries: usize,
    /// How long one question may take (1 ms to 60 s).
    pub timeout: Duration,
    /// What is asked of the claims in the answer.
    pub rules: ClaimRules,
}

impl IntrospectSpec {
    /// RFC 7662 at `url`, answers kept for 30 seconds, refusals for 5, three seconds to answer.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            question: Question::default(),
            headers: Vec::new(),
            cache_seconds: 30,
            refusal_seconds: 5,
            cache_entries: 10_000,
            timeout: Duration::from_secs(3),
            rules: ClaimRules::default(),
        }
    }
}

impl fmt::Debug for IntrospectSpec {
    /// The headers may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntrospectSpec")
            .field("url", &self.url)
            .field("question", &self.question)
            .finish_non_exhaustive()
    }
}

/// What the backend said: claims, or that the token is not active, or nothing of use.
type Answer = Result<Arc<Claims>, TokenError>;
/// Answers are kept under the token's hash, so that no token stays in memory.
type Key = [u8; 32];

/// Asks about tokens as one [`IntrospectSpec`] says.
pub(super) struct Introspector {
    spec: IntrospectSpec,
    fetch: Arc<dyn Fetch>,
    cache: Mutex<ExpiringMap<Key, Answer>>,
    flight: SingleFlight<Key, Answer>,
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspector").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl Introspector {
    /// Asks nothing yet.
    pub(super) fn new(spec: IntrospectSpec, fetch: Arc<dyn Fetch>) -> Result<Self, SpecError> {
        if !is_http_url(&spec.url) {
            return Err(SpecError::BadUrl(spec.url));
        }
        spec.rules.validate()?;
        check_timeout(spec.timeout)?;
        within("introspection cache (s)", spec.cache_seconds, 0, 3600)?;
        within("introspection refusal cache (s)", spec.refusal_seconds, 0, 300)?;
        within("introspection cache entries", spec.cache_entries as u64, 1, 1_000_000)?;
        let cache = Mutex::new(ExpiringMap::new(spec.cache_entries));
        Ok(Self { spec, fetch, cache, flight: SingleFlight::new(MAX_CONCURRENT_QUESTIONS) })
    }

    /// Decides from an answer at hand; `None` when the backend has to be asked.
    pub(super) fn verify_now(&self, token: &str, now: Now) -> Option<Result<Verified, TokenError>> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(Err(TokenError::Malformed));
        }
        let answer = self.cached(&key_of(token), now.steady)?;
        Some(self.judge(token, answer, now))
    }

    /// Decides, asking the backend if need be.
    pub(super) async fn verify(self: &Arc<Self>, token: &str, now: Now) -> Result<Verified, TokenError> {
        if let Some(outcome) = self.verify_now(token, now) {
            return outcome;
        }
        let key = key_of(token);
        let (this, asked) = (Arc::clone(self), token.to_owned());
        let answer = self.flight.run(key, || async move {
            let answer = this.ask(&asked).await;
            this.keep(key, &answer, now.steady);
            answer
        });
        self.judge(token, answer.await.unwrap_or(Err(TokenError::Unavailable)), now)
    }

    /// Dates are checked at each use, for a kept answer may outlive its token.
    fn judge(&self, token: &str, answer: Answer, now: Now) -> Result<Verified, TokenError> {
        let claims = answer?;
        let dates = self.spec.rules.check(&claims, now)?;
        Ok(Verified::new(token, Arc::unwrap_or_clone(claims), dates))
    }

    fn cached(&self, key: &Key, now: u64) -> Option<Answer> {
        self.cache.lock().get(key, now).map(|(answer, _)| answer.clone())
    }

    fn keep(&self, key: Key, answer: &Answer, now: u64) {
        let seconds = match answer {
            Ok(_) => self.spec.cache_seconds,
            Err(TokenError::Inactive) => self.spec.refusal_seconds,
            Err(_) => 0,
        };
        if seconds == 0 {
            return;
        }
        let mut cache = self.cache.lock();
        cache.purge(now);
        cache.make_room();
        cache.insert(key, answer.clone(), now.saturating_add(seconds));
    }

    async fn ask(&self, token: &str) -> Answer {
        let asked = tokio::time::timeout(self.spec.timeout, self.fetch.fetch(self.request(token)));
        let answer = match asked.await.unwrap_or(Err(FetchError::Timeout)) {
            Ok(answer) => answer,
            Err(why) => {
                tracing::warn!(url = %self.spec.url, %why, "introspection failed");
                return Err(TokenError::Unavailable);
            }
        };
        let outcome = self.read(answer.status, &answer.body);
        if outcome == Err(TokenError::Unavailable) {
            tracing::warn!(url = %self.spec.url, status = answer.status, "introspection gave no usable answer");
        }
        outcome
    }

    fn request(&self, token: &str) -> FetchRequest {
        let mut headers = vec![("accept".to_owned(), "application/json".to_owned())];
        headers.extend(self.spec.headers.iter().cloned());
        let (method, body) = match self.spec.question {
            Question::Form => {
                headers.push(("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()));
                let form = format!("token={}", utf8_percent_encode(token, NON_ALPHANUMERIC));
                (Method::Post, Bytes::from(form))
            }
            Question::Bearer => {
                headers.push(("authorization".to_owned(), format!("Bearer {token}")));
                (Method::Get, Bytes::new())
            }
        };
        FetchRequest { method, url: self.spec.url.clone(), headers, body, timeout: self.spec.timeout, private: true }
    }

    /// What an answer means. Whatever is not clearly a yes or a no denies, but is not remembered.
    fn read(&self, status: u16, body: &[u8]) -> Answer {
        let is_bearer = self.spec.question == Question::Bearer;
        match status {
            200 if body.len() <= MAX_ANSWER_BYTES => {}
            401 | 403 | 404 if is_bearer => return Err(TokenError::Inactive),
            _ => return Err(TokenError::Unavailable),
        }
        if is_bearer && body.trim_ascii() == b"null" {
            return Err(TokenError::Inactive);
        }
        let claims = parse_object(body).map_err(|_| TokenError::Unavailable)?;
        let is_active = match claims.get("active") {
            Some(active) => *active == true,
            None => is_bearer && !claims.is_empty(),
        };
        if is_active { Ok(Arc::new(claims)) } else { Err(TokenError::Inactive) }
    }
}

fn key_of(token: &str) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    key
}
