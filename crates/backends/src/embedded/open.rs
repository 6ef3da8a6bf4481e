//! Opening a data directory: one process at a time, and only what is whole.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions};
use oyez_hub::store::StoreError;
use tracing::warn;

use super::journal::{self, Found};
use super::{MIB, Options, Shared, error};

/// The engine's part of the directory.
pub(super) fn engine(dir: &Path) -> PathBuf {
    dir.join("engine")
}

const LOCK: &str = "oyez.lock";

/// It is in a copy for as long as that is being made: the engine would take half of one for a store.
pub(super) const UNFINISHED: &str = "unfinished";

/// Refuses a copy that was ended before all of it was there.
pub(super) fn finished(dir: &Path) -> Result<(), StoreError> {
    match dir.join(UNFINISHED).try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Unfinished { dir: dir.display().to_string() }),
        Err(problem) => Err(error::io(dir, &problem)),
    }
}

/// What a repair has saved is in here until it takes the engine's place.
pub(super) const FRESH: &str = "engine.new";

/// It is in there once all is saved.
pub(super) const WHOLE: &str = "whole";

/// What a repair has saved, if it was ended when that was about to take the engine's place.
pub(super) fn replacement(dir: &Path) -> Option<PathBuf> {
    let fresh = dir.join(FRESH);
    let is_next = !engine(dir).exists() && fresh.join(WHOLE).exists() && engine(&fresh).exists();
    is_next.then_some(fresh)
}

/// What a repair has saved takes the engine's place, which is free.
pub(super) fn replace(dir: &Path, fresh: &Path) -> io::Result<()> {
    fs::rename(engine(fresh), engine(dir))?;
    File::open(dir)?.sync_all()?;
    fs::remove_dir_all(fresh)
}

/// A file or a directory, whatever it is called: the device and the number there.
pub(super) type Inode = (u64, u64);

/// The lock and the engine's part, as they are at the moment.
pub(super) fn inodes(dir: &Path) -> io::Result<[Inode; 2]> {
    let inode = |path: PathBuf| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok([inode(dir.join(LOCK))?, inode(engine(dir))?])
}

/// The engine's threads: one alone would let memory grow for as long as it rewrites tables.
const WORKERS: usize = 2;

/// The engine keeps as much of its log as this before it moves what is in it to its place.
const LOG: u64 = 128 * MIB;

/// Makes the directory, if it is not there: what people are told is for nobody but the server's user.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

/// Takes the directory for this process.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    make(dir).map_err(|problem| error::unmade(dir, &problem))?;
    finished(dir)?;
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(dir.join(LOCK));
    let file = file.map_err(|problem| error::unmade(dir, &problem))?;
    match file.try_lock() {
        Ok(()) => {
            let done = replacement(dir).map_or(Ok(()), |fresh| replace(dir, &fresh));
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
    whole_logs(dir, torn)?;
    open_engine(dir, options, lock)
}

/// The engine's own format, as the file `version` has it behind three letters.
const FORMAT: u8 = 3;

/// Opens the engine in a directory that is locked.
pub(super) fn open_engine(dir: &Path, options: Options, lock: File) -> Result<Shared, StoreError> {
    if let Ok(marker) = fs::read(engine(dir).join("version"))
        && let Some(found) = marker.get(3).filter(|found| **found > FORMAT)
    {
        let (found, known) = (u32::from(*found), u32::from(FORMAT));
        return Err(StoreError::Newer { dir: dir.display().to_string(), found, known });
    }
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
    let opened = inodes(dir).map_err(|problem| error::io(dir, &problem))?;
    Ok(Shared { keyspace, database, dir: dir.to_owned(), opened, _lock: lock })
}

/// Whether the engine's logs are gone. It has one on the disk before it makes the place of tables, and it removes none before
/// there is the next: so somebody else did, and it would begin a new one without a word.
pub(super) fn logs_are_gone(dir: &Path) -> io::Result<bool> {
    let tables = engine(dir).join("keyspaces").join("1").join("current");
    Ok(journal::files(&engine(dir))?.is_empty() && tables.try_exists()?)
}

/// Looks at the engine's logs before it does: it would cut one off at the first byte that it does not understand, with
/// all that follows. A torn end is cut off here; anything else is damage.
fn whole_logs(dir: &Path, torn: &mut dyn FnMut(Torn)) -> Result<(), StoreError> {
    if logs_are_gone(dir).map_err(|problem| error::io(dir, &problem))? {
        let what = "the log is gone, with what no table has yet; put it back, or a backup, before anything else";
        return Err(error::damaged(dir, what, engine(dir).join("*.jnl").display().to_string()));
    }
    let logs = journal::files(&engine(dir)).map_err(|problem| error::io(dir, &problem))?;
    for (index, log) in logs.iter().enumerate() {
        let found = journal::check(log).map_err(|problem| error::io(dir, &problem))?;
        let place = |at: u64| format!("{} at byte {at}", log.display());
        match found {
            Found::Whole => {}
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
