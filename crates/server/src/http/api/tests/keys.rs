//! Keys: who they are, for which app, with which rights.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_key_is_needed_and_only_as_a_bearer_token() {
    let node = Node::desk();
    let body = json!({"to": "*", "event": "x"}).to_string();
    for secret in ["", "wrong", "keyy", "ke"] {
        let answer = node.ask("POST", "/api/v1/publish", secret, body.clone()).await;
        answer.refused(401, "unauthorized", &["key"]);
    }
    node.ask("POST", "/api/v1/publish?token=key&api_key=key", "", body.clone()).await.refused(401, "unauthorized", &[]);
    let jwt = token(json!({"userId": "1", "roles": ["admin"]}));
    node.ask("POST", "/api/v1/publish", &jwt, body).await.refused(401, "unauthorized", &[]);
}

#[tokio::test]
async fn keys_are_scoped_to_apps_and_rights() {
    let node = Node::two_apps();
    let publish = |app: Option<&str>| json!({"app": app, "to": "*", "event": "x"}).to_string();
    let kick = json!({"user": "1"}).to_string();
    // key, path, body, expected status, code, words of the remedy
    type Row<'a> = (&'a str, &'a str, &'a str, u16, &'a str, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        ("key", "publish", &publish(None), 400, "bad_request", &["`app`", "ticketing, concrete-plant"]),
        ("key", "publish", &publish(Some("ticketing")), 200, "", &[]),
        ("key", "publish", &publish(Some("nope")), 404, "not_found", &["nope"]),
        ("desk-key", "publish", &publish(None), 200, "", &[]),
        ("desk-key", "publish", &publish(Some("concrete-plant")), 403, "forbidden", &["[key.desk]"]),
        ("desk-key", "publish", &publish(Some("nope")), 403, "forbidden", &["[key.desk]"]),
        ("desk-key", "disconnect", &kick, 403, "forbidden", &["\"disconnect\"", "[key.desk]"]),
        ("desk-key", "revoke", &kick, 403, "forbidden", &["\"revoke\""]),
        ("guard-key", "disconnect", &kick, 200, "", &[]),
        ("guard-key", "revoke", &kick, 200, "", &[]),
        ("guard-key", "publish", &publish(None), 403, "forbidden", &["\"publish\""]),
    ];
    for (secret, path, body, status, code, words) in rows {
        let answer = node.ask("POST", &format!("/api/v1/{path}"), secret, (*body).to_owned()).await;
        if *status == 200 {
            answer.ok();
        } else {
            answer.refused(*status, code, words);
        }
    }
    node.ask("GET", "/api/v1/online", "guard-key", "").await.refused(403, "forbidden", &["\"read\""]);
    let online = node.ask("GET", "/api/v1/online", "desk-key", "").await.ok();
    assert_eq!(online["apps"], json!({"ticketing": {"connections": 0, "users": 0}}));
}

#[tokio::test]
async fn a_key_publishes_no_faster_than_the_app_allows() {
    let source = include_str!("../../../../../../examples/ticketing/oyez.toml");
    let mut config = configured(source);
    config.limits.publishes = Some(oyez_hub::policy::limits::Rate::new(3, 3));
    let node = Node::new(&[config], vec![key("a", "key", &["*"], &["*"]), key("b", "other", &["*"], &["*"])]);
    let body = json!({"to": "*", "event": "x"}).to_string();
    for _ in 0..3 {
        node.ask("POST", "/api/v1/publish", "key", body.clone()).await.ok();
    }
    let answer = node.ask("POST", "/api/v1/publish", "key", body.clone()).await;
    answer.refused(429, "rate_limited", &["publishes_per_second"]);
    node.ask("POST", "/api/v1/publish", "other", body).await.ok();
}
