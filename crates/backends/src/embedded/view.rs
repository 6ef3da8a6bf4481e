//! The hub's view of records, over the engine. The engine checks the sum of every block that it reads.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use fjall::{Iter, Readable, Snapshot};
use oyez_hub::store::{Each, StoreError, View, Writes, is_head};

use super::{Shared, error};

/// What is there now: for the writer, who knows that nobody else writes.
pub(super) struct Now<'a>(pub(super) &'a Shared);

/// What was there at one moment.
pub(super) struct Moment<'a> {
    shared: &'a Shared,
    snapshot: Snapshot,
}

impl<'a> Moment<'a> {
    pub(super) fn of(shared: &'a Shared) -> Self {
        Self { shared, snapshot: shared.database.snapshot() }
    }
}

impl View for Now<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.0.keyspace.get(key).map_err(|error| error::of(&self.0.dir, error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn walk(&self, range: &Range<Vec<u8>>, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
        walk(self.0, self.0.keyspace.range(range.clone()), backwards, each)
    }
}

impl View for Moment<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.snapshot.get(&self.shared.keyspace, key);
        Ok(value.map_err(|error| error::of(&self.shared.dir, error))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn walk(&self, range: &Range<Vec<u8>>, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
        walk(self.shared, self.snapshot.range(&self.shared.keyspace, range.clone()), backwards, each)
    }
}

/// Heads of inboxes that were written lately, as they are now: each is read again for the next message.
#[derive(Default)]
pub(super) struct Recent(HashMap<Vec<u8>, Bytes>);

impl Recent {
    /// Records that are remembered; then all are forgotten.
    const MOST: usize = 1 << 16;

    /// Notes what has been committed.
    pub(super) fn note(&mut self, key: &[u8], value: Option<&[u8]>) {
        if !is_head(key) {
            return;
        }
        match value {
            Some(head) => {
                if self.0.len() >= Self::MOST {
                    self.0.clear();
                }
                self.0.insert(key.to_vec(), Bytes::copy_from_slice(head));
            }
            None => {
                self.0.remove(key);
            }
        }
    }
}

/// What is there now, and what the operations of a group have written before it is committed.
pub(super) struct Group<'a> {
    pub(super) before: Now<'a>,
    pub(super) recent: &'a Recent,
    pub(super) writes: Writes,
}

impl View for Group<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.as_ref().map(|bytes| Bytes::copy_from_slice(bytes))),
            None => match self.recent.0.get(key) {
                Some(known) => Ok(Some(known.clone())),
                None => self.before.get(key),
            },
        }
    }

    fn walk(&self, range: &Range<Vec<u8>>, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
        if range.start >= range.end {
            return Ok(());
        }
        let mut written = self.writes.range(range.clone());
        let mut step = move || if backwards { written.next_back() } else { written.next() };
        let mut next = step();
        let mut ended = false;
        self.before.walk(range, backwards, &mut |key, value| {
            while let Some((own, new)) = next {
                let order = if backwards { key.cmp(own) } else { own.as_slice().cmp(key) };
                if order == Ordering::Greater {
                    break;
                }
                next = step();
                if let Some(new) = new
                    && each(own, new)?.is_break()
                {
                    ended = true;
                    return Ok(ControlFlow::Break(()));
                }
                if order == Ordering::Equal {
                    return Ok(ControlFlow::Continue(()));
                }
            }
            let flow = each(key, value)?;
            ended = flow.is_break();
            Ok(flow)
        })?;
        while let Some((own, new)) = next.filter(|_| !ended) {
            next = step();
            if let Some(new) = new
                && each(own, new)?.is_break()
            {
                break;
            }
        }
        Ok(())
    }
}

fn walk(shared: &Shared, mut records: Iter, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
    while let Some(record) = if backwards { records.next_back() } else { records.next() } {
        let (key, value) = record.into_inner().map_err(|error| error::of(&shared.dir, error))?;
        if let ControlFlow::Break(()) = each(&key, &value)? {
            break;
        }
    }
    Ok(())
}
