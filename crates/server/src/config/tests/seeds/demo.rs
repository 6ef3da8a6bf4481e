//! The built-in app of `oyez dev`.

use serde_json::json;

use super::super::driver::Session;

#[test]
fn subscribe_and_publish() {
    let (mut session, _) = Session::open("demo", &json!({"sub": "u1", "roles": ["admin"]}));
    assert_eq!(session.channels.iter().collect::<Vec<_>>(), ["role:admin", "user:u1"]);
    let (heard, _) = session.say("subscribe", r#"{"channels":["demo:1"]}"#).expect("a rule");
    assert_eq!(heard[0][0], "subscribed");
    let (_, ack) = session.say("publish", r#"{"channel":"demo:1","data":{"x":1}}"#).expect("a rule");
    assert_eq!(ack, Some(json!({"id": "m1"})));
    let publication = session.published.pop().expect("a publication");
    assert_eq!(publication.to, ["demo:1"]);
    assert_eq!(session.heard(&publication.message)[1]["data"], json!({"x": 1}));
    assert_eq!(session.pushed("notification", "{}")[1]["type"], "notification");
}
