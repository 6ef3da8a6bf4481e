//! What remembers: the durable inbox of each user, the logs of channels with a roster, ids, receipts.
//!
//! [`Store`] is what the hub asks. [`Ledger`] holds its rules over any [`Engine`], which is an ordered map of bytes with
//! one writer: [`Memory`] here, an embedded one in `oyez-backends`. A store elsewhere implements [`Store`] itself. All
//! pass `conformance`.
//!
//! There is one order: every entry has a [`Seq`], and a user hears their own inbox and their channels by it. A channel
//! has one log; what a member has acknowledged up to is a cursor, and what became of each message a receipt. A store has
//! no clock: `now` is given, in milliseconds since the Unix epoch.

mod chronicle;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod engine;
mod error;
mod key;
mod ledger;
mod memory;
mod message;
mod record;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

pub use crate::delivery::Priority;
pub use chronicle::{Chronicle, Recalled, Saying};
pub use engine::{Counters, Each, Engine, Size, Transaction, View, Writes};
pub use error::StoreError;
pub use key::{check as check_name, is_head};
pub use ledger::{Ledger, Mended, Settings, mend, verify};
pub use memory::Memory;
pub use message::{
    Audience, Bound, Change, Damage, Deleted, Found, Gone, Item, Marked, Message, Outcome, Owner, Page, Put, Query,
    ReceiptTo, Released, Seq, State, Stats, Step, Stored, Target, Trace, Upkeep, WhenFull, Which,
};

/// The most bytes of a name or an id.
pub const NAME_MAX: usize = 1_024;

/// A store in memory.
pub type MemoryStore = Ledger<Memory>;

/// The durable inbox. Whoever asks has checked that they may.
///
/// What is changed is at least [`crate::command::Level::Stored`] when the answer comes, on stores that can do that.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Stores a message for some users and channels, once.
    async fn put(&self, put: Put, now: u64) -> Result<Stored, StoreError>;

    /// Puts scheduled messages that have become due into their inboxes, the earliest first, at most so many.
    async fn release(&self, limit: usize, now: u64) -> Result<Vec<Released>, StoreError>;

    /// When the next scheduled message is due.
    async fn next_due(&self) -> Result<Option<u64>, StoreError>;

    /// What a user has not acknowledged, the oldest first: due, not expired, after `after`.
    async fn pending(&self, of: &Owner, after: Option<Seq>, limit: usize, now: u64) -> Result<Page, StoreError>;

    /// What a user has.
    async fn list(&self, of: &Owner, query: Query, now: u64) -> Result<Page, StoreError>;

    /// Where they have messages with these ids, in the order of `ids`.
    async fn find(&self, of: &Owner, ids: Vec<Arc<str>>, now: u64) -> Result<Vec<Found>, StoreError>;

    /// How much of it is not read; of a user's inbox and of each channel, at most 10,000 are counted.
    async fn unread(&self, of: &Owner, now: u64) -> Result<u64, StoreError>;

    /// Brings messages of a user forward to a state.
    async fn mark(&self, of: &Owner, which: Which, to: State, now: u64) -> Result<Marked, StoreError>;

    /// Takes messages from a user; other members of a channel keep theirs.
    async fn delete(&self, of: &Owner, ids: Vec<Arc<str>>, now: u64) -> Result<Deleted, StoreError>;

    /// Gives a user a message again, as if it were new; `None`: they have it not.
    async fn resend(&self, of: &Owner, id: &str, now: u64) -> Result<Option<Item>, StoreError>;

    /// Notes what happened to a message on its way to a user; `false`: they have it not.
    async fn note(&self, of: &Owner, id: &str, step: Step, now: u64) -> Result<bool, StoreError>;

    /// What happened to a message with a user; `None`: no such message is known.
    async fn trace(&self, of: &Owner, id: &str) -> Result<Option<Trace>, StoreError>;

    /// Puts users on a channel's roster; they get what is put from now on. Returns how many were not on it.
    async fn enroll(&self, app: &str, channel: &str, users: Vec<Arc<str>>) -> Result<usize, StoreError>;

    /// Takes users off a channel's roster, and what they have from it. Returns how many were on it.
    async fn dismiss(&self, app: &str, channel: &str, users: Vec<Arc<str>>) -> Result<usize, StoreError>;

    /// Who is on a channel's roster, in an order of the store's own, after `after`.
    async fn members(
        &self,
        app: &str,
        channel: &str,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError>;

    /// On which rosters a user is.
    async fn channels(&self, of: &Owner) -> Result<Vec<Arc<str>>, StoreError>;

    /// Does a bounded part of what has to be done from time to time: expiry, trimming, forgetting ids.
    async fn maintain(&self, now: u64) -> Result<Upkeep, StoreError>;

    /// Figures.
    async fn stats(&self, now: u64) -> Result<Stats, StoreError>;

    /// Reads everything and says what is not as it should be.
    async fn verify(&self) -> Result<Vec<Damage>, StoreError>;

    /// Whether other nodes keep theirs here, too.
    fn is_shared(&self) -> bool {
        false
    }

    /// The history of channels, where nodes share that, too.
    fn chronicle(&self) -> Option<&dyn Chronicle> {
        None
    }

    /// Why nothing can be stored, as it changes; `None` for a store that is told by its answers alone.
    fn health(&self) -> Option<watch::Receiver<Option<StoreError>>> {
        None
    }
}
