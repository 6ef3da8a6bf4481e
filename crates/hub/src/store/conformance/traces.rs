//! What happened to a message with a user.

use super::{NOW, ann, bob, channel, give, put, sound, user};
use crate::store::{Put, State, Step, Store, Trace, Which};

pub(super) async fn tell_what_happened(store: &dyn Store) {
    let seq = give(store, &["1"]).await[0].places[0].1;
    assert!(store.note(&ann(), "1", Step::Withheld("not connected".to_owned()), NOW + 1).await.unwrap());
    // The session that was sent it first may end last.
    assert!(store.note(&ann(), "1", Step::Sent, NOW + 3).await.unwrap());
    assert!(store.note(&ann(), "1", Step::Sent, NOW + 2).await.unwrap());
    assert!(!store.note(&bob(), "1", Step::Sent, NOW + 3).await.unwrap());
    store.mark(&ann(), Which::All, State::Delivered, NOW + 4).await.unwrap();
    store.mark(&ann(), Which::All, State::Read, NOW + 5).await.unwrap();
    let told = Trace {
        stored_at: NOW,
        scheduled_for: None,
        place: Some((user("ann"), seq)),
        state: State::Read,
        reached: vec![(State::Delivered, NOW + 4), (State::Seen, NOW + 5), (State::Read, NOW + 5)],
        sent: Some((NOW + 2, 2)),
        withheld: Some(("not connected".to_owned(), NOW + 1)),
        gone: None,
    };
    assert_eq!(store.trace(&ann(), "1").await.unwrap(), Some(told));
    assert_eq!(store.trace(&bob(), "1").await.unwrap().unwrap().place, None, "it was not for bob");
    assert_eq!(store.trace(&ann(), "unheard-of").await.unwrap(), None);
    store.put(Put { deliver_at: Some(NOW + 9), ..put("2", &[channel("ops")]) }, NOW).await.unwrap();
    let waiting = store.trace(&ann(), "2").await.unwrap().unwrap();
    assert_eq!((waiting.scheduled_for, waiting.place), (Some(NOW + 9), None));
    sound(store).await;
}
