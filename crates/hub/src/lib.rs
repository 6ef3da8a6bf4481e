//! What all threads share and decide: who may do what, what a client's words mean, who hears a publication.
//!
//! No sockets, no HTTP, no vendor, no codec by name. Modules in the order in which a message meets them.

pub mod address;
pub mod admission;
pub mod app;
pub mod backend;
pub mod broker;
pub mod channel;
pub mod clock;
pub mod cluster;
pub mod command;
pub mod delivery;
pub mod dialect;
pub mod handler;
pub mod hub;
pub mod inbox;
pub mod lifecycle;
pub mod namespace;
pub mod policy;
pub mod presence;
pub mod promise;
pub mod recovery;
pub mod socket;
pub mod source;
pub mod store;
mod sync;

pub use hub::Hub;

/// For the fuzz target of this name: what comes on the broker's topics.
#[cfg(fuzzing)]
pub fn cluster_letter(bytes: &[u8]) {
    cluster::hostile::read(bytes);
}
