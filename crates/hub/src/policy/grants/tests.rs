//! Verdicts, audiences and what is lost, on a policy of a few channels.

use serde_json::json;

use super::*;
use crate::policy::channel::Pattern;
use crate::policy::expression::Shape;
use crate::policy::identity::user_kind;

fn grant(key: &'static str, channel: &str, source: &str) -> Grant {
    let captures = Pattern::compile(channel).expect("a pattern");
    let names = Names::default().with(captures.names().map(|name| (name, Kind::Text))).with([
        ("user", user_kind(["sites"])),
        ("member", Kind::Bool),
        ("event", Kind::Text),
    ]);
    let condition = Condition::compile(source, &names).expect("a condition");
    let rule = RuleRef { line: 1, channel: channel.into(), key, source: source.into() };
    Grant { rule: Arc::new(rule), right: Right::When(condition) }
}

fn rule(channel: &str, subscribe: &str, publish: &str) -> ChannelRule {
    ChannelRule {
        subscribe: grant("subscribe", channel, subscribe),
        publish: grant("publish", channel, publish),
        echo: vec!["all".into()],
        ..ChannelRule::open(Pattern::compile(channel).expect("a pattern"))
    }
}

fn policy() -> Policy {
    Policy::new(vec![
        rule("site:{id}", "id in user.sites || user.admin", "member"),
        rule("odd:{n}", "int(n) > 0", "event in ['chat', 'note']"),
        rule("{any}", "user.admin", "false"),
    ])
}

fn identity(sites: &[&str], admin: bool) -> Identity {
    let sites = sites.iter().map(|site| Arc::from(*site)).collect();
    let rights = Rights { roles: vec!["driver".into()], attributes: [("sites".into(), sites)].into(), admin };
    Identity { user: "7".into(), rights: Arc::new(rights), ..Identity::default() }
}

#[test]
fn the_first_rule_that_fits_decides() {
    let (policy, li, root) = (policy(), identity(&["1"], false), identity(&[], true));
    for (channel, li_may, root_may) in [
        ("site:1", true, true),
        ("site:2", false, true),
        ("odd:1", true, true),
        ("odd:0", false, false),
        ("x", false, true),
        ("*", false, false),
        ("", false, false),
    ] {
        assert_eq!(policy.subscribe(&li, channel).is_allowed(), li_may, "{channel}");
        assert_eq!(policy.subscribe(&root, channel).is_allowed(), root_may, "{channel}");
    }
    assert!(policy.publish(&li, "site:2", "e", true).is_allowed(), "a member may post");
    assert!(!policy.publish(&root, "site:2", "e", false).is_allowed());
    assert!(policy.publish(&li, "odd:1", "note", false).is_allowed());
    assert!(!policy.publish(&li, "odd:1", "alarm", true).is_allowed());
    assert_eq!(policy.echo("site:9"), [Arc::from("all")]);
}

#[test]
fn what_cannot_be_evaluated_is_denied_and_told() {
    let Verdict::Deny { rule: Some(rule), reason, fault, limit: None } =
        policy().subscribe(&identity(&[], false), "odd:x")
    else {
        panic!("denied")
    };
    assert_eq!((&*rule.source, reason.as_str()), ("int(n) > 0", "not allowed to subscribe to odd:x"));
    assert!(fault.is_some());
}

#[test]
fn a_name_that_is_more_than_the_app_allows_is_denied_to_all() {
    let policy = policy().with_names(NameLimits { length: 6, ascii: true });
    let limit = |channel| match policy.subscribe(&identity(&[], true), channel) {
        Verdict::Deny { limit, .. } => limit,
        _ => None,
    };
    assert_eq!(limit("site:1"), None);
    assert_eq!(limit("site:12"), Some(Limit::ChannelLength));
    assert_eq!(limit("站"), Some(Limit::ChannelCharacters));
}

#[test]
fn a_channel_says_what_slow_clients_are_spared() {
    let by = |source| Shape::compile(source, &Names::default().with([("event", Kind::Text), ("data", Kind::Any)]));
    let slow = |name, when_slow| ChannelRule { when_slow, ..rule(name, "true", "true") };
    let policy = Policy::new(vec![
        rule("news", "true", "true"),
        slow("alarms", WhenSlow::Disconnect),
        slow("map", WhenSlow::Conflate(by("data.id").ok())),
        slow("tick", WhenSlow::Conflate(None)),
    ]);
    let of = |channel, data| policy.when_slow("moved", channel, || data);
    assert_eq!(of("news", "1"), delivery::WhenSlow::DropOldest);
    assert_eq!(of("unknown", "1"), delivery::WhenSlow::DropOldest);
    assert_eq!(of("alarms", "1"), delivery::WhenSlow::Disconnect);
    assert_eq!(of("tick", "1"), of("tick", "2"));
    assert_eq!(of("map", r#"{"id":1,"x":1}"#), of("map", r#"{"id":1,"x":2}"#));
    assert_ne!(of("map", r#"{"id":1}"#), of("map", r#"{"id":2}"#));
    assert_ne!(of("map", r#"{"id":1}"#), of("map", r#"{"id":"1"}"#));
    // What names no key is told apart by its event.
    assert_eq!(of("map", "{}"), delivery::WhenSlow::Conflate("map\nmoved".into()));
}

#[test]
fn what_is_lost_with_new_rights() {
    let lost = policy();
    let lost = lost.lost(&identity(&["2"], false), ["site:1", "site:2", "x"]);
    assert_eq!(lost.iter().map(|(channel, _)| *channel).collect::<Vec<_>>(), ["site:1", "x"]);
}

#[test]
fn a_publication_may_name_its_audience() {
    let (policy, li) = (policy(), identity(&["1", "2"], false).rights);
    for (audience, may) in [
        (json!({}), true),
        (json!({"roles": ["driver"]}), true),
        (json!({"roles": "driver"}), true),
        (json!({"roles": ["admin"]}), false),
        (json!({"sites": [2, 9]}), true),
        (json!({"sites": [9]}), false),
        (json!({"sites": []}), false),
        (json!({"halls": ["1"]}), false),
        (json!({"roles": ["driver"], "sites": ["9"]}), false),
        (json!({"expression": "'1' in user.sites && !user.admin"}), true),
        (json!({"expression": "size(user.sites) > 5"}), false),
    ] {
        let audiences = Audience::parse(&audience, &user_kind(["sites"])).expect("an audience");
        assert_eq!(audiences.iter().all(|audience| policy.admits(audience, &li)), may, "{audience}");
    }
    for wrong in [
        json!([]),
        json!("x"),
        json!({"roles": {}}),
        json!({"expression": "user.id == '7'"}),
        json!({"expression": "usr"}),
        json!({"expression": "1"}),
    ] {
        assert!(Audience::parse(&wrong, &user_kind(["sites"])).is_err(), "{wrong}");
    }
}

#[test]
fn equal_rights_are_one_allocation() {
    let pool = crate::policy::identity::RightsPool::default();
    let first = pool.intern(identity(&["1"], false).rights);
    assert!(Arc::ptr_eq(&first, &pool.intern(identity(&["1"], false).rights)));
    assert!(!Arc::ptr_eq(&first, &pool.intern(identity(&["2"], false).rights)));
    for n in 0..1000 {
        pool.intern(identity(&[&n.to_string()], false).rights);
    }
    assert!(Arc::ptr_eq(&first, &pool.intern(identity(&["1"], false).rights)), "what is held survives the sweep");
    pool.shrink();
    assert!(Arc::ptr_eq(&first, &pool.intern(identity(&["1"], false).rights)), "and shrinking");
}
