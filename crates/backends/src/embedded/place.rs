//! What is in a data directory, and whether all of it is there.
//!
//! The engine takes what lacks a part for a store that is not made yet: it makes that part anew, empty, and deletes what
//! others still have. So it never makes a store in its place, but aside, and what is in its place was whole once.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use oyez_hub::store::StoreError;

use super::{error, journal};

/// The engine's part of the directory.
pub(super) fn engine(dir: &Path) -> PathBuf {
    dir.join("engine")
}

/// Which process has the directory.
pub(super) const LOCK: &str = "oyez.lock";

/// It is in a copy for as long as that is being made: half of one is no store.
pub(super) const UNFINISHED: &str = "unfinished";

/// A new store is made in here until it takes its place. Nothing that was acknowledged is in it.
pub(super) const BEGUN: &str = "engine.begun";

/// What a repair has saved is in here until it takes the engine's place.
pub(super) const FRESH: &str = "engine.new";

/// It is in there once all is saved.
pub(super) const WHOLE: &str = "whole";

/// What a repair has replaced is in directories whose names begin so.
const ASIDE: &str = "damaged-";

/// A name for what is replaced that is not taken.
pub(super) fn aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let names = (1..).map(|number: u32| dir.join(format!("{ASIDE}{number}")));
    let mut free = names.filter(|name| !name.exists());
    free.next().ok_or(StoreError::Closed)
}

/// Refuses a copy that was ended before all of it was there.
pub(super) fn finished(dir: &Path) -> Result<(), StoreError> {
    match dir.join(UNFINISHED).try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(StoreError::Unfinished { dir: dir.display().to_string() }),
        Err(problem) => Err(error::io(dir, &problem)),
    }
}

/// Makes the directory, if it is not there: what people are told is for nobody but the server's user.
pub(super) fn make(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

/// Removes a directory, if it is there.
pub(super) fn clear(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir).or_else(|problem| if problem.kind() == ErrorKind::NotFound { Ok(()) } else { Err(problem) })
}

/// What a repair has saved, if it was ended when that was about to take the engine's place.
pub(super) fn replacement(dir: &Path) -> Option<PathBuf> {
    let fresh = dir.join(FRESH);
    let is_next = !engine(dir).exists() && fresh.join(WHOLE).exists() && engine(&fresh).exists();
    is_next.then_some(fresh)
}

/// What was made aside takes the engine's place, which is free.
pub(super) fn replace(dir: &Path, fresh: &Path) -> io::Result<()> {
    // The engine syncs what it writes, but not every directory in which that is.
    sync(&engine(fresh))?;
    fs::rename(engine(fresh), engine(dir))?;
    File::open(dir)?.sync_all()?;
    clear(fresh)
}

fn sync(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync(&entry?.path())?;
        }
    }
    File::open(path)?.sync_all()
}

/// A file or a directory, whatever it is called: the device and the number there.
pub(super) type Inode = (u64, u64);

/// The lock and the engine's part, as they are at the moment.
pub(super) fn inodes(dir: &Path) -> io::Result<[Inode; 2]> {
    let inode = |path: PathBuf| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok([inode(dir.join(LOCK))?, inode(engine(dir))?])
}

/// Notes in the lock that there is a store.
pub(super) fn note(mut lock: &File) -> io::Result<()> {
    if lock.metadata()?.len() > 0 {
        return Ok(());
    }
    lock.write_all(b"The store is in engine.\n")?;
    lock.sync_all()
}

/// Whether there is no store and never was, as far as the directory tells.
pub(super) fn is_new(dir: &Path) -> Result<bool, StoreError> {
    let io = |problem: io::Error| error::io(dir, &problem);
    match fs::symlink_metadata(engine(dir)) {
        Ok(_) => return Ok(false),
        Err(problem) if problem.kind() == ErrorKind::NotFound => {}
        Err(problem) => return Err(io(problem)),
    }
    if !dir.try_exists().map_err(io)? {
        return Ok(true);
    }
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name();
        let noted = name == LOCK && entry.metadata().map_err(io)?.len() > 0;
        if noted || name == FRESH || name.to_string_lossy().starts_with(ASIDE) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The engine's own format, as the file `version` has it behind three letters.
const FORMAT: u8 = 3;

/// What the engine has in files once a store is made, and never removes.
const PARTS: [&str; 3] = ["version", "keyspaces/0/current", "keyspaces/1/current"];

/// Which logs there are, the oldest first. Refuses an engine of which a part is missing, but for all its logs.
pub(super) fn parts(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let engine = engine(dir);
    if let Ok(marker) = fs::read(engine.join(PARTS[0]))
        && let Some(found) = marker.get(3).filter(|found| **found > FORMAT)
    {
        let (found, known) = (u32::from(*found), u32::from(FORMAT));
        return Err(StoreError::Newer { dir: dir.display().to_string(), found, known });
    }
    is_there(dir, &engine, fs::Metadata::is_dir)?;
    for part in PARTS {
        is_there(dir, &engine.join(part), fs::Metadata::is_file)?;
    }
    let logs = journal::files(&engine).map_err(|problem| error::io(dir, &problem))?;
    let tables = tables(&engine).map_err(|problem| error::io(dir, &problem))?;
    for file in logs.iter().chain(&tables) {
        is_there(dir, file, fs::Metadata::is_file)?;
    }
    // Nothing is in it, so that it is made again, which the engine does only for a new store.
    let lock = engine.join("lock");
    match File::create_new(&lock) {
        Err(problem) if problem.kind() == ErrorKind::AlreadyExists => is_there(dir, &lock, fs::Metadata::is_file)?,
        made => drop(made.map_err(|problem| error::io(dir, &problem))?),
    }
    Ok(logs)
}

/// The tables that are there. Which ones must be the engine knows; but it aborts the process where one is no file.
fn tables(engine: &Path) -> io::Result<Vec<PathBuf>> {
    let mut tables = Vec::new();
    for keyspace in ["0", "1"] {
        let below = engine.join("keyspaces").join(keyspace).join("tables");
        if below.try_exists()? {
            for table in fs::read_dir(below)? {
                tables.push(table?.path());
            }
        }
    }
    Ok(tables)
}

fn is_there(dir: &Path, part: &Path, as_it_was: fn(&fs::Metadata) -> bool) -> Result<(), StoreError> {
    match fs::metadata(part) {
        Ok(found) if as_it_was(&found) => Ok(()),
        Ok(_) => Err(error::missing(dir, part)),
        Err(problem) if matches!(problem.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(error::missing(dir, part))
        }
        Err(problem) => Err(error::io(dir, &problem)),
    }
}
