//! The client's side of both protocols, packet by packet.

use std::time::Duration;

use serde_json::json;

use super::packet::{Heard, Talk};
use super::{Protocol, Target, url};

fn socketio(namespace: &str) -> Talk {
    let protocol = Protocol::SocketIo { namespace: namespace.to_owned(), field: "token".to_owned() };
    let subscribe = Some(("subscribe".to_owned(), json!({ "channels": ["a"] })));
    Talk::new(&Target { url: String::new(), protocol, token: "T".to_owned(), remedy: "", subscribe, tls: None })
}

fn plain() -> Protocol {
    Protocol::Plain { event: "type".to_owned(), query: "token".to_owned() }
}

fn say(text: &str) -> Vec<Heard> {
    vec![Heard::Say(text.to_owned())]
}

#[test]
fn it_joins_a_namespace_and_subscribes() {
    let mut talk = socketio("/ws");
    assert_eq!(talk.opening(), None);
    assert_eq!(talk.hear(r#"0{"sid":"x","pingInterval":300,"pingTimeout":200}"#), say(r#"40/ws,{"token":"T"}"#));
    assert_eq!(talk.patience(), Duration::from_millis(500));
    assert!(!talk.is_admitted());
    assert_eq!(talk.hear(r#"40/ws,{"sid":"y"}"#), say(r#"42/ws,["subscribe",{"channels":["a"]}]"#));
    assert!(talk.is_admitted());
    assert_eq!(talk.hear("2"), say("3"));
    assert_eq!(socketio("/").hear("0{}"), say(r#"40{"token":"T"}"#));
}

#[test]
fn it_hears_events_of_its_namespace() {
    let mut talk = socketio("/");
    let event = |event: &str, args| vec![Heard::Event(json!({ "event": event, "args": args }))];
    assert_eq!(talk.hear(r#"42["a",1,"二"]"#), event("a", json!([1, "二"])));
    assert_eq!(talk.hear(r#"4217["a"]"#), event("a", json!([])));
    assert_eq!(
        talk.hear(r#"451-["b",{"_placeholder":true,"num":0}]"#),
        event("b", json!([{"_placeholder":true,"num":0}]))
    );
    assert_eq!(talk.hear(r#"42/other,["a"]"#), []);
    assert_eq!(talk.hear("41"), [Heard::Closed]);
    assert_eq!(talk.hear("1"), [Heard::Closed]);
    assert_eq!(talk.hear(r#"44{"message":"no"}"#), [Heard::Refused("no".to_owned())]);
    let expired = r#"44{"message":"no","data":{"error":"token_expired"}}"#;
    assert_eq!(talk.hear(expired), [Heard::Unbelieved("no (token_expired)".to_owned())]);
    let full = r#"44{"message":"no","data":{"error":"user_full"}}"#;
    assert_eq!(talk.hear(full), [Heard::Refused("no (user_full)".to_owned())]);
}

#[test]
fn what_it_does_not_understand_is_passed_over() {
    for odd in ["", "4", "42", "42[]", "42{}", "42[", "45x", "7", "二", "4二", "42/", "43[]"] {
        assert_eq!(socketio("/").hear(odd), [], "{odd}");
    }
}

#[test]
fn it_speaks_plain_json() {
    let subscribe = Some(("join_room".to_owned(), json!({ "room": "r" })));
    let mut talk = Talk::new(&Target {
        url: String::new(),
        protocol: plain(),
        token: "T".to_owned(),
        remedy: "",
        subscribe,
        tls: None,
    });
    assert_eq!(talk.opening().as_deref(), Some(r#"{"room":"r","type":"join_room"}"#));
    let heard = talk.hear("{\"type\":\"chat\"}\n{\"x\":1}\nno");
    let event = |event, frame| Heard::Event(json!({ "event": event, "args": [frame] }));
    assert_eq!(heard, [event(json!("chat"), json!({"type": "chat"})), event(json!(null), json!({"x": 1}))]);
}

#[test]
fn urls_follow_the_server() {
    let socketio = Protocol::SocketIo { namespace: "/".to_owned(), field: "token".to_owned() };
    let url = |server: &str, path: &str, protocol: &Protocol| url(server, path, protocol, "a b").ok();
    assert_eq!(
        url("http://x:1/", "/socket.io/", &socketio).as_deref(),
        Some("ws://x:1/socket.io/?EIO=4&transport=websocket")
    );
    assert_eq!(url("https://x", "ws", &plain()).as_deref(), Some("wss://x/ws?token=a+b"));
    assert_eq!(url("ftp://x", "ws", &plain()), None);
}
