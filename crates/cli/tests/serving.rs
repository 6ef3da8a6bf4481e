//! The commands that run or need a server: serve, dev, publish, listen.

mod program;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use program::{KEY, Running, oyez, run, run_in};
use rustix::process::Signal;
use serde_json::{Value, json};

const TICKETING: &str = "examples/ticketing/oyez.toml";

fn serve(more: &[&str]) -> Command {
    oyez(&[&["serve", "--config", TICKETING, "--listen", "127.0.0.1:0"], more].concat())
}

/// `oyez dev` in a directory of its own.
fn dev(directory: &Path, more: &[&str]) -> Running {
    let mut command = oyez(&[&["dev", "--listen", "127.0.0.1:0"], more].concat());
    Running::start(command.current_dir(directory).env_remove("JWT_SECRET").env_remove("OYEZ_API_KEY"))
}

/// The answer to a GET, head and body.
fn get(url: &str, path: &str, headers: &str) -> String {
    let address = url.strip_prefix("http://").expect("an address");
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn it_listens_where_it_is_told_and_ends_when_it_is_told() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Running::start(&mut serve(&["--listen", "[::1]:0"]));
        for local in ["http://127.0.0.1:", "http://[::1]:"] {
            let url = server.url();
            assert!(url.starts_with(local), "{url}");
            assert!(get(&url, "/healthz", "").starts_with("HTTP/1.1 200"), "{url}");
        }
        let (status, rest) = server.end(signal);
        assert_eq!((status.code(), rest.as_str()), (Some(0), ""), "nothing but the addresses is on stdout");
    }
}

#[test]
fn pages_of_its_own_address_may_connect_and_others_may_not() {
    let mut server = Running::start(&mut serve(&[]));
    let url = server.url();
    let handshake = |origin: &str| {
        get(&url, "/socket.io/?EIO=4&transport=polling", &format!("Origin: {origin}\r\n"))[..12].to_owned()
    };
    for origin in [&url, &url.replace("127.0.0.1", "localhost"), "http://localhost:3001"] {
        assert_eq!(handshake(origin), "HTTP/1.1 200", "{origin}");
    }
    assert_eq!(handshake("http://localhost:1"), "HTTP/1.1 403");
}

#[test]
fn transports_that_the_file_does_not_name_are_unknown() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(Path::new(program::ROOT).join(TICKETING)).expect("the example");
    for (transports, answer) in
        [("websocket", r#"{"code":0,"message":"Transport unknown"}"#), ("polling", r#""upgrades":[]"#)]
    {
        let section = "[app.ticketing.socketio]";
        let text = text.replace(section, &format!("{section}\ntransports = [\"{transports}\"]"));
        let file = directory.path().join("oyez.toml");
        std::fs::write(&file, text).expect("written");
        let mut server = oyez(&["serve", "--listen", "127.0.0.1:0"]);
        let mut server = Running::start(server.current_dir(directory.path()));
        let heard = get(&server.url(), "/socket.io/?EIO=4&transport=polling", "");
        assert!(heard.contains(answer), "{transports}: {heard}");
    }
}

#[test]
fn it_refuses_to_start_without_a_secret() {
    for variable in ["JWT_SECRET", "OYEZ_API_KEY"] {
        let unset = run(serve(&[]).env_remove(variable));
        unset.expect(1, &[], &["examples/ticketing/oyez.toml:", variable, "help: "]);
        run(serve(&[]).env(variable, "")).expect(1, &[], &[variable]);
    }
}

#[test]
fn it_refuses_to_listen_for_other_nodes_nowhere() {
    let node = ["--broker", "redis://127.0.0.1:1", "--node-listen"];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("its address").to_string();
    for (wrong, why) in [
        ("7000", "is no address"),
        ("224.0.0.1:7000", "is no address of a machine"),
        ("255.255.255.255:7000", "is no address of a machine"),
        ("192.0.2.1:7000", "--node-listen: 192.0.2.1:7000: cannot listen for other nodes"),
        (&*taken, "cannot listen for other nodes"),
    ] {
        run(&mut serve(&[&node[..], &[wrong]].concat())).expect(1, &[], &[why, "--node-listen 10.0.0.11:7000"]);
    }
    run(serve(&[]).env("OYEZ_NODE_LISTEN", "7000")).expect(1, &[], &["--node-listen", "is no address"]);
}

#[test]
fn it_refuses_what_is_about_other_nodes_where_there_are_none() {
    let say = "and no --broker (OYEZ_BROKER) says how they are reached\n    help: write it as in --broker redis://";
    for (args, what) in [
        (["--node-listen", "0.0.0.0:7000"], "--node-listen (OYEZ_NODE_LISTEN) is about other nodes"),
        (["--cluster", "streams"], "--cluster (OYEZ_CLUSTER) is about other nodes"),
        (["--cluster", "classic"], "--cluster (OYEZ_CLUSTER) is about other nodes"),
    ] {
        run(&mut serve(&args)).expect(2, &[], &[what, say]);
        run(serve(&args).env("OYEZ_BROKER", "")).expect(2, &[], &[what]);
    }
    run(serve(&[]).env("OYEZ_NODE_LISTEN", "127.0.0.1:0")).expect(2, &[], &["--node-listen", say]);
}

#[test]
fn it_refuses_to_start_without_origins() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(Path::new(program::ROOT).join(TICKETING)).expect("the example");
    let without: String =
        text.lines().filter(|line| !line.starts_with("origins")).map(|line| format!("{line}\n")).collect();
    std::fs::write(directory.path().join("oyez.toml"), without).expect("written");
    run(oyez(&["serve"]).current_dir(directory.path())).expect(1, &[], &["oyez.toml:9:", "origins", "help: "]);
}

#[test]
fn it_refuses_an_address_that_it_cannot_have() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let on = |address: &str| run(&mut oyez(&["serve", "--config", TICKETING, "--listen", address]));
    on(&address).expect(1, &[], &["cannot listen on", "choose another: --listen 127.0.0.1:"]);
    on("3001").expect(1, &[], &["`3001` is no address", "127.0.0.1:3001"]);
    on("192.0.2.1:0").expect(1, &[], &["this machine has no such address"]);
}

#[test]
fn an_empty_list_of_addresses_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(Path::new(program::ROOT).join(TICKETING)).expect("the example");
    let file = directory.path().join("oyez.toml");
    std::fs::write(&file, text.replace("[\"127.0.0.1:3001\"]", "[]")).expect("written");
    for command in ["serve", "dev"] {
        let ran = run(oyez(&[command, "--config", "oyez.toml"]).current_dir(directory.path()));
        ran.expect(1, &[], &["no address to listen on"]);
    }
}

#[test]
fn development_is_for_this_machine_and_keeps_its_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let open = run_in(directory.path(), &["dev", "--listen", "0.0.0.0:0"]);
    open.expect(1, &[], &["does not listen on 0.0.0.0:0", "oyez serve"]);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut server = dev(directory.path(), &[]);
        let url = server.url();
        assert!(server.line_with("Demo page").ends_with(&format!("{url}/")));
        assert!(server.line_with("User token").contains("eyJ"));
        keys.push(server.line_with("API key"));
        assert!(server.line_with("curl").contains(&url));
        assert!(get(&url, "/", "").starts_with("HTTP/1.1 200"));
    }
    assert_eq!(keys[0], keys[1]);
}

#[test]
fn development_speaks_the_reader_s_language_and_serves_any_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = format!("{}/{TICKETING}", program::ROOT);
    let mut command = oyez(&["dev", "--listen", "127.0.0.1:0", "--config", &file]);
    let command = command.current_dir(directory.path()).env_remove("JWT_SECRET").env_remove("OYEZ_API_KEY");
    let mut server = Running::start(command.env("LANG", "zh_CN.UTF-8"));
    server.line_with("用户令牌");
    server.line_with("curl");
}

#[test]
fn development_reads_again_what_it_read_at_first() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("oyez.toml");
    let write = |origin: &str| {
        let text = format!(
            "[key.k]\nsecret = \"short\"\n[app.desk]\norigins = [\"{origin}\"]\n[app.desk.auth.jwt]\n\
             algorithms = [\"HS256\"]\nsecret = \"short\"\n[app.desk.identity]\nuser = \"claims.sub\"\n"
        );
        std::fs::write(&file, text).expect("written");
    };
    write("https://a.example");
    let refused = ["key.k.secret has 5 bytes", "app.desk.auth.jwt.secret has 5 bytes", "openssl rand -hex 32"];
    run_in(directory.path(), &["serve"]).expect(1, &[], &refused);
    let mut server = dev(directory.path(), &["--config", "oyez.toml"]);
    let url = server.url();
    let handshake = |origin: &str| {
        get(&url, "/socket.io/?EIO=4&transport=polling", &format!("Origin: {origin}\r\n"))[..12].to_owned()
    };
    assert_eq!(handshake("https://b.example"), "HTTP/1.1 403");
    write("https://b.example");
    let reloaded = run_in(directory.path(), &["reload", "--url", &url, "--key", "short"]);
    reloaded.expect(0, &["The new configuration holds."], &[]);
    for (origin, answer) in [("https://b.example", "200"), ("https://a.example", "403"), ("http://localhost:1", "200")]
    {
        assert_eq!(handshake(origin), format!("HTTP/1.1 {answer}"), "{origin}");
    }
}

#[test]
fn what_is_published_is_heard() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = dev(directory.path(), &[]);
    let url = server.url();
    for raw in [false, true] {
        let options: &[&str] = if raw { &["--raw"] } else { &[] };
        let mut listen = oyez(&[&["listen", "--url", &url, "--user", "demo", "demo:lobby"], options].concat());
        let mut listener = Running::start(listen.current_dir(directory.path()));
        listener.line_with(r#""event":"subscribed""#);
        let publish = |to: &str, data: &str| run_in(directory.path(), &["publish", "--url", &url, to, "hi", data]);
        publish("demo:lobby", r#"{"n":1.0}"#).expect(0, &[r#""level":"accepted""#], &[]);
        let heard: Value = serde_json::from_str(&listener.line_with(r#""event":"hi""#)).expect("JSON");
        let data = if raw { &heard["args"][0]["data"] } else { &heard["args"][0] };
        assert_eq!(data["payload"], json!({ "n": 1.0 }), "{heard}");
        assert_eq!(listener.end(Signal::INT).0.code(), Some(0));
    }
}

#[test]
fn who_names_the_file_is_led_to_where_it_listens() {
    let directory = tempfile::tempdir().expect("a directory");
    // A port of its own; it is free again when the server starts.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
    let text = std::fs::read_to_string(Path::new(program::ROOT).join(TICKETING)).expect("the example");
    let file = directory.path().join("desk.toml");
    std::fs::write(&file, text.replace("127.0.0.1:3001\"]", &format!("0.0.0.0:{port}\"]"))).expect("written");
    let file = file.to_str().expect("UTF-8");
    let mut server = Running::start(&mut oyez(&["serve", "--config", file]));
    assert_eq!(server.url(), format!("http://0.0.0.0:{port}"));
    let listen = ["listen", "--config", file, "--user", "7"];
    Running::start(&mut oyez(&listen)).line_with(r#""event":"connected""#);
    // Whoever says where the server is knows better.
    let mut other = dev(directory.path(), &[]);
    let there = other.url();
    run(&mut oyez(&[&listen[..], &["--url", &there]].concat())).expect(1, &[], &["the server refuses"]);
    let token = ["listen", "--config", file, "--token", "wrong"];
    run(&mut oyez(&token)).expect(1, &[], &["the server refuses", "help: make one with `oyez token"]);
    let own = run(oyez(&listen).env("JWT_SECRET", "another-secret-0123456789abcdefgh"));
    own.expect(1, &[], &["the server refuses", "help: the server knows another secret"]);
}

#[test]
fn refusals_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = dev(directory.path(), &[]);
    let url = server.url();
    let on = |args: &[&str]| run_in(directory.path(), &[&[args[0], "--url", &url], &args[1..]].concat());
    on(&["publish", "x", "y", "hello"]).expect(1, &[], &["the payload is not JSON", "quotes"]);
    on(&["publish", "--key", "wrong", "x", "y"]).expect(1, &[], &["the server answered 401"]);
    on(&["listen", "--token", "wrong"]).expect(
        1,
        &[],
        &["the server refuses", "invalid token (invalid_token)", "help: make one with `oyez token"],
    );
    let hint = "no [[app.demo.channel]] matches `x`";
    on(&["publish", "x", "y"]).expect(0, &[r#""level":"accepted""#, hint], &[]);
    on(&["listen", "--token", "wrong", "--raw"]).expect(
        1,
        &[],
        &["the server refuses: 401", "help: make one with `oyez token"],
    );
    on(&["listen"]).expect(1, &[], &["--user demo", "--token TOKEN"]);
    let away = run(oyez(&["publish", "--url", "http://127.0.0.1:1", "x", "y"]).env("OYEZ_API_KEY", KEY));
    away.expect(1, &[], &["cannot publish at http://127.0.0.1:1", "is the server running?"]);
    let other = run_in(directory.path(), &["publish", "--url", "http://example.invalid", "x", "y"]);
    other.expect(1, &[], &["there is no key to publish with"]);
}
