//! What is over goes, and nothing else.

use super::{HOUR, NOW, ann, channel, give, put, sound, user, waiting};
use crate::store::{Gone, State, Store, Target, Which};

async fn put_short(store: &dyn Store, id: &str, to: Target) {
    let mut short = put(id, &[to]);
    short.message.expires_at = Some(NOW + 10);
    store.put(short, NOW).await.unwrap();
}

/// Rounds until there is nothing more to do.
async fn maintain(store: &dyn Store, now: u64) -> (usize, usize) {
    let (mut expired, mut forgotten) = (0, 0);
    loop {
        let round = store.maintain(now).await.unwrap();
        (expired, forgotten) = (expired + round.expired, forgotten + round.forgotten);
        if !round.more {
            return (expired, forgotten);
        }
    }
}

pub(super) async fn expires_and_forgets(store: &dyn Store) {
    store.enroll("app", "ops", vec!["ann".into()]).await.unwrap();
    give(store, &["stays"]).await;
    put_short(store, "own", user("ann")).await;
    put_short(store, "channel", channel("ops")).await;
    assert_eq!(maintain(store, NOW + 9).await, (0, 0));
    assert_eq!(maintain(store, NOW + 10).await, (2, 0));
    for id in ["own", "channel"] {
        assert_eq!(store.trace(&ann(), id).await.unwrap().unwrap().gone, Some((Gone::Expired, NOW + 10)), "{id}");
    }
    sound(store).await;
    assert_eq!(maintain(store, NOW + 25 * HOUR).await, (0, 2), "ids are forgotten after a day");
    assert_eq!(store.trace(&ann(), "own").await.unwrap(), None);
    assert_eq!(waiting(store, &ann(), NOW + 25 * HOUR).await, "stays");
    sound(store).await;
}

pub(super) async fn leaves_nothing_behind(store: &dyn Store) {
    let before = store.stats(NOW).await.unwrap();
    let names: Vec<String> = (0..2_500).map(|n| format!("m{n}")).collect();
    for name in &names {
        put_short(store, name, user("ann")).await;
    }
    store.mark(&ann(), Which::UpTo("m99".into()), State::Read, NOW).await.unwrap();
    let full = store.stats(NOW).await.unwrap();
    assert!(full.id_bytes > before.id_bytes && full.last >= before.last + 2_500);
    assert_eq!(maintain(store, NOW + 10).await.0, 2_500);
    let later = NOW + 26 * HOUR;
    assert_eq!(maintain(store, later).await.1, 2_500);
    assert_eq!(store.stats(later).await.unwrap().id_bytes, 0);
    assert_eq!(store.put(put("m7", &[user("ann")]), later).await.unwrap().places.len(), 1);
    assert_eq!(waiting(store, &ann(), later).await, "m7");
    sound(store).await;
}
