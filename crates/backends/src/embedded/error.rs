//! What the engine's errors mean for whoever runs the server.

use std::io::{self, ErrorKind};
use std::path::Path;

use fjall::LsmError;
use oyez_hub::store::StoreError;

/// The engine's error.
pub(super) fn of(dir: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => io(dir, &error),
        fjall::Error::Locked => StoreError::Locked { dir: dir.display().to_string() },
        fjall::Error::Poisoned => StoreError::Failed("an earlier write failed".to_owned()),
        fjall::Error::Storage(LsmError::Unrecoverable) => {
            damaged(dir, "a table is gone, or the list of tables cannot be read", "engine/keyspaces")
        }
        fjall::Error::Storage(error) => damaged(dir, format!("{error:?}"), "a table"),
        fjall::Error::JournalRecovery(error) => damaged(dir, format!("{error:?}"), "the log"),
        other => damaged(dir, format!("{other:?}"), "the engine"),
    }
}

/// The system's error.
pub(super) fn io(dir: &Path, error: &io::Error) -> StoreError {
    let dir_shown = dir.display().to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StoreError::ReadOnly { dir: dir_shown, reason: error.to_string() }
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
            StoreError::NoDirectory { dir: dir_shown, reason: error.to_string() }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            StoreError::DiskFull { dir: dir_shown, free: 0, needed: 1 }
        }
        // A damaged table sends the engine to places that no file has, and a directory may be where a file was.
        ErrorKind::NotFound
        | ErrorKind::UnexpectedEof
        | ErrorKind::InvalidData
        | ErrorKind::InvalidInput
        | ErrorKind::IsADirectory => damaged(dir, error.to_string(), "a file of the engine"),
        _ => StoreError::Failed(error.to_string()),
    }
}

/// The system's error, where a directory is to be made: until it is there, nothing in it can be damaged.
pub(super) fn unmade(dir: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            StoreError::NoDirectory { dir: dir.display().to_string(), reason: error.to_string() }
        }
        _ => io(dir, error),
    }
}

/// Damage in a directory.
pub(super) fn damaged(dir: &Path, what: impl Into<String>, place: impl Into<String>) -> StoreError {
    StoreError::Damaged { what: what.into(), place: place.into(), dir: dir.display().to_string() }
}

/// A part of the store that is not there, or not as it was.
pub(super) fn missing(dir: &Path, part: &Path) -> StoreError {
    StoreError::Incomplete { part: part.display().to_string(), dir: dir.display().to_string() }
}

/// Damage that nothing can repair.
pub(super) fn broken(error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged { what, place, dir } => StoreError::Broken { what, place, dir },
        other => other,
    }
}

/// The directory's name in errors of records, which do not know it.
pub(super) fn at(dir: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged { what, place, .. } => damaged(dir, what, place),
        other => other,
    }
}
