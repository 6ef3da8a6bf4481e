//! Moving, disconnecting, revoking.

use oyez_hub::command::{Goodbye, Select};
use oyez_hub::policy::token::hash_id;
use serde_json::json;

use super::*;

#[tokio::test]
async fn connections_are_moved_and_ended() {
    let mut node = Node::desk();
    let id = session("1", &[]).id;
    node.post("/api/v1/subscribe", json!({"user": "1", "channels": ["a", "b"]})).await.ok();
    match node.control().await {
        Control::Join(AppId(0), Select::User(user), channels) => {
            assert_eq!((&*user, channels.len()), ("1", 2));
        }
        other => panic!("{other:?}"),
    }
    node.post("/api/v1/unsubscribe", json!({"channel": "a", "channels": "b"})).await.ok();
    assert!(matches!(node.control().await, Control::Leave(AppId(0), Select::Channels { .. }, _)));
    node.post("/api/v1/disconnect", json!({"channel": "*"})).await.ok();
    assert!(matches!(node.control().await, Control::Disconnect(AppId(0), Select::Everyone, Goodbye::Namespace)));
    node.post("/api/v1/disconnect", json!({"user": "1", "transport": true})).await.ok();
    assert!(matches!(node.control().await, Control::Disconnect(AppId(0), Select::User(_), Goodbye::Transport)));
    // A session of another node: nobody here is asked.
    node.post("/api/v1/disconnect", json!({"session": id})).await.ok();
}

#[tokio::test]
async fn wrong_commands_are_told_their_mistake() {
    let node = Node::desk();
    let now = unix_seconds();
    let rows: &[(&str, Value, &[&str])] = &[
        ("disconnect", json!({}), &["exactly one of `user`, `session` and `channel`"]),
        ("disconnect", json!({"user": "1", "channel": "a"}), &["exactly one"]),
        ("disconnect", json!({"session": "nope"}), &["no session id", "/api/v1/connections"]),
        ("disconnect", json!({"user": 1}), &["`user`", "integer `1`"]),
        ("disconnect", json!({"usr": "1"}), &["unknown field `usr`"]),
        ("subscribe", json!({"user": "1"}), &["`channels` names none"]),
        ("subscribe", json!({"user": "1", "channels": "*"}), &["everybody is in `*`"]),
        ("unsubscribe", json!({"user": "1", "channels": [""]}), &["not a channel name"]),
        ("revoke", json!({}), &["`token_id`", "`issued_before`"]),
        ("revoke", json!({"token_id": "a", "user": "b"}), &["name one of"]),
        ("revoke", json!({"token_id": ""}), &["empty"]),
        ("revoke", json!({"user": "1", "until": 5}), &["`until`"]),
        ("revoke", json!({"issued_before": "now"}), &["`issued_before`", "line 1"]),
        ("revoke", json!({"issued_before": now * 1_000}), &["`issued_before`", "seconds since the Unix epoch"]),
        ("revoke", json!({"user": "1", "issued_before": now + 90}), &["`issued_before`", "yet to come"]),
    ];
    for (path, body, words) in rows {
        node.post(&format!("/api/v1/{path}"), body.clone()).await.refused(400, "bad_request", words);
    }
}

#[tokio::test]
async fn revoked_tokens_are_refused_and_live_sessions_looked_at_again() {
    let now = unix_seconds();
    let claims = |jti: Option<&str>| match jti {
        Some(jti) => token(json!({"userId": "1", "iat": now - 100, "jti": jti})),
        None => token(json!({"userId": "1", "iat": now - 100})),
    };
    let rows = [
        (json!({"token_id": "j1"}), claims(Some("j1"))),
        (json!({"token": claims(Some("j1"))}), claims(Some("j1"))),
        (json!({"token_id": hash_id(&claims(None)).to_uppercase().replace("SHA256", "sha256")}), claims(None)),
        (json!({"token": claims(None)}), claims(None)),
        (json!({"user": "1"}), claims(None)),
        (json!({"user": "1", "issued_before": now}), claims(None)),
        (json!({"issued_before": now}), claims(None)),
    ];
    for (body, token) in rows {
        let mut node = Node::desk();
        let other = super::token(json!({"userId": "2", "iat": now}));
        let identify = async |token: &str| {
            let app = node.hub.app(AppId(0));
            app.credentials.as_ref().unwrap().identify(Some(token), now).await
        };
        identify(&token).await.unwrap();
        node.post("/api/v1/revoke", body.clone()).await.ok();
        let refusal = identify(&token).await.unwrap_err();
        assert_eq!(refusal.word, "revoked", "{body}");
        identify(&other).await.unwrap();
        assert!(matches!(node.control().await, Control::Recheck(AppId(0))));
    }
}
