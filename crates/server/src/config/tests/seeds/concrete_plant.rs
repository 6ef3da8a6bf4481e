//! seeds/002: the transcript of the real gateway, with the site's rights that its document promises.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::driver::{Session, app, check};

fn driver() -> Value {
    json!({"sub": 7, "username": "li", "userType": "driver", "siteId": 1})
}

fn admin() -> Value {
    json!({"sub": 1, "userType": "admin", "siteId": 1})
}

#[test]
#[rustfmt::skip] // a row a line
fn the_transcript_of_the_gateway() {
    let (session, heard) = Session::open("concrete-plant", &driver());
    assert_eq!(
        heard,
        [json!(["connected", {"message": "连接成功", "clientId": "sid"}])]
    );
    assert_eq!(session.channels.iter().collect::<Vec<_>>(), ["user:7"]);
    let is = |claims: &Value, event: &str, data: Value, heard: Value, channels: &[&str]| {
        check("concrete-plant", claims, event, &data, &heard, channels)
    };
    is(&driver(), "subscribe:site", json!({"siteId": 1}), json!([["subscribed", {"siteId": 1, "message": "订阅成功"}]]), &["site:1"]);
    is(&driver(), "subscribe:site", json!({"siteId": "1"}), json!([["subscribed", {"siteId": "1", "message": "订阅成功"}]]), &["site:1"]);
    is(&driver(), "subscribe:site", json!({"siteId": 1.0}), json!([["subscribed", {"siteId": 1.0, "message": "订阅成功"}]]), &["site:1"]);
    is(&admin(), "subscribe:site", json!({"siteId": 9}), json!([["subscribed", {"siteId": 9, "message": "订阅成功"}]]), &["site:9"]);
    is(&driver(), "subscribe:alarms", json!(null), json!([["subscribed", {"channel": "alarms", "message": "订阅告警成功"}]]), &["alarms"]);
    is(&driver(), "subscribe:notifications", json!(null), json!([["subscribed", {"channel": "notifications", "message": "订阅通知成功"}]]), &["notifications"]);
    is(&driver(), "ping", json!(null), json!([["pong", {"timestamp": "2026-11-21T02:00:00.000Z"}]]), &[]);
    is(&driver(), "unsubscribe:site", json!({"siteId": 9}), json!([["unsubscribed", {"siteId": 9, "message": "取消订阅成功"}]]), &[]);
    let exception = |message: &str| json!([["exception", {"status": "error", "message": message}]]);
    is(&driver(), "subscribe:site", json!({"siteId": 2}), exception("not allowed to subscribe to site:2"), &[]);
    is(&driver(), "subscribe:site", json!(null), exception("subscribe:site: data.siteId is missing"), &[]);
    is(&driver(), "subscribe:site", json!({"siteId": {}}), exception("a name must be text or a number"), &[]);
    is(&driver(), "subscribe:site", json!({"siteId": 1.5}), exception("not allowed to subscribe to site:1.5"), &[]);
}

#[test]
fn acknowledgements_are_never_answered() {
    let (mut session, _) = Session::open("concrete-plant", &driver());
    assert_eq!(session.say("subscribe:alarms", "null").expect("a rule").1, None);
}

#[test]
fn an_alarm_of_a_site_is_heard_by_those_who_may_hear_the_site() {
    let app = app("concrete-plant");
    let rights = |claims: Value| {
        app.identity
            .identify(claims.as_object().expect("an object"), "t".into(), None, None)
            .expect("an identity")
            .rights
    };
    let hears = |rights: &Arc<_>, channel: &str, data: &str| {
        app.policy.audience("alarm:new", channel, data).is_none_or(|audience| app.policy.admits(&audience, rights))
    };
    let (driver, admin) = (rights(driver()), rights(admin()));
    for (data, may) in [
        (r#"{"siteId":1}"#, true),
        (r#"{"site_id":1}"#, true),
        (r#"{"siteId":2}"#, false),
        (r#"{"site_id":"2"}"#, false),
        ("{}", true),
        (r#"{"siteId":null}"#, true),
        (r#"{"siteId":{}}"#, false),
        (r#"[1]"#, true),
    ] {
        assert_eq!(hears(&driver, "alarms", data), may, "{data}");
        assert!(hears(&admin, "alarms", data), "{data}");
    }
    assert!(app.policy.audience("alarm:new", "site:1", r#"{"siteId":2}"#).is_none());
}
