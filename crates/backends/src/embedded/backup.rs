//! Copies of a store that nobody is using, and back.

use std::fs::{self, File};
use std::io;
use std::path::{self, Path};

use oyez_hub::store::{Damage, StoreError, verify as verify_records};

use super::open::{Torn, lock, open};
use super::place::{UNFINISHED, engine, finished, is_new, make, replacement};
use super::view::Moment;
use super::{Options, error};

/// What there is to hear while something takes long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The end of a log was cut off.
    Torn(Torn),
    /// So many records are read.
    Records(u64),
    /// So many bytes are copied.
    Bytes(u64),
}

/// Reads every record of the store in `dir`, and says what is not as it should be; `hear` is told how far it is.
///
/// # Errors
/// A store that cannot be opened.
pub fn verify(dir: &Path, options: Options, hear: &mut dyn FnMut(Heard)) -> Result<Vec<Damage>, StoreError> {
    exists(dir)?;
    let shared = open(dir, options, &mut |torn| hear(Heard::Torn(torn)))?;
    verify_records(&Moment::of(&shared), &mut |records| hear(Heard::Records(records)))
}

/// Copies the store in `from` to `to`, which must be empty or not there yet, and opens the copy; whether all in it is good
/// [`verify`] says. `hear` is told how many bytes are copied. Returns how many there are.
///
/// # Errors
/// A store that cannot be opened, a place that cannot be written.
pub fn copy(from: &Path, to: &Path, options: Options, hear: &mut dyn FnMut(Heard)) -> Result<u64, StoreError> {
    exists(from)?;
    outside(from, to)?;
    finished(to)?;
    if !is_empty(to).map_err(|problem| error::unmade(to, &problem))? {
        return Err(StoreError::NotEmpty { dir: to.display().to_string() });
    }
    // Once, so that what is copied is whole and has no log left to be read again.
    drop(open(from, options, &mut |torn| hear(Heard::Torn(torn)))?);
    let _from = lock(from)?;
    make(to).map_err(|problem| error::unmade(to, &problem))?;
    // Behind `..` it may have become another place when it was made.
    outside(from, to)?;
    let mut copying = Copying { from, to, bytes: 0, hear };
    copying.marked()?;
    let bytes = copying.bytes;
    drop(open(to, options, &mut |_| {})?);
    Ok(bytes)
}

/// Refuses a place within what is copied: the copy would go with it.
fn outside(from: &Path, to: &Path) -> Result<(), StoreError> {
    let whole = fs::canonicalize(from).map_err(|problem| error::io(from, &problem))?;
    let place = path::absolute(to).map_err(|problem| error::unmade(to, &problem))?;
    match place.ancestors().find_map(|place| fs::canonicalize(place).ok()) {
        Some(place) if place.starts_with(&whole) => {
            Err(StoreError::Inside { dir: to.display().to_string(), of: from.display().to_string() })
        }
        _ => Ok(()),
    }
}

/// Refuses a directory that holds no store: it is not made into one by looking at it.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Incomplete`], [`StoreError::ReadOnly`], [`StoreError::Unfinished`].
pub fn exists(dir: &Path) -> Result<(), StoreError> {
    finished(dir)?;
    match fs::metadata(engine(dir)) {
        Ok(found) if found.is_dir() => Ok(()),
        _ if replacement(dir).is_some() => Ok(()),
        // It is the server's user's own: nobody else can tell what is in it.
        Err(problem) if problem.kind() == io::ErrorKind::PermissionDenied => Err(error::io(dir, &problem)),
        Err(problem) if problem.kind() == io::ErrorKind::NotADirectory => {
            Err(StoreError::Missing { dir: dir.display().to_string() })
        }
        _ if is_new(dir)? => Err(StoreError::Missing { dir: dir.display().to_string() }),
        _ => Err(error::missing(dir, &engine(dir))),
    }
}

fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(!dir.try_exists()? || fs::read_dir(dir)?.next().is_none())
}

/// A copy that is being made. What cannot be read is told of the one directory, what cannot be written of the other.
struct Copying<'a> {
    from: &'a Path,
    to: &'a Path,
    bytes: u64,
    hear: &'a mut dyn FnMut(Heard),
}

impl Copying<'_> {
    /// Copies all of it; until it is there, whoever opens the copy hears that it is not.
    fn marked(&mut self) -> Result<(), StoreError> {
        let mark = self.to.join(UNFINISHED);
        self.written(File::create_new(&mark).and_then(|file| file.sync_all()))?;
        self.written(sync(self.to))?;
        self.all(&engine(self.from), &engine(self.to))?;
        self.written(sync(self.to))?;
        self.written(fs::remove_file(&mark))?;
        self.written(sync(self.to))
    }

    fn all(&mut self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.written(fs::create_dir_all(to))?;
        for entry in self.read(fs::read_dir(from))? {
            let entry = self.read(entry)?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            if self.read(entry.file_type())?.is_dir() {
                self.all(&source, &target)?;
            } else {
                self.read(File::open(&source))?;
                self.bytes += self.written(fs::copy(&source, &target))?;
                self.written(sync(&target))?;
                (self.hear)(Heard::Bytes(self.bytes));
            }
        }
        self.written(sync(to))
    }

    fn read<T>(&self, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|problem| error::io(self.from, &problem))
    }

    fn written<T>(&self, done: io::Result<T>) -> Result<T, StoreError> {
        done.map_err(|problem| error::unmade(self.to, &problem))
    }
}

fn sync(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()
}
