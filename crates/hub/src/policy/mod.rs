//! Who a session is and what it may do.

pub mod channel;
pub(crate) mod expiring;
pub mod expression;
pub mod fetch;
pub(crate) mod flight;
pub mod grants;
pub mod identity;
pub mod limits;
mod now;
pub mod rule;
pub mod token;

pub use grants::{Policy, Verdict};
pub use identity::{Identity, Rights};
pub use now::Now;
