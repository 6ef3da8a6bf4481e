//! Inboxes: which keys open them, and what users may see of them. What is done to them is tested with clients, in
//! `tests/e2e/desk.test.mjs`.

use oyez_hub::policy::channel::Pattern;
use serde_json::json;

use super::*;

const DESK: &str = r#"
[key.backend]
secret = { env = "OYEZ_API_KEY" }
[app.desk]
origins = ["*"]
[app.desk.socketio]
[app.desk.auth.jwt]
algorithms = ["HS256"]
secret = { env = "JWT_SECRET" }
[app.desk.identity]
user = "claims.sub"
roles = "claims.roles"
[app.desk.inbox]
[[app.desk.channel]]
name = "user:{id}"
inbox = "{id}"
[[app.desk.channel]]
name = "team:{team}"
subscribe = "team in user.roles"
roster = "api"
[[app.desk.event]]
name = "notice"
delivery = "durable"
"#;

/// A desk whose inboxes are in memory, with a key for each right, one for some channels, one for another app.
fn desk() -> Node {
    let some = |name: &str, patterns: &[&str]| ApiKey {
        channels: Some(patterns.iter().map(|text| Pattern::compile(text).expect("a pattern")).collect()),
        ..key(name, name, &["*"], &["*"])
    };
    let keys = vec![
        key("all", "key", &["*"], &["*"]),
        key("reads", "reads", &["desk"], &["read"]),
        key("publishes", "publishes", &["desk"], &["publish"]),
        key("elsewhere", "elsewhere", &["other"], &["*"]),
        some("teams", &["team:{id}"]),
    ];
    Node::new(&[configured(DESK)], keys)
}

const MARK: &str = "/api/v1/inbox/mark";
const ROSTER: &str = "/api/v1/channels/team:red/roster";

#[tokio::test]
async fn each_operation_needs_its_right() {
    let node = desk();
    node.post("/api/v1/publish", json!({"to": "user:1", "event": "notice", "id": "m"})).await.ok();
    let mark = json!({"user": "1", "all": true, "state": "seen"});
    let gone = json!({"user": "1", "ids": ["m"]});
    let again = json!({"user": "1", "id": "m"});
    let red = json!({"users": ["1"]});
    // method, path, body, the right
    type Row<'a> = (&'a str, &'a str, &'a Value, &'a str);
    let rows: &[Row<'_>] = &[
        ("GET", "/api/v1/inbox?user=1", &Value::Null, "reads"),
        ("GET", "/api/v1/inbox/unread?user=1", &Value::Null, "reads"),
        ("GET", "/api/v1/messages/m/trace?user=1", &Value::Null, "reads"),
        ("GET", ROSTER, &Value::Null, "reads"),
        ("POST", MARK, &mark, "publishes"),
        ("POST", "/api/v1/inbox/resend", &again, "publishes"),
        ("POST", "/api/v1/inbox/delete", &gone, "publishes"),
        ("PUT", ROSTER, &red, "publishes"),
        ("DELETE", ROSTER, &red, "publishes"),
    ];
    for (method, path, body, right) in rows {
        let ask = async |secret: &str| node.ask(method, path, secret, body.to_string()).await;
        let other = if *right == "reads" { "publishes" } else { "reads" };
        ask(other).await.refused(403, "forbidden", &["`rights`", other]);
        ask("elsewhere").await.refused(404, "not_found", &["elsewhere"]);
        if *path != ROSTER {
            ask("teams").await.refused(403, "forbidden", &["`channels` of [key.teams]"]);
        }
        ask(right).await.ok();
    }
}

#[tokio::test]
async fn rosters_are_for_keys_of_their_channel() {
    let node = desk();
    let users = json!({"users": ["1", "2"]}).to_string();
    let changed = node.ask("PUT", ROSTER, "teams", users.clone()).await.ok();
    assert_eq!(changed, json!({"changed": 2}));
    assert_eq!(node.ask("GET", ROSTER, "teams", "").await.ok()["users"].as_array().map(Vec::len), Some(2));
    for path in ["/api/v1/channels/user:1/roster", "/api/v1/channels/other/roster"] {
        node.ask("PUT", path, "teams", users.clone()).await.refused(403, "forbidden", &["[key.teams]"]);
        node.ask("PUT", path, "key", users.clone()).await.refused(409, "conflict", &["`roster`"]);
    }
    node.ask("PUT", "/api/v1/channels/%07/roster", "key", users).await.refused(400, "bad_request", &["channel name"]);
}

#[tokio::test]
async fn users_see_what_they_may_hear_now() {
    let node = desk();
    node.ask("PUT", ROSTER, "key", json!({"users": ["1"]}).to_string()).await.ok();
    node.post("/api/v1/publish", json!({"to": ["user:1", "team:red"], "event": "notice", "id": "both"})).await.ok();
    node.post("/api/v1/publish", json!({"to": "team:red", "event": "notice", "data": [1, 2], "id": "team"})).await.ok();
    let list = async |secret: &str, query: &str| {
        let page = node.ask("GET", &format!("/api/v1/inbox?order=oldest{query}"), secret, "").await.ok();
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let member = token(json!({"sub": "1", "roles": ["red"]}));
    let former = token(json!({"sub": "1", "roles": []}));
    assert_eq!(list(&member, "").await, ["both", "team"]);
    assert_eq!(list(&former, "").await, ["both"]);
    assert_eq!(list("key", "&user=1").await, ["both", "team"]);
    assert_eq!(list("", &format!("&token={former}")).await, ["both"]);
    let marked = node.ask("POST", MARK, &member, json!({"all": true, "state": "read"}).to_string()).await.ok();
    assert_eq!(marked, json!({"changed": 2, "unknown": []}), "one message is one, however often it is there");
}

#[tokio::test]
async fn who_is_nobody_has_no_inbox() {
    let node = desk();
    for path in ["/api/v1/inbox", "/api/v1/inbox/unread"] {
        node.ask("GET", path, "", "").await.refused(401, "unauthorized", &[]);
        node.ask("GET", path, "key", "").await.refused(400, "bad_request", &["`user`"]);
    }
    // Whoever is not known does not learn what is wrong with the body.
    node.ask("POST", MARK, "rubbish", "{").await.refused(401, "invalid_token", &[]);
    let genuine = json!({"sub": "1", "exp": unix_seconds() - 60});
    let ended = mint(SECRET.as_bytes(), genuine.as_object().unwrap()).unwrap();
    node.ask("POST", MARK, &ended, "{").await.refused(401, "token_expired", &[]);
    let forged = mint(b"another-secret-for-tests-0123456789", genuine.as_object().unwrap()).unwrap();
    node.ask("POST", MARK, &forged, "{").await.refused(401, "invalid_token", &[]);
}

#[tokio::test]
async fn an_app_without_inboxes_says_how_it_gets_them() {
    let keys = ["[app.desk.inbox]\n", "inbox = \"{id}\"\n", "roster = \"api\"\n", "delivery = \"durable\"\n"];
    let without = keys.iter().fold(DESK.to_owned(), |text, key| text.replace(key, ""));
    let node = Node::new(&[configured(&without)], vec![key("all", "key", &["*"], &["*"])]);
    node.get("/api/v1/inbox?user=1").await.refused(409, "conflict", &["[app.desk.inbox]"]);
    let jwt = token(json!({"sub": "1"}));
    node.ask("GET", "/api/v1/inbox", &jwt, "").await.refused(409, "conflict", &["[app.desk.inbox]"]);
    node.get("/api/v1/messages/m/trace?user=1").await.refused(409, "conflict", &["[app.desk.inbox]"]);
}
