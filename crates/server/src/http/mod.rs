//! HTTP: what a connection speaks before, or instead of, a realtime protocol.

pub(crate) mod connection;
pub(crate) mod cors;
pub(crate) mod engine;
pub(crate) mod native;
