//! The store in Redis: what every store must do, and what only a server elsewhere can spoil.

mod conformance;
mod faults;
mod past;
mod random;
mod server;
mod upkeep;
