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
