//! Keys: who they are, for which app, with which rights.

use oyez_hub::policy::channel::Pattern;
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
async fn keys_are_scoped_to_channels() {
    let config = configured(include_str!("../../../../../../examples/ticketing/oyez.toml"));
    let pattern = |text: &&str| Pattern::compile(text).expect("a pattern");
    let key = |name: &str, patterns: &[&str]| ApiKey {
        channels: Some(patterns.iter().map(pattern).collect()),
        ..key(name, name, &["*"], &["*"])
    };
    let mut listed = session("7", &["site:1", "user:7"]);
    listed.connected_at = 1;
    let keys = vec![key("sites", &["site:{id}", "news"]), key("any", &["{any}"]), key("none", &[])];
    let node = Node::with_sessions(&[config], keys, vec![listed]);
    let (everybody, refused) = (json!({"to": "*", "event": "x"}), Some("`channels` of [key."));
    // key, path, body, a part of the refusal
    let rows = [
        ("sites", "publish", json!({"to": ["site:1", "news"], "event": "x"}), None),
        ("sites", "publish", json!({"to": ["site:1", "user:7"], "event": "x"}), refused),
        ("sites", "publish", json!({"to": "news2", "event": "x"}), refused),
        ("sites", "publish", json!({"to": "news", "event": "x", "receipts": {"channel": "user:7"}}), refused),
        ("sites", "publish", everybody.clone(), refused),
        ("any", "publish", everybody, refused),
        ("any", "publish", json!({"to": "user:7", "event": "x"}), None),
        ("none", "publish", json!({"to": "news", "event": "x"}), refused),
        ("sites", "subscribe", json!({"user": "7", "channels": ["site:1"]}), None),
        ("sites", "subscribe", json!({"user": "7", "channels": ["role:admin"]}), refused),
        ("sites", "subscribe", json!({"channel": "role:admin", "channels": ["site:1"]}), refused),
        ("sites", "unsubscribe", json!({"channel": "*", "channels": ["site:1"]}), refused),
        ("sites", "disconnect", json!({"channel": "site:1"}), None),
        ("sites", "disconnect", json!({"channel": "*"}), refused),
        ("none", "disconnect", json!({"user": "7"}), None),
    ];
    for (key, path, body, expect) in rows {
        let answer = node.ask("POST", &format!("/api/v1/{path}"), key, body.to_string()).await;
        match expect {
            None => drop(answer.ok()),
            Some(words) => answer.refused(403, "forbidden", &[words, key]),
        }
    }
    let batch =
        json!({"commands": [{"publish": {"to": "user:7", "event": "x"}}, {"publish": {"to": "news", "event": "x"}}]});
    let results = node.ask("POST", "/api/v1/batch", "sites", batch.to_string()).await.ok();
    assert_eq!(
        (&results["results"][0]["error"]["code"], &results["results"][1]["level"]),
        (&json!("forbidden"), &json!("accepted"))
    );
    for channel in ["site:1", "user:7"] {
        node.join(0, channel);
    }
    let channels = node.ask("GET", "/api/v1/channels", "sites", "").await.ok();
    assert_eq!(channels, json!({"total": 1, "channels": [{"channel": "site:1", "count": 1}]}));
    for path in ["channels/user:7", "channels/user:7/presence", "connections?channel=user:7", "connections?channel=*"] {
        node.ask("GET", &format!("/api/v1/{path}"), "sites", "").await.refused(403, "forbidden", &["`channels`"]);
    }
    let connections = node.ask("GET", "/api/v1/connections", "sites", "").await.ok();
    assert_eq!(connections["connections"][0]["channels"], json!(["site:1"]), "and not what else it hears");
}

#[tokio::test]
async fn every_secret_of_a_key_opens_while_one_replaces_another() {
    let config = configured(include_str!("../../../../../../examples/ticketing/oyez.toml"));
    let rotating = ApiKey { secrets: vec!["old".to_owned(), "new".to_owned()], ..key("rotating", "", &["*"], &["*"]) };
    let node = Node::new(&[config], vec![rotating]);
    let body = json!({"to": "news", "event": "x"}).to_string();
    for secret in ["old", "new"] {
        node.ask("POST", "/api/v1/publish", secret, body.clone()).await.ok();
    }
    for secret in ["ol", "newn", "oldnew", "new,old", "OLD"] {
        node.ask("POST", "/api/v1/publish", secret, body.clone()).await.refused(401, "unauthorized", &["unknown"]);
    }
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
