//! Opening a data directory: one process at a time, and only what is whole.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};
use oyez_hub::store::StoreError;
use tracing::warn;

use super::journal::{self, Found};
use super::place::{self, BEGUN, LOCK, engine};
use super::{MIB, Options, Shared, error};

/// The engine's threads: one alone would let memory grow for as long as it rewrites tables.
const WORKERS: usize = 2;

/// The engine keeps as much of its log as this before it moves what is in it to its place.
const LOG: u64 = 128 * MIB;

/// Takes the directory for this process.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    place::make(dir).map_err(|problem| error::unmade(dir, &problem))?;
    place::finished(dir)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK));
    let file = file.map_err(|problem| match problem.kind() {
        ErrorKind::IsADirectory => error::missing(dir, &dir.join(LOCK)),
        _ => error::unmade(dir, &problem),
    })?;
    match file.try_lock() {
        Ok(()) => {
            // What other processes were ended at.
            let done = place::replacement(dir).map_or(Ok(()), |fresh| place::replace(dir, &fresh));
            let done = done.and_then(|()| place::clear(&dir.join(BEGUN)));
            done.map(|()| file).map_err(|problem| error::io(dir, &problem))
        }
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { dir: dir.display().to_string() }),
        Err(TryLockError::Error(problem)) => Err(error::unmade(dir, &problem)),
    }
}

/// The end of a log that was cut off, because it was being written when the machine stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The log.
    pub log: PathBuf,
    /// Where it ends now.
    pub at: u64,
    /// How many bytes of the unfinished write there were.
    pub bytes: u64,
}

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log, at, bytes } = self;
        write!(
            f,
            "{bytes} bytes of a torn end were cut off {}, which ends at byte {at} now; what was not answered as stored \
             may be in it. If no machine stopped while it wrote, something else has cut the log, and more is missing",
            log.display()
        )
    }
}

/// Opens the store; `torn` hears of an end of the log that was cut off, also when the store does not open then.
pub(super) fn open(dir: &Path, options: Options, torn: &mut dyn FnMut(Torn)) -> Result<Shared, StoreError> {
    let lock = lock(dir)?;
    if place::is_new(dir)? {
        let begun = dir.join(BEGUN);
        drop(open_engine(&begun, options, self::lock(&begun)?)?);
        place::replace(dir, &begun).map_err(|problem| error::io(dir, &problem))?;
    }
    whole_logs(dir, torn)?;
    let shared = open_engine(dir, options, lock)?;
    // What cannot be noted now is when it is opened next: a store is read on a full disk, too.
    let _ = place::note(&shared.lock);
    Ok(shared)
}

/// Opens the engine in a directory that is locked, of which nothing is missing; or makes one.
pub(super) fn open_engine(dir: &Path, options: Options, lock: File) -> Result<Shared, StoreError> {
    let open = || {
        let database = Database::builder(engine(dir))
            .cache_size(options.cache)
            .max_journaling_size(LOG)
            .manual_journal_persist(true)
            .worker_threads(WORKERS)
            .open()?;
        let keyspace =
            database.keyspace("records", || KeyspaceCreateOptions::default().max_memtable_size(options.memtable))?;
        Ok((database, keyspace))
    };
    // The engine panics on some damage of its own files.
    let opened = catch_unwind(AssertUnwindSafe(open));
    let opened =
        opened.map_err(|_| error::damaged(dir, "the engine cannot read its files", engine(dir).display().to_string()));
    // To repair it begins with opening it, so what does not open now is beyond that.
    let (database, keyspace) =
        opened.and_then(|opened| opened.map_err(|problem| error::of(dir, problem))).map_err(error::broken)?;
    let opened = place::inodes(dir).map_err(|problem| error::io(dir, &problem))?;
    Ok(Shared { keyspace, database, dir: dir.to_owned(), opened, lock })
}

/// Looks at the engine's files before it does: it would cut a log off at the first byte that it does not understand, with
/// all that follows. A torn end is cut off here; anything else is damage.
fn whole_logs(dir: &Path, torn: &mut dyn FnMut(Torn)) -> Result<(), StoreError> {
    let logs = place::parts(dir)?;
    if journal::are_gone(&logs).map_err(|problem| error::io(dir, &problem))? {
        let what = "the log is gone, with what no table has yet; put it back, or a backup, before anything else";
        return Err(error::damaged(dir, what, engine(dir).join("*.jnl").display().to_string()));
    }
    for (index, log) in logs.iter().enumerate() {
        let found = journal::check(log).map_err(|problem| error::io(dir, &problem))?;
        let place = |at: u64| format!("{} at byte {at}", log.display());
        match found {
            Found::Whole { at: 0 } if index + 1 == logs.len() => {
                journal::cut(log, 0).map_err(|problem| error::io(dir, &problem))?;
            }
            Found::Whole { .. } => {}
            Found::Torn { at, bytes } if index + 1 == logs.len() => {
                warn!(event = "store_torn", log = %log.display(), at, bytes, "cut off the unfinished end of the log");
                journal::cut(log, at).map_err(|problem| error::io(dir, &problem))?;
                torn(Torn { log: log.clone(), at, bytes });
            }
            // The engine had synced this log before it began the next.
            Found::Torn { at, .. } => return Err(error::damaged(dir, "a finished log has a damaged end", place(at))),
            Found::Damaged { at } => return Err(error::damaged(dir, "the log is damaged before its end", place(at))),
        }
    }
    Ok(())
}
