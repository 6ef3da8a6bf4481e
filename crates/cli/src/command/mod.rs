//! One file per command: its options, its help, and what it does.

pub(crate) mod check;
pub(crate) mod config_reference;
pub(crate) mod dev;
pub(crate) mod explain;
pub(crate) mod listen;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod token;
