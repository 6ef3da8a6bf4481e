//! Who a session is and what it may do.

pub mod channel;
pub mod expression;
pub mod grants;
pub mod identity;

pub use grants::{Policy, Verdict};
pub use identity::{Identity, Rights};
