//! The embedded store: what every store must do, and what only a disk can spoil.

mod conformance;
mod random;
