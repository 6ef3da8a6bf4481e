//! Redis.

pub mod source;

pub use source::{Options, run};
