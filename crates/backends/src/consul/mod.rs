//! Consul.

mod services;
pub mod source;

pub use source::{Options, run};
