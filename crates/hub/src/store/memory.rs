//! An engine in memory: gone with the process.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use parking_lot::Mutex;

use super::engine::{Counters, Each, Engine, Size, Transaction, View};
use super::error::StoreError;
use crate::command::Level;

type Records = BTreeMap<Vec<u8>, Bytes>;

/// Bytes of records that are kept, unless it is said otherwise.
const BYTES: usize = 256 << 20;

/// What a record costs beside its bytes, about.
const OVERHEAD: usize = 96;

/// Records in a map, so many bytes of them at most: then whatever would add to them is refused.
pub struct Memory {
    state: Mutex<State>,
    most: usize,
}

#[derive(Default)]
struct State {
    records: Records,
    counters: Counters,
    bytes: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self::new(BYTES)
    }
}

impl Memory {
    /// An empty one that holds so many bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { state: Mutex::default(), most }
    }
}

fn weight(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

#[cfg(test)]
impl Memory {
    /// How many records begin like this.
    pub(crate) fn records_in(&self, beginning: &[u8]) -> usize {
        self.state.lock().records.keys().filter(|key| key.starts_with(beginning)).count()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl View for Records {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(Self::get(self, key).cloned())
    }

    fn walk(&self, range: &Range<Vec<u8>>, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut records = self.range(range.clone());
        while let Some((key, value)) = if backwards { records.next_back() } else { records.next() } {
            if let ControlFlow::Break(()) = each(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl Engine for Memory {
    async fn write<R: Send + 'static>(
        &self,
        _: Level,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<(R, Level), StoreError> {
        let mut state = self.state.lock();
        let State { records, counters, bytes } = &mut *state;
        let before = counters.clone();
        let (answer, writes) = Transaction::run(records, counters, None, operation)?;
        let known = |key: &Vec<u8>| records.get(key).map_or(0, |value| weight(key, value));
        let less: usize = writes.keys().map(known).sum();
        let more: usize = writes.iter().map(|(key, value)| value.as_ref().map_or(0, |value| weight(key, value))).sum();
        if more > less && *bytes + more - less > self.most {
            *counters = before;
            return Err(StoreError::MemoryFull { most: self.most as u64 >> 20 });
        }
        *bytes = *bytes + more - less;
        for (key, value) in writes {
            match value {
                Some(value) => records.insert(key, value.into()),
                None => records.remove(&key),
            };
        }
        Ok((answer, Level::Accepted))
    }

    async fn read<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn View) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        question(&self.state.lock().records)
    }

    fn size(&self) -> Size {
        let state = self.state.lock();
        Size { records: state.records.len() as u64, bytes: state.bytes as u64 }
    }
}
