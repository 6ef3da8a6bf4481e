//! Publishing: what arrives, and what is refused with which words.

use oyez_hub::delivery::{AckReport, Target};
use oyez_hub::policy::Rights;
use oyez_protocol::message::Args;
use serde_json::json;

use super::*;
use crate::http::api::body::BODY_MAX;

#[tokio::test]
async fn a_publication_reaches_the_shard_byte_for_byte() {
    let source = include_str!("../../../../../../examples/cloudphone/oyez.toml");
    let mut node = Node::new(&[configured(source)], vec![key("backend", "key", &["*"], &["*"])]);
    node.join(0, "user:1");
    let body = r#"{"to": "user:1", "event": "quota", "data": {"a" :  1.50, "big": 12345678901234567890123, "名": "\u00e9"}, "id": "q-1", "except": "user:2", "priority": "urgent", "volatile": true}"#;
    let answer = node.ask("POST", "/api/v1/publish", "key", body).await.ok();
    assert_eq!(answer, json!({"id": "q-1", "level": "accepted"}));
    let delivery = node.delivery().await;
    assert_eq!(&*delivery.event, "quota");
    assert_eq!(delivery.args.text(), r#"{"a" :  1.50, "big": 12345678901234567890123, "名": "\u00e9"}"#);
    assert!(delivery.volatile);
    assert_eq!(&*delivery.except[0], "user:2");
}

#[tokio::test]
async fn data_may_be_anything_or_nothing() {
    let source = include_str!("../../../../../../examples/cloudphone/oyez.toml");
    let mut node = Node::new(&[configured(source)], vec![key("backend", "key", &["*"], &["*"])]);
    node.join(0, "*");
    for (data, args) in
        [("", ""), (r#","data":null"#, "null"), (r#","data":[1, 2]"#, "[1, 2]"), (r#","data":"x""#, "\"x\"")]
    {
        let body = format!(r#"{{"to":["*"],"event":"x"{data}}}"#);
        node.ask("POST", "/api/v1/publish", "key", body).await.ok();
        assert_eq!(node.delivery().await.args.text(), args);
    }
}

#[tokio::test]
async fn the_dialect_shapes_the_payload() {
    let mut node = Node::desk();
    node.join(0, "ticket:7");
    node.post("/api/v1/publish", json!({"to": "ticket:7", "event": "ticket_created", "data": {"id": 7}})).await.ok();
    let delivery = node.delivery().await;
    let shaped: Value = serde_json::from_str(delivery.args.text()).unwrap();
    assert_eq!(shaped["type"], "ticket_created");
    assert_eq!(shaped["payload"], json!({"id": 7}));
}

#[tokio::test]
async fn an_audience_is_a_question_about_rights() {
    let mut node = Node::desk();
    node.join(0, "ticket:7");
    let audience = json!({"roles": ["manager"], "departments": "tech", "expression": "'a' in user.departments"});
    node.post("/api/v1/publish", json!({"to": "ticket:7", "event": "x", "audience": audience})).await.ok();
    let delivery = node.delivery().await;
    let Target::Channels(heard) = &delivery.to else { panic!("channels") };
    let admits = |roles: &[&str], departments: &[&str]| {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
        let attributes = [(Arc::from("departments"), names(departments))].into();
        heard[0].audience.as_ref().unwrap().admits(&Arc::new(Rights { roles: names(roles), attributes, admin: false }))
    };
    assert!(admits(&["manager"], &["a", "tech"]));
    assert!(!admits(&["manager"], &["tech"]));
    assert!(!admits(&["user"], &["a", "tech"]));
}

#[tokio::test]
async fn wrong_publications_are_told_their_mistake() {
    let node = Node::desk();
    let long = "x".repeat(201);
    let rows: &[(&str, &[&str])] = &[
        ("", &["no body"]),
        ("{", &["the body ends within an object at line 1 column 1"]),
        ("{\"to\": ", &["the body ends where a value should be, at line 1"]),
        ("{\"to\": {}, \"event\": \"x\"}", &["`to`: invalid type: an object, expected a string"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"priority\": 1}", &["`priority`: there is no value that fits at line 1"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"ack\": [50]}", &["`ack`: invalid type: a list, expected a JSON object"]),
        ("[\"desk\", \"*\", \"x\"]", &["invalid type: a list, expected a JSON object at line 1"]),
        ("{\"to\": \"*\",\n \"event\": 5}", &["`event`", "integer `5`", "line 2 column 11"]),
        ("{\"event\": \"x\"}", &["missing field `to`"]),
        ("{\"to\": \"*\"}", &["missing field `event`"]),
        ("{\"to\": 5, \"event\": \"x\"}", &["`to`", "a string or a list of strings"]),
        ("{\"to\": [\"a\", {}], \"event\": \"x\"}", &["`to", "line 1"]),
        ("{\"to\": [], \"event\": \"x\"}", &["`to` names no channel"]),
        ("{\"to\": \"\", \"event\": \"x\"}", &["not a channel name"]),
        ("{\"to\": \"*\", \"event\": \"\"}", &["not an event name"]),
        ("{\"to\": \"*\", \"event\": \"connect\"}", &["reserved"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"dta\": 1}", &["unknown field `dta`", "`data`"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"data\": {\"a\": }}", &["line 1 column"]),
        (
            "{\"to\": \"*\", \"event\": \"x\", \"priority\": \"asap\"}",
            &["`priority`: unknown value `asap`", "`urgent`"],
        ),
        ("{\"to\": \"*\", \"event\": \"x\", \"ack\": {\"timeout_ms\": 0}}", &["`ack.timeout_ms`", "1 to 60000"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"id\": \"\"}", &["`id`"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"audience\": 1}", &["`audience`", "object"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"audience\": {\"sites\": [\"1\"]}}", &["`sites`", "roles, departments"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"audience\": {\"expression\": \"user.\"}}", &["`audience`"]),
        (
            "{\"to\": \"*\", \"event\": \"x\", \"audience\": {\"expression\": \"user.id == '1'\"}}",
            &["not for one user"],
        ),
        ("{\"to\": \"*\", \"event\": \"x\"} {}", &["trailing"]),
        ("[]", &["line 1"]),
        ("5", &["integer `5`, expected a JSON object at line 1"]),
        ("{\"to\": \"*\", \"event\": \"x\", \"ttl_ms\": -1}", &["`ttl_ms`", "expected a whole number, at least 0 at"]),
        (
            "{\"to\": \"*\", \"event\": \"x\", \"ack\": {\"timeout_ms\": \"5\"}}",
            &["`ack.timeout_ms`", "a whole number"],
        ),
    ];
    for (body, words) in rows {
        let answer = node.ask("POST", "/api/v1/publish", "key", (*body).to_owned()).await;
        answer.refused(400, "bad_request", words);
    }
    let body = json!({"to": "*", "event": "x", "id": long});
    node.post("/api/v1/publish", body).await.refused(400, "bad_request", &["`id`"]);
    let many: Vec<_> = (0..1001).map(|n| n.to_string()).collect();
    let body = json!({"to": many, "event": "x"});
    node.post("/api/v1/publish", body).await.refused(400, "bad_request", &["1000"]);
    let answer = node.ask("POST", "/api/v1/publish", "key", vec![0xff, 0xfe]).await;
    answer.refused(400, "bad_request", &["line 1"]);
    let batch = json!({"commands": [{"disconnect": ["ticketing", "1", null, null, false]}]});
    let results = node.post("/api/v1/batch", batch).await.ok();
    assert!(results.to_string().contains("`disconnect`: invalid type: a list, expected a JSON object"), "{results}");
    let several = json!({"commands": [{"disconnect": {"user": "1"}, "publish": {}}, {}, "publish", 5]});
    let results = node.post("/api/v1/batch", several).await.ok();
    let words = ["a comma where the object", "an object, expected one with a key", "a JSON object", "a JSON object"];
    for (result, words) in results["results"].as_array().unwrap().iter().zip(words) {
        assert!(result["error"]["message"].as_str().unwrap().contains(words), "{result}");
    }
}

#[tokio::test]
async fn what_belongs_into_the_body_is_not_looked_for_in_the_query() {
    let node = Node::two_apps();
    let body = json!({"users": ["1"]}).to_string();
    for method in ["PUT", "DELETE"] {
        let answer = node.ask(method, "/api/v1/channels/a/roster?app=ticketing", "key", body.clone()).await;
        answer.refused(400, "bad_request", &["`app`", "say it in the body"]);
    }
    let body = json!({"app": "ticketing", "to": "*", "event": "x"}).to_string();
    node.ask("POST", "/api/v1/publish?token=x", "key", body).await.ok();
}

#[tokio::test]
async fn whom_no_rule_lets_in_is_hinted_at() {
    let source = include_str!("../../../../../../examples/cloudphone/oyez.toml");
    let node = Node::new(&[configured(source)], vec![key("backend", "key", &["*"], &["*"])]);
    for (to, hint) in [
        (json!("user:7"), None),
        (json!(["user:7", "*"]), None),
        (json!(session("1", &[]).id), None),
        (json!("usr:7"), Some("no [[app.cloudphone.channel]] matches `usr:7`: no client can subscribe there")),
        (
            json!(["user:7", "x", "y"]),
            Some("no [[app.cloudphone.channel]] matches `x`, `y`: no client can subscribe there"),
        ),
        (
            json!(["1", "2", "3", "4", "5", "user:7", "6", "7"]),
            Some(
                "no [[app.cloudphone.channel]] matches `1`, `2`, `3`, `4`, `5`, nor 2 more: no client can subscribe there",
            ),
        ),
    ] {
        let answer = node.post("/api/v1/publish", json!({"to": to, "event": "x"})).await.ok();
        assert_eq!((&answer["level"], answer["hint"].as_str()), (&json!("accepted"), hint), "{to}");
    }
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let node = Node::desk();
    let fitting = |size: usize| {
        let frame = r#"{"to":"*","event":"x","data":""}"#.len();
        format!(r#"{{"to":"*","event":"x","data":"{}"}}"#, "x".repeat(size - frame))
    };
    node.ask("POST", "/api/v1/publish", "key", fitting(BODY_MAX)).await.ok();
    let answer = node.ask("POST", "/api/v1/publish", "key", fitting(BODY_MAX + 1)).await;
    answer.refused(413, "payload_too_large", &["1048576"]);
}

#[tokio::test]
async fn acknowledgements_are_collected() {
    let mut node = Node::desk();
    node.join(0, "user:1");
    let mut mail = std::mem::replace(&mut node.mail, unbounded_channel().1);
    let members = async {
        let Some(Mail::Deliver(delivery)) = mail.recv().await else { panic!("no delivery") };
        let answers = &delivery.ack.as_ref().unwrap().answers;
        answers.send(AckReport::Reached(3)).unwrap();
        answers.send(AckReport::Answer(Args::one(&"got it"))).unwrap();
        answers.send(AckReport::Answer(Args::none())).unwrap();
        answers.send(AckReport::Gone).unwrap();
    };
    let body = json!({"to": "user:1", "event": "x", "data": 1, "id": "a", "ack": {"timeout_ms": 5000}});
    let (answer, ()) = tokio::join!(node.post("/api/v1/publish", body), members);
    assert_eq!(answer.ok(), json!({"id": "a", "level": "accepted", "reached": 3, "answers": ["got it", null]}));
}

#[tokio::test]
async fn a_batch_answers_each_command_in_order() {
    let mut node = Node::desk();
    node.join(0, "a");
    node.join(0, "b");
    let body = json!({"commands": [
        {"publish": {"to": "a", "event": "x", "data": 1, "id": "first"}},
        {"publish": {"to": "a"}},
        {"publish": {"to": "a", "event": "x", "ack": {"timeout_ms": 5}}},
        {"shout": {}},
        {"subscribe": {"user": "1", "channels": "b"}},
        {"publish": {"to": "b", "event": "x", "data": 2, "id": "second"}},
    ]});
    let answer = node.post("/api/v1/batch", body).await.ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results[0], json!({"id": "first", "level": "accepted"}));
    for (at, words) in [(1, "missing field `event`"), (2, "alone"), (3, "unknown value `shout`")] {
        let message = results[at]["error"]["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(results[4], json!({"ok": true}));
    assert_eq!(results[5]["id"], "second");
    assert_eq!(&*node.delivery().await.id, "first");
    assert!(matches!(node.control().await, Control::Join(..)));
    assert_eq!(&*node.delivery().await.id, "second");
    let many = json!({"commands": vec![json!({}); 1001]});
    node.post("/api/v1/batch", many).await.refused(400, "bad_request", &["1000"]);
}

#[tokio::test]
async fn a_node_that_goes_down_takes_nothing() {
    let node = Node::desk();
    node.hub.close();
    let answer = node.post("/api/v1/publish", json!({"to": "*", "event": "x"})).await;
    answer.refused(503, "unavailable", &["shutting down"]);
}
