//! Saving what can be read of a damaged store. What is replaced stays beside it.

use std::fs::{self, File};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use fjall::PersistMode;
use oyez_hub::command::Level;
use oyez_hub::store::{Engine as _, Mended, StoreError, View as _, mend};
use tokio::runtime::Handle;

use super::journal::{self, Found};
use super::open::{lock, open_engine};
use super::place::{FRESH, WHOLE, aside, clear, engine, parts, replace};
use super::view::Now;
use super::{Embedded, Options, Shared, error};

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Bytes of the log that could not be read.
    pub log_bytes: u64,
    /// Whether there was no log any more.
    pub log_gone: bool,
    /// Whether tables could not be read everywhere.
    pub tables: bool,
    /// How all was made to agree again, and how many messages there are.
    pub mended: Mended,
    /// Where what was replaced is kept, if anything was.
    pub kept: Option<PathBuf>,
}

impl Repaired {
    /// Whether there was nothing to repair.
    #[must_use]
    pub fn was_good(&self) -> bool {
        let Mended { messages, .. } = self.mended;
        *self == Self { mended: Mended { messages, ..Mended::default() }, ..Self::default() }
    }
}

/// Repairs the store in `dir`; `progress` hears what is being done, and how much of it is.
///
/// # Errors
/// What cannot be repaired: then a backup has to be restored.
pub async fn repair(
    dir: &Path,
    options: Options,
    runtime: Handle,
    progress: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Repaired, StoreError> {
    let mut repaired = Repaired::default();
    let held = lock(dir)?;
    let aside = aside(dir)?;
    let logs = parts(dir)?;
    repaired.log_gone = journal::are_gone(&logs).map_err(|problem| error::io(dir, &problem))?;
    repair_logs(&logs, &aside, &mut repaired).map_err(|problem| error::io(dir, &problem))?;
    let shared = open_engine(dir, options, held)?;
    let whole = whole(&shared, progress);
    if !whole {
        repaired.tables = true;
        let fresh = dir.join(FRESH);
        let shared = salvage(shared, &fresh, options, progress)?;
        drop(shared);
        let _lock = lock(dir)?;
        // Should this end between two steps, whoever opens the directory next takes the last one.
        let moved = File::create(fresh.join(WHOLE))
            .and_then(|whole| whole.sync_all())
            .and_then(|()| File::open(&fresh)?.sync_all())
            .and_then(|()| fs::create_dir_all(&aside))
            .and_then(|()| fs::rename(engine(dir), aside.join("engine")))
            .and_then(|()| replace(dir, &fresh));
        moved.map_err(|problem| error::io(dir, &problem))?;
    } else {
        drop(shared);
    }
    progress("mending", 0);
    let store = Embedded::open(dir, options, runtime)?;
    repaired.mended = store.write(Level::Synced, mend).await?.0;
    repaired.kept = aside.exists().then_some(aside);
    Ok(repaired)
}

/// Logs with their whole batches only.
fn repair_logs(logs: &[PathBuf], aside: &Path, repaired: &mut Repaired) -> std::io::Result<()> {
    for log in logs {
        match journal::check(log)? {
            Found::Whole { at: 0 } => journal::cut(log, 0)?,
            Found::Whole { .. } => {}
            Found::Torn { .. } | Found::Damaged { .. } => repair_log(log, aside, repaired)?,
        }
    }
    Ok(())
}

/// One log with its whole batches only.
fn repair_log(log: &Path, aside: &Path, repaired: &mut Repaired) -> std::io::Result<()> {
    fs::create_dir_all(aside)?;
    let saved = log.with_extension("saved");
    repaired.log_bytes += journal::save(log, &saved)?;
    let name = log.file_name().unwrap_or_default();
    // So that there is one whenever this ends. Not every file system has two names for a file.
    let kept = aside.join(name);
    fs::hard_link(log, &kept).or_else(|_| fs::copy(log, &kept).map(drop))?;
    fs::rename(&saved, log)
}

fn everything() -> Range<Vec<u8>> {
    vec![0]..vec![u8::MAX]
}

/// Whether every record can be read.
fn whole(shared: &Shared, progress: &mut (dyn FnMut(&'static str, u64) + Send)) -> bool {
    let mut read = 0;
    let walked = Now(shared).walk(&everything(), false, &mut |_, _| {
        read += 1;
        if read % 10_000 == 0 {
            progress("reading", read);
        }
        Ok(ControlFlow::Continue(()))
    });
    walked.is_ok()
}

/// Copies what can be read into a new engine.
fn salvage(
    shared: Shared,
    fresh: &Path,
    options: Options,
    progress: &mut (dyn FnMut(&'static str, u64) + Send),
) -> Result<Shared, StoreError> {
    clear(fresh).map_err(|problem| error::io(fresh, &problem))?;
    let new = open_engine(fresh, options, lock(fresh)?)?;
    let mut copied = 0;
    let mut copy = |key: &[u8], value: &[u8]| {
        copied += 1;
        if copied % 10_000 == 0 {
            progress("saving", copied);
        }
        new.keyspace.insert(key, value).map_err(|problem| error::of(fresh, problem))
    };
    read_around(&shared, everything(), DEPTH, &mut copy)?;
    drop(shared);
    new.database.persist(PersistMode::SyncAll).map_err(|problem| error::of(fresh, problem))?;
    Ok(new)
}

/// How often a range that cannot be read is halved, to find what can be between two damaged places.
const DEPTH: u32 = 8;

type Copy<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Reads a range from both ends up to what cannot be read, and then each half of the rest.
fn read_around(shared: &Shared, range: Range<Vec<u8>>, depth: u32, copy: &mut Copy<'_>) -> Result<(), StoreError> {
    let Range { start: mut from, end: mut to } = range;
    for backwards in [false, true] {
        let mut failed = None;
        let walked = Now(shared).walk(&(from.clone()..to.clone()), backwards, &mut |key, value| {
            if let Err(problem) = copy(key, value) {
                failed = Some(problem);
                return Ok(ControlFlow::Break(()));
            }
            if backwards {
                to = key.to_vec();
            } else {
                from = [key, &[0]].concat();
            }
            Ok(ControlFlow::Continue(()))
        });
        if let Some(problem) = failed {
            return Err(problem);
        }
        if walked.is_ok() {
            return Ok(());
        }
    }
    if depth == 0 {
        return Ok(());
    }
    let Some(middle) = middle(&from, &to) else { return Ok(()) };
    read_around(shared, from..middle.clone(), depth - 1, copy)?;
    read_around(shared, middle..to, depth - 1, copy)
}

/// A key in the middle of two, as numbers; none if there is none.
fn middle(from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let length = from.len().max(to.len()) + 1;
    let digit = |key: &[u8], at: usize| u16::from(key.get(at).copied().unwrap_or(0));
    let mut sum = vec![0_u16; length];
    let mut carry = 0;
    for at in (0..length).rev() {
        let digits = digit(from, at) + digit(to, at) + carry;
        (sum[at], carry) = (digits & 0xff, digits >> 8);
    }
    let mut middle = Vec::with_capacity(length);
    let mut rest = carry;
    for digit in sum {
        let value = (rest << 8) | digit;
        middle.push(u8::try_from(value >> 1).unwrap_or(u8::MAX));
        rest = value & 1;
    }
    (middle.as_slice() > from && middle.as_slice() < to).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::middle;

    #[test]
    fn the_middle_is_between() {
        assert_eq!(middle(b"\x02", b"\x04"), Some(vec![3, 0]));
        assert_eq!(middle(b"\xfe", b"\xff"), Some(vec![0xfe, 0x80]));
        assert_eq!(middle(b"\x01\xff", b"\x02"), Some(vec![1, 0xff, 0x80]));
        assert_eq!(middle(b"a", b"a"), None);
    }
}
