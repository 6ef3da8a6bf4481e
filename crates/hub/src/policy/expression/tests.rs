//! Tables of expressions and what they give.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::dialect::{Place, names};
use crate::policy::identity::user_kind;
use crate::policy::{Identity, Rights};

fn li() -> Identity {
    let attributes = BTreeMap::from([("sites".into(), vec!["1".into(), "2".into()]), ("tenant".into(), vec![])]);
    let rights = Rights { roles: vec!["driver".into(), "night".into()], attributes, admin: false };
    Identity { user: "7".into(), rights: Arc::new(rights), ..Identity::default() }
}

fn condition_names() -> Names {
    let user = user_kind(["sites", "tenant"]);
    Names::default().with([
        ("siteId", Kind::Text),
        ("id", Kind::Text),
        ("user", user),
        ("member", Kind::Bool),
        ("event", Kind::Text),
    ])
}

fn condition(source: &str) -> Condition {
    Condition::compile(source, &condition_names()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// Source, what it gives for [`li`] with `siteId` 1 and `id` 7, whether it asks for rights only.
const CONDITIONS: &[(&str, bool, bool)] = &[
    ("true", true, true),
    ("!true", false, true),
    ("'driver' in user.roles", true, true),
    ("'admin' in user.roles", false, true),
    ("siteId in user.sites", true, true),
    ("siteId in user.tenant", false, true),
    ("user.id in user.sites", false, false),
    ("id == user.id", true, false),
    ("id != user.id", false, false),
    ("siteId == '1'", true, true),
    ("user.admin", false, true),
    ("user.admin || siteId in user.sites", true, true),
    ("user.admin || 'x' in user.roles || id == user.id", true, false),
    ("'driver' in user.roles && 'night' in user.roles && siteId == '1'", true, true),
    ("'driver' in user.roles && !(siteId in user.sites)", false, true),
    ("member", false, false),
    ("member || siteId == '1'", true, false),
    ("siteId.startsWith('1')", true, true),
    ("user.roles.exists(r, r == 'night')", true, true),
    ("user.roles.exists(r, r == user.id)", false, false),
    ("size(user.sites) == 2", true, true),
    ("user.name == null", true, false),
    ("siteId in ['1', '9']", true, true),
    ("event in ['a', 'b']", false, false),
    ("event == ''", true, false),
    ("(siteId + '!') == '1!'", true, true),
    ("int(siteId) > 0", true, true),
];

#[test]
fn conditions_hold_or_not() {
    let identity = li();
    let captures = [("siteId", "1"), ("id", "7")];
    let facts = Facts { captures: &captures, ..Facts::of(&identity) };
    for (source, expect, rights_only) in CONDITIONS {
        let condition = condition(source);
        assert_eq!(condition.holds(&facts), Ok(*expect), "{source}");
        assert_eq!(condition.depends_on_rights_only(), *rights_only, "{source}");
        assert_eq!(condition.evaluated_by_cel().holds(&facts), Ok(*expect), "{source} by CEL");
    }
}

#[test]
fn what_cannot_be_evaluated_is_a_fault() {
    let identity = li();
    let captures = [("siteId", "north"), ("id", "7")];
    let facts = Facts { captures: &captures, ..Facts::of(&identity) };
    for source in ["int(siteId) > 0", "user.roles[9] == 'x'", "1 / 0 == 1"] {
        assert!(condition(source).holds(&facts).is_err(), "{source}");
    }
}

fn shape(source: &str, data: &str) -> Result<String, Fault> {
    let identity = li();
    let joined = ["a".to_owned(), "b".to_owned()];
    let scope = Scope::new()
        .at(1_795_226_400_123)
        .with("user", Term::User(&identity))
        .with("event", Term::Text("say \"hi\""))
        .with("data", Term::Json(data))
        .with("joined", Term::Texts(&joined));
    let names = names(Place::Reply, user_kind(["sites", "tenant"]));
    Shape::compile(source, &names).unwrap_or_else(|error| panic!("{source}: {error}")).json(&scope)
}

#[test]
fn shapes_write_json_and_pass_data_through() {
    let data = r#"{"n":1.0,"big":12345678901234567890123,"o":{"b":1, "a":[ ]},"t":"\u00e9","z":null,"t":"last"}"#;
    for (source, expect) in [
        ("data", data),
        ("data.n", "1.0"),
        ("data.big", "12345678901234567890123"),
        ("data.o", r#"{"b":1, "a":[ ]}"#),
        ("data.o.b", "1"),
        ("data.t", r#""last""#),
        ("{'z': 1, 'a': data.n, 'm': [true, null, -2, 1.5]}", r#"{"z":1,"a":1.0,"m":[true,null,-2,1.5]}"#),
        ("{}", "{}"),
        ("[]", "[]"),
        ("first(data.x, data.z, data.n)", "1.0"),
        ("first(data.x, 'no')", r#""no""#),
        ("data.n > 0.5 ? 'more' : 'less'", r#""more""#),
        ("has(data.x) ? data.x : {'none': true}", r#"{"none":true}"#),
        ("event", r#""say \"hi\"""#),
        ("'a' + data.t", r#""alast""#),
        ("data.o.b + 1", "2"),
        ("size(joined)", "2"),
        ("joined", r#"["a","b"]"#),
        ("user.id", r#""7""#),
        ("user.name", "null"),
        ("user.sites", r#"["1","2"]"#),
        ("user", r#"{"id":"7","name":null,"admin":false,"roles":["driver","night"],"sites":["1","2"],"tenant":[]}"#),
        ("now", r#""2026-11-21T02:00:00.123Z""#),
        ("now_nanos", r#""2026-11-21T02:00:00.123000000Z""#),
        ("[now_ms, now_s]", "[1795226400123,1795226400]"),
    ] {
        assert_eq!(shape(source, data).as_deref(), Ok(expect), "{source}");
    }
}

#[test]
fn what_the_data_lacks_is_named() {
    let missing = |source: &str, data: &str| shape(source, data).expect_err(source).to_string();
    assert_eq!(missing("data.a.b", "{\"a\":1}"), "data.a.b is missing");
    assert_eq!(missing("{'x': data.a}", "null"), "data.a is missing");
    assert_eq!(missing("first(data.a, data.b)", "[]"), "data.a is missing");
    assert_eq!(missing("data.a + 1", "{}"), "a is missing");
    assert!(!missing("data + 1", "\"secret\"").contains("secret"));
}

/// Template, data, names.
#[rustfmt::skip]
const TEMPLATES: &[(&str, &str, &[&str])] = &[
    ("alarms", "{}", &["alarms"]),
    ("site:{data.id}", r#"{"id":1}"#, &["site:1"]),
    ("site:{data.id}", r#"{"id":1e0}"#, &["site:1"]),
    ("site:{data.id}", r#"{"id":-1}"#, &["site:-1"]),
    ("site:{each(data.id)}", r#"{"id":["a",2]}"#, &["site:a", "site:2"]),
    ("site:{each(data.id)}", r#"{"id":["a","a"]}"#, &["site:a"]),
    ("site:{each(data.id)}", r#"{"id":7}"#, &["site:7"]),
    ("site:{each(data.id)}", r#"{"id":[]}"#, &[]),
    ("{each(data.a)}:{each( data.b )}", r#"{"a":["x","y"],"b":["1","2"]}"#, &["x:1", "x:2", "y:1", "y:2"]),
    ("{data['a b']}!", r#"{"a b":"x"}"#, &["x!"]),
    ("{first(data.x, {'}': 1}['}'])}", r#"{}"#, &["1"]),
];

#[test]
fn templates_name_channels() {
    let scope = |data: &'static str| Scope::new().with("data", Term::Json(data));
    let names = Names::default().with([("data", Kind::Any)]);
    let template = |source: &str| Template::compile(source, &names).unwrap_or_else(|error| panic!("{source}: {error}"));
    for (source, data, expect) in TEMPLATES {
        let expanded = template(source).expand(&scope(data));
        let names = expect.iter().map(ToString::to_string).collect();
        assert_eq!(expanded, Ok(Expanded { names, refused: vec![] }), "{source} {data}");
    }
    for data in ["{}", r#"{"id":null}"#, "7"] {
        let fault = template("site:{data.id}").expand(&scope(data)).expect_err(data);
        assert_eq!(fault.to_string(), "data.id is missing");
    }
    let list = template("site:{data.id}").expand(&scope(r#"{"id":["a"]}"#));
    assert_eq!(list.map(|list| (list.names.len(), list.refused.len())), Ok((0, 1)));
    assert!(template("{each(data.id)}").text(&scope(r#"{"id":[1,2]}"#)).is_err());
}

#[test]
fn templates_that_cannot_work_are_refused() {
    let user = Names::default().with([("user", user_kind(["sites"]))]);
    for wrong in ["site:{user.sites}", "{each()}", "{each(user.id, user.id)}", "{first(each(user.sites))}", "{user"] {
        assert!(Template::compile(wrong, &user).is_err(), "{wrong}");
    }
}

#[test]
fn dates_are_right() {
    for (ms, expect) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
    ] {
        assert_eq!(iso_millis(ms), expect);
    }
}

proptest! {
    #[test]
    fn no_text_makes_the_compilers_panic(source in ".{0,60}") {
        let names = condition_names();
        let _ = Condition::compile(&source, &names);
        let _ = Shape::compile(&source, &names);
        let _ = Template::compile(&source, &names);
        let _ = crate::policy::channel::Pattern::compile(&source);
    }

    #[test]
    fn no_data_makes_a_template_panic(text in "\\PC{0,40}", number in any::<f64>(), whole in any::<i64>()) {
        let names = Names::default().with([("data", Kind::Any)]);
        let template = Template::compile("a:{first(data.x, data)}", &names).expect("a template");
        for value in [serde_json::json!(text), serde_json::json!(number), serde_json::json!({"x": whole}), serde_json::json!([text, [number], {"x": text}])] {
            let json = value.to_string();
            if let Ok(expanded) = template.expand(&Scope::new().with("data", Term::Json(&json))) {
                for name in expanded.names {
                    prop_assert!(crate::policy::channel::name_fault(&name).is_none());
                }
            }
        }
    }
}
