//! seeds/000: rooms from the session, chat with the server's `from`, head office hears all.

use serde_json::{Value, json};

use super::super::driver::{Session, app};

fn zhang() -> Value {
    json!({"id": "u1", "sub": "u1", "name": "Zhang", "tenantId": "t1", "departmentId": null, "roles": ["tenant_user"], "isPlatform": true})
}

#[test]
fn rooms_come_from_the_token() {
    let rooms = |claims: Value| Session::open("erp", &claims).0.channels.into_iter().collect::<Vec<_>>();
    assert_eq!(rooms(zhang()), ["tenant:t1", "user:u1"], "isPlatform is the tenant's, not a role");
    assert_eq!(
        rooms(json!({"id": "h", "tenantId": "hq", "roles": ["platform_admin"]})),
        ["platform", "tenant:hq", "user:h"]
    );
    assert_eq!(rooms(json!({"id": "n"})), ["user:n"]);
    assert!(Session::open("erp", &zhang()).1.is_empty(), "no greeting in the seed");
}

#[test]
fn head_office_hears_tenants_and_users() {
    let policy = app("erp").policy;
    let heard = |channel: &str| policy.echo(channel).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(heard("tenant:t1"), ["platform"]);
    assert_eq!(heard("user:u1"), ["platform"]);
    assert!(heard("platform").is_empty());
}

#[test]
fn chat_is_relayed_under_the_tokens_name() {
    let (mut session, _) = Session::open("erp", &zhang());
    let (heard, ack) = session.say("chat:message", r#"{"to":"u2","content":"你好","from":"boss"}"#).expect("a rule");
    assert_eq!((heard, ack), (vec![], Some(json!({"ok": true, "id": "m1"}))));
    let publication = session.published.pop().expect("a publication");
    assert_eq!(publication.to, ["user:u2"]);
    let expect =
        json!(["chat:message", {"from": "u1", "to": "u2", "content": "你好", "timestamp": "2026-11-21T02:00:00.000Z"}]);
    assert_eq!(session.heard(&publication.message), expect);
    let (heard, ack) = session.say("chat:message", r#"{"to":"u2"}"#).expect("a rule");
    let why = json!({"status": "error", "message": "chat:message: data.content is missing"});
    assert_eq!((heard, ack), (vec![json!(["exception", why])], Some(why)));
    assert!(session.published.is_empty());
    for to in ["{}", "[]", "\"*\"", "null", "\"a\\nb\"", "true", r#"["u1","u2"]"#] {
        let (heard, _) = session.say("chat:message", &format!(r#"{{"to":{to},"content":1}}"#)).expect("a rule");
        assert!(session.published.is_empty(), "{to}");
        assert_eq!(heard.len(), 1, "{to}");
    }
}

#[test]
fn status_and_read_marks_are_accepted() {
    let (mut session, _) = Session::open("erp", &zhang());
    let ok = Some((vec![], Some(json!({"ok": true}))));
    for status in ["offline", "online"] {
        assert_eq!(session.say(&format!("presence:{status}"), "null"), ok);
        assert_eq!(session.status.as_deref(), Some(status));
    }
    assert_eq!(session.say("notification:read", r#"{"notificationId":"n-1"}"#), ok);
    let missing = "notification:read: data.notificationId is missing";
    let (heard, _) = session.say("notification:read", "{}").expect("a rule");
    assert_eq!(heard, [json!(["exception", {"status": "error", "message": missing}])]);
    assert!(session.say("subscribe", "{}").is_none(), "there is nothing to subscribe with");
}

#[test]
fn pushes_go_out_as_published() {
    let (session, _) = Session::open("erp", &zhang());
    assert_eq!(
        session.pushed_text("order:new", r#"{"orderId":"o", "amount":1.50}"#),
        r#"{"orderId":"o", "amount":1.50}"#
    );
}
