//! How bytes come and go, and what an operator says about it.

pub mod config;
