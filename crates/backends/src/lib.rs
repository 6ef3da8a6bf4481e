//! What Oyez talks to: one folder per vendor, in it one file per role. Each implements a trait of the hub.

pub mod http;
