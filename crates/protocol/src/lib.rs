//! All that a client can see: messages, packets, frames and codes, as pure functions over bytes.
//!
//! Nothing here knows a clock, a socket or a runtime. Modules in the order in which a message meets them:
//! nouns first, then the codecs from the outermost (frames) to the innermost (events). Last, what servers of a cluster
//! say to each other, and what forwarders in front of the server say of its clients.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "a failed unwrap is a failed test")
)]

pub mod code;
pub mod message;

pub mod websocket;

pub mod engineio;

pub mod native;
pub mod socketio;

pub mod adapter;

pub mod forwarded;
pub mod proxy;

pub mod json;
