//! The rules of a store, over any engine: each operation is a transaction or a question, in the file of its noun.

mod entry;
mod inbox;
mod mark;
mod mend;
mod put;
mod roster;
mod trace;
mod upkeep;
mod verify;

use std::sync::Arc;

use async_trait::async_trait;

use super::Store;
use super::engine::Engine;
use super::error::StoreError;
use super::message::{
    Damage, Deleted, Found, Item, Marked, Owner, Page, Put, Query, Released, Seq, State, Stats, Step, Stored, Trace,
    Upkeep, Which,
};
use crate::command::Level;

pub use mend::{Mended, mend};
pub use verify::verify;

/// What is the same for all apps of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The most bytes of ids that are remembered only so that they stay unique; then the oldest hours go.
    pub id_bytes: u64,
    /// For how long what is acknowledged is kept, in milliseconds; `None`: until it is deleted, expires, or has to go.
    pub keep_acknowledged: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { id_bytes: 1 << 30, keep_acknowledged: None }
    }
}

/// A store over an engine.
#[derive(Debug, Default)]
pub struct Ledger<E> {
    engine: Arc<E>,
    settings: Settings,
}

impl<E: Engine> Ledger<E> {
    /// The store whose records `engine` keeps.
    #[must_use]
    pub fn new(engine: E, settings: Settings) -> Self {
        Self { engine: Arc::new(engine), settings }
    }

    /// What is beneath it.
    #[must_use]
    pub fn engine(&self) -> &E {
        &self.engine
    }

    async fn write<R: Send + 'static>(
        &self,
        operation: impl FnOnce(&mut super::Transaction<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.engine.write(Level::Stored, operation).await.map(|(answer, _)| answer)
    }
}

#[async_trait]
impl<E: Engine> Store for Ledger<E> {
    async fn put(&self, put: Put, now: u64) -> Result<Stored, StoreError> {
        put.check()?;
        let settings = self.settings;
        let (mut stored, level) =
            self.engine.write(put.level, move |transaction| put::put(transaction, &settings, put, now)).await?;
        stored.level = level;
        Ok(stored)
    }

    async fn release(&self, limit: usize, now: u64) -> Result<Vec<Released>, StoreError> {
        self.write(move |transaction| put::release(transaction, limit, now)).await
    }

    async fn next_due(&self) -> Result<Option<u64>, StoreError> {
        self.engine.read(put::next_due).await
    }

    async fn pending(&self, of: &Owner, after: Option<Seq>, limit: usize, now: u64) -> Result<Page, StoreError> {
        let of = of.clone();
        self.engine.read(move |view| inbox::pending(view, &of, after, limit, now)).await
    }

    async fn list(&self, of: &Owner, query: Query, now: u64) -> Result<Page, StoreError> {
        let of = of.clone();
        self.engine.read(move |view| inbox::list(view, &of, &query, now)).await
    }

    async fn find(&self, of: &Owner, ids: Vec<Arc<str>>, now: u64) -> Result<Vec<Found>, StoreError> {
        let of = of.clone();
        self.engine.read(move |view| inbox::find(view, &of, &ids, now)).await
    }

    async fn unread(&self, of: &Owner, now: u64) -> Result<u64, StoreError> {
        let of = of.clone();
        self.engine.read(move |view| inbox::unread(view, &of, now)).await
    }

    async fn mark(&self, of: &Owner, which: Which, to: State, now: u64) -> Result<Marked, StoreError> {
        let of = of.clone();
        self.write(move |transaction| mark::mark(transaction, &of, &which, to, now)).await
    }

    async fn delete(&self, of: &Owner, ids: Vec<Arc<str>>, now: u64) -> Result<Deleted, StoreError> {
        let of = of.clone();
        self.write(move |transaction| mark::delete(transaction, &of, ids, now)).await
    }

    async fn resend(&self, of: &Owner, id: &str, now: u64) -> Result<Option<Item>, StoreError> {
        let (of, id) = (of.clone(), id.to_owned());
        self.write(move |transaction| mark::resend(transaction, &of, &id, now)).await
    }

    async fn note(&self, of: &Owner, id: &str, step: Step, now: u64) -> Result<bool, StoreError> {
        let (of, id) = (of.clone(), id.to_owned());
        self.write(move |transaction| trace::note(transaction, &of, &id, step, now)).await
    }

    async fn trace(&self, of: &Owner, id: &str) -> Result<Option<Trace>, StoreError> {
        let (of, id) = (of.clone(), id.to_owned());
        self.engine.read(move |view| trace::trace(view, &of, &id)).await
    }

    async fn enroll(&self, app: &str, channel: &str, users: Vec<Arc<str>>) -> Result<usize, StoreError> {
        let (app, channel) = (app.to_owned(), channel.to_owned());
        self.write(move |transaction| roster::enroll(transaction, &app, &channel, &users)).await
    }

    async fn dismiss(&self, app: &str, channel: &str, users: Vec<Arc<str>>) -> Result<usize, StoreError> {
        let (app, channel) = (app.to_owned(), channel.to_owned());
        self.write(move |transaction| roster::dismiss(transaction, &app, &channel, &users)).await
    }

    async fn members(
        &self,
        app: &str,
        channel: &str,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let (app, channel) = (app.to_owned(), channel.to_owned());
        self.engine.read(move |view| roster::members(view, &app, &channel, after.as_deref(), limit)).await
    }

    async fn channels(&self, of: &Owner) -> Result<Vec<Arc<str>>, StoreError> {
        let of = of.clone();
        let places = self.engine.read(move |view| roster::places(view, &of)).await?;
        Ok(places.into_iter().map(|(channel, _)| channel).collect())
    }

    async fn maintain(&self, now: u64) -> Result<Upkeep, StoreError> {
        let settings = self.settings;
        self.write(move |transaction| upkeep::maintain(transaction, &settings, now)).await
    }

    async fn stats(&self, now: u64) -> Result<Stats, StoreError> {
        let settings = self.settings;
        let (window, id_bytes, last) =
            self.write(move |transaction| Ok(upkeep::accounts(transaction, &settings, now))).await?;
        let size = self.engine.size();
        Ok(Stats { records: size.records, bytes: size.bytes, window, id_bytes, last })
    }

    async fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        self.engine.read(|view| verify(view, &mut |_| {})).await
    }
}
