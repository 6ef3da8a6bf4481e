//! What users do with what they have.

use super::{NOW, ann, bob, give, put, sound, states, user, waiting};
use crate::store::{Change, Found, Gone, Query, State, Store, Which};

pub(super) async fn only_go_forward_and_say_what_changed(store: &dyn Store) {
    let seq = give(store, &["1", "2"]).await[0].places[0].1;
    let mark = |ids: &[&str], to| store.mark(&ANN, Which::Ids(ids.iter().map(|id| (*id).into()).collect()), to, NOW);
    let marked = mark(&["1", "nothing"], State::Seen).await.unwrap();
    assert_eq!(marked.changed, [Change { id: "1".into(), seq, from: State::Pending, to: State::Seen, receipt: None }]);
    assert_eq!(marked.unknown, ["nothing".into()]);
    assert_eq!(mark(&["1"], State::Delivered).await.unwrap().changed, []);
    assert_eq!(mark(&["1", "1"], State::Archived).await.unwrap().changed.len(), 1);
    assert_eq!(waiting(store, &ann(), NOW).await, "2");
    assert_eq!(store.unread(&ann(), NOW).await.unwrap(), 1);
    let page = store.list(&ann(), Query { limit: 9, ..Query::default() }, NOW).await.unwrap();
    assert_eq!(states(&page), [State::Archived, State::Pending]);
    sound(store).await;
}

static ANN: std::sync::LazyLock<crate::store::Owner> = std::sync::LazyLock::new(ann);

pub(super) async fn go_up_to_one_and_to_all(store: &dyn Store) {
    give(store, &["1", "2", "3", "4"]).await;
    let marked = store.mark(&ann(), Which::UpTo("3".into()), State::Delivered, NOW).await.unwrap();
    assert_eq!(marked.changed.iter().map(|change| &*change.id).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(waiting(store, &ann(), NOW).await, "4");
    let nothing = store.mark(&ann(), Which::UpTo("no".into()), State::Delivered, NOW).await.unwrap();
    assert_eq!((nothing.changed.len(), nothing.unknown), (0, vec!["no".into()]));
    let marked = store.mark(&ann(), Which::All, State::Read, NOW).await.unwrap();
    assert_eq!((marked.changed.len(), marked.more), (4, false));
    assert_eq!(marked.changed[3].from, State::Pending);
    assert_eq!(store.unread(&ann(), NOW).await.unwrap(), 0);
    assert_eq!(store.mark(&ann(), Which::All, State::Read, NOW).await.unwrap().changed, []);
    give(store, &["5"]).await;
    assert_eq!(waiting(store, &ann(), NOW).await, "5");
    sound(store).await;
}

pub(super) async fn leave_holes_where_they_are(store: &dyn Store) {
    give(store, &["1", "2", "3", "4", "5"]).await;
    for id in ["4", "2", "5"] {
        store.mark(&ann(), Which::Ids(vec![id.into()]), State::Delivered, NOW).await.unwrap();
    }
    assert_eq!(waiting(store, &ann(), NOW).await, "1 3");
    store.mark(&ann(), Which::Ids(vec!["1".into()]), State::Delivered, NOW).await.unwrap();
    give(store, &["6"]).await;
    assert_eq!(waiting(store, &ann(), NOW).await, "3 6");
    store.mark(&ann(), Which::Ids(vec!["3".into()]), State::Read, NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "6");
    assert_eq!(store.unread(&ann(), NOW).await.unwrap(), 5);
}

pub(super) async fn delete_and_resend(store: &dyn Store) {
    give(store, &["1", "2", "3"]).await;
    store.put(put("both", &[user("ann"), user("bob")]), NOW).await.unwrap();
    let deleted = store.delete(&ann(), vec!["2".into(), "2".into(), "both".into()], NOW).await.unwrap();
    assert_eq!((deleted.removed, deleted.unknown), (vec!["2".into(), "both".into()], vec!["2".into()]));
    assert_eq!(waiting(store, &ann(), NOW).await, "1 3");
    assert_eq!(waiting(store, &bob(), NOW).await, "both");
    assert_eq!(store.trace(&ann(), "2").await.unwrap().unwrap().gone, Some((Gone::Deleted, NOW)));
    let found = store.find(&ann(), ["3", "2", "no"].map(Into::into).to_vec(), NOW).await.unwrap();
    let there = |found: &Found| found.items.iter().map(|item| item.message.id.to_string()).collect::<String>();
    assert_eq!(found.iter().map(there).collect::<Vec<_>>(), ["3", "", ""]);
    assert_eq!(found.iter().map(|found| found.last.is_some()).collect::<Vec<_>>(), [true, true, false]);
    store.mark(&ann(), Which::All, State::Archived, NOW).await.unwrap();
    assert_eq!(waiting(store, &ann(), NOW).await, "");
    let again = store.resend(&ann(), "1", NOW).await.unwrap().unwrap();
    assert_eq!((&*again.message.id, again.state), ("1", State::Pending));
    assert_eq!(waiting(store, &ann(), NOW).await, "1");
    assert_eq!(store.unread(&ann(), NOW).await.unwrap(), 1);
    assert_eq!(store.resend(&ann(), "2", NOW).await.unwrap(), None);
    let marked = store.mark(&ann(), Which::Ids(vec!["1".into()]), State::Delivered, NOW).await.unwrap();
    assert_eq!(marked.changed[0].seq, again.seq);
    assert_eq!(waiting(store, &ann(), NOW).await, "");
    sound(store).await;
}
