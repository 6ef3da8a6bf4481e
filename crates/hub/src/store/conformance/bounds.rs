//! Inboxes are bounded.

use super::{NOW, ann, bob, channel, give, put, sound, user, waiting};
use crate::store::{Bound, Put, State, Store, StoreError, Target, WhenFull, Which};

fn bounded(id: &str, to: &[Target], when_full: WhenFull) -> Put {
    Put { bound: Bound { most: 3, when_full }, ..put(id, to) }
}

pub(super) async fn drop_the_acknowledged_first_and_then_the_oldest(store: &dyn Store) {
    give(store, &["1", "2", "3"]).await;
    store.mark(&ann(), Which::Ids(vec!["2".into(), "3".into()]), State::Seen, NOW).await.unwrap();
    let mut dropped = Vec::new();
    for id in ["4", "5", "6"] {
        let stored = store.put(bounded(id, &[user("ann")], WhenFull::DropOldest), NOW).await.unwrap();
        dropped.extend(stored.dropped.into_iter().map(|(_, id)| id.to_string()));
    }
    assert_eq!(dropped, ["2", "3", "1"]);
    assert_eq!(waiting(store, &ann(), NOW).await, "4 5 6");
    store.mark(&ann(), Which::Ids(vec!["4".into()]), State::Delivered, NOW).await.unwrap();
    let stored = store.put(bounded("7", &[user("ann")], WhenFull::DropOldest), NOW).await.unwrap();
    assert_eq!(stored.dropped, [(user("ann"), "4".into())]);
    sound(store).await;
}

pub(super) async fn refuse_where_that_is_the_policy(store: &dyn Store) {
    give(store, &["1", "2", "3"]).await;
    let error = store.put(bounded("4", &[user("ann")], WhenFull::Refuse), NOW).await.unwrap_err();
    assert_eq!(error, StoreError::InboxFull("user ann".to_owned()));
    let both = store.put(bounded("4", &[user("ann"), user("bob")], WhenFull::Refuse), NOW).await.unwrap();
    assert_eq!((both.refused, both.places.len()), (vec![user("ann")], 1), "what was refused is not known by its id");
    assert_eq!(waiting(store, &ann(), NOW).await, "1 2 3");
    assert_eq!(waiting(store, &bob(), NOW).await, "4");
    store.delete(&ann(), vec!["2".into()], NOW).await.unwrap();
    store.put(bounded("5", &[user("ann")], WhenFull::Refuse), NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "1 3 5");
    // What is acknowledged makes room, wherever it lies.
    for (id, new, left) in [("3", "6", "1 5 6"), ("1", "7", "5 6 7")] {
        store.mark(&ann(), Which::Ids(vec![id.into()]), State::Delivered, NOW).await.unwrap();
        let stored = store.put(bounded(new, &[user("ann")], WhenFull::Refuse), NOW).await.unwrap();
        assert_eq!(stored.dropped, [(user("ann"), id.into())]);
        assert_eq!(waiting(store, &ann(), NOW).await, left);
        let error = store.put(bounded("8", &[user("ann")], WhenFull::Refuse), NOW).await.unwrap_err();
        assert_eq!(error, StoreError::InboxFull("user ann".to_owned()));
    }
    sound(store).await;
}

pub(super) async fn let_what_is_over_go_before_what_waits(store: &dyn Store) {
    let later = NOW + 10;
    let brief = |id: &str, to: &[Target]| {
        let mut put = put(id, to);
        put.message.expires_at = Some(later);
        put
    };
    give(store, &["1"]).await;
    store.put(brief("2", &[user("ann"), channel("ops")]), NOW).await.unwrap();
    store.put(brief("3", &[user("ann")]), NOW).await.unwrap();
    for (id, when_full) in [("4", WhenFull::Refuse), ("5", WhenFull::DropOldest)] {
        let stored = store.put(bounded(id, &[user("ann")], when_full), later).await.unwrap();
        assert_eq!(stored.dropped, []);
    }
    assert_eq!(waiting(store, &ann(), later).await, "1 4 5");
    // Where there is no room even so, nothing goes.
    store.put(brief("6", &[user("bob")]), NOW).await.unwrap();
    for id in ["7", "8", "9"] {
        store.put(put(id, &[user("bob")]), NOW).await.unwrap();
    }
    let both = store.put(bounded("10", &[user("bob"), user("cid")], WhenFull::Refuse), later).await.unwrap();
    assert_eq!((both.refused, both.dropped), (vec![user("bob")], vec![]));
    assert_eq!(waiting(store, &bob(), NOW).await, "6 7 8 9");
    sound(store).await;
}

pub(super) async fn hold_for_channels_too(store: &dyn Store) {
    store.enroll("app", "ops", vec!["ann".into()]).await.unwrap();
    for id in ["1", "2", "3", "4"] {
        store.put(bounded(id, &[channel("ops")], WhenFull::DropOldest), NOW).await.unwrap();
    }
    assert_eq!(waiting(store, &ann(), NOW).await, "2 3 4");
    let error = store.put(bounded("5", &[channel("ops")], WhenFull::Refuse), NOW).await.unwrap_err();
    assert_eq!(error, StoreError::InboxFull("channel ops".to_owned()));
    sound(store).await;
}
