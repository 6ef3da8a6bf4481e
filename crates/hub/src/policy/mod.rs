//! Who a session is and what it may do.

mod expiring;
pub mod fetch;
mod flight;
pub mod identity;
pub mod token;

pub use identity::{Identity, Rights};
