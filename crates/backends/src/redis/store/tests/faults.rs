//! What only a server elsewhere can spoil: answers that are lost, nodes beside each other, a Redis that goes and comes.

use std::sync::Arc;

use oyez_hub::command::Level;
use oyez_hub::store::{
    Bound, Outcome, Owner, Put, Settings, State, Step, Store, StoreError, Target, Which, conformance,
};
use tokio::runtime::Handle;

use super::server::{Server, Way};
use crate::redis::store::{Options, RedisStore};

const NOW: u64 = 1_700_000_000_000;

fn store(url: &str) -> RedisStore {
    RedisStore::start(Options::new(url).unwrap(), Settings::default(), &Handle::current())
}

fn put(id: &str, deliver_at: Option<u64>) -> Put {
    let message = conformance::message(id);
    let to = vec![Target::User("ann".into())];
    Put { app: "app".into(), message, fresh: true, to, deliver_at, bound: Bound::default(), level: Level::Stored }
}

fn ann() -> Owner {
    Owner::new("app", "ann")
}

async fn waiting(store: &dyn Store) -> Vec<String> {
    let page = store.pending(&ann(), None, 10_000, NOW).await.unwrap();
    page.items.iter().map(|item| item.message.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_answer_was_lost_is_stored_once() {
    let server = Server::start(&[]).await;
    let way = Way::to(&server, "stored").await;
    let store = store(&way.url);
    store.put(put("before", None), NOW).await.unwrap();
    way.lose_one();
    let stored = store.put(put("lost", None), NOW).await.unwrap();
    assert!(way.has_lost());
    assert_eq!((stored.outcome, stored.places.len()), (Outcome::Stored, 1), "it is this node's to deliver");
    assert_eq!(waiting(&store).await, ["before", "lost"]);
    let again = store.put(Put { fresh: false, ..put("lost", None) }, NOW).await.unwrap();
    assert_eq!((again.outcome, again.places), (Outcome::Duplicate, stored.places));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_under_way_are_stored_once_and_in_order_when_their_connection_ends() {
    let server = Server::start(&[]).await;
    let way = Way::to(&server, "stored").await;
    let store = Arc::new(store(&way.url));
    store.put(put("before", None), NOW).await.unwrap();
    for round in 0..5 {
        way.lose_one();
        let ids: Vec<String> = (0..300).map(|number| format!("{round}-{number}")).collect();
        let mut puts = Vec::new();
        for id in &ids {
            puts.push(store.put(put(id, None), NOW));
        }
        let stored = futures_util::future::join_all(puts).await;
        assert!(way.has_lost());
        let places: Vec<u64> = stored.into_iter().map(|stored| stored.unwrap().places[0].1).collect();
        assert!(places.is_sorted(), "in the order in which they were asked");
        let there = waiting(&*store).await;
        assert_eq!(there[there.len() - 300..], ids);
        assert_eq!(there.len(), 1 + 300 * (round + 1));
    }
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_released_is_told_again_when_the_answer_was_lost() {
    let server = Server::start(&[]).await;
    let way = Way::to(&server, "alarm").await;
    let store = store(&way.url);
    store.put(put("due", Some(NOW + 5)), NOW).await.unwrap();
    way.lose_one();
    let released = store.release(10, NOW + 5).await.unwrap();
    assert!(way.has_lost());
    assert_eq!(released.iter().map(|one| &*one.message.id).collect::<Vec<_>>(), ["due"]);
    assert_eq!(released[0].places.len(), 1);
    assert_eq!(store.release(10, NOW + 5).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_whose_answer_was_lost_says_so() {
    let server = Server::start(&[]).await;
    let way = Way::to(&server, "one").await;
    let store = store(&way.url);
    store.put(put("one", None), NOW).await.unwrap();
    way.lose_one();
    let which = || Which::Ids(vec!["one".into()]);
    let error = store.mark(&ann(), which(), State::Seen, NOW).await.unwrap_err();
    assert_eq!(error.word(), "lost", "{error}");
    assert_eq!(store.mark(&ann(), which(), State::Seen, NOW).await.unwrap().changed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_answer_was_lost_is_asked_again() {
    let server = Server::start(&[]).await;
    let way = Way::to(&server, "alarm").await;
    let store = store(&way.url);
    store.put(put("one", None), NOW).await.unwrap();
    way.lose_one();
    assert_eq!(waiting(&store).await, ["one"]);
    assert!(way.has_lost());
    assert_eq!(waiting(&store).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_with_other_prefixes_share_a_redis() {
    let server = Server::start(&[]).await;
    let stores = ["", "?prefix=a:", "?prefix=b:"].map(|prefix| store(&format!("{}{prefix}", server.url())));
    for store in &stores {
        assert_eq!(store.put(put("one", None), NOW).await.unwrap().outcome, Outcome::Stored);
        assert_eq!(waiting(store).await, ["one"]);
    }
    assert!(Options::new("redis://here?prefix={a}").unwrap_err().contains("no braces"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_publish_the_same_store_it_once() {
    let server = Server::start(&[]).await;
    let nodes = [store(&server.url()), store(&server.url()), store(&server.url())];
    let each = (0..200).flat_map(|number| nodes.iter().map(move |node| (number, node)));
    let puts = each.map(|(number, node)| {
        let put = Put { fresh: false, ..put(&format!("m{number}"), None) };
        async move { node.put(put, NOW).await.unwrap().outcome }
    });
    let outcomes = futures_util::future::join_all(puts).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Outcome::Stored).count(), 200);
    for node in &nodes {
        assert_eq!(waiting(node).await.len(), 200);
    }
    assert!(nodes[0].note(&ann(), "m7", Step::Sent, NOW).await.unwrap());
    assert_eq!(nodes[1].trace(&ann(), "m7").await.unwrap().unwrap().sent, Some((NOW, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_as_it_changes() {
    let mut server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]).await;
    let store = store(&server.url());
    store.begun().await.unwrap();
    let mut health = store.health().unwrap();
    assert_eq!(*health.borrow_and_update(), None);
    store.put(put("one", None), NOW).await.unwrap();
    server.kill().await;
    let trouble = health.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(matches!(trouble, StoreError::Server { word: "unreachable", .. }), "{trouble}");
    let error = store.put(put("two", None), NOW).await.unwrap_err();
    assert!(error.is_trouble() && error.to_string().contains("is it running there?"), "{error}");
    server.begin().await;
    health.wait_for(Option::is_none).await.unwrap();
    store.put(put("two", None), NOW).await.unwrap();
    assert_eq!(waiting(&store).await, ["one", "two"]);
}

async fn ask<T: redis::FromRedisValue>(server: &Server, words: &[&str]) -> T {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_say_who_keeps_it_after_a_failover() {
    let mut master = Server::start(&[]).await;
    let port = master.port().to_string();
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {port}")]).await;
    let sentinel = Server::sentinel(&master).await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let store = store(&url);
    store.begun().await.unwrap();
    store.put(put("one", None), NOW).await.unwrap();
    // The replica has the message, and the sentinel knows the replica: else it could be lost, or not be found.
    while ask::<u64>(&replica, &["HLEN", "oyez:{app}:d"]).await == 0 {}
    while ask::<Vec<redis::Value>>(&sentinel, &["SENTINEL", "REPLICAS", "main"]).await.is_empty() {}
    let mut health = store.health().unwrap();
    master.kill().await;
    health.wait_for(Option::is_some).await.unwrap();
    health.wait_for(Option::is_none).await.unwrap();
    store.put(put("two", None), NOW).await.unwrap();
    assert_eq!(waiting(&store).await, ["one", "two"]);
    let unknown = RedisStore::start(
        Options::new(&url.replace("/main", "/other")).unwrap(),
        Settings::default(),
        &Handle::current(),
    );
    assert!(unknown.begun().await.unwrap_err().to_string().contains("it knows no master other"));
}
