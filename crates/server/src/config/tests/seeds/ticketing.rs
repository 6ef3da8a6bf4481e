//! seeds/001: what the ticket desk's hook and its jest test expect.

use oyez_hub::dialect::Step;
use serde_json::{Value, json};

use super::super::driver::{NOW, Session, app, check};

const AT: &str = "2026-11-21T02:00:00.000Z";

fn ana() -> Value {
    json!({"userId": "u1", "username": "ana", "roles": ["agent"], "departments": ["tech"], "exp": NOW / 1000 + 60})
}

fn admin() -> Value {
    json!({"userId": "a1", "roles": ["admin"]})
}

fn denied(channel: &Value, message: &str) -> Value {
    json!(["subscription_error", {"channel": channel, "message": message}])
}

#[test]
fn greeting_and_own_channel() {
    let (session, heard) = Session::open("ticketing", &ana());
    assert_eq!(
        heard,
        [json!(["connected", {"message": "已连接到 YanYu Cloud³ 实时通知", "clientId": "sid", "timestamp": AT}])]
    );
    assert_eq!(session.channels.iter().collect::<Vec<_>>(), ["user:u1"]);
    assert_eq!(session.identity.name.as_deref(), Some("ana"));
}

#[test]
fn rights_follow_the_token() {
    let subscribed = |channels: &Value| json!([["subscribed", {"channels": channels, "timestamp": AT}]]);
    let sub = |channels: Value| json!({"type": "subscribe", "channels": channels});
    for channel in ["role:agent", "department:tech", "ticket:9", "user:u1"] {
        let (_, expect) = (channel, subscribed(&json!([channel])));
        let joined: &[&str] = if channel == "user:u1" { &[] } else { &[channel] };
        check("ticketing", &ana(), "subscribe", &sub(json!([channel])), &expect, joined);
        check("ticketing", &ana(), "subscribe", &sub(json!(channel)), &expect, joined);
    }
    for channel in ["role:admin", "department:hr", "user:u2", "ai:analysis:completed", "role:"] {
        let expect = json!([denied(&json!(channel), &format!("not allowed to subscribe to {channel}"))]);
        check("ticketing", &ana(), "subscribe", &sub(json!([channel])), &expect, &[]);
        check("ticketing", &admin(), "subscribe", &sub(json!(channel)), &subscribed(&json!([channel])), &[channel]);
    }
}

#[test]
fn own_role_department_and_ticket_channels_are_remembered() {
    let app = app("ticketing");
    assert_eq!(app.recovery.expect("recovery is on").window.as_secs(), 120);
    for channel in ["user:u1", "role:agent", "department:tech", "ticket:9"] {
        assert_eq!(app.policy.history(channel).map(|history| history.last), Some(1000), "{channel}");
    }
    assert!(app.policy.history("ai:analysis:completed").is_none());
}

#[test]
fn one_denial_does_not_spoil_the_rest() {
    let expect = json!([
        ["subscribed", {"channels": ["role:agent"], "timestamp": AT}],
        denied(&json!("role:admin"), "not allowed to subscribe to role:admin"),
    ]);
    check(
        "ticketing",
        &ana(),
        "subscribe",
        &json!({"channels": ["role:admin", "role:agent"]}),
        &expect,
        &["role:agent"],
    );
}

#[test]
#[rustfmt::skip] // a row a line
fn odd_values_are_refused_with_a_reason() {
    let name = "a name must be text or a number";
    let cases = [
        (json!({}), json!(null), "subscribe: data.channels is missing"),
        (json!(null), json!(null), "subscribe: data.channels is missing"),
        (json!("x"), json!(null), "subscribe: data.channels is missing"),
        (json!({"channels": null}), json!(null), "subscribe: data.channels is missing"),
        (json!({"channels": {"a": 1}}), json!("{\"a\":1}"), name),
        (json!({"channels": [true]}), json!("true"), name),
        (json!({"channels": ["*"]}), json!("*"), "a channel's name may not contain *"),
        (json!({"channels": ["role:*"]}), json!("role:*"), "a channel's name may not contain *"),
        (json!({"channels": ["a\nb"]}), json!("a\u{fffd}b"), "a channel's name may not contain control characters"),
        (json!({"channels": [""]}), json!(""), "a channel needs a name"),
        (json!({"channels": "x".repeat(201)}), json!("x".repeat(200)), "The channel's name is too long"),
    ];
    for (data, channel, message) in cases {
        check(
            "ticketing",
            &admin(),
            "subscribe",
            &data,
            &json!([denied(&channel, message)]),
            &[],
        );
    }
    let many: Vec<_> = (0..5000).map(|n| format!("ticket:{n}")).collect();
    let (mut session, _) = Session::open("ticketing", &ana());
    let (heard, _) = session
        .say("subscribe", &json!({"channels": many}).to_string())
        .expect("a rule");
    assert_eq!(session.channels.len(), 101);
    assert_eq!(
        heard[1],
        denied(&json!("{each(data.channels)}"), "at most 100 at once")
    );
}

#[test]
fn leaving_and_the_heartbeat() {
    let (mut session, _) = Session::open("ticketing", &ana());
    session.say("subscribe", r#"{"channels":["ticket:1"]}"#);
    let (heard, ack) = session.say("unsubscribe", r#"{"channels":["ticket:1"]}"#).expect("a rule");
    assert_eq!(heard, [json!(["unsubscribed", {"channels": ["ticket:1"], "timestamp": AT}])]);
    assert_eq!((ack, session.channels.len()), (None, 1));
    let (heard, _) = session.say("heartbeat", r#"{"type":"heartbeat"}"#).expect("a rule");
    assert_eq!(heard, [json!(["heartbeat_ack", {"timestamp": AT, "clientId": "sid"}])]);
    assert_eq!(session.app.dialect.heartbeat.as_deref(), Some("heartbeat"));
    assert_eq!(session.app.heartbeat_timeout.map(|timeout| timeout.as_secs()), Some(60));
    assert!(session.say("ai:whatever", "{}").is_none());
}

#[test]
fn a_token_is_refreshed_in_band() {
    let (session, _) = Session::open("ticketing", &ana());
    let step = |data: &str| {
        let data = serde_json::value::RawValue::from_string(data.to_owned()).expect("JSON");
        session.plan("auth:refresh", &data).expect("built in").steps
    };
    assert_eq!(step(r#"{"token":"abc"}"#), [Step::Refresh("abc".into())]);
    assert_eq!(step(r#""abc""#), [Step::Refresh("abc".into())]);
    assert_eq!(step(r#"{"type":"auth:refresh","content":{"token":"abc"}}"#), [Step::Refresh("abc".into())]);
    for odd in ["7", "null", r#"{"token":7}"#, "{}"] {
        assert_eq!(step(odd), [], "{odd}");
    }
}

#[test]
fn pushes_are_wrapped_byte_for_byte() {
    let (session, _) = Session::open("ticketing", &ana());
    assert_eq!(
        session.pushed("ticket_created", r#"{"b":1,"a":2}"#),
        json!(["ticket_created", {"type": "ticket_created", "payload": {"b": 1, "a": 2}, "timestamp": AT}])
    );
    assert_eq!(
        session.pushed_text("notification", r#"{"z":1.0,"a":12345678901234567890123, "k":"\u00e9"}"#),
        format!(
            r#"{{"type":"notification","payload":{{"z":1.0,"a":12345678901234567890123, "k":"\u00e9"}},"timestamp":"{AT}"}}"#
        )
    );
}

#[test]
fn a_token_needs_a_user_and_nothing_else() {
    let rule = app("ticketing").identity;
    let identify = |claims: Value| rule.identify(claims.as_object().expect("an object"), "t".into(), None, None);
    assert_eq!(&*identify(json!({"userId": 7, "roles": "solo"})).expect("a number is fine").user, "7");
    assert!(identify(json!({"roles": []})).is_err());
    assert!(identify(json!({"userId": null})).is_err());
    assert!(identify(json!({"userId": {"a": 1}})).is_err());
    assert!(identify(json!({"userId": "a*"})).is_err());
}
