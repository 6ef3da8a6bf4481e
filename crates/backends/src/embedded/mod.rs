//! The durable store in a data directory: the hub's ledger over fjall, an LSM tree with a log.
//!
//! One thread writes. It takes what waits in a bounded queue, runs it, writes all of it to the engine's log as one batch,
//! syncs that if anybody waits for it, and answers; meanwhile the next group gathers. Readers have snapshots and run beside
//! the shards. Nobody sees what is not as certain yet as its publisher will be told.
//!
//! The directory holds `oyez.lock`, which one process at a time has and which says once there is a store, and `engine/`,
//! which belongs to fjall.

mod backup;
mod error;
mod journal;
mod open;
mod place;
mod repair;
mod view;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use fjall::{Database, Keyspace};
use oyez_hub::command::Level;
use oyez_hub::store::{Counters, Engine, Ledger, Settings, Size, StoreError, Transaction, View};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::unconstrained;

pub use self::backup::{Heard, copy, exists, verify};
pub use self::open::Torn;
use self::place::Inode;
pub use self::repair::{Repaired, repair};
use self::view::Now;
use self::writer::{Job, QUEUE, Writer};

/// Questions that are answered at once; more wait.
const READERS: usize = 32;

const MIB: u64 = 1024 * 1024;

/// A durable store.
pub type EmbeddedStore = Ledger<Embedded>;

/// How much of the machine the store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of memory for what is read often.
    pub cache: u64,
    /// Bytes of memory for what was written lately, twice: once more while it goes to its place.
    pub memtable: u64,
    /// Bytes of the disk that stay free: then nothing is written any more until there is room.
    pub keep_free: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: 64 * MIB, memtable: 32 * MIB, keep_free: 256 * MIB }
    }
}

/// What the writer and all readers share. The lock goes last.
struct Shared {
    keyspace: Keyspace,
    database: Database,
    dir: PathBuf,
    /// What was opened, to know it again.
    opened: [Inode; 2],
    lock: File,
}

impl Shared {
    /// Whether what was opened is where it was.
    fn is_in_place(&self) -> bool {
        place::inodes(&self.dir).is_ok_and(|found| found == self.opened)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dir.fmt(f)
    }
}

/// An engine in a data directory.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    torn: Option<Torn>,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Arc<Semaphore>,
    runtime: Handle,
}

impl Embedded {
    /// Opens the store in `dir`, which is made if it is not there. Questions are answered on the blocking threads of
    /// `runtime`.
    ///
    /// # Errors
    /// What is wrong with the directory. The end of a log that was being written when the machine stopped is cut off;
    /// other damage is not touched.
    pub fn open(dir: &Path, options: Options, runtime: Handle) -> Result<Self, StoreError> {
        let mut torn = None;
        let shared = Arc::new(open::open(dir, options, &mut |end| torn = Some(end))?);
        let counters = Counters::load(&Now(&shared), &shared.dir.display().to_string())?;
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = Writer::new(Arc::clone(&shared), counters, jobs, options.keep_free).start()?;
        let readers = Arc::new(Semaphore::new(READERS));
        Ok(Self { shared, torn, queue: Some(queue), writer: Some(writer), readers, runtime })
    }

    /// The same as a store.
    ///
    /// # Errors
    /// As [`Embedded::open`].
    pub fn store(
        dir: &Path,
        options: Options,
        settings: Settings,
        runtime: Handle,
    ) -> Result<EmbeddedStore, StoreError> {
        Ok(Ledger::new(Self::open(dir, options, runtime)?, settings))
    }

    /// The end of the log that was cut off when it was opened, if it was torn.
    pub fn torn(&self) -> Option<&Torn> {
        self.torn.as_ref()
    }

    /// Rewrites all tables, so that the disk holds nothing that is gone. Takes long.
    ///
    /// # Errors
    /// Damage, or a disk that fails.
    pub fn compact(&self) -> Result<(), StoreError> {
        let compacted =
            self.shared.keyspace.rotate_memtable_and_wait().and_then(|()| self.shared.keyspace.major_compact());
        compacted.map_err(|error| error::of(&self.shared.dir, error))
    }
}

impl Drop for Embedded {
    /// Ends when everything that was asked is written, and the directory is free.
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has said so; what it had acknowledged is on the disk.
            let _ = writer.join();
        }
    }
}

impl Engine for Embedded {
    async fn write<R: Send + 'static>(
        &self,
        level: Level,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<(R, Level), StoreError> {
        let (sender, receiver) = oneshot::channel();
        let job = Job::new(level, operation, move |answer| {
            // Whoever asked may have gone; it is done all the same.
            let _ = sender.send(answer);
        });
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        // A turn of the runtime's that is over must not put it behind others.
        unconstrained(queue.send(job)).await.map_err(|_| StoreError::Closed)?;
        let answer = receiver.await.map_err(|_| StoreError::Closed)?;
        answer.map_err(|problem| error::at(&self.shared.dir, problem))
    }

    async fn read<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn View) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let shared = Arc::clone(&self.shared);
        let answer = self.runtime.spawn_blocking(move || {
            let answer = question(&view::Moment::of(&shared));
            drop(permit);
            answer
        });
        let answer = answer.await.map_err(|_| StoreError::Closed)?;
        answer.map_err(|problem| error::at(&self.shared.dir, problem))
    }

    fn size(&self) -> Size {
        let records = self.shared.keyspace.approximate_len() as u64;
        Size { records, bytes: self.shared.database.disk_space().unwrap_or_default() }
    }
}
