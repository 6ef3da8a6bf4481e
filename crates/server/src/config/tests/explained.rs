//! What `oyez explain` and `oyez check` print, and that the reference is up to date.

use oyez_hub::policy::grants::Action;
use serde_json::{Value, json};

use super::driver::app;
use super::{FILES, load_with_env};
use crate::config::{explain, reference};

fn explained(name: &str, claims: &Value, action: Action<'_>, channel: &str) -> String {
    let claims = claims.as_object().expect("an object");
    explain("oyez.toml", &app(name), claims, action, channel).expect("a user").to_string()
}

#[test]
fn a_denial_shows_its_rule_and_the_values_of_its_parts() {
    let said = explained("ticketing", &json!({"userId": "u1", "roles": ["agent"]}), Action::Subscribe, "role:admin");
    let line = FILES[0].1.lines().position(|line| line.contains("role in user.roles")).expect("the rule") + 1;
    let expect = format!(
        "DENIED: subscribe role:admin
  user \"u1\", roles [\"agent\"], departments []
  oyez.toml:{line} channel \"role:{{role}}\": subscribe = role in user.roles || user.admin
    role in user.roles is false
      role = \"admin\"
      user.roles = [\"agent\"]
    user.admin is false
      user.roles = [\"agent\"]
"
    );
    assert_eq!(said, expect);
}

#[test]
fn what_is_allowed_and_what_no_rule_names() {
    let said = explained("ticketing", &json!({"userId": "u1", "roles": ["admin"]}), Action::Subscribe, "role:x");
    assert!(
        said.starts_with("ALLOWED: subscribe role:x\n")
            && said.contains("administrator")
            && said.contains("user.admin is true"),
        "{said}"
    );
    let said = explained("concrete-plant", &json!({"sub": 1}), Action::Subscribe, "sites:1");
    assert!(said.contains("DENIED") && said.contains("there is no channel sites:1"), "{said}");
    let said = explained("concrete-plant", &json!({"sub": 1}), Action::Publish { event: "x", member: true }, "site:1");
    assert!(said.contains("does not write `publish`, so nobody may"), "{said}");
    assert!(explain("f", &app("erp"), &serde_json::Map::new(), Action::Subscribe, "platform").is_err());
}

#[test]
fn a_right_may_be_asked_of_the_backend() {
    let ask = r#"{ ask = "https://desk.example.com/may", cache = "1m" }"#;
    let source = FILES[0].1.replacen("subscribe = true", &format!("subscribe = {ask}"), 1);
    let app = load_with_env(&source).unwrap_or_else(|problems| panic!("{problems}")).apps.remove(0);
    let claims = json!({"userId": "u1", "departments": ["tech"]});
    let said = explain("oyez.toml", &app, claims.as_object().expect("an object"), Action::Subscribe, "ticket:9")
        .expect("a user");
    assert!(said.to_string().contains("ASKED of the app's backend: subscribe ticket:9"), "{said}");
    let oyez_hub::policy::Verdict::Ask(question) = said.verdict else { panic!("a question") };
    assert_eq!(
        (question.ask.cache.as_secs(), question.ask.endpoint.timeout.as_secs(), question.ask.default),
        (60, 2, false)
    );
    let body = json!({
        "user": "u1", "roles": [], "attributes": {"departments": ["tech"]}, "action": "subscribe", "channel": "ticket:9", "captures": {"id": "9"}
    });
    assert_eq!(question.body, body);
}

#[test]
fn the_reference_in_docs_is_this_one() {
    let kept = include_str!("../../../../../docs/configuration.md");
    assert!(kept == reference(), "run `cargo xtask docs`");
}
