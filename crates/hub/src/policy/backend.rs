//! The app's own backend, asked over HTTP: may this user do that, and what does this event mean to you?

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::expiring::ExpiringMap;
use super::fetch::{Fetch, FetchRequest, Method};
use super::flight::SingleFlight;
use super::grants::Question;
use crate::dialect::Forward;

/// Answers that are remembered; beyond that some of them are forgotten.
const ANSWERS_MAX: usize = 10_000;

/// Different questions under way at once; a further one gets its default.
const ASKING_MAX: usize = 256;

/// Asks, and remembers what it was told.
pub struct Backend {
    fetch: Arc<dyn Fetch>,
    answers: Mutex<ExpiringMap<String, bool>>,
    asking: SingleFlight<String, Option<bool>>,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

/// What a backend may answer to a question.
#[derive(Deserialize)]
struct Answer {
    allow: bool,
}

impl Backend {
    /// A backend that is reached through `fetch`.
    #[must_use]
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch, answers: Mutex::new(ExpiringMap::new(ANSWERS_MAX)), asking: SingleFlight::new(ASKING_MAX) }
    }

    /// Whether the backend allows it: a remembered answer, a fresh one, or the rule's default when there is none in
    /// time. `now` is in seconds, by a clock that does not jump.
    pub async fn allows(&self, question: &Question, now: u64) -> bool {
        let key = format!("{} {}", question.ask.url, question.body);
        if let Some((answer, _)) = self.answers.lock().get(&key, now) {
            return *answer;
        }
        let ask = Arc::clone(&question.ask);
        let request = post(&ask.url, ask.secret.as_deref(), &question.body, ask.timeout);
        let fetch = Arc::clone(&self.fetch);
        let call =
            || async move { fetch.fetch(request).await.ok().and_then(|answer| verdict(answer.status, &answer.body)) };
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

    /// Hands an event to the backend; its answer is the acknowledgement.
    ///
    /// # Errors
    /// What the client may be told.
    pub async fn forward(&self, forward: &Forward, body: &Value) -> Result<Value, String> {
        let request = post(&forward.url, forward.secret.as_deref(), body, forward.timeout);
        let answer = self.fetch.fetch(request).await.map_err(|_| "the backend did not answer".to_owned())?;
        if !(200..300).contains(&answer.status) {
            return Err("the backend refused".to_owned());
        }
        if answer.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer.body).map_err(|_| "the backend's answer is not JSON".to_owned())
    }

    /// Tells a backend something; it need say no more than that it took it.
    ///
    /// # Errors
    /// Why it did not, for logs.
    pub async fn tell(&self, url: &str, secret: Option<&str>, timeout: Duration, body: &Value) -> Result<(), String> {
        let answer = self.fetch.fetch(post(url, secret, body, timeout)).await.map_err(|error| error.to_string())?;
        if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("it answered {}", answer.status)) }
    }
}

fn post(url: &str, secret: Option<&str>, body: &Value, timeout: Duration) -> FetchRequest {
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend(secret.map(|secret| ("authorization".to_owned(), format!("Bearer {secret}"))));
    FetchRequest { method: Method::Post, url: url.to_owned(), headers, body: Bytes::from(body.to_string()), timeout }
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
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_answer_decides() {
        assert_eq!(verdict(204, b""), Some(true));
        assert_eq!(verdict(200, br#"{"allow": false}"#), Some(false));
        assert_eq!(verdict(200, b"yes"), None);
        assert_eq!(verdict(403, b""), Some(false));
        assert_eq!(verdict(500, b""), None);
    }
}
