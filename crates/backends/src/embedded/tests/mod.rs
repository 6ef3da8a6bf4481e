//! The embedded store: what every store must do, and what only a disk can spoil.

mod backup;
mod conformance;
mod damage;
mod parts;
mod random;
