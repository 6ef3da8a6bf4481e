//! Redis.

pub mod source;
pub mod store;

pub use source::{Options, run};
