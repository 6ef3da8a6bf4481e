//! Redis: channels, which keep nothing, and streams, which keep everything.

pub mod channels;
mod entry;
mod fault;
mod group;
mod server;
pub mod streams;

pub use server::Server;
