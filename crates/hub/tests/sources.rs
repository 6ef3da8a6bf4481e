//! Messages of a source on their way into the hub: what the source is told of them, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::command::{Command, Publish};
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::expression::{Kind, Shape, Template};
use oyez_hub::policy::limits::Rate;
use oyez_hub::policy::rule::ChannelRule;
use oyez_hub::promise::{Class, InboxRules};
use oyez_hub::source::{Arrival, Figures, Intake, Poison, Source, SourceRule, Storm, Taken, WhenStormy, names};
use oyez_hub::store::{Bound, MemoryStore, WhenFull};
use oyez_protocol::message::Args;
use tokio::runtime::Handle;
use tokio::time::Instant;

fn rule() -> SourceRule {
    let pattern = Pattern::compile("quota.{what}").expect("a pattern");
    let names = names().with(pattern.names().map(|name| (name, Kind::Text)));
    SourceRule {
        line: 7,
        when: None,
        to: vec![template("user:{data.userId}")],
        event: template("notification"),
        data: None,
        id: Some(Shape::compile("data.id", &names).expect("a shape")),
        addresses: vec![pattern],
        class: None,
        priority: None,
        ttl: None,
    }
}

fn source(rule: SourceRule, storm: Option<Storm>) -> Source {
    let mut source = several([rule]);
    source.storm = storm;
    source
}

fn several(rules: impl Into<Vec<SourceRule>>) -> Source {
    let mut source = Source::new("events");
    source.rules = rules.into();
    source
}

fn durable(to: &str) -> SourceRule {
    SourceRule { class: Some(Class::Durable), to: vec![template(to)], id: None, ..rule() }
}

fn live(to: &str) -> SourceRule {
    SourceRule { to: vec![template(to)], id: None, ..rule() }
}

fn template(text: &str) -> Template {
    Template::compile(text, &names()).expect("a template")
}

/// A channel `user:{id}` that is each user's inbox.
fn inboxes() -> ChannelRule {
    let pattern = Pattern::compile("user:{id}").expect("a pattern");
    ChannelRule { inbox: Some("id".into()), ..ChannelRule::open(pattern) }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}

/// A hub without shards, whose one app has this source.
fn node(source: Source, with_inbox: bool) -> (Hub, Intake) {
    keeping(source, with_inbox.then(InboxRules::default))
}

/// The same with such inboxes.
fn keeping(source: Source, inbox: Option<InboxRules>) -> (Hub, Intake) {
    let mut app = App::embedded(AppId(0), "desk", "/");
    app.sources = vec![Arc::new(source)];
    if let Some(inbox) = inbox {
        app.inbox = Some(Arc::new(inbox));
        app.policy = Arc::new(Policy::new(vec![inboxes()]));
    }
    let hub = Hub::new(vec![app], Vec::new(), Handle::current());
    hub.keep_in(Arc::new(MemoryStore::default()));
    let intake = Intake::new(hub.clone(), AppId(0), "events").expect("the source is there");
    (hub, intake)
}

#[tokio::test(start_paused = true)]
async fn what_a_source_is_told_is_counted() {
    let (hub, intake) = node(source(rule(), None), false);
    let take = async |address, body: &str| intake.take(&Arrival::new(address, body.as_bytes())).await;
    assert_eq!(take("quota.updated", r#"{"userId":"u1"}"#).await, Taken::Done);
    assert_eq!(take("quota.updated", "{}").await, Taken::Done);
    assert_eq!(take("other", "{}").await, Taken::Done);
    assert!(matches!(take("quota.updated", "{").await, Taken::Dead(Poison { word: "not_json", attempts: 1, .. })));
    let Figures { received, published, unmatched, unaddressed, dead, .. } = intake.figures();
    assert_eq!([received, published, unmatched, unaddressed, dead].map(load), [4, 1, 1, 1, 1]);
    hub.close();
    assert_eq!(take("quota.updated", r#"{"userId":"u1"}"#).await, Taken::Not);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_tried_again() {
    // The app has no inbox.
    let durable = SourceRule { class: Some(Class::Durable), ..rule() };
    let (_hub, intake) = node(source(durable, None), false);
    let taken = intake.take(&Arrival::new("quota.updated", br#"{"userId":"u1"}"#)).await;
    assert!(matches!(taken, Taken::Dead(Poison { word: "refused", attempts: 1, .. })), "{taken:?}");
}

#[tokio::test]
async fn a_storm_for_one_user_is_kept_from_them() {
    let storm = Some(Storm { rate: Rate::new(1, 2), policy: WhenStormy::DropNewest });
    let (_hub, intake) = node(source(rule(), storm), false);
    for _ in 0..10 {
        assert_eq!(intake.take(&Arrival::new("quota.x", br#"{"userId":"loud"}"#)).await, Taken::Done);
    }
    assert_eq!(intake.take(&Arrival::new("quota.x", br#"{"userId":"calm"}"#)).await, Taken::Done);
    let Figures { published, limited, .. } = intake.figures();
    assert_eq!([published, limited].map(load), [3, 8]);
}

#[tokio::test]
async fn what_is_durable_is_taken_once_it_is_stored() {
    let durable = SourceRule { class: Some(Class::Durable), ..rule() };
    let storm = Some(Storm { rate: Rate::new(1, 1), policy: WhenStormy::DropNewest });
    let (_hub, intake) = node(source(durable, storm), true);
    // The second one is a repetition; none is dropped, although it is a storm.
    for id in [1, 1, 2, 3] {
        let body = format!(r#"{{"userId":"u1","id":{id}}}"#);
        assert_eq!(intake.take(&Arrival::new("quota.x", body.as_bytes())).await, Taken::Done);
    }
    let Figures { published, duplicates, limited, .. } = intake.figures();
    assert_eq!([published, duplicates, limited].map(load), [4, 1, 3]);
}

/// Inboxes that hold one message, and refuse the next.
fn small() -> Option<InboxRules> {
    Some(InboxRules { bound: Bound { most: 1, when_full: WhenFull::Refuse }, ..InboxRules::default() })
}

fn named<'a>(id: &'a str, body: &'a str) -> Arrival<'a> {
    Arrival { id: Some(id), ..Arrival::new("quota.x", body.as_bytes()) }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_which_a_part_can_never_be_published_is_heard_by_nobody() {
    // No client could be in that channel, none could hear that event.
    for refused in [live("user:\u{7}"), SourceRule { event: template("connect"), ..live("user:u1") }] {
        let (_hub, intake) = node(several([live("user:u1"), refused]), true);
        let taken = intake.take(&named("m", "{}")).await;
        assert!(matches!(taken, Taken::Dead(Poison { attempts: 1, .. })), "{taken:?}");
        assert_eq!(load(&intake.figures().published), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_inbox_without_room_is_tried_and_nothing_is_heard_twice() {
    let (hub, intake) = keeping(several([live("user:u1"), durable("user:u2"), durable("user:u1")]), small());
    let other = Arrival { id: Some("other"), ..Arrival::new("quota.x", b"{}") };
    // Fills the inbox of u1.
    let mut fill = Publish::new(vec!["user:u1".into()], "e", Args::default());
    (fill.id, fill.promise.class) = (Some("first".into()), Some(Class::Durable));
    hub.execute(AppId(0), Command::Publish(fill)).await.expect("there is room");
    let taken = intake.take(&other).await;
    let Taken::Dead(poison) = taken else { panic!("{taken:?}") };
    assert_eq!((poison.word, poison.attempts), ("attempts", 5));
    assert!(poison.reason.ends_with("(1 of its 3 publications were taken before)"), "{poison:?}");
    let Figures { published, retried, duplicates, dead, .. } = intake.figures();
    assert_eq!([published, retried, duplicates, dead].map(load), [1, 4, 0, 1]);

    // It comes again, and meanwhile there is room: the one that was taken is a duplicate, and the rest is heard.
    let make_room = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        hub.execute(AppId(0), Command::Delete("u1".into(), vec!["first".into()], None)).await.expect("it is deleted");
    };
    let (taken, ()) = tokio::join!(intake.take(&other), make_room);
    assert_eq!(taken, Taken::Done);
    assert_eq!([published, retried, duplicates, dead].map(load), [4, 6, 1, 1]);
    // Once more, as when the acknowledgement was lost: neither what is durable nor what is live is heard again.
    assert_eq!(intake.take(&other).await, Taken::Done);
    assert_eq!([published, duplicates].map(load), [6, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_storm_that_is_deferred_loses_nothing() {
    let storm = Storm { rate: Rate::new(10, 2), policy: WhenStormy::Defer };
    let (_hub, intake) = node(source(rule(), Some(storm)), false);
    let begun = Instant::now();
    for _ in 0..12 {
        assert_eq!(intake.take(&Arrival::new("quota.x", br#"{"userId":"loud"}"#)).await, Taken::Done);
    }
    // Two at once, and each of the other ten a tenth of a second after the one before.
    assert_eq!(begun.elapsed().as_millis() / 100, 10);
    assert_eq!(intake.take(&Arrival::new("quota.x", br#"{"userId":"calm"}"#)).await, Taken::Done);
    let Figures { published, limited, .. } = intake.figures();
    assert_eq!([published, limited].map(load), [13, 10]);
}
