//! One file per seed.

mod cloudphone;
mod concrete_plant;
mod demo;
mod erp;
mod ginforge;
mod ticketing;
