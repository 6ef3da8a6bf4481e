//! A server that behaves as the official Engine.IO and Socket.IO test suites expect: it echoes.
//!
//! `conformance [ADDRESS]` serves Socket.IO on `/socket.io/` and bare Engine.IO on `/engine.io/` (an Engine.IO
//! message is echoed there). With port 0 the system chooses one; the first line of output says which.

use std::net::TcpListener;
use std::time::Duration;

use oyez_server::settings::{Engine, Heartbeat, Origins};
use oyez_server::{Args, Event, Hub, Server, Socket};
use tokio_util::sync::CancellationToken;

/// The times on which the suites count.
fn engine() -> Engine {
    Engine {
        heartbeat: Heartbeat { interval: Duration::from_millis(300), timeout: Duration::from_millis(200) },
        connect_timeout: Duration::from_secs(1),
        max_payload: 1_000_000,
        allow_v3: true,
        ..Engine::default()
    }
}

/// The app that speaks bare Engine.IO.
const ENGINE: &str = "engine";

fn register(hub: &Hub, namespace: &str) -> Result<(), Box<dyn std::error::Error>> {
    hub.on_connect(namespace, async |socket: Socket, auth| {
        let _ = socket.emit("auth", &auth).await;
    })?;
    hub.on(namespace, "message", async |socket: Socket, event: Event| {
        let _ = socket.emit_args("message-back", event.args).await;
    })?;
    hub.on(namespace, "message-with-ack", async |_, event: Event| {
        if let Some(ack) = event.ack {
            ack.send(event.args);
        }
    })?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let server = Server::builder()
        .namespace("/custom")
        .engine(engine())
        .engine_io("/engine.io/", ENGINE)
        .origins(Origins::Any)
        .build();
    register(server.hub(), "/")?;
    register(server.hub(), "/custom")?;
    server.hub().on(ENGINE, "message", async |socket: Socket, event: Event| {
        let _ = socket.emit_args("message", event.args).await;
    })?;
    let listener = TcpListener::bind(address)?;
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
