//! The API asked as a router, with a task in place of a shard.

mod commands;
mod inboxes;
mod keys;
mod publishing;
mod questions;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::admission::Traffic;
use oyez_hub::app::{App, Credentials};
use oyez_hub::command::{Command, Control, Mail, Select, SocketInfo};
use oyez_hub::delivery::Delivery;
use oyez_hub::policy::token::{Algorithm, ClaimRules, JwtSpec, KeyMaterial, KeySpec, Verifier, VerifierSpec, mint};
use oyez_hub::store::MemoryStore;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::{Access, ApiState, AppFacts, Demo, router};
use crate::clock::unix_seconds;
use crate::config::{ApiKey, AppConfig, Inputs, load};
use crate::observe::metrics::Metrics;

const SECRET: &str = "a-secret-for-tests-0123456789abcdef";

/// One node whose only shard has no clients: what it gets waits in `mail`.
struct Node {
    router: Router,
    hub: Hub,
    mail: UnboundedReceiver<Mail>,
    stop: CancellationToken,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    json: Value,
    text: String,
}

fn configured(source: &str) -> AppConfig {
    let env =
        |name: &str| Some(if name == "OYEZ_API_KEY" { "a-key-for-tests-0123456789abcdef" } else { SECRET }.to_owned());
    let config = load("oyez.toml", source, Inputs { env: &env, file: &|_| Err("no files".to_owned()), dev: false });
    config.unwrap().apps.remove(0)
}

fn app(id: u16, config: &AppConfig) -> App {
    let rules = ClaimRules::default();
    let keys = vec![KeySpec { material: KeyMaterial::Secret(SECRET.into()), id: None }];
    let spec = JwtSpec { algorithms: vec![Algorithm::HS256], keys, rules, ..JwtSpec::default() };
    let verifier = Verifier::new(vec![VerifierSpec::Jwt(spec)], None).unwrap();
    let messages = &config.auth.messages;
    let messages = [messages.missing.clone(), messages.invalid.clone(), messages.unknown.clone()];
    App {
        credentials: Some(Credentials::new(verifier, config.identity.clone(), messages)),
        policy: Arc::clone(&config.policy),
        dialect: Some(Arc::clone(&config.dialect)),
        native: config.websocket.is_some(),
        inbox: config.inbox.clone().map(Arc::new),
        events: config.events.clone(),
        ..App::embedded(AppId(id), &config.name, "/")
    }
}

fn key(name: &str, secret: &str, apps: &[&str], rights: &[&str]) -> ApiKey {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let secrets = vec![secret.to_owned()];
    ApiKey { name: name.to_owned(), secrets, apps: texts(apps), rights: texts(rights), channels: None }
}

impl Node {
    fn new(configs: &[AppConfig], keys: Vec<ApiKey>) -> Self {
        Self::with_sessions(configs, keys, Vec::new())
    }

    /// One whose shard describes these sessions, whoever is asked for.
    fn with_sessions(configs: &[AppConfig], keys: Vec<ApiKey>, sessions: Vec<SocketInfo>) -> Self {
        let apps: Vec<_> = (0..).zip(configs).map(|(id, config)| app(id, config)).collect();
        let metrics = Arc::new(Metrics::new(apps.iter().map(|app| app.name.as_str()), 0, Traffic::default));
        let (mailbox, inbox) = unbounded_channel();
        let (outbox, mail) = unbounded_channel();
        tokio::spawn(shard(inbox, outbox, sessions));
        let hub = Hub::new(apps, vec![mailbox], Handle::current());
        hub.keep_in(Arc::new(MemoryStore::default()));
        let stop = CancellationToken::new();
        let router = router(ApiState {
            hub: hub.clone(),
            metrics,
            access: Access::new(keys, configs.iter().map(AppFacts::from).collect()),
            demo: Some(Demo { tokens: ["a".to_owned(), "b".to_owned()], api_key: "key".to_owned() }),
            stop: stop.clone(),
            reload: None,
        });
        Self { router, hub, mail, stop }
    }

    /// The ticket desk, with the key `key`.
    fn desk() -> Self {
        Self::desk_with(Vec::new())
    }

    /// The ticket desk with these sessions.
    fn desk_with(sessions: Vec<SocketInfo>) -> Self {
        let config = configured(include_str!("../../../../../../examples/ticketing/oyez.toml"));
        Self::with_sessions(&[config], vec![key("backend", "key", &["*"], &["*"])], sessions)
    }

    /// The desk and the plant, with a key for each and one for both.
    fn two_apps() -> Self {
        let desk = configured(include_str!("../../../../../../examples/ticketing/oyez.toml"));
        let plant = configured(include_str!("../../../../../../examples/concrete-plant/oyez.toml"));
        let keys = vec![
            key("all", "key", &["*"], &["*"]),
            key("desk", "desk-key", &["ticketing"], &["publish", "read"]),
            key("guard", "guard-key", &["concrete-plant"], &["disconnect", "revoke"]),
        ];
        Self::new(&[desk, plant], keys)
    }

    async fn ask(&self, method: &str, path: &str, token: &str, body: impl Into<Body>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:1");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let status = response.status();
        let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, "key", body.to_string()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "key", "").await
    }

    /// A member of a channel, as the hub counts it.
    fn join(&self, app: u16, channel: &str) {
        let channels = self.hub.channels();
        channels.join(channels.key(AppId(app), &channel.into()), 0);
    }

    /// What the shard gets next.
    async fn mail(&mut self) -> Mail {
        let next = tokio::time::timeout(Duration::from_secs(5), self.mail.recv()).await;
        next.expect("the shard gets nothing").expect("the shard lives")
    }

    async fn delivery(&mut self) -> Arc<Delivery> {
        match self.mail().await {
            Mail::Deliver(delivery) => delivery,
            Mail::Control(control) => panic!("no delivery: {control:?}"),
        }
    }

    async fn control(&mut self) -> Control {
        match self.mail().await {
            Mail::Control(control) => control,
            Mail::Deliver(delivery) => panic!("no control: {delivery:?}"),
        }
    }

    /// Asserts that the shard has got nothing more.
    async fn silence(&mut self) {
        // The shard answers in its turn, so it has done all that came before.
        self.hub.execute(AppId(0), Command::Describe(Select::Everyone)).await.unwrap();
        assert!(self.mail.try_recv().is_err());
    }
}

/// A shard without clients: describes `sessions`, and hands on everything else.
async fn shard(mut inbox: UnboundedReceiver<Mail>, outbox: UnboundedSender<Mail>, sessions: Vec<SocketInfo>) {
    while let Some(mail) = inbox.recv().await {
        match mail {
            Mail::Control(Control::Describe(_, _, reply)) => drop(reply.send(sessions.clone())),
            Mail::Control(Control::Devices(.., reply)) => drop(reply.send((0, 0))),
            mail => drop(outbox.send(mail)),
        }
    }
}

impl Answer {
    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.json
    }

    /// Asserts a refusal with this code, whose message holds all of `words`.
    #[track_caller]
    fn refused(&self, status: u16, code: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.json["error"]["code"], code, "{}", self.text);
        let message = self.json["error"]["message"].as_str().unwrap();
        for word in words {
            assert!(message.contains(word), "{word} is not in: {message}");
        }
    }
}

fn session(user: &str, channels: &[&str]) -> SocketInfo {
    let id = oyez_hub::address::Address { node: 0, shard: 0, slot: 1, nonce: 2 }.encode();
    SocketInfo {
        id,
        user: user.into(),
        name: None,
        roles: Vec::new(),
        transport: "websocket",
        address: None,
        connected_at: 5,
        channels: channels.iter().map(|channel| Arc::from(*channel)).collect(),
    }
}

fn token(mut claims: Value) -> String {
    claims["exp"] = json!(unix_seconds() + 600);
    mint(SECRET.as_bytes(), claims.as_object().unwrap()).unwrap()
}
