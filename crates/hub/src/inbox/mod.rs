//! The durable inbox of each user, as the hub runs it: what is published goes through the store to those who are
//! connected, what they say of it comes back into the store.
//!
//! `publish` decides for whom a publication is kept, `intake` puts it into the store and delivers in the store's order,
//! `desk` does what users and backends ask, as far as they may hear it (`hearing`), `unread` counts for their devices,
//! `receipts` tells publishers what became of it, `upkeep` does what time brings.
//! Who catches up on which session is the shards' business.

mod desk;
mod hearing;
mod intake;
mod publish;
mod receipts;
mod unread;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::Hub;
use crate::app::App;
use crate::command::CommandError;
use crate::hub::revoked;
use crate::store::{Owner, Stats, Store, StoreError};
pub use hearing::Hearing;
use intake::Job;
pub(crate) use intake::{heard_in, owner_of, seated};
use receipts::Receipt;
use unread::Uncounted;

/// What has happened, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Durable publications that were stored.
    pub stored: AtomicU64,
    /// Durable publications that had been published before.
    pub duplicates: AtomicU64,
    /// Inboxes that had no room for a message.
    pub refused: AtomicU64,
    /// Messages that had to go for others.
    pub dropped: AtomicU64,
    /// Messages that expired.
    pub expired: AtomicU64,
    /// Messages that users brought forward.
    pub marked: AtomicU64,
    /// Messages that were sent again on a connect.
    pub redelivered: AtomicU64,
    /// What the store refused or could not do.
    pub errors: AtomicU64,
    /// Receipts that were told.
    pub receipts: AtomicU64,
    /// Receipts that nobody took.
    pub receipts_lost: AtomicU64,
}

/// A node's store and what runs around it.
pub struct Inboxes {
    store: Arc<dyn Store>,
    jobs: mpsc::Sender<Job>,
    receipts: mpsc::Sender<Receipt>,
    uncounted: Mutex<Uncounted>,
    trouble: Mutex<Option<StoreError>>,
    stats: Mutex<Stats>,
    figures: Figures,
    /// When what another node has scheduled is due here, because that node is late.
    due: watch::Sender<Option<u64>>,
}

impl fmt::Debug for Inboxes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inboxes").finish_non_exhaustive()
    }
}

impl Inboxes {
    /// What is asked about messages, rather than changed.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What has happened since the start.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// The store in figures, as they were a moment ago.
    #[must_use]
    pub fn stats(&self) -> Stats {
        *self.stats.lock()
    }

    /// Why nothing can be stored at the moment.
    #[must_use]
    pub fn trouble(&self) -> Option<StoreError> {
        self.trouble.lock().clone()
    }

    /// Notes how an operation went that writes.
    pub(crate) fn note<T>(&self, outcome: &Result<T, StoreError>) {
        let Err(error) = outcome else { return };
        self.figures.errors.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if error.is_trouble() {
            self.troubled(error);
        }
    }

    /// Messages cannot be stored, for this reason.
    fn troubled(&self, error: &StoreError) {
        let before = self.trouble.lock().replace(error.clone());
        if before.is_none_or(|before| before.word() != error.word()) {
            warn!(event = "store_trouble", reason = error.word(), %error, "nothing durable is stored");
        }
    }

    /// Messages can be stored. (That others could be marked or deleted says nothing about it: that takes no room.)
    fn untroubled(&self) {
        if self.trouble.lock().take().is_some() {
            info!(event = "store_recovered", "durable messages are stored again");
        }
    }
}

impl Hub {
    /// Keeps what is durable in `store` from now on; the first call counts. To be
    /// called on a runtime's thread or with one entered, before anything is published.
    pub fn keep_in(&self, store: Arc<dyn Store>) {
        let (jobs, inlet) = mpsc::channel(intake::QUEUE);
        let (receipts, told) = mpsc::channel(receipts::QUEUE);
        let (health, (due, others)) = (store.health(), watch::channel(None));
        let inboxes = Inboxes {
            store: Arc::clone(&store),
            jobs,
            receipts,
            uncounted: Mutex::default(),
            trouble: Mutex::default(),
            stats: Mutex::default(),
            figures: Figures::default(),
            due,
        };
        if self.inner.inboxes.set(inboxes).is_ok() {
            self.spawn(intake::run(self.downgrade(), Arc::clone(&store), inlet, others));
            self.spawn(receipts::run(self.downgrade(), told));
            self.spawn(upkeep::run(self.downgrade()));
            self.spawn(revoked::recall(self.downgrade(), store));
            if let Some(health) = health {
                self.spawn(upkeep::follow(self.downgrade(), health));
            }
        }
    }

    /// What is durable on this node; `None`: there is no store.
    #[must_use]
    pub fn inboxes(&self) -> Option<&Inboxes> {
        self.inner.inboxes.get()
    }

    /// The same, of an app that has inboxes.
    ///
    /// # Errors
    /// [`CommandError::NoInbox`].
    pub fn inboxes_of(&self, app: &App) -> Result<&Inboxes, CommandError> {
        let inboxes = self.inboxes().filter(|_| app.inbox.is_some());
        inboxes.ok_or_else(|| CommandError::NoInbox(app.name.clone()))
    }
}

impl App {
    /// A user of this app as stores name them.
    #[must_use]
    pub fn owner(&self, user: &Arc<str>) -> Owner {
        Owner::new(self.name.as_str(), Arc::clone(user))
    }
}
