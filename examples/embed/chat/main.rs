//! A chat with nicknames and rooms: what embedding looks like.
//!
//! `cargo run -p oyez-server --example chat`, then in a page or in Node, with the stock client:
//!
//! ```js
//! const socket = io('http://127.0.0.1:3000', { auth: { nickname: 'Ada' } });
//! socket.on('said', ({ room, from, text }) => console.log(`[${room}] ${from}: ${text}`));
//! console.log(await socket.emitWithAck('join', 'tea')); // { room: 'tea', present: ['Ada'] }
//! socket.emit('say', { room: 'tea', text: 'Hello' });
//! ```

use oyez_server::settings::Origins;
use oyez_server::{ConnectError, Event, Handshake, Identity, Server, Socket};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Say {
    room: String,
    text: String,
}

/// A nickname is all it takes; whoever has none is told why.
async fn welcome(handshake: Handshake) -> Result<Identity, ConnectError> {
    match handshake.auth["nickname"].as_str() {
        Some(name) if !name.trim().is_empty() => Ok(Identity { user: name.trim().into(), ..Identity::default() }),
        _ => Err(ConnectError::new("Choose a nickname").with_data(json!({ "field": "nickname" }))),
    }
}

async fn join(socket: Socket, mut event: Event) {
    let Ok(room) = event.data::<String>() else { return event.answer(json!({ "error": "join what?" })) };
    if let Err(error) = socket.join(&room).await {
        return event.answer(json!({ "error": error.to_string() }));
    }
    let present: Vec<_> = socket.namespace().to(&room).sockets().await.into_iter().map(|other| other.user).collect();
    let _ = socket.to(&room).emit("joined", json!({ "room": room, "who": socket.identity().user })).await;
    event.answer(json!({ "room": room, "present": present }));
}

async fn say(socket: Socket, event: Event) {
    let Ok(Say { room, text }) = event.data() else { return };
    let said = json!({ "room": room, "from": socket.identity().user, "text": text });
    let _ = socket.namespace().to(&room).emit("said", said).await;
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let server = Server::builder().origins(Origins::Any).build();
    server.hub().authenticate(welcome).on("join", join).on("say", say);
    server.listen("127.0.0.1:3000").await
}
