//! What a dialect does where an app says nothing.

use std::time::Duration;

use oyez_protocol::message::Args;
use serde_json::value::RawValue;

use super::*;
use crate::policy::Identity;

fn cx<'a>(identity: &'a Identity, event: &'a str, data: &'a RawValue) -> Cx<'a> {
    let session = SessionInfo { id: &"sid", address: &"::1", transport: "polling" };
    Cx { identity, session, event, data, now: 0, id: &"m1" }
}

#[test]
fn an_empty_dialect_says_nothing_and_passes_pushes_through() {
    let (dialect, identity) = (Dialect::default(), Identity::default());
    assert_eq!(dialect.on_connect(&cx(&identity, "", RawValue::NULL)).steps, []);
    assert!(dialect.on_event(&cx(&identity, "anything", RawValue::NULL)).is_none());
    let args = Args::from_validated(r#"{"a":1.0},{"_placeholder":true,"num":0}"#.to_owned(), vec![vec![1, 2].into()]);
    let shaped = dialect.shape(&Push { event: "e", args: &args, id: "m1", now: 0 });
    assert_eq!(shaped, Message { event: "e".into(), args, whole: false });
    assert_eq!(dialect.native(&shaped, "m1", 0), r#"{"type":"e","data":[{"a":1.0},"AQI="]}"#);
    let plain = Message { event: "a\"b".into(), args: Args::none(), whole: false };
    assert_eq!(dialect.native(&plain, "m1", 0), r#"{"type":"a\"b","data":null}"#);
}

#[test]
fn a_refusal_has_a_form_of_its_own() {
    let (dialect, identity) = (Dialect::default(), Identity::default());
    let denial = Denial { channel: None, reason: "too fast".into(), code: 429, limit: None, error: None };
    let message = dialect.refusal(&denial, &cx(&identity, "e", RawValue::NULL));
    assert_eq!(
        (message.event.as_str(), message.args.text()),
        ("error", r#"{"code":429,"message":"too fast","channel":null}"#)
    );
}

fn endpoint() -> Arc<Endpoint> {
    let (url, timeout) = ("http://b".to_owned(), Duration::from_secs(1));
    Arc::new(Endpoint { url, secrets: None, token: None, timeout, private: false })
}

#[test]
fn a_rule_may_forward_and_then_a_refusal_acknowledges() {
    let rule = Rule { forward: Some(endpoint()), ..Rule::default() };
    let dialect = Dialect { events: [("order".into(), Arc::new(rule))].into(), ..Dialect::default() };
    let identity = Identity::default();
    let cx = cx(&identity, "order", RawValue::NULL);
    let plan = dialect.on_event(&cx).expect("a plan");
    assert_eq!(plan.steps, [Step::Forward(endpoint())]);
    let denied = vec![Denial::of(Code::BackendUnavailable, "not now")];
    let replies = dialect.replies(&plan, &cx, &Outcome { denied, ..Outcome::default() });
    let ack = replies.ack.expect("an acknowledgement");
    assert_eq!(ack.text(), r#"{"code":503,"message":"not now","channel":null,"error":"backend_unavailable"}"#);
}

#[test]
fn what_no_rule_names_may_be_forwarded() {
    let forward = endpoint();
    let dialect = Dialect { forward: Some(Arc::clone(&forward)), heartbeat: Some("beat".into()), ..Dialect::default() };
    let identity = Identity::default();
    let steps = |event: &str| dialect.on_event(&cx(&identity, event, RawValue::NULL)).map(|plan| plan.steps);
    assert_eq!(steps("anything"), Some(vec![Step::Forward(forward)]));
    assert_eq!(steps("beat"), Some(vec![Step::Heartbeat]));
    assert_eq!(steps(REFRESH_EVENT), Some(vec![]), "a refresh without a token is refused, not forwarded");
    let cx = cx(&identity, REFRESH_EVENT, RawValue::NULL);
    let plan = dialect.on_event(&cx).expect("a plan");
    let ack = dialect.replies(&plan, &cx, &Outcome::default()).ack.expect("who waits for an answer hears the refusal");
    assert!(ack.text().contains("data.token"), "{}", ack.text());
}

#[test]
fn the_first_push_rule_that_fits_shapes() {
    let names = names(Place::Push, Kind::Any);
    let rule = |event: Option<&str>, data: &str| PushRule {
        event: event.map(Arc::from),
        message: MessageRule {
            event: Template::compile("{event}", &names).expect("a template"),
            body: Body::Data(Shape::compile(data, &names).expect("a shape")),
        },
    };
    let dialect = Dialect {
        pushes: vec![rule(Some("alarm:*"), "{'alarm': data}"), rule(Some("one"), "data.x"), rule(None, "[data]")],
        ..Dialect::default()
    };
    let shaped = |event: &str| {
        let args = Args::from_validated("7".to_owned(), Vec::new());
        dialect.shape(&Push { event, args: &args, id: "m1", now: 0 }).args.text().to_owned()
    };
    assert_eq!(shaped("alarm:new"), r#"{"alarm":7}"#);
    assert_eq!(shaped("one"), "7", "what cannot be shaped goes out as published");
    assert_eq!(shaped("other"), "[7]");
}

#[test]
fn the_event_stands_in_a_field_of_the_frame() {
    let event = |frame: &str| event_of(&RawValue::from_string(frame.to_owned()).expect("JSON"), "type");
    assert_eq!(event(r#"{"type":"pi\u006eg","x":{"type":"no"}}"#).as_deref(), Some("ping"));
    for frame in ["{}", "[]", "null", "\"type\"", r#"{"type":7}"#, r#"{"type":null}"#] {
        assert_eq!(event(frame), None, "{frame}");
    }
}
