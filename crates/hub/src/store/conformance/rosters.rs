//! Channels with a roster: one entry, a cursor per member.

use super::{NOW, ann, bob, channel, give, ids, put, sound, user, waiting};
use crate::store::{Gone, Owner, Query, State, Store, Which};

pub(super) async fn are_kept(store: &dyn Store) {
    let enroll = |channel: &'static str, users: &[&str]| {
        store.enroll("app", channel, users.iter().map(|user| (*user).into()).collect())
    };
    assert_eq!(enroll("ops", &["ann", "bob", "ann"]).await.unwrap(), 2);
    assert_eq!(enroll("ops", &["bob", "cid"]).await.unwrap(), 1);
    assert_eq!(enroll("dev", &["ann"]).await.unwrap(), 1);
    let first = store.members("app", "ops", None, 2).await.unwrap();
    assert_eq!(first, ["ann".into(), "bob".into()]);
    assert_eq!(store.members("app", "ops", first.last().cloned(), 2).await.unwrap(), ["cid".into()]);
    assert_eq!(store.members("app", "op", None, 2).await.unwrap(), []);
    assert_eq!(store.channels(&ann()).await.unwrap(), ["dev".into(), "ops".into()]);
    assert_eq!(store.dismiss("app", "ops", vec!["ann".into(), "dan".into()]).await.unwrap(), 1);
    assert_eq!(store.channels(&ann()).await.unwrap(), ["dev".into()]);
    assert_eq!(store.channels(&Owner::new("other", "bob")).await.unwrap(), []);
    sound(store).await;
}

pub(super) async fn decide_who_has_a_channels_messages(store: &dyn Store) {
    store.put(put("before", &[channel("ops")]), NOW).await.unwrap();
    store.enroll("app", "ops", vec!["ann".into()]).await.unwrap();
    store.put(put("1", &[channel("ops")]), NOW).await.unwrap();
    store.enroll("app", "ops", vec!["bob".into()]).await.unwrap();
    store.put(put("2", &[channel("ops")]), NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "1 2");
    assert_eq!(waiting(store, &bob(), NOW).await, "2");
    let foreign = store.mark(&bob(), Which::Ids(vec!["1".into()]), State::Read, NOW).await.unwrap();
    assert_eq!(foreign.unknown, ["1".into()], "it was put before bob was there");
    store.dismiss("app", "ops", vec!["ann".into()]).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "");
    assert_eq!(store.trace(&ann(), "1").await.unwrap().unwrap().place, None);
    sound(store).await;
}

pub(super) async fn give_each_member_a_cursor(store: &dyn Store) {
    store.enroll("app", "ops", vec!["ann".into(), "bob".into()]).await.unwrap();
    store.put(put("1", &[channel("ops")]), NOW).await.unwrap();
    give(store, &["2"]).await;
    store.put(put("3", &[channel("ops")]), NOW).await.unwrap();
    store.put(put("4", &[channel("ops")]), NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "1 2 3 4", "one order for all");
    let page = store.pending(&ann(), None, 2, NOW).await.unwrap();
    assert_eq!((page.items[0].via.clone(), page.items.len()), (channel("ops"), 2));
    let marked = store.mark(&ann(), Which::UpTo("3".into()), State::Read, NOW).await.unwrap();
    assert_eq!(marked.changed.len(), 3);
    assert_eq!(waiting(store, &ann(), NOW).await, "4");
    assert_eq!(waiting(store, &bob(), NOW).await, "1 3 4");
    assert_eq!((store.unread(&ann(), NOW).await.unwrap(), store.unread(&bob(), NOW).await.unwrap()), (1, 3));
    store.delete(&bob(), vec!["3".into()], NOW).await.unwrap();
    assert_eq!(waiting(store, &bob(), NOW).await, "1 4");
    assert_eq!(store.trace(&bob(), "3").await.unwrap().unwrap().gone, Some((Gone::Deleted, NOW)));
    let read = Query { states: vec![State::Read], limit: 9, ..Query::default() };
    assert_eq!(store.list(&ann(), read, NOW).await.unwrap().items.len(), 3, "ann still has it");
    let again = store.resend(&bob(), "1", NOW).await.unwrap().unwrap();
    assert_eq!(waiting(store, &bob(), NOW).await, "4 1");
    assert!(again.seq > page.items[1].seq);
    sound(store).await;
}

pub(super) async fn mark_a_message_in_all_its_places(store: &dyn Store) {
    store.enroll("app", "ops", vec!["ann".into(), "bob".into()]).await.unwrap();
    store.put(put("1", &[user("ann"), channel("ops")]), NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "1 1");
    let marked = store.mark(&ann(), Which::Ids(vec!["1".into()]), State::Read, NOW).await.unwrap();
    assert_eq!((marked.changed.len(), marked.unknown.len()), (1, 0), "one message");
    assert_eq!((waiting(store, &ann(), NOW).await, waiting(store, &bob(), NOW).await), (String::new(), "1".to_owned()));
    sound(store).await;
}

pub(super) async fn count_and_page_a_message_with_several_places_once(store: &dyn Store) {
    store.enroll("app", "dev", vec!["ann".into()]).await.unwrap();
    store.enroll("app", "ops", vec!["ann".into()]).await.unwrap();
    for id in ["1", "2", "3"] {
        store.put(put(id, &[channel("dev"), user("bob"), channel("ops"), user("ann")]), NOW).await.unwrap();
    }
    assert_eq!(store.unread(&ann(), NOW).await.unwrap(), 3);
    for (newest_first, expect) in [(false, ["1 1 1", "2 2 2", "3 3 3"]), (true, ["3 3 3", "2 2 2", "1 1 1"])] {
        for limit in [1, 2, 3] {
            let mut query = Query { newest_first, limit, ..Query::default() };
            for one in expect {
                let page = store.list(&ann(), query.clone(), NOW).await.unwrap();
                assert_eq!(ids(&page), one, "all its places are on one page");
                query.after = page.next;
            }
        }
    }
    assert_eq!(ids(&store.pending(&ann(), None, 4, NOW).await.unwrap()), "1 1 1 2 2 2");
    let marked = store.mark(&ann(), Which::UpTo("2".into()), State::Delivered, NOW).await.unwrap();
    assert_eq!(marked.changed.iter().map(|change| &*change.id).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(waiting(store, &ann(), NOW).await, "3 3 3");
    sound(store).await;
}

pub(super) async fn take_a_message_from_all_its_places(store: &dyn Store) {
    store.enroll("app", "ops", vec!["ann".into(), "bob".into()]).await.unwrap();
    for id in ["1", "2"] {
        store.put(put(id, &[user("ann"), channel("ops")]), NOW).await.unwrap();
    }
    let deleted = store.delete(&ann(), vec!["1".into(), "1".into()], NOW).await.unwrap();
    assert_eq!((deleted.removed, deleted.unknown), (vec!["1".into()], vec!["1".into()]));
    store.resend(&ann(), "2", NOW).await.unwrap().unwrap();
    assert_eq!((waiting(store, &ann(), NOW).await, waiting(store, &bob(), NOW).await), ("2".into(), "1 2".into()));
    store.resend(&ann(), "2", NOW).await.unwrap().unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "2");
    store.delete(&ann(), vec!["2".into()], NOW).await.unwrap();
    assert_eq!((waiting(store, &ann(), NOW).await, store.unread(&ann(), NOW).await.unwrap()), (String::new(), 0));
    sound(store).await;
}

pub(super) async fn pass_over_nothing_between_a_message_and_where_it_was(store: &dyn Store) {
    store.enroll("app", "ops", vec!["ann".into()]).await.unwrap();
    store.put(put("1", &[channel("ops"), user("bob")]), NOW).await.unwrap();
    store.put(put("2", &[channel("ops")]), NOW).await.unwrap();
    store.resend(&ann(), "1", NOW).await.unwrap().unwrap();
    let query = Query { newest_first: true, limit: 1, ..Query::default() };
    let first = store.list(&ann(), query.clone(), NOW).await.unwrap();
    let second = store.list(&ann(), Query { after: first.next, ..query }, NOW).await.unwrap();
    assert_eq!((ids(&first), ids(&second)), ("1".to_owned(), "2".to_owned()));
    sound(store).await;
}
