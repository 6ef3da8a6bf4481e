//! What a user has.

use bytes::Bytes;
use oyez_protocol::message::Args;

use super::{NOW, ann, bob, give, ids, message, put, sound, states, user, waiting};
use crate::command::Level;
use crate::store::{Item, Outcome, Owner, Priority, Put, Query, State, Store, Which};

pub(super) async fn comes_out_as_it_went_in(store: &dyn Store, level: Level) {
    let mut sent = message("m1");
    sent.args = Args::from_validated(
        r#"{"a" : 1.0},"\u00e9é",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#.to_owned(),
        vec![Bytes::from_static(b"\0\xff bytes"), Bytes::new()],
    );
    sent.priority = Priority::Urgent;
    sent.expires_at = Some(NOW + 5);
    let put = |level| Put { message: sent.clone(), level, ..put("m1", &[user("ann")]) };
    let stored = store.put(put(Level::Synced), NOW).await.unwrap();
    assert_eq!((stored.outcome, stored.level), (Outcome::Stored, level.min(Level::Synced)));
    let seq = stored.places[0].1;
    let page = store.pending(&ann(), None, 10, NOW).await.unwrap();
    let item = Item { seq, via: user("ann"), message: sent.clone(), state: State::Pending };
    assert_eq!((page.items, page.next), (vec![item], None));
    let other = store.put(Put { message: message("m2"), ..put(Level::Stored) }, NOW).await.unwrap();
    assert!(other.level == level.min(Level::Stored) || other.level == Level::Synced, "{:?}", other.level);
    let made = store.put(Put { message: message("m3"), fresh: true, ..put(Level::Stored) }, NOW).await.unwrap();
    let again = store.put(Put { message: message("m3"), ..put(Level::Stored) }, NOW).await.unwrap();
    assert_eq!((made.outcome, again.outcome), (Outcome::Stored, Outcome::Duplicate));
    sound(store).await;
}

pub(super) async fn is_in_order_and_in_pages(store: &dyn Store) {
    let stored = give(store, &["e", "d", "c", "b", "a"]).await;
    assert!(stored.is_sorted_by_key(|stored| stored.places[0].1), "places grow");
    let first = store.pending(&ann(), None, 2, NOW).await.unwrap();
    assert_eq!(ids(&first), "e d");
    let second = store.pending(&ann(), first.next, 2, NOW).await.unwrap();
    assert_eq!(ids(&second), "c b");
    let third = store.pending(&ann(), second.next, 2, NOW).await.unwrap();
    assert_eq!((ids(&third), third.next), ("a".to_owned(), None));
    let behind = store.pending(&ann(), Some(u64::MAX), 2, NOW).await.unwrap();
    assert_eq!((behind.items.len(), behind.next), (0, None));
}

pub(super) async fn a_page_says_how_far_it_saw(store: &dyn Store) {
    assert_eq!(store.pending(&ann(), None, 2, NOW).await.unwrap().horizon, 0);
    let last = give(store, &["1", "2", "3"]).await[2].places[0].1;
    store.put(put("4", &[user("bob")]), NOW).await.unwrap();
    for after in [None, Some(last)] {
        assert_eq!(store.pending(&ann(), after, 2, NOW).await.unwrap().horizon, last);
    }
    store.delete(&ann(), vec!["3".into()], NOW).await.unwrap();
    assert_eq!(store.pending(&ann(), None, 9, NOW).await.unwrap().horizon, last);
    sound(store).await;
}

pub(super) async fn lists_by_state_and_from_both_ends(store: &dyn Store) {
    give(store, &["1", "2", "3", "4"]).await;
    store.mark(&ann(), Which::Ids(vec!["2".into()]), State::Read, NOW).await.unwrap();
    store.mark(&ann(), Which::Ids(vec!["3".into()]), State::Delivered, NOW).await.unwrap();
    let all = Query { limit: 10, ..Query::default() };
    let page = store.list(&ann(), all.clone(), NOW).await.unwrap();
    assert_eq!(ids(&page), "1 2 3 4");
    assert_eq!(states(&page), [State::Pending, State::Read, State::Delivered, State::Pending]);
    let unread = Query { states: vec![State::Pending, State::Delivered, State::Seen], ..all.clone() };
    assert_eq!(ids(&store.list(&ann(), unread, NOW).await.unwrap()), "1 3 4");
    let newest = Query { newest_first: true, limit: 3, ..all };
    let page = store.list(&ann(), newest.clone(), NOW).await.unwrap();
    assert_eq!(ids(&page), "4 3 2");
    let rest = store.list(&ann(), Query { after: page.next, ..newest }, NOW).await.unwrap();
    assert_eq!((ids(&rest), rest.next), ("1".to_owned(), None));
    assert_eq!(store.unread(&ann(), NOW).await.unwrap(), 3);
    sound(store).await;
}

pub(super) async fn keeps_apps_and_users_apart(store: &dyn Store) {
    give(store, &["1"]).await;
    store.put(Put { app: "ap".into(), ..put("1", &[user("pann")]) }, NOW).await.unwrap();
    store.put(Put { app: "other".into(), ..put("1", &[user("ann")]) }, NOW).await.unwrap();
    store.put(put("2", &[user("bob"), user("ann"), user("bob")]), NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "1 2");
    assert_eq!(waiting(store, &bob(), NOW).await, "2");
    assert_eq!(waiting(store, &Owner::new("other", "ann"), NOW).await, "1");
    assert_eq!(waiting(store, &Owner::new("app", "an"), NOW).await, "");
    store.mark(&ann(), Which::All, State::Read, NOW).await.unwrap();
    assert_eq!(store.unread(&Owner::new("other", "ann"), NOW).await.unwrap(), 1);
    assert_eq!(store.unread(&bob(), NOW).await.unwrap(), 1);
    let of_another = store.mark(&bob(), Which::Ids(vec!["1".into()]), State::Read, NOW).await.unwrap();
    assert_eq!((of_another.changed.len(), of_another.unknown), (0, vec!["1".into()]));
    sound(store).await;
}

pub(super) async fn waits_until_it_is_due(store: &dyn Store) {
    let later = |id, at| Put { deliver_at: Some(at), ..put(id, &[user("ann")]) };
    let stored = store.put(later("late", NOW + 20), NOW).await.unwrap();
    assert_eq!((stored.outcome, stored.places.len()), (Outcome::Scheduled, 0));
    store.put(later("soon", NOW + 10), NOW).await.unwrap();
    assert_eq!(store.put(later("past", NOW), NOW).await.unwrap().outcome, Outcome::Stored);
    assert_eq!(store.put(later("soon", NOW + 1), NOW).await.unwrap().outcome, Outcome::Duplicate);
    assert_eq!(store.next_due().await.unwrap(), Some(NOW + 10));
    assert_eq!(waiting(store, &ann(), NOW + 30).await, "past");
    assert_eq!(store.release(10, NOW + 9).await.unwrap(), []);
    let released = store.release(1, NOW + 30).await.unwrap();
    assert_eq!((&*released[0].message.id, released[0].places.len()), ("soon", 1));
    let released = store.release(10, NOW + 30).await.unwrap();
    assert_eq!(released.iter().map(|one| &*one.message.id).collect::<Vec<_>>(), ["late"]);
    assert_eq!(store.release(10, NOW + 30).await.unwrap(), []);
    assert_eq!(waiting(store, &ann(), NOW + 30).await, "past soon late");
    assert_eq!(store.next_due().await.unwrap(), None);
    sound(store).await;
}

pub(super) async fn expires_quietly(store: &dyn Store) {
    give(store, &["stays"]).await;
    let mut short = put("short", &[user("ann")]);
    short.message.expires_at = Some(NOW + 10);
    store.put(short, NOW).await.unwrap();
    assert_eq!(store.unread(&ann(), NOW + 9).await.unwrap(), 2);
    assert_eq!(waiting(store, &ann(), NOW + 10).await, "stays");
    assert_eq!(store.unread(&ann(), NOW + 10).await.unwrap(), 1);
    let marked = store.mark(&ann(), Which::Ids(vec!["short".into()]), State::Read, NOW + 10).await.unwrap();
    assert_eq!(marked.unknown, ["short".into()]);
    let mut never = put("never", &[user("ann")]);
    never.message.expires_at = Some(NOW + 20);
    never.deliver_at = Some(NOW + 30);
    store.put(never, NOW).await.unwrap();
    assert_eq!(store.release(10, NOW + 30).await.unwrap(), [], "it expired before it was due");
    sound(store).await;
}
