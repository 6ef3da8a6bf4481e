//! RabbitMQ, over AMQP 0-9-1.

mod fault;
mod message;
pub mod source;
mod topology;

pub use source::{Options, run};
