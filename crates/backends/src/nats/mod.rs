//! NATS: what nodes say to each other, subjects, which keep nothing, and streams of JetStream, which keep everything.
//!
//! The protocol is spoken here, not by a client library: nodes need one order over all subjects, to know what the server
//! has, and that nothing is said later which could not be said now.

mod broker;
mod consumer;
mod delivery;
mod fault;
pub mod jetstream;
mod line;
mod servers;
pub mod subjects;
mod wire;

pub use broker::NatsBroker;
pub use servers::Servers;
