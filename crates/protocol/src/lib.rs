//! All that a client can see: messages, packets, frames and codes, as pure functions over bytes.
//!
//! Nothing here knows a clock, a socket or a runtime. Modules in the order in which a message meets them:
//! nouns first, then the codecs from the outermost (frames) to the innermost (events).

pub mod message;
