//! One file per seed.

mod cloudphone;
mod concrete_plant;
mod demo;
mod erp;
mod ginforge;
mod ticketing;

use super::FILES;
use super::driver::Session;

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
