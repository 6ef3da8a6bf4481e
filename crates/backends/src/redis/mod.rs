//! Redis: channels, which keep nothing, and streams, which keep everything.

mod broker;
pub mod channels;
mod entry;
mod fault;
mod group;
mod server;
pub mod streams;

pub use broker::RedisBroker;
pub use server::Server;
