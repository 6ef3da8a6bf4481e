//! What Oyez talks to: one folder per vendor, in it one file per role. Each implements a trait of the hub.

#[cfg(all(test, any(feature = "embedded", feature = "redis")))]
mod alike;
#[cfg(feature = "consul")]
pub mod consul;
#[cfg(feature = "embedded")]
pub mod embedded;
pub mod http;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "consul", feature = "nats", feature = "rabbitmq", feature = "redis"))]
mod supervise;
