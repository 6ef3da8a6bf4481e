//! The store in memory passes what every store must, and keeps no more than it says.

use std::sync::Arc;

use super::conformance::{self, HOUR, NOW, ann, give, put, user, waiting};
use super::{
    Counters, Engine as _, Ledger, Memory, MemoryStore, Outcome, Put, Settings, State, Store, StoreError, View as _,
    Which, key, mend,
};
use crate::command::Level;

#[tokio::test]
async fn memory_conforms() {
    conformance::all(Level::Accepted, || Arc::new(MemoryStore::default())).await;
}

#[tokio::test]
async fn ids_over_their_bytes_shrink_the_window() {
    let store = Ledger::new(Memory::default(), Settings { id_bytes: 60, keep_acknowledged: None });
    for hour in 0..4 {
        store.put(put(&format!("m{hour}"), &[user("ann")]), NOW + hour * HOUR).await.unwrap();
        store.delete(&ann(), vec![format!("m{hour}").into()], NOW + hour * HOUR).await.unwrap();
    }
    let now = NOW + 3 * HOUR;
    let stats = store.stats(now).await.unwrap();
    assert!(stats.id_bytes <= 60 && stats.window < 3 * HOUR, "{stats:?}");
    assert_eq!(store.put(put("m3", &[user("ann")]), now).await.unwrap().outcome, Outcome::Duplicate);
    assert_eq!(store.put(put("m0", &[user("ann")]), now).await.unwrap().outcome, Outcome::Stored);
}

#[tokio::test]
async fn what_was_acknowledged_long_ago_is_trimmed_and_nothing_else() {
    let store = Ledger::new(Memory::default(), Settings { keep_acknowledged: Some(HOUR), ..Settings::default() });
    give(&store, &["1", "2", "3"]).await;
    store.mark(&ann(), Which::Ids(vec!["1".into(), "3".into()]), State::Delivered, NOW).await.unwrap();
    assert_eq!(store.maintain(NOW + HOUR).await.unwrap().trimmed, 0);
    assert_eq!(store.maintain(NOW + HOUR + 1).await.unwrap().trimmed, 1, "3 waits for 2");
    assert_eq!(waiting(&store, &ann(), NOW).await, "2");
    store.mark(&ann(), Which::All, State::Delivered, NOW + HOUR).await.unwrap();
    assert_eq!(store.maintain(NOW + 3 * HOUR).await.unwrap().trimmed, 2);
    assert_eq!(store.engine().records_in(b"\x02"), 0);
    assert_eq!(store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn nothing_is_left_of_what_is_forgotten() {
    let store = MemoryStore::default();
    give(&store, &["1", "2"]).await;
    store.mark(&ann(), Which::All, State::Delivered, NOW).await.unwrap();
    store.resend(&ann(), "1", NOW).await.unwrap();
    store.delete(&ann(), vec!["1".into(), "2".into()], NOW).await.unwrap();
    assert_eq!(store.maintain(NOW + 25 * HOUR).await.unwrap().forgotten, 2);
    for (table, left) in [(b"\x02", 0), (b"\x03", 1), (b"\x04", 0), (b"\x05", 0), (b"\x09", 0)] {
        assert_eq!(store.engine().records_in(table), left, "table {table:?}");
    }
}

#[tokio::test]
async fn a_newer_format_is_refused() {
    let memory = Memory::default();
    let newer = memory.write(Level::Stored, |transaction| {
        transaction.put(key::meta("format"), &3_u32);
        Ok(())
    });
    newer.await.unwrap();
    let error = memory.read(|view| Counters::load(view, "dir").map(drop)).await.unwrap_err();
    assert_eq!(error, StoreError::Newer { dir: "dir".to_owned(), found: 3, known: 2 });
}

/// Moves an id's record to where the first format had it.
async fn age(store: &MemoryStore, id: &'static str) {
    let age = store.engine().write(Level::Stored, move |transaction| {
        let record = transaction.get(key::id("app", id).bytes())?.unwrap();
        transaction.put_raw(key::id_of_format_1("app", id), record.to_vec());
        transaction.remove(key::id("app", id));
        Ok(())
    });
    age.await.unwrap();
}

#[tokio::test]
async fn ids_of_the_first_format_are_found_and_stay_where_they_are() {
    const NEAR: &str = "019aa8f0-4e8a-7c3b-9d43-2f6b8a1c0e55";
    const DUE: &str = "019aa8f0-4e8b-7c3b-9d43-2f6b8a1c0e55";
    let store = MemoryStore::default();
    give(&store, &[NEAR]).await;
    store.put(Put { deliver_at: Some(NOW + 1), ..put(DUE, &[user("ann")]) }, NOW).await.unwrap();
    let neighbours = [NEAR, DUE].map(|id| key::id("app", id).into_bytes());
    assert_eq!(neighbours[0][..4], neighbours[1][..4], "made one after the other");
    age(&store, NEAR).await;
    age(&store, DUE).await;
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(store.put(put(NEAR, &[user("ann")]), NOW).await.unwrap().outcome, Outcome::Duplicate);
    assert_eq!(store.release(9, NOW + 1).await.unwrap().len(), 1);
    assert_eq!(waiting(&store, &ann(), NOW + 1).await, format!("{NEAR} {DUE}"));
    let both = Which::Ids(vec![NEAR.into(), DUE.into()]);
    assert_eq!(store.mark(&ann(), both, State::Delivered, NOW).await.unwrap().changed.len(), 2);
    assert_eq!(store.resend(&ann(), NEAR, NOW).await.unwrap().unwrap().state, State::Pending);
    assert_eq!(store.verify().await.unwrap(), []);
    let new = store.engine().read(|view| [NEAR, DUE].iter().map(|id| view.get(key::id("app", id).bytes())).collect());
    let new: Vec<_> = new.await.unwrap();
    assert_eq!(new, [None, None], "one record of each id");
}

#[tokio::test]
async fn what_is_lost_is_told_and_mended() {
    let store = MemoryStore::default();
    give(&store, &["1", "2", "3"]).await;
    store.put(Put { deliver_at: Some(NOW + 1), ..put("4", &[user("ann")]) }, NOW).await.unwrap();
    store.enroll("app", "ops", vec!["ann".into(), "bob".into()]).await.unwrap();
    store.mark(&ann(), Which::Ids(vec!["2".into()]), State::Delivered, NOW).await.unwrap();
    let ann_in_ops = key::joined("app", "ann", "ops");
    let lost = [key::head("app", &user("ann")), key::id("app", "1"), key::id("app", "4"), ann_in_ops];
    let lose = store.engine().write(Level::Stored, |transaction| {
        lost.into_iter().for_each(|key| transaction.remove(key));
        Ok(())
    });
    lose.await.unwrap();
    assert!(store.verify().await.unwrap().len() >= 4);
    let (mended, _) = store.engine().write(Level::Stored, mend).await.unwrap();
    assert_eq!((mended.written, mended.removed, mended.messages, mended.lost), (4, 0, 3, 0));
    assert_eq!(store.verify().await.unwrap(), []);
    assert_eq!(waiting(&store, &ann(), NOW).await, "1 3");
    assert_eq!(store.put(put("1", &[user("ann")]), NOW).await.unwrap().outcome, Outcome::Duplicate);
    store.mark(&ann(), Which::Ids(vec!["1".into()]), State::Delivered, NOW).await.unwrap();
    assert_eq!(store.release(9, NOW + 1).await.unwrap().len(), 1);
    assert_eq!(waiting(&store, &ann(), NOW + 1).await, "3 4");
}

#[tokio::test]
async fn messages_that_are_lost_are_counted() {
    let store = MemoryStore::default();
    give(&store, &["1", "2", "3"]).await;
    let lose = store.engine().write(Level::Stored, |transaction| {
        transaction.remove(key::entry("app", &user("ann"), 2));
        Ok(())
    });
    lose.await.unwrap();
    let told: Vec<String> = store.verify().await.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["head of user ann (app app): 2 entries are there, 3 should be"]);
    let (mended, _) = store.engine().write(Level::Stored, mend).await.unwrap();
    assert_eq!((mended.messages, mended.lost), (2, 1));
}

#[tokio::test]
async fn memory_is_bounded_and_has_room_again() {
    let store = Ledger::new(Memory::new(16 << 10), Settings::default());
    let mut ids = Vec::new();
    let refused = loop {
        let id = format!("m{}", ids.len());
        match store.put(put(&id, &[user("ann")]), NOW).await {
            Ok(_) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::MemoryFull { most: 0 });
    assert!(ids.len() > 20, "{}", ids.len());
    assert_eq!(waiting(&store, &ann(), NOW).await, ids.join(" "), "what was there stays");
    assert_eq!(store.verify().await.unwrap(), []);
    store.delete(&ann(), ids.iter().take(20).map(|id| id.as_str().into()).collect(), NOW).await.unwrap();
    store.maintain(NOW + 25 * HOUR).await.unwrap();
    store.put(put("after", &[user("ann")]), NOW + 25 * HOUR).await.unwrap();
}
