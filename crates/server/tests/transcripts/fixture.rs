//! The server on the other side of the transcripts, written with the embedding API.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use oyez_server::settings::{Engine, Origins};
use oyez_server::{
    Args, CancellationToken, ConnectError, Event, Goodbye, Handshake, Hub, Identity, Namespace, Server, Socket,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Longer than a server takes to close.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that is running.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) address: SocketAddr,
    runtime: Runtime,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    gate: Arc<Gate>,
}

/// Where authentication waits when a client asks for it.
#[derive(Debug, Default)]
struct Gate {
    arrived: Notify,
    open: Notify,
}

impl Fixture {
    /// Starts a server with the settings of Appendix D, changed by `options` (`pingInterval=300`, `deflate`, ...).
    pub(crate) fn start(options: &[&str], shards: usize) -> Result<Self, String> {
        let runtime = Runtime::new().map_err(|error| error.to_string())?;
        let mut engine = Engine { max_payload: 2_000, connect_timeout: PATIENCE * 2, ..Engine::default() };
        let mut origins = Origins::Any;
        for option in options {
            configure(&mut engine, &mut origins, option)?;
        }
        let guard = runtime.enter();
        let server = Server::builder()
            .namespace("/custom")
            .engine(engine)
            .origins(origins)
            .engine_io("/engine.io/", "engine")
            .shards(shards)
            .offences(None)
            .build();
        let gate = Arc::<Gate>::default();
        register(server.hub(), &gate).map_err(|error| error.to_string())?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let stop = CancellationToken::new();
        let serving = runtime.spawn(server.serve(listener, stop.clone()));
        drop(guard);
        Ok(Self { address, runtime, stop, serving, gate })
    }

    /// Lets the authentication that waits go on.
    pub(crate) fn release(&self) {
        self.gate.open.notify_one();
    }

    /// Waits until an authentication waits.
    pub(crate) fn arrived(&self) -> Result<(), String> {
        let arrived = async { tokio::time::timeout(PATIENCE, self.gate.arrived.notified()).await };
        self.runtime.block_on(arrived).map_err(|_| "nobody asks to be let in".to_owned())
    }

    /// Stops the server, as it should be able to at any moment.
    pub(crate) fn stop(self) -> Result<(), String> {
        self.stop.cancel();
        let serving = self.serving;
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, serving).await });
        self.runtime.shutdown_background();
        ended.map(drop).map_err(|_| "the server does not end".to_owned())
    }
}

fn configure(engine: &mut Engine, origins: &mut Origins, option: &str) -> Result<(), String> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let millis = || value.parse().map(Duration::from_millis).map_err(|_| format!("not a number: {option}"));
    match name {
        "pingInterval" => engine.heartbeat.interval = millis()?,
        "pingTimeout" => engine.heartbeat.timeout = millis()?,
        "connectTimeout" => engine.connect_timeout = millis()?,
        "upgradeTimeout" => engine.upgrade_timeout = millis()?,
        "maxPayload" => engine.max_payload = value.parse().map_err(|_| format!("not a number: {option}"))?,
        "path" => engine.paths = vec![value.to_owned()],
        "allowEIO3" => engine.allow_v3 = true,
        "deflate" => engine.deflate = true,
        "origin" => *origins = Origins::List(vec![value.to_owned()]),
        _ => return Err(format!("no such option: {option}")),
    }
    Ok(())
}

/// The middleware of Appendix D: who is `bad` is not let in. Who is told to `wait` has to.
async fn authenticate(handshake: Handshake, gate: Arc<Gate>) -> Result<Identity, ConnectError> {
    if handshake.auth["wait"] == true {
        gate.arrived.notify_one();
        gate.open.notified().await;
    }
    if handshake.auth["bad"] == 1 {
        return Err(ConnectError::new("not authorized").with_data(json!({ "content": "Please retry later" })));
    }
    Ok(named(&handshake))
}

fn named(handshake: &Handshake) -> Identity {
    let user = handshake.auth["token"].as_str().unwrap_or_default();
    Identity { user: user.into(), ..Identity::default() }
}

fn register(hub: &Hub, gate: &Arc<Gate>) -> Result<(), oyez_server::CommandError> {
    let gate = Arc::clone(gate);
    hub.authenticate(move |handshake| authenticate(handshake, Arc::clone(&gate)));
    hub.namespace("/custom")?.authenticate(async |handshake: Handshake| Ok(named(&handshake)));
    for name in ["/", "/custom"] {
        answering(&hub.namespace(name)?);
        rooms(&hub.namespace(name)?);
    }
    hub.on_disconnect(async |socket: Socket, reason| drop(socket.broadcast().emit("gone", reason).await));
    hub.namespace("engine")?.on("message", async |socket: Socket, event: Event| {
        let _ = socket.emit("message", event.args).await;
    });
    Ok(())
}

fn answering(namespace: &Namespace) {
    namespace
        .on("echo", async |socket: Socket, event: Event| drop(socket.emit("echo", event.args).await))
        .on("bin", async |socket: Socket, event: Event| drop(socket.emit("bin-back", event.args).await))
        .on("whoami", async |socket: Socket, mut event: Event| {
            event.answer(Args::from(socket.id()).and(&*socket.identity().user));
        })
        .on("answer", async |_, mut event: Event| event.answer(event.args.clone()))
        .on("kick", async |socket: Socket, event: Event| {
            let how = if event.data().unwrap_or(false) { Goodbye::Transport } else { Goodbye::Namespace };
            let _ = socket.disconnect(how).await;
        })
        .on("ackme", async |socket: Socket, event: Event| {
            let wait = Duration::from_millis(event.data().unwrap_or(5_000));
            let answer = socket.emit_with_ack("q", 1, wait).await;
            let said = match answer {
                Ok(Some(args)) => Args::from("heard").and(args.values()),
                _ => Args::from("operation has timed out"),
            };
            let _ = socket.emit("answered", said).await;
        });
}

fn rooms(namespace: &Namespace) {
    let everyone = namespace.clone();
    namespace
        .on("join", async |socket: Socket, mut event: Event| {
            let _ = socket.join(&event.data::<String>().unwrap_or_default()).await;
            event.answer("joined");
        })
        .on("leave", async |socket: Socket, mut event: Event| {
            let _ = socket.leave(&event.data::<String>().unwrap_or_default()).await;
            event.answer("left");
        })
        // ["tell", {"to": [...], "except": [...], "volatile": true}, event, ...]
        .on("tell", move |_, mut event: Event| {
            let everyone = everyone.clone();
            async move {
                let names = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap_or_default() };
                let whom: Value = event.data().unwrap_or_default();
                let mut broadcast = everyone.everybody();
                for name in names(&whom["to"]) {
                    broadcast = broadcast.to(&name);
                }
                for name in names(&whom["except"]) {
                    broadcast = broadcast.except(&name);
                }
                if whom["volatile"] == true {
                    broadcast = broadcast.volatile();
                }
                let name: String = event.args.get(1).unwrap_or_default();
                let payload = event.args.values().get(2).map(Args::from).unwrap_or_default();
                if let Some(wait) = whom["ack"].as_u64() {
                    let acked = broadcast.emit_with_ack(&name, payload, Duration::from_millis(wait)).await;
                    let acked = acked.map(|acked| (acked.reached, acked.answers));
                    let (reached, answers) = acked.unwrap_or_default();
                    let mut answers: Vec<_> = answers.iter().map(|args| args.text().to_owned()).collect();
                    answers.sort();
                    event.answer(json!({ "reached": reached, "answers": answers }));
                } else {
                    let told = broadcast.emit(&name, payload).await;
                    event.answer(told.map_or_else(|error| error.to_string(), |_| "told".to_owned()));
                }
            }
        })
        .on("others", async |socket: Socket, event: Event| {
            let _ = socket.broadcast().emit("others", event.args).await;
        });
}
