//! A server that behaves as the official Engine.IO and Socket.IO test suites expect: it echoes.
//!
//! `conformance [--listen] [ADDRESS] [--ping-timeout MS]` serves Socket.IO on `/socket.io/` and bare Engine.IO on
//! `/engine.io/` (an Engine.IO message is echoed there). With port 0 the system chooses one; the first line of output says
//! which. The suites count on a ping timeout of 200 ms; others give a busy machine more.

#![expect(clippy::print_stdout, reason = "the first line says where it listens")]

use std::net::TcpListener;
use std::time::Duration;

use oyez_server::settings::{AppLimits, Engine, Heartbeat, Origins};
use oyez_server::{CancellationToken, Event, Namespace, Server, Socket};

/// The times on which the suites count, except for this one.
fn engine(ping_timeout: Duration) -> Engine {
    Engine {
        heartbeat: Heartbeat { interval: Duration::from_millis(300), timeout: ping_timeout },
        // Three heartbeats of a client that joins nothing fit in, also on a busy machine.
        connect_timeout: Duration::from_secs(3),
        max_payload: 1_000_000,
        allow_v3: true,
        ..Engine::default()
    }
}

fn echo(namespace: &Namespace) {
    namespace
        .on_connect(async |socket: Socket, auth| drop(socket.emit("auth", auth).await))
        .on("message", async |socket: Socket, event: Event| drop(socket.emit("message-back", event.args).await))
        .on("message-with-ack", async |_, mut event: Event| event.answer(event.args.clone()));
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut address, mut ping_timeout) = (None, 200);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--listen" => {}
            "--ping-timeout" => ping_timeout = arguments.next().ok_or("--ping-timeout: how many ms?")?.parse()?,
            _ => address = Some(argument),
        }
    }
    let server = Server::builder()
        .namespace("/custom")
        .engine(engine(Duration::from_millis(ping_timeout)))
        .engine_io("/engine.io/", "engine")
        .origins(Origins::Any)
        // The suites come from one address, quickly, and break every rule.
        .limits(AppLimits::none())
        .offences(None)
        .build();
    let hub = server.hub();
    echo(&hub.namespace("/")?);
    echo(&hub.namespace("/custom")?);
    hub.namespace("engine")?
        .on("message", async |socket: Socket, event: Event| drop(socket.emit("message", event.args).await));
    let listener = TcpListener::bind(address.as_deref().unwrap_or("127.0.0.1:3000"))?;
    println!("Listening on http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            let _ = tokio::signal::ctrl_c().await;
            stop.cancel();
        }
    });
    server.serve(listener, stop).await?;
    Ok(())
}
