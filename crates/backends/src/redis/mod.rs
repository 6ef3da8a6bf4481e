//! Redis: channels, which keep nothing, streams, which keep everything, and blacklists of tokens.

pub mod blacklist;
pub mod channels;
mod entry;
mod fault;
mod group;
mod server;
pub mod streams;

pub use server::Server;
