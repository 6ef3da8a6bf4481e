//! HTTP: what a connection speaks before, or instead of, a realtime protocol.

pub mod api;
pub(crate) mod coalesce;
pub(crate) mod connection;
pub(crate) mod cors;
pub(crate) mod engine;
pub(crate) mod forward;
pub(crate) mod framing;
mod fresh;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod later;
pub(crate) mod native;
pub(crate) mod pages;
mod squeeze;
pub(crate) mod upgrade;
pub(crate) mod waiting;
