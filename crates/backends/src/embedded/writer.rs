//! The thread that writes. A group is what waited while the one before it went to the disk.

use std::sync::Arc;
use std::thread::JoinHandle;

use fjall::{OwnedWriteBatch, PersistMode};
use oyez_hub::command::Level;
use oyez_hub::store::{Counters, StoreError, Transaction, View, Writes};
use rustix::fs::{StatVfsMountFlags, statvfs};
use tokio::sync::mpsc;
use tracing::error;

use super::view::{Group, Now, Recent};
use super::{MIB, Shared, error as of_engine};

/// Operations that wait for the writer; whoever comes then waits until there is room, in order of arrival.
pub(super) const QUEUE: usize = 1_024;

/// This part of what is kept free is touched by nothing.
const LAST_RESERVE: u64 = 8;

/// The most operations of one group: an answer waits for the whole group.
const GROUP: usize = 512;

type Answer = Box<dyn FnOnce(Result<Level, StoreError>) + Send>;
type Runs = Box<dyn FnOnce(Result<Ground<'_>, StoreError>) -> Option<(Writes, Answer)> + Send>;

/// What an operation runs on: what is there, the counters, and whether there is room for more messages.
type Ground<'a> = (&'a dyn View, &'a mut Counters, Option<StoreError>);

/// An operation that waits for its turn.
pub(super) struct Job {
    level: Level,
    run: Runs,
}

impl Job {
    /// `answer` is called when all of it is as certain as `level`, or when it cannot be done.
    pub(super) fn new<R: Send + 'static>(
        level: Level,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<R, StoreError> + Send + 'static,
        answer: impl FnOnce(Result<(R, Level), StoreError>) + Send + 'static,
    ) -> Self {
        let run = move |may: Result<Ground<'_>, StoreError>| {
            let ran = may.and_then(|(view, counters, full)| Transaction::run(view, counters, full, operation));
            match ran {
                Ok((result, writes)) => {
                    let answer: Answer = Box::new(move |level| answer(level.map(|level| (result, level))));
                    Some((writes, answer))
                }
                Err(error) => {
                    answer(Err(error));
                    None
                }
            }
        };
        Self { level, run: Box::new(run) }
    }
}

/// The writer of one store.
pub(super) struct Writer {
    shared: Arc<Shared>,
    counters: Counters,
    jobs: mpsc::Receiver<Job>,
    keep_free: u64,
    recent: Recent,
    /// Why nothing is written any more.
    failed: Option<StoreError>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, counters: Counters, jobs: mpsc::Receiver<Job>, keep_free: u64) -> Self {
        Self { shared, counters, jobs, keep_free, recent: Recent::default(), failed: None }
    }

    pub(super) fn start(mut self) -> Result<JoinHandle<()>, StoreError> {
        let run = move || {
            let mut group = Vec::with_capacity(GROUP);
            while self.jobs.blocking_recv_many(&mut group, GROUP) > 0 {
                self.write(&mut group);
            }
            if let Err(error) = self.shared.database.persist(PersistMode::SyncAll) {
                error!(event = "store_close", %error, "the last writes may not be on the disk");
            }
        };
        let thread = std::thread::Builder::new().name("store".to_owned());
        thread.spawn(run).map_err(|error| StoreError::Failed(error.to_string()))
    }

    fn write(&mut self, jobs: &mut Vec<Job>) {
        let mut answers = Vec::with_capacity(jobs.len());
        let mut level = Level::Stored;
        let may = self.may_write();
        let mut group = Group { before: Now(&self.shared), recent: &self.recent, writes: Writes::new() };
        for job in jobs.drain(..) {
            let ran = (job.run)(may.clone().map(|full| (&group as &dyn View, &mut self.counters, full)));
            let Some((writes, answer)) = ran else { continue };
            group.writes.extend(writes);
            level = level.max(job.level);
            answers.push(answer);
        }
        if answers.is_empty() {
            return;
        }
        let writes = group.writes;
        let reached = self.commit(writes, level);
        answers.into_iter().for_each(|answer| answer(reached.clone()));
    }

    /// Whether nothing has failed, and why there is no room for more messages, if there is none. To write into a full disk,
    /// or a read-only one, would end the engine; not to lets it go on as soon as it can. Into files that nobody finds any
    /// more it would write without a word. What becomes of the messages that are there may use the most of what is kept
    /// free, since it is little, and leads to room.
    fn may_write(&self) -> Result<Option<StoreError>, StoreError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        let dir = || self.shared.dir.display().to_string();
        if !self.shared.is_in_place() {
            return Err(StoreError::Gone { dir: dir() });
        }
        let Ok(disk) = statvfs(&self.shared.dir) else { return Ok(None) };
        if disk.f_flag.contains(StatVfsMountFlags::RDONLY) {
            return Err(StoreError::ReadOnly { dir: dir(), reason: "it is on a read-only file system".to_owned() });
        }
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if free >= self.keep_free {
            return Ok(None);
        }
        let dir = dir();
        let full = StoreError::DiskFull { dir, free: free / MIB, needed: self.keep_free / MIB };
        if free < self.keep_free / LAST_RESERVE { Err(full) } else { Ok(Some(full)) }
    }

    /// Into the log, to the disk if that is wanted, and then into memory, where readers find it: all or nothing.
    fn commit(&mut self, writes: Writes, level: Level) -> Result<Level, StoreError> {
        let mode = if level == Level::Synced { PersistMode::SyncData } else { PersistMode::Buffer };
        let (keyspace, database) = (&self.shared.keyspace, &self.shared.database);
        if writes.is_empty() {
            // What was there already may be in the log only.
            return database.persist(mode).map(|()| level).map_err(|error| self.fail(error));
        }
        let mut batch = OwnedWriteBatch::with_capacity(database.clone(), writes.len()).durability(Some(mode));
        for (key, value) in writes {
            self.recent.note(&key, value.as_deref());
            match value {
                Some(value) => batch.insert(keyspace, key, value),
                None => batch.remove(keyspace, key),
            }
        }
        batch.commit().map(|()| level).map_err(|error| self.fail(error))
    }

    /// After a failed write nobody knows what the log holds: nothing is built on it.
    fn fail(&mut self, error: fjall::Error) -> StoreError {
        error!(event = "store_failed", %error, "nothing is stored any more");
        let failed = match of_engine::of(&self.shared.dir, error) {
            // Room, or a right, comes too late.
            late @ (StoreError::DiskFull { .. } | StoreError::ReadOnly { .. }) => StoreError::Failed(late.to_string()),
            other => other,
        };
        self.failed = Some(failed.clone());
        failed
    }
}
