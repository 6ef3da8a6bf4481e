//! Messages of a source on their way into the hub: what the source is told of them, and what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::inbox::rules::{Class, InboxRules};
use oyez_hub::policy::Policy;
use oyez_hub::policy::channel::Pattern;
use oyez_hub::policy::expression::{Condition, Kind, Shape, Template};
use oyez_hub::policy::grants::{ChannelRule, Grant, Right, RuleRef, WhenSlow};
use oyez_hub::policy::limits::Rate;
use oyez_hub::source::{Arrival, Figures, Intake, Poison, Source, SourceRule, Storm, Taken, WhenStormy, names};
use oyez_hub::store::MemoryStore;
use tokio::runtime::Handle;

fn rule() -> SourceRule {
    let pattern = Pattern::compile("quota.{what}").expect("a pattern");
    let names = names().with(pattern.names().map(|name| (name, Kind::Text)));
    let template = |text| Template::compile(text, &names).expect("a template");
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
    let mut source = Source::new("events");
    (source.rules, source.storm) = (vec![rule], storm);
    source
}

/// A channel `user:{id}` that is each user's inbox.
fn inboxes() -> ChannelRule {
    let grant = |key| {
        let rule = RuleRef { line: 1, channel: "user:{id}".into(), key, source: "true".into() };
        Grant { rule: Arc::new(rule), right: Right::When(Condition::constant(true)) }
    };
    ChannelRule {
        pattern: Pattern::compile("user:{id}").expect("a pattern"),
        subscribe: grant("subscribe"),
        publish: grant("publish"),
        presence: false,
        echo: Vec::new(),
        audience: None,
        when_slow: WhenSlow::DropOldest,
        history: None,
        inbox: Some("id".into()),
        roster: None,
    }
}

fn load(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}

/// A hub without shards, whose one app has this source.
fn node(source: Source, with_inbox: bool) -> (Hub, Intake) {
    let mut app = App::embedded(AppId(0), "desk", "/");
    app.sources = vec![Arc::new(source)];
    if with_inbox {
        app.inbox = Some(Arc::new(InboxRules::default()));
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
