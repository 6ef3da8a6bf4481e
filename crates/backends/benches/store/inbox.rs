//! Large inboxes, and many.

use std::time::Instant;

use oyez_hub::store::{Owner, Query, State, Store, Which};
use tempfile::TempDir;

use crate::{NOW, fill, on_disk, open, resident};

/// One inbox of 100,000: the first page and others, cold and warm.
pub(crate) async fn large() {
    const MESSAGES: usize = 100_000;
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = open(dir.path());
    fill(&store, 1, MESSAGES).await;
    drop(store);
    let store = open(dir.path());
    let ann = Owner::new("bench", "user-0");
    println!("an inbox of {MESSAGES}:");
    for what in ["first page of 100, just opened", "first page of 100, again"] {
        let began = Instant::now();
        let page = store.pending(&ann, None, 100, NOW).await.unwrap();
        println!("  {what:32} {:>9.2?}", began.elapsed());
        assert_eq!(page.items.len(), 100);
    }
    let began = Instant::now();
    let newest = Query { newest_first: true, limit: 100, ..Query::default() };
    assert_eq!(store.list(&ann, newest, NOW).await.unwrap().items.len(), 100);
    println!("  {:32} {:>9.2?}", "newest page of 100", began.elapsed());
    let began = Instant::now();
    assert_eq!(store.unread(&ann, NOW).await.unwrap(), 10_000);
    println!("  {:32} {:>9.2?}", "unread (counts to 10,000)", began.elapsed());
    let began = Instant::now();
    assert_eq!(store.mark(&ann, Which::All, State::Read, NOW).await.unwrap().changed.len(), 1_000);
    println!("  {:32} {:>9.2?}", "mark 1,000 as read", began.elapsed());
    while store.mark(&ann, Which::All, State::Read, NOW).await.unwrap().more {}
    let began = Instant::now();
    assert_eq!(store.pending(&ann, None, 100, NOW).await.unwrap().items.len(), 0);
    println!("  {:32} {:>9.2?}", "first page when all are read", began.elapsed());
}

/// A million users with ten messages each: opening.
pub(crate) async fn million() {
    const USERS: usize = 1_000_000;
    let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = open(dir.path());
    let began = Instant::now();
    fill(&store, USERS, 10).await;
    println!(
        "{USERS} users with 10 messages each: filled in {:.0?}, {} MB",
        began.elapsed(),
        on_disk(dir.path()) >> 20
    );
    drop(store);
    let before = resident();
    let began = Instant::now();
    let store = open(dir.path());
    println!("  opened in {:.2?}; memory {} MB, {before} MB before", began.elapsed(), resident());
    let began = Instant::now();
    for user in (0..USERS).step_by(USERS / 1_000) {
        let of = Owner::new("bench", format!("user-{user}"));
        assert_eq!(store.pending(&of, None, 100, NOW).await.unwrap().items.len(), 10);
    }
    println!("  first page, mean of 1,000 users: {:.0?}; memory {} MB", began.elapsed() / 1_000, resident());
}
