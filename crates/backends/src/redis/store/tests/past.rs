//! The history of channels where Redis itself does something: what expires there, another run of it, odd values.

use std::time::Duration;

use oyez_hub::recovery::{History, Mark};
use oyez_hub::store::{Chronicle as _, Recalled, Saying, Settings};
use redis::aio::MultiplexedConnection;
use redis::{Client, cmd};
use tokio::runtime::Handle;

use super::server::Server;
use crate::redis::store::{Options, RedisStore};

const NOW: u64 = 1_700_000_000_000;
const SECOND: u64 = 1_000;
const KEPT: History = History { last: 100, time: Duration::from_secs(10) };

struct Scene {
    _server: Server,
    store: RedisStore,
    redis: MultiplexedConnection,
}

impl Scene {
    async fn begin() -> Self {
        let server = Server::start(&[]).await;
        let options = Options::new(&server.url()).unwrap();
        let store = RedisStore::start(options, Settings::default(), &Handle::current());
        store.begun().await.unwrap();
        let redis = Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        Self { _server: server, store, redis }
    }

    async fn say(&self, channel: &str, said: &str, now: u64) -> Mark {
        let said = Saying { channel: channel.into(), history: KEPT, said: Some(said.to_owned().into()) };
        self.store.remember("app", &[said], now).await.unwrap()
    }

    async fn recall(&self, since: Mark, now: u64) -> Recalled {
        self.store.recall("app", ("news", KEPT), Some(since), 10, now).await.unwrap()
    }

    async fn ask(&mut self, words: &[&str]) {
        let () = cmd(words[0]).arg(&words[1..]).query_async(&mut self.redis).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_is_missing_also_when_something_is_said_again() {
    let mut scene = Scene::begin().await;
    let before = scene.say("other", "x", NOW).await;
    scene.say("news", "a", NOW).await;
    // As after a minute and ten seconds in which nobody asked.
    scene.ask(&["DEL", "oyez:{app}:H:news", "oyez:{app}:L:news"]).await;
    let b = scene.say("news", "b", NOW + 100 * SECOND).await;
    let found = scene.recall(before, NOW + 100 * SECOND).await;
    assert_eq!((found.said.len(), found.gap), (1, true));
    assert!(!scene.recall(b, NOW + 100 * SECOND).await.gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_run_of_redis_is_another_life_whoever_notices_first() {
    let mut scene = Scene::begin().await;
    let a = scene.say("news", "a", NOW).await;
    scene.ask(&["HSET", "oyez:{app}:past", "run", "another"]).await;
    let found = scene.recall(a, NOW).await;
    assert!(found.gap && found.until.epoch != a.epoch);
    scene.ask(&["HSET", "oyez:{app}:past", "run", "another"]).await;
    let b = scene.say("news", "b", NOW).await;
    assert_ne!(b.epoch, found.until.epoch);
    assert!(!scene.recall(b, NOW).await.gap);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_ends_nothing() {
    let scene = Scene::begin().await;
    let real = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let a = scene.say("news", "a", real).await;
    let b = scene.say("news", "b", real + 300 * SECOND).await;
    assert!(scene.store.time_of(b) <= real + 5 * SECOND);
    let found = scene.recall(a, real + 300 * SECOND).await;
    assert_eq!((found.said.len(), found.gap), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_odd_key_is_in_nobody_elses_way() {
    let mut scene = Scene::begin().await;
    scene.ask(&["SET", "oyez:{app}:H:odd", "x"]).await;
    let saying = |channel: &str| Saying { channel: channel.into(), history: KEPT, said: Some("a".into()) };
    assert!(scene.store.remember("app", &[saying("odd")], NOW).await.is_err());
    assert!(scene.store.remember("app", &[saying("news")], NOW).await.is_ok());
    assert!(scene.store.recall("app", ("odd", KEPT), None, 10, NOW).await.is_err());
    assert!(scene.store.recall("app", ("news", KEPT), None, 10, NOW).await.is_ok());
}
