//! What all threads share and decide: who may do what, what a client's words mean, who hears a publication.
//!
//! No sockets, no HTTP, no vendor, no codec by name. Modules in the order in which a message meets them.

pub mod dialect;
pub mod policy;
