//! What rules make of messages.

use serde_json::{Value, json};

use super::*;
use crate::policy::channel::Pattern;
use crate::policy::expression::{Filter, Kind, Template};

struct Written {
    address: &'static str,
    when: Option<&'static str>,
    to: &'static str,
    event: &'static str,
    data: Option<&'static str>,
}

fn rule(written: &Written) -> SourceRule {
    let pattern = Pattern::compile(written.address).expect("a pattern");
    let names = names().with(pattern.names().map(|name| (name, Kind::Text)));
    SourceRule {
        line: 7,
        when: written.when.map(|when| Filter::compile(when, &names).expect("a condition")),
        to: vec![Template::compile(written.to, &names).expect("a template")],
        event: Template::compile(written.event, &names).expect("a template"),
        data: written.data.map(|data| Shape::compile(data, &names).expect("a shape")),
        id: Some(Shape::compile("first(message_id, body.eventId)", &names).expect("a shape")),
        addresses: vec![pattern],
        class: None,
        priority: None,
        ttl: None,
    }
}

const QUOTA: Written = Written {
    address: "quota.{what}",
    when: None,
    to: "user:{data.userId}",
    event: "notification",
    data: Some("{'type': address, 'what': what, 'data': data}"),
};

const CRITICAL: Written = Written {
    address: "quota.alert",
    when: Some("data.usagePercent >= 95 || data.alertLevel == 'critical'"),
    to: "admin",
    event: "{address}",
    data: None,
};

const EVERYBODY: Written = Written { address: "system.{what}", when: None, to: "*", event: "system", data: None };

fn source(rules: &[Written]) -> Source {
    Source {
        data: Some(Shape::compile("first(body.payload, body)", &body_names()).expect("a shape")),
        drop: vec!["_trace".into(), "resetToken".into()],
        rules: rules.iter().map(rule).collect(),
        ..Source::new("events")
    }
}

/// What becomes of a message: `[to, event, data, id]` for each publication, or a word.
#[track_caller]
fn check(address: &str, body: &str, expect: &Value) {
    let source = source(&[QUOTA, CRITICAL, EVERYBODY]);
    let found = match source.plan(&Arrival::new(address, body.as_bytes()), 8, 0) {
        Ok(Plan::Publish(publications)) => publications
            .iter()
            .map(|Planned { publish, .. }| json!([publish.to, publish.event, publish.args.values(), publish.id]))
            .collect(),
        Ok(Plan::Unaddressed) => json!("unaddressed"),
        Ok(Plan::Unmatched) => json!("unmatched"),
        Err(poison) => json!(poison.word),
    };
    assert_eq!(found, *expect, "{address} {body}");
}

#[test]
fn messages_become_publications() {
    let pushed = |data: Value, id: Value| json!([["user:u1"], "notification", [{"type": "quota.updated", "what": "updated", "data": data}], id]);
    let flat = pushed(json!({"userId": "u1", "n": 1}), Value::Null);
    check("quota.updated", r#"{"userId":"u1","n":1,"_trace":{"a":1}}"#, &json!([flat]));
    let envelope = pushed(json!({"userId": "u1"}), json!("e1"));
    check(
        "quota.updated",
        r#"{"eventId":"e1","payload":{"userId":"u1","resetToken":"s"},"_trace":{}}"#,
        &json!([envelope]),
    );
    // Numbers are ids, too, and what nobody has asked for stays byte for byte.
    let number = json!([["user:7"], "notification", [{"type": "quota.x", "what": "x", "data": {"userId": 7}}], null]);
    check("quota.x", r#"{"userId":7}"#, &json!([number]));
    check("system.maintenance", "\u{feff} {\"title\":\"t\"} \n", &json!([[["*"], "system", [{"title": "t"}], null]]));
    check("system.ping", "", &json!([[["*"], "system", [null], null]]));
}

#[test]
fn every_rule_that_fits_publishes() {
    let body = |fields: Value| fields.to_string();
    let user = |data: &Value| json!([["user:u1"], "notification", [{"type": "quota.alert", "what": "alert", "data": data}], null]);
    let admin = |data: &Value| json!([["admin"], "quota.alert", [data], null]);
    for (fields, critical) in [
        (json!({"userId": "u1", "usagePercent": 95}), true),
        (json!({"userId": "u1", "usagePercent": 95.5}), true),
        (json!({"userId": "u1", "alertLevel": "critical"}), true),
        (json!({"userId": "u1", "usagePercent": 80, "alertLevel": "warning"}), false),
        (json!({"userId": "u1", "usagePercent": "much"}), false),
    ] {
        let expect = if critical { json!([user(&fields), admin(&fields)]) } else { json!([user(&fields)]) };
        check("quota.alert", &body(fields), &expect);
    }
}

#[test]
fn what_cannot_be_published_says_why() {
    check("billing.paid", "{}", &json!("unmatched"));
    check("quota.updated", r#"{"quotaId":"q"}"#, &json!("unaddressed"));
    check("quota.updated", r#"{"userId":null}"#, &json!("unaddressed"));
    check("quota.updated", "[]", &json!("unaddressed"));
    check("quota.updated", r#"{"userId":{"a":1}}"#, &json!("data"));
    check("quota.updated", r#"{"userId":"a*"}"#, &json!("data"));
    check("quota.updated", r#"{"userId":["a","b"]}"#, &json!("data"));
    check("quota.updated", "{", &json!("not_json"));
    check("quota.updated", "{} {}", &json!("not_json"));
    check("quota.updated", &format!("{}{}", "[".repeat(9), "]".repeat(9)), &json!("too_deep"));
    let plan = source(&[]).plan(&Arrival::new("a", b"\xff"), 8, 0);
    assert_eq!(plan.expect_err("no text").word, "not_text");
}
