//! How bytes travel: a websocket, or HTTP requests. A session may move from the second to the first.

pub(crate) mod announced;
pub(crate) mod door;
pub(crate) mod handshake;
pub(crate) mod polling;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod websocket;
