//! Redis: channels, which keep nothing, streams, which keep everything, and blacklists of tokens.

pub mod blacklist;
mod broker;
pub mod channels;
mod ear;
mod entry;
mod fault;
mod group;
pub mod neighbours;
mod place;
mod server;
pub mod store;
pub mod streams;

pub use broker::RedisBroker;
pub use place::Place;
pub use server::Server;
