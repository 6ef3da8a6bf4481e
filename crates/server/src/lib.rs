//! How bytes come and go: connections, transports, sessions, HTTP. Embeds in any Rust program.
//!
//! A connection is accepted by `acceptor`, owned by a `shard`, read and written by a `transport`, understood by a
//! `session`'s driver; everything else is `http`.

mod acceptor;
pub mod assemble;
mod clock;
pub mod config;
mod embed;
pub mod forwarders;
mod http;
pub mod live;
pub mod observe;
pub mod reference;
mod seats;
mod server;
mod session;
pub mod settings;
mod shard;
pub mod tls;
mod transport;

pub use embed::ServerBuilder;
pub use http::api;
pub use oyez_hub::Hub;
pub use oyez_hub::command::{Acked, CommandError, Goodbye};
pub use oyez_hub::delivery::Priority;
pub use oyez_hub::handler::{ConnectError, Event, Handshake};
pub use oyez_hub::namespace::{Broadcast, Namespace};
pub use oyez_hub::policy::Identity;
pub use oyez_hub::socket::{Ack, Socket};
pub use oyez_protocol::message::Args;
pub use tokio_util::sync::CancellationToken;

pub use server::{Server, app_id, default_shards};

/// For the fuzz target of this name: what a connection says first.
#[cfg(fuzzing)]
pub fn http_head(bytes: &[u8]) {
    http::hostile::read(bytes);
}
