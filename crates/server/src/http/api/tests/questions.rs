//! Looking: channels, presence, connections, probes, pages.

use serde_json::json;

use super::*;

#[tokio::test]
async fn channels_are_listed_and_counted() {
    let node = Node::desk();
    for channel in ["*", "b", "a", "site/1", "a"] {
        node.join(0, channel);
    }
    let all = node.get("/api/v1/channels").await.ok();
    assert_eq!(all["total"], 3);
    assert_eq!(all["channels"][0], json!({"channel": "a", "count": 2}));
    let some = node.get("/api/v1/channels?prefix=site&limit=1").await.ok();
    assert_eq!(some, json!({"total": 1, "channels": [{"channel": "site/1", "count": 1}]}));
    assert_eq!(node.get("/api/v1/channels/site%2F1").await.ok(), json!({"channel": "site/1", "count": 1}));
    assert_eq!(node.get("/api/v1/channels/nobody").await.ok()["count"], 0);
    node.get("/api/v1/channels?limit=0").await.refused(400, "bad_request", &["`limit`"]);
    node.get("/api/v1/channels?prefx=a").await.refused(400, "bad_request", &["prefx"]);
    node.get("/api/v1/channels/%07").await.refused(400, "bad_request", &["channel name"]);
    node.get("/api/v1/channels/%FF").await.refused(400, "bad_request", &["UTF-8"]);
    node.get("/api/v1/channels/%C3%A9").await.ok();
}

#[tokio::test]
async fn presence_counts_connections_and_names_users_once() {
    let node = Node::desk();
    let (ann, bob) = (Arc::from("ann"), Arc::from("bob"));
    node.hub.presence().connect(AppId(0), &ann, None);
    node.hub.presence().connect(AppId(0), &ann, None);
    node.hub.presence().connect(AppId(0), &bob, None);
    (0..3).for_each(|_| node.join(0, "*"));
    let online = node.get("/api/v1/online").await.ok();
    assert_eq!(online["connections"], 3);
    assert_eq!(online["users"], 2);
    assert_eq!(online["apps"]["ticketing"]["users"], 2);
    let user = node.get("/api/v1/users/ann/presence").await.ok();
    assert_eq!(user, json!({"user": "ann", "online": true, "status": "online", "connections": 2}));
    assert_eq!(node.get("/api/v1/users/eve/presence").await.ok()["online"], false);
    let sessions = vec![session("bob", &["a"]), session("ann", &["a"]), session("ann", &["a"])];
    let node = Node::desk_with(sessions);
    let presence = node.get("/api/v1/channels/a/presence").await.ok();
    assert_eq!(presence["count"], 3);
    let users: Vec<_> =
        presence["users"].as_array().unwrap().iter().map(|user| (&user["user"], &user["connections"])).collect();
    assert_eq!(users, [(&json!("ann"), &json!(2)), (&json!("bob"), &json!(1))]);
}

#[tokio::test]
async fn connections_are_shown_oldest_first_and_filtered() {
    let mut old = session("ann", &["a"]);
    old.connected_at = 1;
    let node = Node::desk_with(vec![session("bob", &["b"]), old, session("ann", &["b"])]);
    let all = node.get("/api/v1/connections?limit=1").await.ok();
    assert_eq!(all["total"], 3);
    assert_eq!(all["connections"].as_array().unwrap().len(), 1);
    assert_eq!(all["connections"][0]["connected_at"], 1);
    let some = node.get("/api/v1/connections?user=ann&channel=b").await.ok();
    assert_eq!(some["total"], 1);
    assert_eq!(some["connections"][0]["channels"], json!(["b"]));
    let refused = node.get("/api/v1/connections?limit=x").await;
    refused.refused(400, "bad_request", &["`limit`: expected a whole number, at least 0"]);
    for query in ["limit=0", "limit=1001", "limit=x", "session=x", "who=ann"] {
        let answer = node.get(&format!("/api/v1/connections?{query}")).await;
        answer.refused(400, "bad_request", &[query.split('=').next().unwrap()]);
    }
}

#[tokio::test]
async fn probes_answer_without_a_key() {
    let node = Node::desk();
    let ask = |path: &'static str| node.ask("GET", path, "", "");
    assert_eq!(ask("/healthz").await.ok(), json!({"status": "ok"}));
    assert_eq!(ask("/readyz").await.ok(), json!({"status": "ready"}));
    let metrics = ask("/metrics").await;
    for name in ["connections", "messages_sent", "messages_received", "subscriptions"] {
        assert!(metrics.text.contains(&format!("websocket_{name}_total{{app=\"ticketing\"}} 0")), "{}", metrics.text);
    }
    node.stop.cancel();
    let unready = ask("/readyz").await;
    unready.refused(503, "unavailable", &["another node"]);
    assert_eq!(unready.json["reasons"][0]["reason"], "shutting_down");
    assert_eq!(ask("/healthz").await.ok(), json!({"status": "ok"}));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told_where_to_look() {
    let node = Node::desk();
    node.get("/api/v1/nothing").await.refused(404, "not_found", &["/api/docs"]);
    node.get("/api/v1/publish").await.refused(405, "method_not_allowed", &["/api/docs"]);
    node.ask("DELETE", "/", "", "").await.refused(405, "method_not_allowed", &[]);
}

#[tokio::test]
async fn every_operation_is_described() {
    let node = Node::desk();
    let document = node.ask("GET", "/api/openapi.json", "", "").await.ok();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 31);
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(operation["tags"][0].is_string(), "{method} {path} has no tag");
            assert_eq!(operation["security"].is_array(), operation["tags"][0] != "probes", "{path}");
            assert!(operation["responses"]["200"].is_object(), "{path}");
            let body = &operation["requestBody"]["content"]["application/json"];
            // To read the configuration again, nothing needs to be said.
            let is_roster = path.ends_with("/roster") && method != "get";
            let has_body = is_roster || (method == "post" && path != "/api/v1/reload");
            assert_eq!(body["example"].is_object(), has_body, "{path}");
        }
    }
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
    }
}

#[tokio::test]
async fn pages_bring_nothing_from_elsewhere_and_run_nothing_inline() {
    let node = Node::desk();
    for path in ["/", "/api/docs", "/assets/oyez.css", "/assets/page.js", "/assets/docs.js", "/assets/demo.js"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = node.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        let policy = response.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let text = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(!text.contains("://"), "{path} leads elsewhere");
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", "onclick="]
        {
            assert!(!text.contains(forbidden), "{path} holds {forbidden}");
        }
    }
}

#[tokio::test]
async fn the_demo_tells_its_tokens_to_this_machine_only() {
    let node = Node::desk();
    for (host, status) in [
        ("127.0.0.1:3001", 200),
        ("localhost:3001", 200),
        ("[::1]:3001", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
    ] {
        let request = Request::builder().uri("/demo.json").header("host", host).body(Body::empty()).unwrap();
        assert_eq!(node.router.clone().oneshot(request).await.unwrap().status(), status, "{host}");
    }
}
