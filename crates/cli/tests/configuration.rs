//! The commands about a configuration: check, explain, token, config-reference, and everybody's --help.

mod program;

use std::fs;
use std::path::Path;

use program::{ROOT, oyez, run, run_in};
use serde_json::{Value, json};

const EXAMPLES: &[&str] = &["erp", "ticketing", "concrete-plant", "ginforge", "cloudphone"];

fn example(name: &str) -> String {
    format!("examples/{name}/oyez.toml")
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = ["serve", "dev", "check", "explain", "publish", "listen", "token", "config-reference"];
    let all = run(&mut oyez(&["--help"]));
    all.expect(0, &["Exit codes: 0 done; 1 it could not be done"], &[]);
    for command in commands {
        assert!(all.out.contains(command), "{command} is not in --help");
        run(&mut oyez(&[command, "--help"])).expect(0, &["Example", &format!("oyez {command}")], &[]);
    }
    run(&mut oyez(&["sreve"])).expect(2, &[], &["serve"]);
    run(&mut oyez(&["--version"])).expect(0, &[env!("CARGO_PKG_VERSION")], &[]);
}

#[test]
fn check_finds_the_examples_good() {
    for name in EXAMPLES {
        run(&mut oyez(&["check", &example(name)])).expect(0, &["is good", &format!("  {name}: ")], &[]);
    }
}

#[test]
fn check_tells_every_mistake_with_its_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(Path::new(ROOT).join(example("ticketing"))).expect("the example");
    let wrong = text.replace("origins =", "orgins =").replace("role in user.roles", "role in user.rolse");
    fs::write(directory.path().join("oyez.toml"), wrong).expect("written");
    let mut check = oyez(&["check"]);
    let ran = run(check.current_dir(directory.path()));
    ran.expect(1, &[], &["oyez.toml:10:1: ", "orgins", "rolse", "help: ", "mistakes"]);
    let ran = run(oyez(&["check", "--json"]).current_dir(directory.path()));
    let answer: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &answer["good"]), (Some(1), &json!(false)));
    let problems = answer["problems"].as_array().expect("a list");
    assert!(problems.iter().any(|problem| problem["line"] == 10 && problem["help"].is_string()), "{answer}");
    let misspelt = fs::read_to_string(Path::new(ROOT).join(example("ticketing"))).expect("the example");
    fs::write(directory.path().join("oyez.toml"), misspelt.replace("origins =", "orgins =")).expect("written");
    let once = run(oyez(&["check"]).current_dir(directory.path()));
    once.expect(1, &[], &["did you mean `origins`?", "1 mistake"]);
    run(&mut oyez(&["check", "nowhere.toml"])).expect(1, &[], &["cannot read nowhere.toml"]);
}

#[test]
fn check_notes_what_is_durable_and_kept_for_nobody_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("oyez.toml");
    let text = |events: &str| {
        format!(
            "[app.desk]\norigins = [\"http://localhost:3000\"]\n[app.desk.socketio]\n[app.desk.auth.jwt]\n\
             algorithms = [\"HS256\"]\nsecret = {{ env = \"JWT_SECRET\" }}\n[app.desk.identity]\nuser = \"claims.sub\"\n\
             [app.desk.inbox]\n[[app.desk.channel]]\nname = \"user:{{id}}\"\ninbox = \"{{id}}\"\n\
             [[app.desk.channel]]\nname = \"site:{{id}}\"\n{events}"
        )
    };
    let event = |to: &str| format!("[[app.desk.event]]\nname = \"alarm:*\"\ndelivery = \"durable\"\n{to}");
    let check = |events: &str| {
        fs::write(&file, text(events)).expect("written");
        run(oyez(&["check"]).current_dir(directory.path()))
    };
    let note = "note: oyez.toml:15:1: `alarm:*` is durable, and nobody who is away gets it";
    check(&event("to = \"site:{id}\"")).expect(0, &["is good", note, "help: give its channel an `inbox`"], &[]);
    check(&event("to = \"site:north\"")).expect(0, &[note], &[]);
    for kept in ["to = \"user:{id}\"", "to = \"user:7\"", ""] {
        let ran = check(&event(kept));
        ran.expect(0, &["is good"], &[]);
        assert!(!ran.out.contains("note"), "{kept}: {}", ran.out);
    }
    check(&event("to = \"site:{id}\""));
    let ran = run(oyez(&["check", "--json"]).current_dir(directory.path()));
    let answer: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!((ran.code, &answer["good"], &answer["notes"][0]["line"]), (Some(0), &json!(true), &json!(15)));
}

#[test]
fn check_sees_apps_that_do_not_go_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let app = |name: &str, more: &str| {
        format!(
            "[app.{name}]\norigins = [\"http://localhost:3000\"]\n[app.{name}.socketio]\nnamespace = \"/{name}\"\n{more}\n\
             [app.{name}.auth.jwt]\nalgorithms = [\"HS256\"]\nsecret = {{ env = \"JWT_SECRET\" }}\n\
             [app.{name}.identity]\nuser = \"claims.sub\"\n"
        )
    };
    let file = directory.path().join("oyez.toml");
    let check = |text: String| {
        fs::write(&file, text).expect("written");
        run(&mut oyez(&["check", &file.display().to_string()]))
    };
    check(app("one", "") + &app("two", "")).expect(0, &["one: ", "two: "], &[]);
    let apart = check(app("one", "") + &app("two", "ping_interval = \"5s\""));
    apart.expect(1, &[], &["oyez.toml:11:1: ", "`one` (line 1) and `two` share the path /socket.io/", "[socketio]"]);
    check(app("one", "").replace("HS256", "RS256")).expect(1, &[], &["oyez.toml:", "HS"]);
}

#[test]
fn check_sees_sources_whose_address_is_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = |kind: &str, url: &str| {
        format!(
            "[app.one]\norigins = [\"http://localhost:3000\"]\n\
             [app.one.auth.jwt]\nalgorithms = [\"HS256\"]\nsecret = {{ env = \"JWT_SECRET\" }}\n\
             [app.one.identity]\nuser = \"claims.sub\"\n\
             [[app.one.channel]]\nname = \"room:{{id}}\"\nsubscribe = true\n\
             [app.one.source.bus]\nkind = \"{kind}\"\nurl = \"{url}\"\nexchange = \"e\"\nfrom = [\"orders\"]\n\
             [[app.one.source.bus.rule]]\nmatch = \"orders\"\nto = \"room:1\"\nevent = \"order\"\n"
        )
    };
    let file = directory.path().join("oyez.toml");
    let check = |kind: &str, url: &str| {
        let text = source(kind, url);
        fs::write(&file, if kind == "rabbitmq" { text } else { text.replace("exchange = \"e\"\n", "") })
            .expect("written");
        run(&mut oyez(&["check", &file.display().to_string()]))
    };
    check("rabbitmq", "amqp://localhost").expect(0, &["is good"], &[]);
    let wrong = ["oyez.toml:11:1: ", "app.one.source.bus", "write amqp://USER:PASSWORD@HOST", "correct `url`"];
    check("rabbitmq", "http://localhost").expect(1, &[], &wrong);
    check("redis", "redis://localhost").expect(0, &["is good"], &[]);
    check("redis", "http://localhost").expect(1, &[], &["write redis://USER:PASSWORD@HOST"]);
}

#[test]
fn explain_names_the_rule() {
    let explain = |claims: &str, channel: &str| {
        run(&mut oyez(&["explain", "--config", &example("ticketing"), "--claims", claims, "subscribe", channel]))
    };
    let denied = explain(r#"{"userId": 7, "roles": ["support"]}"#, "role:admin");
    denied.expect(
        0,
        &["DENIED: subscribe role:admin", "examples/ticketing/oyez.toml:", "role in user.roles is false"],
        &[],
    );
    explain(r#"{"userId": 7, "roles": ["admin"]}"#, "role:x").expect(0, &["ALLOWED"], &[]);
    let file = example("ticketing");
    let mut without = oyez(&["explain", "--config", &file, "--claims", r#"{"userId": 7}"#, "subscribe", "role:x"]);
    for secret in ["JWT_SECRET", "AUTH_SECRET", "OYEZ_API_KEY"] {
        without.env_remove(secret);
    }
    run(&mut without).expect(0, &["DENIED"], &[]);
    explain(r#"{"name": "x"}"#, "role:x").expect(1, &[], &["names no user"]);
    explain("[]", "role:x").expect(2, &[], &["not a JSON object"]);
}

#[test]
fn tokens_have_the_claims_that_the_app_reads() {
    let token = |name: &str, more: &[&str]| {
        let file = example(name);
        run(&mut oyez(&[&["token", "--config", &file, "--user", "7"], more].concat()))
    };
    let claims = |name: &str, more: &[&str]| {
        let ran = token(name, more);
        ran.expect(0, &["eyJ"], &[]);
        let payload = ran.out.split('.').nth(1).expect("a payload").to_owned();
        serde_json::from_slice::<Value>(&decode(&payload)).expect("claims")
    };
    let ticketing = claims("ticketing", &["--role", "support", "--role", "finance", "--expires", "8h"]);
    assert_eq!((&ticketing["userId"], &ticketing["roles"]), (&json!("7"), &json!(["support", "finance"])));
    assert_eq!(ticketing["exp"].as_u64().zip(ticketing["iat"].as_u64()).map(|(exp, iat)| exp - iat), Some(8 * 3600));
    let plant = claims("concrete-plant", &["--role", "operator", "--claim", "siteId=3"]);
    assert_eq!((&plant["sub"], &plant["userType"], &plant["siteId"]), (&json!("7"), &json!(["operator"]), &json!(3)));
    let phone = claims("cloudphone", &[]);
    assert_eq!((&phone["iss"], &phone["aud"]), (&json!("cloudphone-platform"), &json!("cloudphone-users")));
    token("ginforge", &["--role", "admin"]).expect(1, &[], &["computes its roles", "--claim"]);
    token("erp", &[]).expect(1, &[], &["Auth.js mints the tokens of `erp`", "authjs.session-token"]);
    token("ticketing", &["--claim", "userId=8"]).expect(1, &[], &["takes the user for `8`"]);
    token("ticketing", &["--expires", "soon"]).expect(2, &[], &["1h"]);
    token("ticketing", &["--app", "desk"]).expect(1, &[], &["there is no app `desk`", "the file has ticketing"]);
}

#[test]
fn without_a_file_the_way_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    run_in(directory.path(), &["token", "--user", "7"]).expect(1, &[], &["no oyez.toml here", "--config FILE"]);
    run_in(directory.path(), &["serve"]).expect(1, &[], &["oyez dev", "--config"]);
}

#[test]
fn the_pages_of_the_reference_are_those_in_docs() {
    run(&mut oyez(&["config-reference"])).expect(0, &["## `app.NAME.identity`"], &[]);
    for (name, file, word) in [
        ("configuration", "configuration.md", "## `app.NAME.identity`"),
        ("codes", "codes.md", "| 4003 | `session_expired` |"),
        ("metrics", "metrics.md", "| `oyez_delivery_latency_seconds` | histogram |"),
        ("cli", "cli.md", "oyez serve --config examples/ticketing/oyez.toml"),
        ("http", "http-reference.md", "### `POST /api/v1/publish`"),
    ] {
        let page = fs::read_to_string(Path::new(ROOT).join("docs").join(file)).expect("the page");
        let ran = run(&mut oyez(&["reference", name]));
        ran.expect(0, &[word], &[]);
        assert!(ran.out == page, "docs/{file} is stale: run `cargo xtask docs`");
    }
}

/// Base64url without padding.
fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let value = |byte: u8| DIGITS.iter().position(|digit| *digit == byte).expect("base64url");
    let chunks = text.as_bytes().chunks(4).map(|chunk| {
        let bits = (0..4).fold(0, |bits, index| bits << 6 | chunk.get(index).map_or(0, |byte| value(*byte)));
        u32::try_from(bits).expect("24 bits").to_be_bytes()[1..chunk.len()].to_vec()
    });
    chunks.flatten().collect()
}
