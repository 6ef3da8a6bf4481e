//! What goes when it is over, and that nothing of it stays in Redis.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{Bound, Outcome, Owner, Put, Settings, State, Step, Store, Target, Which, conformance};
use redis::{Client, cmd};
use tokio::runtime::Handle;

use super::server::Server;
use crate::redis::store::{Options, RedisStore};

const HOUR: u64 = 3_600_000;
const NOW: u64 = 500_000 * HOUR;

fn store(server: &Server, settings: Settings) -> RedisStore {
    RedisStore::start(Options::new(&server.url()).unwrap(), settings, &Handle::current())
}

fn user(name: impl Into<Arc<str>>) -> Target {
    Target::User(name.into())
}

fn put(id: &str, to: Vec<Target>) -> Put {
    let (message, bound) = (conformance::message(id), Bound::default());
    Put { app: "app".into(), message, fresh: false, to, deliver_at: None, bound, level: Level::Stored }
}

fn owner(name: &str) -> Owner {
    Owner::new("app", name)
}

async fn waiting(store: &dyn Store, name: &str) -> usize {
    store.pending(&owner(name), None, 1_000, NOW).await.unwrap().items.len()
}

/// The keys of the app, without what is kept of everybody who ever had a message, how many there were and the last, and
/// without what goes by itself.
async fn keys(server: &Server) -> Vec<String> {
    let mut connection = Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = cmd("KEYS").arg("oyez:{app}:*").query_async(&mut connection).await.unwrap();
    let mut keys: Vec<String> = keys.into_iter().map(|key| key.replace("oyez:{app}:", "")).collect();
    keys.retain(|key| !key.starts_with("h:") && !key.starts_with("released:") && key != "meta");
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_long_ago_is_trimmed_and_nothing_else() {
    let server = Server::start(&[]).await;
    let store = store(&server, Settings { keep_acknowledged: Some(HOUR), ..Settings::default() });
    store.enroll("app", "ops", vec!["ann".into(), "bob".into()]).await.unwrap();
    for id in ["1", "2", "3"] {
        store.put(put(id, vec![user("ann")]), NOW).await.unwrap();
        store.put(put(&format!("c{id}"), vec![Target::Channel("ops".into())]), NOW).await.unwrap();
    }
    let ids = |ids: &[&str]| Which::Ids(ids.iter().map(|id| (*id).into()).collect());
    store.mark(&owner("ann"), ids(&["1", "3", "c1", "c2"]), State::Delivered, NOW).await.unwrap();
    store.mark(&owner("bob"), ids(&["c1"]), State::Read, NOW).await.unwrap();
    assert_eq!(store.maintain(NOW + HOUR).await.unwrap().trimmed, 0);
    assert_eq!(store.maintain(NOW + HOUR + 1).await.unwrap().trimmed, 3, "what both have of the channel's");
    assert_eq!((waiting(&store, "ann").await, waiting(&store, "bob").await), (2, 2));
    store.mark(&owner("ann"), Which::All, State::Archived, NOW + 2 * HOUR).await.unwrap();
    store.mark(&owner("bob"), Which::All, State::Archived, NOW + 2 * HOUR).await.unwrap();
    // Of channels it counts when they were put, so theirs go now; a user's own an hour after they said so.
    assert_eq!(store.maintain(NOW + 2 * HOUR + 2).await.unwrap().trimmed, 2);
    assert_eq!(store.maintain(NOW + 3 * HOUR + 1).await.unwrap().trimmed, 1);
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_what_is_forgotten() {
    let server = Server::start(&[]).await;
    let store = store(&server, Settings::default());
    let many: Vec<Target> = (0..40).map(|number| user(number.to_string())).collect();
    store.enroll("app", "ops", vec!["0".into()]).await.unwrap();
    let all = [many.clone(), vec![Target::Channel("ops".into())]].concat();
    let first = store.put(put("many", all), NOW).await.unwrap();
    assert_eq!(first.places.len(), 41);
    let again = store.put(put("many", vec![user("x")]), NOW).await.unwrap();
    assert_eq!((again.outcome, again.places), (Outcome::Duplicate, first.places));
    let mut short = put("short", many);
    short.message.expires_at = Some(NOW + 5);
    store.put(short, NOW).await.unwrap();
    store.put(Put { deliver_at: Some(NOW + 9), ..put("later", vec![user("0")]) }, NOW).await.unwrap();
    assert!(store.note(&owner("7"), "many", Step::Withheld("away".to_owned()), NOW).await.unwrap());
    assert!(store.resend(&owner("7"), "many", NOW).await.unwrap().is_some());
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(store.maintain(NOW + 5).await.unwrap().expired, 40);
    assert_eq!(store.release(9, NOW + 9).await.unwrap().len(), 1);
    // A day later what lies there still is known; when it goes, it is forgotten.
    let late = NOW + 30 * HOUR;
    assert_eq!(store.maintain(late).await.unwrap().forgotten, 1);
    assert_eq!(store.put(put("many", vec![user("x")]), late).await.unwrap().outcome, Outcome::Duplicate);
    for number in 0..40 {
        let ids = vec!["many".into(), "later".into()];
        let deleted = store.delete(&owner(&number.to_string()), ids, late).await.unwrap();
        assert_eq!(deleted.removed.len(), if number == 0 { 2 } else { 1 }, "{number}");
    }
    assert_eq!(store.maintain(late).await.unwrap().forgotten, 1, "the channel has the other one");
    store.dismiss("app", "ops", vec!["0".into()]).await.unwrap();
    let bound = Bound { most: 1, ..Bound::default() };
    store.put(Put { bound, ..put("next", vec![Target::Channel("ops".into())]) }, late).await.unwrap();
    assert_eq!(store.maintain(late).await.unwrap().forgotten, 1);
    // One message lies in the channel.
    let ids = format!("i:{}", late / HOUR);
    assert_eq!(keys(&server).await, ["0:cops", "b", "d", "hours", &ids, "k", "u"]);
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_over_their_bytes_shrink_the_window() {
    let server = Server::start(&[]).await;
    let store = store(&server, Settings { id_bytes: 100, keep_acknowledged: None });
    for hour in 0..4 {
        let id = format!("m{hour}");
        store.put(put(&id, vec![user("ann")]), NOW + hour * HOUR).await.unwrap();
        store.delete(&owner("ann"), vec![id.into()], NOW + hour * HOUR).await.unwrap();
    }
    let now = NOW + 3 * HOUR;
    let stats = store.stats(now).await.unwrap();
    assert!(stats.id_bytes <= 100 && stats.window < 3 * HOUR, "{stats:?}");
    assert_eq!(store.put(put("m3", vec![user("ann")]), now).await.unwrap().outcome, Outcome::Duplicate);
    assert_eq!(store.put(put("m0", vec![user("ann")]), now).await.unwrap().outcome, Outcome::Stored);
}
