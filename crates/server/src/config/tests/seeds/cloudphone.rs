//! seeds/004: the transcript of the Nest gateway, with rights.

use serde_json::{Value, json};

use super::super::driver::{Session, check};

fn user() -> Value {
    json!({"sub": "u1", "username": "a", "roles": ["user"], "isSuperAdmin": false})
}

#[test]
fn rooms_come_from_the_token() {
    let rooms = |claims: Value| Session::open("cloudphone", &claims).0.channels.into_iter().collect::<Vec<_>>();
    assert_eq!(rooms(user()), ["system", "user:u1"]);
    for claims in [
        json!({"sub": "r", "roles": ["admin"]}),
        json!({"sub": "r", "roles": ["super_admin"], "isSuperAdmin": null}),
        json!({"sub": "r", "roles": ["superadmin"]}),
        json!({"sub": "r", "roles": ["user"], "isSuperAdmin": true}),
        json!({"sub": "r", "isSuperAdmin": true}),
    ] {
        assert_eq!(rooms(claims.clone()), ["admin", "system", "user:r"], "{claims}");
    }
}

#[test]
#[rustfmt::skip] // a row a line
fn the_transcript_of_the_gateway() {
    let (_, heard) = Session::open("cloudphone", &user());
    assert_eq!(
        heard,
        [
            json!(["welcome", {"message": "已连接到通知服务", "clientId": "sid", "timestamp": "2026-11-21T02:00:00.000Z"}])
        ]
    );
    let is = |event: &str, data: Value, heard: Value| {
        check("cloudphone", &user(), event, &data, &heard, &[])
    };
    is("subscribe", json!({"userId": "u1"}), json!([["subscribed", {"userId": "u1", "message": "订阅成功"}]]));
    is("unsubscribe", json!({"userId": "u2"}), json!([["unsubscribed", {"userId": "u2", "message": "取消订阅成功"}]]));
    is("join_room", json!({"room": "system"}), json!([["room_joined", {"room": "system", "message": "加入房间成功"}]]));
    is("leave_room", json!({"room": "admin"}), json!([["room_left", {"room": "admin", "message": "离开房间成功"}]]));
    let exception = |message: &str| json!([["exception", {"status": "error", "message": message}]]);
    is("subscribe", json!({"userId": "u2"}), exception("not allowed to subscribe to user:u2"));
    is("join_room", json!({"room": "admin"}), exception("not allowed to subscribe to admin"));
    is("join_room", json!({"room": "free"}), exception("there is no channel free"));
    is("subscribe", json!(null), exception("subscribe: data.userId is missing"));
    is("subscribe", json!({"userId": ["u1", "u2"]}), exception("a name must be text or a number"));
    is("unknown", json!({}), json!([]));
    let admin = json!({"sub": "r", "roles": ["admin"]});
    check("cloudphone", &admin, "subscribe", &json!({"userId": "u2"}), &json!([["subscribed", {"userId": "u2", "message": "订阅成功"}]]), &["user:u2"]);
    check("cloudphone", &admin, "join_room", &json!({"room": "admin"}), &json!([["room_joined", {"room": "admin", "message": "加入房间成功"}]]), &[]);
}

#[test]
fn pushes_go_out_as_published() {
    let (session, _) = Session::open("cloudphone", &user());
    let entity = json!({"type": "quota.updated", "data": {"userId": "u1"}});
    assert_eq!(session.pushed("notification", &entity.to_string()), json!(["notification", entity]));
}
