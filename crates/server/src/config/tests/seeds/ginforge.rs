//! seeds/003: frames of the real server, for its three clients.

use oyez_hub::dialect::Moment;
use serde_json::{Value, json};

use super::super::driver::Session;

const NANOS: &str = "2026-11-21T02:00:00.000000000Z";
const AT: u64 = 1_795_226_400;

fn seven() -> (Session, Vec<Value>) {
    Session::open("ginforge", &json!({"user_id": "7", "username": "name-7"}))
}

/// What somebody else hears of it.
fn relayed(session: &mut Session) -> Option<(Vec<String>, Value)> {
    let publication = session.published.pop()?;
    Some((publication.to.clone(), session.heard(&publication.message)))
}

#[test]
fn welcome_and_presence() {
    let (session, heard) = seven();
    let welcome = json!({
        "type": "welcome",
        "content": {"code": 0, "message": "欢迎连接到 GinForge WebSocket 服务", "level": "info"},
        "data": {"client_id": "sid", "server_time": NANOS},
        "timestamp": AT, "created_at": NANOS
    });
    assert_eq!(heard, [welcome]);
    let status = |kind: &str, status: &str| {
        let content = json!({"user_id": "7", "user_name": "name-7", "status": status});
        (vec!["*".to_owned()], json!({"type": kind, "content": content, "timestamp": AT, "created_at": NANOS}))
    };
    assert_eq!(session.presence(Moment::Connected), [status("user_status", "online")]);
    assert_eq!(session.presence(Moment::Offline), [status("user_offline", "offline")]);
    assert!(session.presence(Moment::Online).is_empty() && session.presence(Moment::Disconnected).is_empty());
}

#[test]
fn ping_is_answered_and_the_unknown_is_not() {
    let (mut session, _) = seven();
    let (heard, _) = session.say("ping", r#"{"type":"ping"}"#).expect("a rule");
    assert_eq!(heard, [json!({"type": "pong", "content": null, "timestamp": AT, "created_at": NANOS})]);
    for unknown in ["notification", "broadcast", "welcome", "", "nonsense"] {
        assert!(session.say(unknown, "{}").is_none(), "{unknown}");
    }
}

#[test]
fn the_room_stands_in_three_places() {
    for frame in [
        r#"{"type":"join_room","room":"chat:r1"}"#,
        r#"{"type":"join_room","content":"chat:r1"}"#,
        r#"{"content":{"room":"chat:r1"}}"#,
    ] {
        let (mut session, _) = seven();
        assert_eq!(session.say("join_room", frame), Some((vec![], None)), "no reply");
        assert!(session.channels.contains("chat:r1"), "{frame}");
        session.say("leave_room", frame);
        assert!(!session.channels.contains("chat:r1"), "{frame}");
    }
    let (mut session, _) = seven();
    for (frame, code, message) in [
        (r#"{"room":"admin"}"#, 403, "there is no channel admin"),
        (r#"{"room":"user:8"}"#, 403, "not allowed to subscribe to user:8"),
        (r#"{"content":{"text":1}}"#, 400, "a name must be text or a number"),
        (r#"{}"#, 400, "join_room: data.room is missing"),
    ] {
        let (heard, _) = session.say("join_room", frame).expect("a rule");
        assert_eq!(
            heard,
            [
                json!({"type": "error", "content": {"code": code, "message": message}, "timestamp": AT, "created_at": NANOS})
            ]
        );
    }
}

#[test]
fn posting_needs_membership_and_bears_the_tokens_name() {
    let (mut session, _) = seven();
    let frame =
        r#"{"type":"room_message","room":"chat:r1","content":{"text":"hi"},"from":"999","timestamp":1795219087364}"#;
    let (heard, _) = session.say("room_message", frame).expect("a rule");
    assert_eq!(heard[0]["content"], json!({"code": 403, "message": "not allowed to publish to chat:r1"}));
    assert!(session.published.is_empty());
    session.say("room_message", r#"{"room":"user:8","content":"slipped"}"#);
    session.say("room_message", r#"{"room":"user:7","content":"to oneself"}"#);
    assert!(session.published.is_empty(), "a room is not a user");
    session.say("join_room", r#"{"room":"chat:r1"}"#);
    assert_eq!(session.say("room_message", frame), Some((vec![], None)));
    let expect = json!({
        "type": "room_message", "id": "m1", "from": "7", "from_name": "name-7", "room": "chat:r1",
        "content": {"text": "hi"}, "timestamp": 1_795_219_087_364_u64, "created_at": NANOS
    });
    assert_eq!(relayed(&mut session), Some((vec!["chat:r1".into()], expect)));
    session.say("room_message", r#"{"content":{"room":"chat:r1","text":"doc"}}"#);
    let (to, heard) = relayed(&mut session).expect("the room in content");
    assert_eq!(
        (to, &heard["content"], &heard["timestamp"]),
        (vec!["chat:r1".into()], &json!({"room": "chat:r1", "text": "doc"}), &json!(AT))
    );
}

#[test]
fn chat_reaches_a_user_and_user_message_is_its_alias() {
    let (mut session, _) = seven();
    for kind in ["chat", "user_message"] {
        let frame = format!(r#"{{"type":"{kind}","to":42,"content":{{"text":"x","mediaType":"text"}},"timestamp":5}}"#);
        assert_eq!(session.say(kind, &frame), Some((vec![], None)));
        let (to, heard) = relayed(&mut session).expect("a relay");
        assert_eq!(to, ["user:42"]);
        assert_eq!(
            (&heard["type"], &heard["from"], &heard["to"], &heard["timestamp"]),
            (&json!(kind), &json!("7"), &json!(42), &json!(5))
        );
    }
}

#[test]
fn notifications_get_an_id() {
    let (session, _) = seven();
    let content = json!({"title": "订单发货通知", "body": "…", "category": "order", "data": {"order_id": "456"}});
    let expect = json!({
        "type": "notification", "id": "m1", "content": content, "data": {"notification_id": "m1", "read": false},
        "timestamp": AT, "created_at": NANOS
    });
    assert_eq!(session.pushed("notification", &content.to_string()), expect);
    let update = json!({"type": "data_update", "content": {"entity": "user"}, "timestamp": AT, "created_at": NANOS});
    assert_eq!(session.pushed("data_update", r#"{"entity":"user"}"#), update);
}
