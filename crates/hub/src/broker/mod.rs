//! What carries the words of nodes to each other: topics, at most once, in the order of each speaker.

mod memory;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

pub use memory::{Bus, Seat};

/// Something that is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Where.
    pub topic: Arc<str>,
    /// What.
    pub payload: Bytes,
}

/// What a broker brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tidings {
    /// Somebody said something on a topic that is listened to; oneself too.
    Said(Said),
    /// The engine is reached, and every topic is listened to that was asked for.
    Up,
    /// It is not reached any more: from the moment before until the next [`Tidings::Up`] things may be missed.
    Down,
}

/// Why nothing was said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the broker is not reached: {0}")]
pub struct Unreached(pub String);

/// The other end of [`Tidings`]: whoever makes a broker gets one with it.
pub type Inlet = mpsc::Receiver<Tidings>;

/// A connection to the engine that all nodes share. It is made again whenever it is lost, and listens then to what it
/// listened to before, without being asked.
#[async_trait]
pub trait Broker: Send + Sync + fmt::Debug + 'static {
    /// Says these things, in this order. Returns when the engine has them all; what it could not be told is not said later.
    ///
    /// # Errors
    /// [`Unreached`]: some of them, or all, may not have been said.
    async fn say(&self, words: &[Said]) -> Result<(), Unreached>;

    /// Listens to these topics from now on, until [`Broker::ignore`]. Returns when that is so, or, where the engine is not
    /// reached now, at once: then it is so at the next [`Tidings::Up`].
    async fn listen(&self, topics: &[Arc<str>]);

    /// Listens to these topics no more.
    async fn ignore(&self, topics: &[Arc<str>]);
}
