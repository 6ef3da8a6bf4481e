//! Nodes on one bus, each with a shard that the test plays.

#![allow(clippy::panic, reason = "a test")]

mod delivery;
mod node;
mod numbers;
mod still;
