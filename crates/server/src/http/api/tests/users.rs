//! What pages ask with their own users' tokens: seeds/001 and seeds/003.

use serde_json::json;

use super::*;

const TEST: &str = "/api/websocket/test-notification";

#[tokio::test]
async fn users_notify_themselves_and_administrators_anyone() {
    let mut node = Node::desk();
    node.join(0, "user:1");
    node.join(0, "user:2");
    let user = token(json!({"userId": "1", "roles": ["user"]}));
    let admin = token(json!({"userId": "9", "roles": ["admin"]}));
    let body =
        |id: &str| json!({"userId": id, "title": "t", "message": "m", "type": "info", "priority": "high"}).to_string();
    let sent = json!({"success": true, "message": "Notification sent"});
    assert_eq!(node.ask("POST", TEST, &user, body("1")).await.ok(), sent);
    let delivery = node.delivery().await;
    assert_eq!(&*delivery.event, "notification");
    let mut payload = serde_json::from_str::<Value>(delivery.args.text()).unwrap()["payload"].take();
    let id = payload["id"].take();
    let millis = id.as_str().unwrap().strip_prefix("test-").unwrap();
    assert!(millis.parse::<u64>().is_ok());
    assert_eq!(payload, json!({"id": null, "title": "t", "message": "m", "type": "info", "priority": "high"}));
    assert_eq!(node.ask("POST", TEST, &admin, body("2")).await.ok(), sent);
    node.delivery().await;
    node.ask("POST", TEST, &user, body("2")).await.refused(403, "forbidden", &["administrators"]);
    node.ask("POST", TEST, &user, "{}").await.refused(400, "bad_request", &["userId"]);
    for (token, code) in [("", "unauthorized"), ("not.a.token", "invalid_token"), ("key", "invalid_token")] {
        node.ask("POST", TEST, token, body("1")).await.refused(401, code, &[]);
        // Whoever is not known does not learn what is wrong with the body.
        node.ask("POST", TEST, token, "{}").await.refused(401, code, &[]);
    }
    node.silence().await;
}

#[tokio::test]
async fn the_desk_says_who_is_online() {
    let node = Node::desk();
    node.hub.presence().connect(AppId(0), &Arc::from("1"), None);
    node.join(0, "*");
    let status = node.ask("GET", "/api/websocket/status", &token(json!({"userId": "1"})), "").await.ok();
    assert_eq!((&status["online"], &status["users"]), (&json!(1), &json!(["1"])));
    assert!(status["timestamp"].as_str().unwrap().ends_with('Z'));
    // A key of the backend's is no token.
    for (shown, code) in [("", "unauthorized"), ("key", "invalid_token")] {
        let words = ["token of a user", "`oyez token`", "an API key is none"];
        node.ask("GET", "/api/websocket/status", shown, "").await.refused(401, code, &words);
    }
}

fn gateway(sessions: Vec<SocketInfo>) -> Node {
    let config = configured(include_str!("../../../../../../examples/ginforge/oyez.toml"));
    Node::with_sessions(&[config], vec![key("backend", "key", &["*"], &["*"])], sessions)
}

#[tokio::test]
async fn the_gateway_counts_and_lists() {
    let node = gateway(Vec::new());
    node.hub.presence().connect(AppId(0), &Arc::from("7"), None);
    node.join(0, "*");
    node.join(0, "chat:1");
    let jwt = token(json!({"user_id": "7"}));
    let stats = node.ask("GET", "/ws/stats", &jwt, "").await.ok();
    let data = json!({"total_clients": 1, "online_users": 1, "total_rooms": 1, "uptime": 0});
    assert_eq!(stats, json!({"code": 0, "message": "success", "data": data}));
    let users = node.ask("GET", &format!("/ws/online-users?token={jwt}"), "", "").await.ok();
    assert_eq!(users["data"], json!({"total": 1, "users": ["7"]}));
    for path in ["/ws/stats", "/ws/online-users"] {
        for (token, message) in [("", "未提供认证令牌"), ("nonsense", "无效的认证令牌")] {
            let answer = node.ask("GET", path, token, "").await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.json, json!({"code": 401, "message": message}));
        }
    }
}

#[tokio::test]
async fn a_session_answers_its_owner_only() {
    let own = session("7", &["chat:1"]);
    let path = format!("/ws/session/client/{}", own.id);
    // The shard of this test describes the session whoever is asked for; the hub asks it only for its own node's.
    let node = gateway(vec![own]);
    let here = oyez_hub::address::Address { node: node.hub.node(), shard: 0, slot: 1, nonce: 2 }.encode();
    let local = format!("/ws/session/client/{here}");
    let jwt = token(json!({"user_id": "7"}));
    let found = node.ask("GET", &local, &jwt, "").await.ok();
    assert_eq!(found["data"]["user_id"], "7");
    assert_eq!(found["data"]["rooms"], json!(["chat:1"]));
    let stranger = token(json!({"user_id": "8"}));
    for (path, token, status, code) in [
        (&local, stranger.as_str(), 404, 404),
        (&path, jwt.as_str(), 404, 404),
        (&"/ws/session/client/x".to_owned(), jwt.as_str(), 404, 404),
        (&local, "", 200, 401),
        (&local, "nonsense", 200, 401),
    ] {
        let answer = node.ask("GET", path, token, "").await;
        assert_eq!((answer.status.as_u16(), &answer.json["code"]), (status, &json!(code)), "{path}");
        assert!(answer.json.get("data").is_none());
    }
}
