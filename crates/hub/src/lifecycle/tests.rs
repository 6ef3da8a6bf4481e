//! What is said of whom.

use tokio::time::Instant;

use super::tracker::Tracker;
use super::*;
use crate::cluster::GRACE;

const DESK: AppId = AppId(0);

#[test]
fn without_room_only_what_is_so_at_last_is_said() {
    let (mut tracker, now) = (Tracker::default(), Instant::now());
    let key = |name: &str| Key { app: DESK, kind: Kind::User, name: name.into() };
    let (ann, bob) = (key("ann"), key("bob"));
    tracker.note(&ann, true, now);
    tracker.note(&bob, true, now);
    assert_eq!((tracker.say(&ann, false), tracker.say(&bob, false)), (None, None));
    tracker.note(&bob, false, now);
    assert_eq!(tracker.gone(now + GRACE), std::slice::from_ref(&bob));
    assert_eq!((tracker.say(&bob, false), tracker.unsaid_count()), (None, 2));
    let mut said: Vec<_> = tracker.unsaid().into_iter().filter_map(|key| tracker.say(&key, true)).collect();
    assert_eq!(said.len(), 1, "bob has come and gone");
    let event = said.pop().expect("one event");
    assert_eq!((event.key, event.on), (ann.clone(), true));
    assert_eq!(tracker.say(&ann, true), None);
}

#[test]
fn an_event_says_when_it_was() {
    let event = Event::new(Key { app: DESK, kind: Kind::Channel, name: "room:1".into() }, false);
    let body = event.body("desk");
    assert_eq!(
        (&body["type"], &body["channel"], &body["app"]),
        (&"channel.vacated".into(), &"room:1".into(), &"desk".into())
    );
    assert!(body["at"].as_u64().expect("a time").abs_diff(crate::clock::unix_millis()) < 60_000);
}
