//! Copies of a store that nobody is using, and back.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use oyez_hub::store::{Damage, StoreError, verify as verify_records};

use super::open::{UNFINISHED, engine, finished, lock, make, open};
use super::view::Moment;
use super::{Options, error};

/// Reads every record of the store in `dir`, and says what is not as it should be; `progress` hears how many were read.
///
/// # Errors
/// A store that cannot be opened.
pub fn verify(dir: &Path, options: Options, progress: &mut dyn FnMut(u64)) -> Result<Vec<Damage>, StoreError> {
    exists(dir)?;
    let shared = open(dir, options)?;
    verify_records(&Moment::of(&shared), progress)
}

/// Copies the store in `from` to `to`, which must be empty or not there yet, and opens the copy; whether all in it is good
/// [`verify`] says. `progress` hears how many bytes were copied. Returns how many there are.
///
/// # Errors
/// A store that cannot be opened, a place that cannot be written.
pub fn copy(from: &Path, to: &Path, options: Options, progress: &mut dyn FnMut(u64)) -> Result<u64, StoreError> {
    exists(from)?;
    // Once, so that what is copied is whole and has no log left to be read again.
    drop(open(from, options)?);
    let _from = lock(from)?;
    finished(to)?;
    if !is_empty(to).map_err(|problem| error::io(to, &problem))? {
        return Err(StoreError::NotEmpty { dir: to.display().to_string() });
    }
    let mut bytes = 0;
    let mut copied = |more| {
        bytes += more;
        progress(bytes);
    };
    let done = make(to).and_then(|()| copy_marked(from, to, &mut copied));
    done.map_err(|problem| error::io(to, &problem))?;
    drop(open(to, options)?);
    Ok(bytes)
}

/// Refuses a directory that holds no store: it is not made into one by looking at it.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::ReadOnly`], [`StoreError::Unfinished`].
pub fn exists(dir: &Path) -> Result<(), StoreError> {
    finished(dir)?;
    match fs::metadata(engine(dir)) {
        Ok(found) if found.is_dir() => Ok(()),
        // It is the server's user's own: nobody else can tell what is in it.
        Err(problem) if problem.kind() == io::ErrorKind::PermissionDenied => Err(error::io(dir, &problem)),
        _ => Err(StoreError::Missing { dir: dir.display().to_string() }),
    }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(!dir.try_exists()? || fs::read_dir(dir)?.next().is_none())
}

/// Copies all of it; until it is there, whoever opens the copy hears that it is not.
fn copy_marked(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> io::Result<()> {
    let mark = to.join(UNFINISHED);
    File::create_new(&mark)?.sync_all()?;
    File::open(to)?.sync_all()?;
    copy_all(&engine(from), &engine(to), copied)?;
    File::open(to)?.sync_all()?;
    fs::remove_file(&mark)?;
    File::open(to)?.sync_all()
}

fn copy_all(from: &Path, to: &Path, copied: &mut dyn FnMut(u64)) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_all(&source, &target, copied)?;
        } else {
            copied(fs::copy(&source, &target)?);
            File::open(&target)?.sync_all()?;
        }
    }
    File::open(to)?.sync_all()
}
