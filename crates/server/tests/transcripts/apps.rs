//! Servers that the transcripts cannot ask for: apps of other shapes, and handlers that fail.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::backend::Backend;
use oyez_hub::command::{Command, Select};
use oyez_hub::policy::fetch::{Fetch, FetchError, FetchRequest, FetchResponse};
use oyez_server::config::{Inputs, load};
use oyez_server::forwarders::Forwarders;
use oyez_server::settings::{AppLimits, Engine, Front, HANDSHAKES, Origins, Patience, Rate, Settings, Shutdown};
use oyez_server::{CancellationToken, ConnectError, Event, Goodbye, Handshake, Hub, Identity, Server, Socket, app_id};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;

use crate::wire::WebSocket;

/// Runs what `build` builds until the runtime is dropped.
fn serve(build: impl FnOnce() -> Server) -> (Runtime, SocketAddr, Hub) {
    let runtime = Runtime::new().expect("a runtime");
    let guard = runtime.enter();
    let server = build();
    let hub = server.hub().clone();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(server.serve(listener, CancellationToken::new()));
    drop(guard);
    (runtime, address, hub)
}

/// A server of one app that speaks Socket.IO, on one shard.
fn server_of(app: App) -> Server {
    let front = Front {
        hosts: Vec::new(),
        engine: Engine::default(),
        bare: false,
        native: None,
        origins: Origins::Any,
        apps: vec![app.id],
        outbox_bytes: 1_000_000,
    };
    let settings = Settings {
        fronts: vec![Arc::new(front)],
        connections: None,
        tokens: Vec::new(),
        forwarders: Forwarders::default(),
        patience: Patience::default(),
        io_uring: true,
        shutdown: Shutdown::default(),
        handshakes: HANDSHAKES,
        offences: None,
    };
    Server::new(vec![app], settings, 1, Handle::current())
}

fn open(server: SocketAddr, path: &str) -> WebSocket {
    let target = format!("{path}?EIO=4&transport=websocket");
    let mut socket = WebSocket::open(server, &target, &[]).expect("a connection").expect("a websocket");
    assert!(socket.hear().expect("an open packet").starts_with("0{"));
    socket
}

fn connect(server: SocketAddr, namespace: &str) -> WebSocket {
    let mut socket = open(server, "/socket.io/");
    socket.say(&format!("40{namespace}")).expect("sent");
    assert!(socket.hear().expect("an answer").starts_with(&format!("40{namespace}{{")));
    socket
}

#[test]
fn an_app_of_two_namespaces_is_heard_in_each_by_its_name() {
    let (_runtime, address, _) = serve(|| {
        let app = App { namespaces: vec!["/".to_owned(), "/two".to_owned()], ..App::embedded(app_id(0), "app", "/") };
        let server = server_of(app);
        server.hub().on("say", async |socket: Socket, event: Event| {
            let _ = socket.namespace().emit("said", event.args).await;
        });
        server
    });
    let mut one = connect(address, "");
    let mut two = connect(address, "/two,");
    one.say(r#"42["say",1]"#).expect("sent");
    assert_eq!(one.hear().as_deref(), Ok(r#"42["said",1]"#));
    assert_eq!(two.hear().as_deref(), Ok(r#"42/two,["said",1]"#));
}

#[test]
fn a_handler_that_panics_costs_nothing_but_its_answer() {
    let (_runtime, address, _) = serve(|| {
        let server = Server::builder().shards(1).build();
        server.hub().on("panic", async |_, _: Event| panic!("as it should")).on("ask", async |_, mut event: Event| {
            event.answer("answered");
        });
        server
    });
    let mut client = connect(address, "");
    client.say(r#"42["panic"]"#).expect("sent");
    client.say(r#"421["ask"]"#).expect("sent");
    assert_eq!(client.hear().as_deref(), Ok(r#"431["answered"]"#));
}

#[test]
fn an_answer_may_be_waited_for_as_long_as_you_like() {
    let (_runtime, address, _) = serve(|| {
        let server = Server::builder().shards(1).build();
        server.hub().on("ask", async |socket: Socket, mut event: Event| {
            let answer = socket.emit_with_ack("question", 1, Duration::MAX).await;
            event.answer(answer.ok().flatten().unwrap_or_default());
        });
        server
    });
    let mut client = connect(address, "");
    client.say(r#"421["ask"]"#).expect("sent");
    assert_eq!(client.hear().as_deref(), Ok(r#"420["question",1]"#));
    client.say(r#"430["yes"]"#).expect("sent");
    assert_eq!(client.hear().as_deref(), Ok(r#"431["yes"]"#));
}

#[test]
fn an_embedded_app_has_limits_as_a_file_has() {
    let (_runtime, address, _) = serve(|| {
        let events = Some(Rate::new(1, 2));
        let limits =
            AppLimits { events, json_depth: Some(2), connections_per_address: Some(2), ..AppLimits::default() };
        let server = Server::builder().limits(limits).connections(3).shards(1).build();
        server.hub().on("ask", async |_, mut event: Event| event.answer("answered"));
        server
    });
    let mut client = connect(address, "");
    client.say(r#"421["ask"]"#).expect("sent");
    assert_eq!(client.hear().as_deref(), Ok(r#"431["answered"]"#));
    client.say(r#"422["ask",[[[]]]]"#).expect("sent");
    let refused = client.hear().expect("a refusal");
    assert!(refused.starts_with(r#"42["error",{"#) && refused.contains("too_deep"), "{refused}");
    client.say(r#"423["ask"]"#).expect("sent");
    let refused = client.hear().expect("a refusal");
    assert!(refused.starts_with(r#"42["error",{"#) && refused.contains("too_many_events"), "{refused}");
    // Nobody has a name here, so nobody is somebody's second connection.
    let _second = connect(address, "");
    let mut third = open(address, "/socket.io/");
    third.say("40").expect("sent");
    let refused = third.hear().expect("a refusal");
    assert!(refused.starts_with("44{") && refused.contains("address_full"), "{refused}");
    let fourth = WebSocket::open(address, "/socket.io/?EIO=4&transport=websocket", &[]).expect("an answer");
    assert!(fourth.is_err(), "the node is full");
}

#[test]
fn who_has_no_name_is_not_counted_as_one_user() {
    let (_runtime, address, _) = serve(|| {
        let limits = AppLimits { connections_per_user: Some(1), ..AppLimits::default() };
        Server::builder().limits(limits).shards(1).build()
    });
    let _clients = [connect(address, ""), connect(address, "")];
}

#[test]
fn bare_engine_io_that_is_not_let_in_is_closed() {
    let (_runtime, address, _) = serve(|| {
        let server = Server::builder().engine_io("/engine.io/", "engine").shards(1).build();
        let engine = server.hub().namespace("engine").expect("it was built with one");
        engine.authenticate(async |_: Handshake| Err::<Identity, _>(ConnectError::new("nobody may")));
        server
    });
    let mut client = open(address, "/engine.io/");
    assert_eq!(client.hear().as_deref(), Ok("close 4504"));
}

#[test]
fn what_waits_for_the_end_of_a_turn_is_in_no_volatile_packets_way() {
    let (runtime, address, hub) = serve(|| Server::builder().shards(1).build());
    let mut client = connect(address, "");
    let everybody = hub.root().everybody();
    for round in 0..50 {
        // Both are on their way before the shard looks: a packet that wants an answer, and behind it a volatile one.
        let (asked, said) = runtime.block_on(async {
            let volatile = hub.root().everybody().volatile();
            let asks = everybody.emit_with_ack("asked", round, Duration::from_millis(1));
            tokio::join!(asks, volatile.emit("said", round))
        });
        // Nobody answers; that it was reached is heard.
        asked.expect("accepted");
        said.expect("accepted");
        let heard = client.hear().expect("the first");
        assert!(heard.ends_with(&format!(r#"["asked",{round}]"#)), "{heard}");
        assert_eq!(client.hear(), Ok(format!(r#"42["said",{round}]"#)));
    }
}

/// An app's backend that takes its time, and then allows everything.
#[derive(Default)]
struct Slow {
    asked: Notify,
    answer: Notify,
}

#[async_trait::async_trait]
impl Fetch for Slow {
    async fn fetch(&self, _: FetchRequest) -> Result<FetchResponse, FetchError> {
        self.asked.notify_one();
        self.answer.notified().await;
        Ok(FetchResponse { status: 200, body: r#"{"allow":true}"#.into() })
    }
}

/// An app whose rooms are the backend's to give.
fn asking(backend: Arc<Slow>) -> App {
    let source = r#"
        [app.a]
        origins = ["http://localhost:3000"]
        [app.a.socketio]
        path = "/socket.io/"
        [app.a.auth.jwt]
        algorithms = ["HS256"]
        secret = "a-secret-for-tests-0123456789abcdef"
        [app.a.identity]
        user = "claims.sub"
        [[app.a.channel]]
        name = "room:{id}"
        subscribe = { ask = "http://backend.example/may" }
        [[app.a.on]]
        event = "enter"
        join = "room:1"
    "#;
    let inputs = Inputs { env: &|_| None, file: &|_| Err("no files".to_owned()), dev: false };
    let mut config = load("oyez.toml", source, inputs).unwrap_or_else(|problems| panic!("{problems}"));
    let config = config.apps.remove(0);
    App {
        policy: Arc::clone(&config.policy),
        dialect: Some(Arc::clone(&config.dialect)),
        backend: Some(Backend::new("desk", backend)),
        ..App::embedded(AppId(0), "a", "/")
    }
}

#[test]
fn who_was_dismissed_while_a_right_was_asked_for_joins_nothing() {
    let backend = Arc::new(Slow::default());
    let (runtime, address, hub) = serve(|| server_of(asking(Arc::clone(&backend))));
    let mut client = connect(address, "");
    client.say(r#"421["enter"]"#).expect("sent");
    runtime.block_on(backend.asked.notified());
    let dismiss = Command::Disconnect(Select::Everyone, Goodbye::Namespace);
    runtime.block_on(hub.execute(AppId(0), dismiss)).expect("dismissed");
    assert_eq!(client.hear().as_deref(), Ok("41"));
    backend.answer.notify_one();
    // What the client says next is heard after the answer.
    client.say("40").expect("sent");
    assert!(client.hear().expect("an answer").starts_with("40{"));
    assert_eq!(hub.channels().members(AppId(0), "room:1"), 0);
}
