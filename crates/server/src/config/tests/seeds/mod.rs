//! One file per seed.

mod cloudphone;
mod concrete_plant;
mod demo;
mod erp;
mod ginforge;
mod ticketing;

use oyez_hub::delivery::Priority::{self, High, Low, Normal, Urgent};
use oyez_hub::promise::{Acknowledge, Class, Keeper};

use super::FILES;
use super::driver::{self, Session};

/// What becomes of an event in a channel: whether it is durable, and how urgent it is.
#[test]
#[rustfmt::skip] // a row a line
fn what_must_not_be_missed_is_kept_and_what_comes_again_may_wait() {
    #[track_caller]
    fn check(name: &str, event: &str, channel: &str, durable: Option<&str>, priority: Priority) {
        let app = driver::app(name);
        let rule = app.events.iter().find(|rule| rule.fits(event, channel));
        let class = rule.and_then(|rule| rule.class);
        assert_eq!(class, durable.map(|_| Class::Durable), "{name} {event} {channel}");
        assert_eq!(rule.and_then(|rule| rule.priority).unwrap_or_default(), priority, "{name} {event} {channel}");
        let keeper = app.policy.keeper(channel).map(|keeper| match keeper {
            Keeper::User(user) => user.to_string(),
            Keeper::Roster => "roster".to_owned(),
        });
        if durable.is_some() {
            assert_eq!(keeper.as_deref(), durable, "{name} {event} {channel}");
        }
        assert_eq!(app.inbox.expect("an inbox").acknowledge, Acknowledge::Heartbeat, "its clients acknowledge nothing");
    }
    check("ticketing", "notification", "user:u1", Some("u1"), High);
    check("ticketing", "notification", "role:admin", None, Normal);
    check("ticketing", "notification", "department:tech", None, Normal);
    check("ticketing", "ticket_updated", "ticket:1", None, Normal);
    check("ticketing", "system_alert", "*", None, Urgent);
    check("ticketing", "user_activity", "role:admin", None, Low);
    check("concrete-plant", "alarm:new", "site:1", Some("roster"), Urgent);
    check("concrete-plant", "alarm:update", "site:1", Some("roster"), Urgent);
    check("concrete-plant", "alarm:new", "alarms", None, Urgent);
    check("concrete-plant", "notification:new", "user:7", Some("7"), High);
    check("concrete-plant", "notification:new", "notifications", None, Normal);
    check("concrete-plant", "dashboard:update", "site:1", None, Low);
    check("concrete-plant", "vehicle:update", "site:1", None, Low);
    check("concrete-plant", "order:update", "site:1", None, Normal);
    check("erp", "order:new", "platform", Some("roster"), High);
    check("erp", "order:shipped", "tenant:t1", Some("roster"), High);
    check("erp", "order:status_changed", "user:u1", Some("u1"), High);
    check("erp", "notification:new", "user:u1", Some("u1"), Normal);
    check("erp", "workorder:assigned", "user:u1", Some("u1"), Normal);
    check("erp", "chat:message", "user:u1", None, Normal);
    check("erp", "stock:low", "tenant:t1", None, High);
    check("erp", "stock:updated", "tenant:t1", None, Low);
    check("ginforge", "notification", "user:1", Some("1"), High);
    check("ginforge", "notification", "*", None, Normal);
    check("ginforge", "chat", "user:1", None, Normal);
    check("ginforge", "user_status", "*", None, Low);
    check("cloudphone", "notification", "user:u1", Some("u1"), High);
    check("cloudphone", "notification", "admin", Some("roster"), Urgent);
    check("cloudphone", "notification", "*", None, Normal);
    check("cloudphone", "message", "admin", None, Low);
}

#[test]
fn no_data_makes_an_app_panic() {
    let odd = [
        "null",
        "true",
        "7",
        "1e308",
        "-0.0",
        "\"\"",
        "\"*\"",
        "[]",
        "[[]]",
        "{}",
        "[null,{},\"a\",1]",
        "18446744073709551616",
        "\"\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "{\"a\":{\"room\":{\"room\":[]}}}",
    ];
    let fields = ["channels", "siteId", "userId", "room", "to", "content", "token", "timestamp", "channel", "data"];
    for (name, _) in FILES {
        let claims = serde_json::json!({"sub": "1", "id": "1", "userId": "1", "user_id": "1"});
        let (mut session, _) = Session::open(name, &claims);
        let events: Vec<_> = session.app.dialect.events.keys().cloned().collect();
        for event in events {
            for value in odd {
                session.say(&event, value);
                let all = fields.map(|field| format!("\"{field}\":{value}")).join(",");
                session.say(&event, &format!("{{{all}}}"));
            }
        }
        assert!(session.channels.iter().all(|channel| !channel.contains(['*', '\0'])), "{name}");
    }
}
