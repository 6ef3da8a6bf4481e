//! Reads the engine's log without changing it: whether all batches are whole, and where the first is that is not.
//!
//! The log is a row of batches; after the last one there are zeros. A batch is a start (tag 1, count, number), items
//! (tag 2, lengths, key, value) or clearings (tag 4), and an end (tag 3, the xxh3 of the items, the engine's mark).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// What a batch ends with.
const MARK: &[u8] = b"FJL\x03";

/// What a log is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Every batch is whole.
    Whole {
        /// Where they end.
        at: u64,
    },
    /// The end was being written when the machine stopped.
    Torn {
        /// Where the whole batches end.
        at: u64,
        /// How much follows.
        bytes: u64,
    },
    /// Whole batches follow one that is not.
    Damaged {
        /// Where that one begins.
        at: u64,
    },
}

/// The engine's logs, the oldest first.
pub(super) fn files(engine: &Path) -> io::Result<Vec<PathBuf>> {
    if !engine.try_exists()? {
        return Ok(Vec::new());
    }
    let mut logs = Vec::new();
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "jnl")) {
            logs.push((number, path));
        }
    }
    logs.sort_unstable();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

/// Looks at one log.
pub(super) fn check(log: &Path) -> io::Result<Found> {
    Ok(examine(&fs::read(log)?))
}

fn examine(bytes: &[u8]) -> Found {
    let mut at = 0;
    while let Some(length) = batch(&bytes[at..]) {
        at += length;
    }
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if written <= at {
        return Found::Whole { at: at as u64 };
    }
    match next_batch(&bytes[at..written]) {
        Some(_) => Found::Damaged { at: at as u64 },
        None => Found::Torn { at: at as u64, bytes: (written - at) as u64 },
    }
}

/// Where the next whole batch is, behind one that is not.
fn next_batch(bytes: &[u8]) -> Option<usize> {
    (1..bytes.len()).find(|at| bytes[*at] == 1 && batch(&bytes[*at..]).is_some())
}

/// Cuts a log off, for good. If nothing is in it then, it begins with a batch of nothing: the engine would make it an empty
/// file, which could not be told from one of which a copy has no more than the name.
pub(super) fn cut(log: &Path, at: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(log)?;
    let nothing = nothing();
    if at == 0 {
        file.write_all(&nothing)?;
    }
    file.set_len(at.max(nothing.len() as u64))?;
    file.sync_all()
}

/// A batch of nothing.
fn nothing() -> Vec<u8> {
    let start = [[1].as_slice(), &0_u32.to_le_bytes(), &0_u64.to_le_bytes()].concat();
    [start.as_slice(), &[3], &xxh3_64(&[]).to_le_bytes(), MARK].concat()
}

/// Whether no log has anything in it. The engine removes none before there is the next, so somebody else did.
pub(super) fn are_gone(logs: &[PathBuf]) -> io::Result<bool> {
    for log in logs {
        if fs::metadata(log)?.len() > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a log anew with its whole batches only; returns the bytes that are left out.
pub(super) fn save(log: &Path, to: &Path) -> io::Result<u64> {
    let bytes = fs::read(log)?;
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let (mut whole, mut lost, mut at) = (Vec::with_capacity(written), 0, 0);
    while at < written {
        match batch(&bytes[at..]) {
            Some(length) => {
                whole.extend_from_slice(&bytes[at..at + length]);
                at += length;
            }
            None => {
                let skipped = next_batch(&bytes[at..written]).unwrap_or(written - at);
                lost += skipped as u64;
                at += skipped;
            }
        }
    }
    let is_empty = whole.is_empty();
    fs::write(to, if is_empty { nothing() } else { whole })?;
    File::open(to)?.sync_all()?;
    Ok(lost)
}

/// The length of the whole batch at the beginning of `bytes`.
fn batch(bytes: &[u8]) -> Option<usize> {
    let mut rest = Rest { bytes, at: 0 };
    let [1] = rest.take::<1>()? else { return None };
    let count = u32::from_le_bytes(rest.take()?);
    rest.skip(8)?;
    let first = rest.at;
    for _ in 0..count {
        match rest.take::<1>()? {
            [2] => {
                rest.skip(1 + 1 + 8)?;
                let key = u16::from_le_bytes(rest.take()?);
                rest.skip(4)?;
                let value = u32::from_le_bytes(rest.take()?);
                rest.skip(usize::from(key) + usize::try_from(value).ok()?)?;
            }
            [4] => rest.skip(8)?,
            _ => return None,
        }
    }
    let items = &bytes[first..rest.at];
    let [3] = rest.take::<1>()? else { return None };
    let sum = u64::from_le_bytes(rest.take()?);
    (rest.take::<4>()? == MARK && sum == xxh3_64(items)).then_some(rest.at)
}

/// What is still to be read.
struct Rest<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(N)?)?.try_into().ok()?;
        self.at += N;
        Some(taken)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.bytes.len())?;
        Some(())
    }
}
