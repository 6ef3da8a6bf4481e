//! The server seen from outside: every metric and log event is named here, nowhere else.

pub(crate) mod arrival;
pub(crate) mod event;
pub mod metrics;
