//! The server against a Socket.IO client in Rust that others wrote. (It cannot answer events of the server.)

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use oyez_server::{CancellationToken, ConnectError, Event, Handshake, Identity, Server, Socket};
use rust_socketio::client::Client;
use rust_socketio::{ClientBuilder, Payload, TransportType};
use serde_json::json;
use tokio::runtime::Runtime;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that runs until the runtime is dropped.
fn serve() -> (Runtime, SocketAddr) {
    let runtime = Runtime::new().expect("a runtime");
    let guard = runtime.enter();
    let server = Server::builder().namespace("/custom").shards(2).build();
    let hub = server.hub();
    hub.authenticate(async |handshake: Handshake| match handshake.auth["token"].as_str() {
        Some(token) => Ok(Identity { user: token.into(), ..Identity::default() }),
        None => Err(ConnectError::new("not authorized")),
    });
    hub.on("echo", async |socket: Socket, event: Event| drop(socket.emit("echoed", event.args).await));
    hub.on("whoami", async |socket: Socket, mut event: Event| event.answer(&*socket.identity().user));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(server.serve(listener, CancellationToken::new()));
    drop(guard);
    (runtime, address)
}

/// A client, and what it hears as `echoed`.
fn connect(address: SocketAddr, transport: TransportType) -> (Client, Receiver<Payload>) {
    let (heard, echoed) = channel();
    let (opened, open) = channel();
    let client = ClientBuilder::new(format!("http://{address}"))
        .transport_type(transport)
        .auth(json!({ "token": "ada" }))
        .on("open", move |_, _| {
            let _ = opened.send(());
        })
        .on("echoed", move |payload, _| drop(heard.send(payload)))
        .connect()
        .expect("connected");
    open.recv_timeout(PATIENCE).expect("an answer to CONNECT");
    (client, echoed)
}

fn converse(transport: TransportType) {
    let (_runtime, address) = serve();
    let (client, echoed) = connect(address, transport);
    let hear = || echoed.recv_timeout(PATIENCE).expect("an event");

    client.emit("echo", json!({ "text": "订阅成功" })).expect("sent");
    assert_eq!(hear(), Payload::from(json!({ "text": "订阅成功" })));

    client.emit("echo", Payload::Binary(vec![1, 2, 255].into())).expect("sent");
    assert_eq!(hear(), Payload::Binary(vec![1, 2, 255].into()));

    let (told, answer) = channel::<Payload>();
    let asked =
        client.emit_with_ack("whoami", json!(null), PATIENCE, move |payload: Payload, _| drop(told.send(payload)));
    asked.expect("sent");
    assert_eq!(answer.recv_timeout(PATIENCE).expect("an answer"), Payload::from(json!(["ada"])));

    client.disconnect().expect("disconnected");
}

#[test]
fn over_websocket() {
    converse(TransportType::Websocket);
}

#[test]
fn over_polling() {
    converse(TransportType::Polling);
}

#[test]
fn over_polling_then_websocket() {
    converse(TransportType::WebsocketUpgrade);
}
