//! Other people's HTTP servers: key sets, introspection, an app's own backend.

mod address;
mod fetch;
mod lookup;

pub use fetch::{HttpFetch, HttpOptions, MAX_RESPONSE_BYTES};
