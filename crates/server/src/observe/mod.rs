//! The server seen from outside: every metric and log event is named here, nowhere else.

pub(crate) mod arrival;
mod backends;
mod catalogue;
mod cluster;
pub(crate) mod drops;
pub(crate) mod event;
pub(crate) mod histogram;
mod inboxes;
pub mod metrics;
pub mod process;
pub(crate) mod readiness;
pub(crate) mod report;
mod returns;
mod sources;
pub(crate) mod vitals;
