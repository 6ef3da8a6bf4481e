//! The history of channels that nodes share: what one of them says is in it before anybody hears it, so any of them can say
//! what was said, also when that one is gone.
//!
//! A place in it is a [`Mark`] as in a node's own log. The life that it names is the store's: it ends when the store may
//! have forgotten something by itself.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::StoreError;
use crate::recovery::{History, Mark};

/// What is said in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saying {
    /// The channel.
    pub channel: Arc<str>,
    /// How much it keeps.
    pub history: History,
    /// `None`: something that could not be remembered then; who has not come further hears of a gap.
    pub said: Option<Bytes>,
}

/// What was said in a channel, as far as was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recalled {
    /// Oldest first, each with its place.
    pub said: Vec<(u64, Bytes)>,
    /// Whoever has these, and had all before, goes on from here.
    pub until: Mark,
    /// The last that was said in the channel.
    pub last: Mark,
    /// Some of what was asked for is not known any more.
    pub gap: bool,
    /// There is more after these.
    pub more: bool,
}

/// A history that nodes share. Times are in milliseconds since the Unix epoch.
#[async_trait]
pub trait Chronicle: Send + Sync {
    /// Remembers what was said, each in its channel for as long as that keeps it, at one place behind all others. Nothing at all:
    /// something was said, nobody knows where, that could not be remembered then.
    ///
    /// # Errors
    /// It is not known whether it is remembered.
    async fn remember(&self, app: &str, said: &[Saying], now: u64) -> Result<Mark, StoreError>;

    /// When a place was given.
    fn time_of(&self, place: Mark) -> u64;

    /// What a channel that keeps so much remembers: the newest, or what comes after a place; at most `limit`, which is not 0, and
    /// fewer where they are large.
    ///
    /// # Errors
    /// As the store.
    async fn recall(
        &self,
        app: &str,
        channel: (&str, History),
        since: Option<Mark>,
        limit: usize,
        now: u64,
    ) -> Result<Recalled, StoreError>;
}
