//! Ids are unique.

use super::{HOUR, NOW, ann, give, put, sound, user, waiting};
use crate::store::{NAME_MAX, Outcome, State, Store, StoreError, Which};

pub(super) async fn are_stored_once(store: &dyn Store) {
    let first = give(store, &["1"]).await.remove(0);
    let again = store.put(put("1", &[user("ann"), user("bob")]), NOW + 5).await.unwrap();
    assert_eq!((again.outcome, &again.places), (Outcome::Duplicate, &first.places));
    assert_eq!(waiting(store, &ann(), NOW).await, "1");
    let outcomes: Vec<_> = give(store, &["2", "1", "3"]).await.iter().map(|stored| stored.outcome).collect();
    assert_eq!(outcomes, [Outcome::Stored, Outcome::Duplicate, Outcome::Stored]);
}

pub(super) async fn are_known_for_a_day(store: &dyn Store) {
    give(store, &["1"]).await;
    store.delete(&ann(), vec!["1".into()], NOW).await.unwrap();
    let day = NOW + 24 * HOUR;
    assert_eq!(store.put(put("1", &[user("ann")]), day).await.unwrap().outcome, Outcome::Duplicate);
    assert_eq!(store.stats(day).await.unwrap().window, 24 * HOUR);
    assert_eq!(store.put(put("1", &[user("ann")]), day + HOUR).await.unwrap().outcome, Outcome::Stored);
    assert_eq!(waiting(store, &ann(), day).await, "1");
    sound(store).await;
}

pub(super) async fn stay_known_while_their_message_lies_there(store: &dyn Store) {
    give(store, &["1"]).await;
    let week = NOW + 7 * 24 * HOUR;
    store.maintain(week).await.unwrap();
    assert_eq!(store.put(put("1", &[user("ann")]), week).await.unwrap().outcome, Outcome::Duplicate);
    let marked = store.mark(&ann(), Which::Ids(vec!["1".into()]), State::Delivered, week).await.unwrap();
    assert_eq!(marked.changed.len(), 1);
}

pub(super) async fn too_long_are_refused(store: &dyn Store) {
    let long = "x".repeat(NAME_MAX + 1);
    let error = store.put(put(&long, &[user("ann")]), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLong { length, most: NAME_MAX, .. } if length == long.len()), "{error}");
    let error = store.put(put("1", &[user(&long)]), NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLong { .. }), "{error}");
    assert_eq!(store.put(put("1", &[]), NOW).await.unwrap_err(), StoreError::NoTarget);
    assert_eq!(store.trace(&ann(), &"y".repeat(100_000)).await.unwrap(), None);
    give(store, &[&"x".repeat(NAME_MAX)]).await;
    assert_eq!(waiting(store, &ann(), NOW).await.len(), NAME_MAX);
}
