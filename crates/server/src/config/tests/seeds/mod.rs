//! One file per seed.

mod ticketing;
