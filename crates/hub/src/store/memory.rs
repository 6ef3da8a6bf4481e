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

/// Records in a map.
#[derive(Default)]
pub struct Memory {
    state: Mutex<(Records, Counters)>,
}

#[cfg(test)]
impl Memory {
    /// How many records begin like this.
    pub(crate) fn records_in(&self, beginning: &[u8]) -> usize {
        self.state.lock().0.keys().filter(|key| key.starts_with(beginning)).count()
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
        let (records, counters) = &mut *state;
        let (answer, writes) = Transaction::run(records, counters, operation)?;
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
        question(&self.state.lock().0)
    }

    fn size(&self) -> Size {
        let records = &self.state.lock().0;
        let bytes = records.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        Size { records: records.len() as u64, bytes: bytes as u64 }
    }
}
