//! One node that watches and tells, against a backend that takes what the test lets it take.

#![allow(clippy::unwrap_used, reason = "a test may: the panic is the failure")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::backend::{Backend, Endpoint};
use oyez_hub::cluster::GRACE;
use oyez_hub::command::Command;
use oyez_hub::lifecycle::{EVENTS, Rules};
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::fetch::{Fetch, FetchError, FetchRequest, FetchResponse};
use oyez_hub::store::{MemoryStore, Store};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::time::sleep;

const DESK: AppId = AppId(0);

/// Takes what `refuses` does not say, and remembers it.
#[derive(Default)]
struct Script {
    refuses: Mutex<HashSet<String>>,
    taken: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl Fetch for Script {
    async fn fetch(&self, request: FetchRequest) -> Result<FetchResponse, FetchError> {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let name = body["user"].as_str().or(body["channel"].as_str()).unwrap().to_owned();
        let status = if self.refuses.lock().contains(&name) {
            400
        } else {
            self.taken.lock().push((name, body["type"].as_str().unwrap().to_owned()));
            204
        };
        Ok(FetchResponse { status, body: Bytes::new() })
    }
}

struct Scene {
    hub: Hub,
    script: Arc<Script>,
}

/// By the test's clock, which goes on when there is nothing to do.
const MOMENT: Duration = Duration::from_millis(100);

/// An app whose backend is told of these events; of none: it has no webhook.
fn app(script: &Arc<Script>, events: &[&str]) -> App {
    let endpoint = Endpoint {
        url: "https://backend.example".into(),
        secrets: None,
        token: None,
        timeout: Duration::from_secs(1),
        private: false,
    };
    let events = events.iter().map(|event| (*event).to_owned()).collect();
    let channels = Some(vec![Pattern::compile("room:{id}").unwrap()]);
    let rules = Rules { endpoint, events, channels };
    App {
        backend: Some(Backend::new("desk", Arc::clone(script) as Arc<dyn Fetch>)),
        lifecycle: (!rules.events.is_empty()).then(|| Arc::new(rules)),
        ..App::embedded(DESK, "desk", "/")
    }
}

/// A node with that store; as it is after its start.
async fn scene(store: &Arc<dyn Store>, events: &[&str]) -> Scene {
    let script = Arc::new(Script::default());
    let hub = Hub::new(vec![app(&script, events)], Vec::new(), Handle::current());
    hub.keep_in(Arc::clone(store));
    hub.begin_lifecycle();
    sleep(MOMENT).await;
    Scene { hub, script }
}

impl Scene {
    async fn come(&self, user: &str) {
        self.hub.presence().connect(DESK, &user.into(), None);
        sleep(MOMENT).await;
    }

    async fn go(&self, user: &str) {
        self.hub.presence().disconnect(DESK, &user.into());
        sleep(MOMENT).await;
    }

    async fn wait(&self, time: Duration) {
        sleep(time + MOMENT).await;
    }

    fn told(&self) -> String {
        self.script.taken.lock().drain(..).map(|(name, what)| format!("{name} {what}")).collect::<Vec<_>>().join(", ")
    }

    /// The rules are others from now on.
    async fn reform(&self, events: &[&str]) {
        let app = app(&self.script, events);
        self.hub.execute(DESK, Command::Reform(Box::new(app))).await.unwrap();
        self.wait(Duration::from_secs(1)).await;
    }

    fn refuses(&self, name: &str) {
        self.script.refuses.lock().insert(name.to_owned());
    }

    fn takes_all(&self) {
        self.script.refuses.lock().clear();
    }
}

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::default())
}

#[tokio::test(start_paused = true)]
async fn a_user_comes_once_and_goes_when_nobody_has_come_back() {
    let scene = scene(&store(), &EVENTS).await;
    scene.come("ann").await;
    scene.come("ann").await;
    assert_eq!(scene.told(), "ann user.online");
    scene.go("ann").await;
    scene.go("ann").await;
    scene.wait(GRACE / 2).await;
    scene.come("ann").await;
    scene.wait(GRACE * 2).await;
    assert_eq!(scene.told(), "", "it was a reconnect");
    scene.go("ann").await;
    scene.wait(GRACE).await;
    assert_eq!(scene.told(), "ann user.offline");
}

#[tokio::test(start_paused = true)]
async fn who_comes_and_goes_before_anybody_looks_is_told_of() {
    let scene = scene(&store(), &EVENTS).await;
    scene.hub.presence().connect(DESK, &"ann".into(), None);
    scene.go("ann").await;
    scene.wait(GRACE).await;
    assert_eq!(scene.told(), "ann user.online, ann user.offline");
    scene.hub.presence().connect(DESK, &"".into(), None);
    sleep(MOMENT).await;
    assert_eq!(scene.told(), "", "a user without a name is nobody");
}

#[tokio::test(start_paused = true)]
async fn channels_fill_and_empty() {
    let scene = scene(&store(), &["channel.occupied", "channel.vacated"]).await;
    for name in ["room:1", "hall", "*"] {
        let name: Arc<str> = name.into();
        let channels = scene.hub.channels();
        channels.join(channels.key(DESK, &name), 0);
        channels.join(channels.key(DESK, &name), 1);
        channels.leave(channels.key(DESK, &name), 0);
    }
    scene.come("ann").await;
    assert_eq!(scene.told(), "room:1 channel.occupied", "as the file names them");
    let (name, channels): (Arc<str>, _) = ("room:1".into(), scene.hub.channels());
    channels.leave(channels.key(DESK, &name), 1);
    sleep(MOMENT).await;
    scene.wait(GRACE).await;
    assert_eq!(scene.told(), "room:1 channel.vacated");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_refused_holds_up_its_own_and_nobody_else() {
    let scene = scene(&store(), &EVENTS).await;
    scene.refuses("ann");
    scene.come("ann").await;
    scene.go("ann").await;
    scene.wait(GRACE).await;
    scene.come("bob").await;
    assert_eq!(scene.told(), "bob user.online");
    scene.takes_all();
    scene.wait(Duration::from_secs(60)).await;
    assert_eq!(scene.told(), "ann user.online, ann user.offline");
}

#[tokio::test(start_paused = true)]
async fn another_life_goes_on_where_the_last_one_ended() {
    let store = store();
    let first = scene(&store, &EVENTS).await;
    first.come("ann").await;
    first.come("bob").await;
    first.refuses("cid");
    first.come("cid").await;
    first.go("cid").await;
    first.wait(GRACE).await;
    assert_eq!(first.told(), "ann user.online, bob user.online");
    drop(first);
    let second = scene(&store, &EVENTS).await;
    assert_eq!(second.told(), "cid user.online, cid user.offline", "what the last one had not told");
    second.come("bob").await;
    second.wait(GRACE).await;
    assert_eq!(second.told(), "ann user.offline", "who has not come back");
    second.go("bob").await;
    second.wait(GRACE).await;
    assert_eq!(second.told(), "bob user.offline");
    drop(second);
    let third = scene(&store, &EVENTS).await;
    third.wait(GRACE).await;
    assert_eq!(third.told(), "", "all is told");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_is_not_told_and_still_known() {
    let store = store();
    let first = scene(&store, &["user.offline"]).await;
    first.come("ann").await;
    assert_eq!(first.told(), "");
    drop(first);
    let second = scene(&store, &["user.offline"]).await;
    second.wait(GRACE).await;
    assert_eq!(second.told(), "ann user.offline");
}

#[tokio::test(start_paused = true)]
async fn rules_may_change_while_users_are_there() {
    let scene = scene(&store(), &[]).await;
    scene.come("ann").await;
    scene.come("bob").await;
    scene.reform(&EVENTS).await;
    let mut told: Vec<_> = scene.told().split(", ").map(str::to_owned).collect();
    told.sort_unstable();
    assert_eq!(told, ["ann user.online", "bob user.online"]);
    scene.reform(&[]).await;
    scene.go("ann").await;
    scene.wait(GRACE).await;
    scene.reform(&EVENTS).await;
    scene.wait(GRACE).await;
    assert_eq!(scene.told(), "ann user.offline", "that bob is online was said before");
}
