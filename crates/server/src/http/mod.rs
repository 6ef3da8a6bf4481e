//! HTTP: what a connection speaks before, or instead of, a realtime protocol.

pub mod api;
pub(crate) mod connection;
pub(crate) mod cors;
pub(crate) mod engine;
pub(crate) mod native;
pub(crate) mod pages;
