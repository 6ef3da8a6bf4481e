//! Redis: channels, which keep nothing, streams, which keep everything, and blacklists of tokens.

pub mod blacklist;
mod broker;
pub mod channels;
mod entry;
mod fault;
mod group;
mod server;
pub mod store;
pub mod streams;

pub use broker::RedisBroker;
pub use server::Server;
