//! The ticket desk on socketioxide: what a team that writes Rust would write by hand instead of running Oyez.
//!
//! One thread, mimalloc, JSON Web Tokens, rooms by rights, `POST /publish`. No logging and no metrics.

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::SocketIo;
use socketioxide::extract::{Data, Extension, SocketRef, State};
use socketioxide::handler::ConnectHandler;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many packets a slow client may have waiting. The default, 128, would lose some when many publish at once.
const WAITING: usize = 4096;

/// How tokens are verified.
struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

#[derive(Deserialize)]
struct Auth {
    token: String,
}

#[derive(Clone, Deserialize)]
struct Claims {
    #[serde(rename = "userId")]
    user: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    departments: Vec<String>,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<String>,
}

#[derive(Deserialize)]
struct Publication {
    channel: String,
    event: String,
    data: Value,
}

/// What clients get, as the desk's page reads it.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    payload: Value,
    timestamp: String,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let secret = std::env::var("JWT_SECRET").map_err(io::Error::other)?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(&address, &secret))
}

async fn serve(address: &str, secret: &str) -> io::Result<()> {
    let verifier =
        Verifier { key: DecodingKey::from_secret(secret.as_bytes()), validation: Validation::new(Algorithm::HS256) };
    let (layer, io) = SocketIo::builder().with_state(Arc::new(verifier)).max_buffer_size(WAITING).build_layer();
    io.ns("/", connected.with(authenticate));
    let app = axum::Router::new().route("/publish", post(publish)).layer(layer).with_state(io);
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("Listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, app).await
}

async fn authenticate(
    socket: SocketRef,
    Data(auth): Data<Auth>,
    State(verifier): State<Arc<Verifier>>,
) -> Result<(), jsonwebtoken::errors::Error> {
    let token = jsonwebtoken::decode::<Claims>(&auth.token, &verifier.key, &verifier.validation)?;
    socket.extensions.insert(token.claims);
    Ok(())
}

async fn connected(socket: SocketRef, Extension(claims): Extension<Claims>) {
    socket.join(format!("user:{}", claims.user));
    socket.on("subscribe", subscribe);
    socket.on("unsubscribe", unsubscribe);
    socket.on("heartbeat", heartbeat);
    let hello = json!({ "message": "已连接到 YanYu Cloud³ 实时通知", "clientId": socket.id, "timestamp": now() });
    drop(socket.emit("connected", &hello));
}

async fn subscribe(socket: SocketRef, Data(wanted): Data<Channels>, Extension(claims): Extension<Claims>) {
    let mut joined = Vec::with_capacity(wanted.channels.len());
    for channel in wanted.channels {
        if may_subscribe(&claims, &channel) {
            joined.push(channel);
        } else {
            drop(socket.emit("subscription_error", &json!({ "channel": channel, "message": "denied" })));
        }
    }
    socket.join(joined.clone());
    drop(socket.emit("subscribed", &json!({ "channels": joined, "timestamp": now() })));
}

fn may_subscribe(claims: &Claims, channel: &str) -> bool {
    match channel.split_once(':') {
        Some(("user", id)) => id == claims.user,
        Some(("role", role)) => claims.roles.iter().any(|mine| mine == role),
        Some(("department", department)) => claims.departments.iter().any(|mine| mine == department),
        Some(("ticket", _)) => true,
        _ => false,
    }
}

async fn unsubscribe(socket: SocketRef, Data(wanted): Data<Channels>) {
    socket.leave(wanted.channels.clone());
    drop(socket.emit("unsubscribed", &json!({ "channels": wanted.channels, "timestamp": now() })));
}

async fn heartbeat(socket: SocketRef) {
    drop(socket.emit("heartbeat_ack", &json!({ "timestamp": now(), "clientId": socket.id })));
}

async fn publish(Shared(io): Shared<SocketIo>, Json(publication): Json<Publication>) -> StatusCode {
    let Publication { channel, event, data } = publication;
    let envelope = Envelope { kind: &event, payload: data, timestamp: now() };
    match io.to(channel).emit(&event, &envelope).await {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
