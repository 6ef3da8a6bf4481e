//! Against a `Fetch` that answers whatever the test says.

use std::collections::VecDeque;

use async_trait::async_trait;
use serde_json::json;

use super::*;
use crate::policy::fetch::FetchRequest;
use crate::source::{Secrets, Signed};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<Result<(u16, &'static str), FetchError>>>,
    asked: Mutex<Vec<FetchRequest>>,
}

#[async_trait]
impl Fetch for Scripted {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError> {
        self.asked.lock().push(request);
        let answer = self.answers.lock().pop_front().unwrap_or(Ok((204, "")));
        answer.map(|(status, body)| FetchResponse { status, body: Bytes::from(body) })
    }
}

fn scripted(answers: &[Result<(u16, &'static str), FetchError>]) -> (Arc<Scripted>, Arc<Backend>) {
    let script = Arc::new(Scripted { answers: Mutex::new(answers.iter().cloned().collect()), ..Scripted::default() });
    let backend = Backend::new("desk", Arc::clone(&script) as Arc<dyn Fetch>);
    (script, backend)
}

fn endpoint() -> Endpoint {
    Endpoint {
        url: "https://me:word@backend.example/hook?key=1".to_owned(),
        secrets: Some(Secrets::new(&[SECRET.to_owned(), "another-secret-of-24-byte".to_owned()]).expect("secrets")),
        token: Some("bearer".to_owned()),
        timeout: Duration::from_secs(5),
        private: false,
    }
}

#[test]
fn only_a_clear_answer_decides() {
    assert_eq!(verdict(204, b""), Some(true));
    assert_eq!(verdict(200, br#"{"allow": false}"#), Some(false));
    assert_eq!(verdict(200, b"yes"), None);
    assert_eq!(verdict(403, b""), Some(false));
    assert_eq!(verdict(500, b""), None);
}

#[test]
fn a_url_is_shown_without_what_is_secret_in_it() {
    assert_eq!(shown("https://me:word@backend.example/hook?key=1"), "https://backend.example/hook");
    assert_eq!(shown("http://b/a@c"), "http://b/a@c");
    assert!(!format!("{:?}", endpoint()).contains("word"));
}

#[tokio::test]
async fn what_is_sent_is_signed_so_that_who_knows_a_secret_believes_it() {
    let (script, backend) = scripted(&[]);
    backend.tell(&endpoint(), "msg_1", &json!({ "a": 1 })).await.expect("taken");
    let asked = script.asked.lock();
    let header = |name: &str| {
        asked[0].headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).expect("a header")
    };
    assert_eq!((header("webhook-id"), header("authorization")), ("msg_1", "Bearer bearer"));
    assert!(!asked[0].private);
    let (timestamp, signature) = (header("webhook-timestamp"), header("webhook-signature"));
    let now: u64 = timestamp.parse().expect("seconds");
    for secret in [SECRET, "another-secret-of-24-byte"] {
        let knows = Secrets::new(&[secret.to_owned()]).expect("a secret");
        let signed = Signed { id: "msg_1", timestamp, signature };
        assert_eq!(knows.verify(signed, &asked[0].body, now), Ok(now), "{secret}");
    }
}

#[tokio::test]
async fn an_answer_is_empty_or_json() {
    let (_, backend) = scripted(&[Ok((200, r#"{"a":1}"#)), Ok((204, "")), Ok((200, "<html>")), Ok((409, "{}"))]);
    let endpoint = endpoint();
    for expect in [Ok(Some(json!({ "a": 1 }))), Ok(None), Err(Refused::NotJson), Err(Refused::Status(409))] {
        assert_eq!(backend.ask(&endpoint, "1", &Value::Null).await, expect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_fails_is_left_alone_and_tried_again() {
    let fails = [Ok((500, "")), Ok((503, "")), Err(FetchError::Timeout), Ok((429, "")), Err(FetchError::Timeout)];
    let (script, backend) = scripted(&fails);
    let (endpoint, other) = (endpoint(), Endpoint { url: "https://backend.example/other".into(), ..endpoint() });
    for _ in &fails {
        assert!(backend.tell(&endpoint, "1", &Value::Null).await.is_err());
    }
    assert!(matches!(backend.tell(&endpoint, "1", &Value::Null).await, Err(Refused::Broken { .. })));
    assert_eq!((script.asked.lock().len(), backend.broken()), (fails.len(), 1));
    backend.tell(&other, "1", &Value::Null).await.expect("another endpoint is another matter");
    tokio::time::advance(Duration::from_secs(2)).await;
    backend.tell(&endpoint, "1", &Value::Null).await.expect("it is well again");
    assert_eq!(backend.broken(), 0);
    let figures = backend.figures();
    let counts = [&figures.sent, &figures.failed, &figures.spared, &figures.broken].map(|count| count.load(Relaxed));
    assert_eq!(counts, [7, 5, 1, 1]);
}

#[tokio::test]
async fn what_a_backend_refuses_for_its_own_sake_is_no_failure() {
    let refusals: Vec<_> = (0..20).map(|_| Ok((400, ""))).collect();
    let (_, backend) = scripted(&refusals);
    for _ in 0..20 {
        assert_eq!(backend.tell(&endpoint(), "1", &Value::Null).await, Err(Refused::Status(400)));
    }
    assert_eq!(backend.broken(), 0);
}
