//! Servers that the transcripts cannot ask for: apps of other shapes, and handlers that fail.

use std::net::{SocketAddr, TcpListener};

use oyez_hub::app::App;
use oyez_server::settings::{Engine, Front, Origins, Settings};
use oyez_server::{CancellationToken, ConnectError, Event, Handshake, Identity, Server, Socket, app_id};
use tokio::runtime::{Handle, Runtime};

use crate::wire::WebSocket;

/// Runs what `build` builds until the runtime is dropped.
fn serve(build: impl FnOnce() -> Server) -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().expect("a runtime");
    let guard = runtime.enter();
    let server = build();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(server.serve(listener, CancellationToken::new()));
    drop(guard);
    (runtime, address)
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
    let (_runtime, address) = serve(|| {
        let app = App { namespaces: vec!["/".to_owned(), "/two".to_owned()], ..App::embedded(app_id(0), "app", "/") };
        let front = Front {
            engine: Engine::default(),
            bare: false,
            native: None,
            origins: Origins::Any,
            apps: vec![app_id(0)],
            outbox_bytes: 1_000_000,
        };
        let server = Server::new(vec![app], Settings { fronts: vec![front], tokens: Vec::new() }, 1, Handle::current());
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
    let (_runtime, address) = serve(|| {
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
fn bare_engine_io_that_is_not_let_in_is_closed() {
    let (_runtime, address) = serve(|| {
        let server = Server::builder().engine_io("/engine.io/", "engine").shards(1).build();
        let engine = server.hub().namespace("engine").expect("it was built with one");
        engine.authenticate(async |_: Handshake| Err::<Identity, _>(ConnectError::new("nobody may")));
        server
    });
    let mut client = open(address, "/engine.io/");
    assert_eq!(client.hear().as_deref(), Ok("close 4504"));
}
