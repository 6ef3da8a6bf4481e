//! What becomes of a configuration: which apps share a way in, and which do not go together.

use super::*;
use crate::config::{Inputs, load};

/// An app of this name, with `more` in `[app.NAME.socketio]`.
fn app(name: &str, more: &str) -> String {
    format!(
        "[app.{name}]\norigins = [\"http://localhost:3000\"]\n\
         [app.{name}.socketio]\nnamespace = \"/{name}\"\n{more}\n\
         [app.{name}.auth.jwt]\nalgorithms = [\"HS256\"]\nsecret = \"a-secret-for-tests-0123456789abcdef\"\n\
         [app.{name}.identity]\nuser = \"claims.sub\"\n"
    )
}

fn assemble(source: &str) -> Result<(Vec<App>, Settings), AssembleError> {
    let inputs = Inputs { env: &|_| None, file: &|_| Err("no such file".to_owned()), dev: false };
    let config = load("oyez.toml", source, inputs).unwrap_or_else(|problems| panic!("{problems}"));
    apps(&config, None)
}

/// The apps of each front, and its paths of Engine.IO and raw WebSocket.
fn ways(source: &str) -> Vec<(Vec<u16>, Vec<String>, Vec<String>)> {
    let settings = assemble(source).unwrap_or_else(|error| panic!("{error}")).1;
    let way = |front: &Arc<Front>| {
        let native = front.native.as_ref().map_or_else(Vec::new, |native| native.paths.clone());
        (front.apps.iter().map(|app| app.0).collect(), front.engine.paths.clone(), native)
    };
    settings.fronts.iter().map(way).collect()
}

#[test]
fn apps_with_the_same_settings_share_a_front() {
    let usual = || vec!["/socket.io/".to_owned()];
    assert_eq!(ways(&(app("a", "") + &app("b", ""))), [(vec![0, 1], usual(), vec![])]);
    let apart = app("a", "") + &app("b", "path = \"/b/\"\nping_interval = \"5s\"") + &app("c", "");
    assert_eq!(ways(&apart), [(vec![0, 2], usual(), vec![]), (vec![1], vec!["/b/".to_owned()], vec![])]);
}

#[test]
fn an_app_without_socketio_has_no_path_for_it() {
    let plain = app("a", "").replace(
        "[app.a.socketio]\nnamespace = \"/a\"",
        "[app.a.auth]\nfrom = \"query.token\"\n[app.a.websocket]\npath = [\"/ws\", \"/chat\"]",
    );
    assert_eq!(ways(&plain), [(vec![0], vec![], vec!["/ws".to_owned(), "/chat".to_owned()])]);
    let (apps, settings) = assemble(&plain).expect("it is good");
    assert!(apps[0].native && apps[0].namespaces.is_empty());
    assert_eq!(settings.tokens.len(), 1);
}

#[test]
fn apps_that_disagree_on_a_path_are_refused_by_name() {
    let first = app("a", "");
    let cases = [
        (app("b", "eio3 = false"), "the settings of [socketio]"),
        (app("b", "transports = [\"websocket\"]"), "the settings of [socketio]"),
        (app("b", "path = [\"/b/\", \"/socket.io/\"]"), "all paths of [socketio]"),
        (app("b", "").replace("localhost:3000", "localhost:4000"), "`origins`"),
        (app("b", "") + "[app.b.limits]\noutbox = \"2MiB\"\n", "`outbox` of [limits]"),
    ];
    for (second, expected) in cases {
        match assemble(&(first.clone() + &second)).expect_err(expected) {
            AssembleError::SharedPath { first, first_line, second, line, path, difference } => {
                assert_eq!((first.as_str(), first_line, second.as_str(), line), ("a", 1, "b", 11));
                assert_eq!((path.as_str(), difference), ("/socket.io/", expected));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn transports_and_limits_arrive() {
    let source = app("a", "transports = [\"websocket\"]\nmax_payload = \"64KiB\"")
        + "[app.a.limits]\nconnections_per_user = \"none\"\nchannels_per_session = 7\noutbox = \"64KiB\"\n";
    let (apps, settings) = assemble(&source).expect("it is good");
    let engine = &settings.fronts[0].engine;
    assert_eq!((engine.websocket, engine.polling, engine.max_payload), (true, false, 65_536));
    assert_eq!((apps[0].limits.connections_per_user, apps[0].limits.channels_per_session), (None, Some(7)));
    assert_eq!((settings.fronts[0].outbox_bytes, settings.connections), (65_536, None));
}

#[test]
fn a_key_set_by_url_needs_somebody_who_fetches() {
    let source = app("a", "").replace("secret =", "jwks = \"https://login.example.com/jwks.json\"\nsecret =");
    let inputs = Inputs { env: &|_| None, file: &|_| Err("no such file".to_owned()), dev: false };
    assert!(needs_fetch(&load("oyez.toml", &source, inputs).expect("it is good")));
    assert!(!needs_fetch(&load("oyez.toml", &app("a", ""), inputs).expect("it is good")));
    match assemble(&source).expect_err("nobody fetches") {
        AssembleError::Verifier { app, line: 1, error: SpecError::NoFetch(_) } => assert_eq!(app, "a"),
        other => panic!("{other}"),
    }
}
