//! What a ledger needs beneath it: an ordered map of bytes, many readers, one writer.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::StoreError;
use super::key::{self, Key};
use super::message::Seq;
use super::record::{Hours, decode_owned, encode};
use crate::command::Level;

/// What a walk over records does with each; `Break` ends it.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StoreError> + 'a;

/// All records as they are at one moment.
pub trait View {
    /// One record.
    ///
    /// # Errors
    /// Damage, or a disk that does not answer.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The records of a range in order, or backwards.
    ///
    /// # Errors
    /// As above, or what `each` says.
    fn walk(&self, range: &Range<Vec<u8>>, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError>;
}

/// The size of an engine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Records, about.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

/// An ordered map of bytes. What `write` is given runs alone, after all that was written before it; what it writes is
/// there entirely or not at all.
pub trait Engine: Send + Sync + fmt::Debug + 'static {
    /// Runs `operation`, writes what it wrote, and answers when that is as certain as `level`, or as it can be here.
    fn write<R: Send + 'static>(
        &self,
        level: Level,
        operation: impl FnOnce(&mut Transaction<'_>) -> Result<R, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<(R, Level), StoreError>> + Send;

    /// Runs `question`, on one moment's view.
    fn read<R: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn View) -> Result<R, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<R, StoreError>> + Send;

    /// How big it is.
    fn size(&self) -> Size;
}

/// The arrangement of records that this version knows; a later one reads this one, too. (In the first one ids of version 7
/// lay elsewhere; they are still looked for there.)
const FORMAT: u32 = 2;

/// Places that are reserved at once, so that the last one need not be written each time.
const RESERVED: Seq = 1 << 20;

/// What the writer remembers between operations.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    next: Seq,
    reserved: Seq,
    pub(crate) hours: Hours,
    /// Ids that have come since the hours were written.
    pub(crate) unsaved: u32,
    /// Before these times nothing expires, or is due.
    pub(crate) expiry_from: u64,
    pub(crate) due_from: u64,
    /// Where the rounds of upkeep go on.
    pub(crate) ids_from: Option<Vec<u8>>,
    pub(crate) heads_from: Option<Vec<u8>>,
}

impl Counters {
    /// As they were when the engine was last open. `dir` is for the error.
    ///
    /// # Errors
    /// What the engine says, and [`StoreError::Newer`].
    pub fn load(view: &dyn View, dir: &str) -> Result<Self, StoreError> {
        let mut counters = Self::default();
        let found = get(view, &key::meta("format"))?.unwrap_or(FORMAT);
        if found > FORMAT {
            return Err(StoreError::Newer { dir: dir.to_owned(), found, known: FORMAT });
        }
        let key = key::meta("reserved");
        if let Some(bytes) = view.get(key.bytes())? {
            counters.next = decode_owned(key.bytes(), &bytes)?;
            counters.reserved = counters.next;
        }
        let key = key::meta("hours");
        if let Some(bytes) = view.get(key.bytes())? {
            counters.hours = decode_owned(key.bytes(), &bytes)?;
        }
        Ok(counters)
    }

    /// The last place that was given.
    pub(crate) fn last(&self) -> Seq {
        self.next
    }
}

/// What a transaction writes; `None` removes.
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// One operation that changes something. It sees its own writes in `get`, not in walks.
pub struct Transaction<'a> {
    view: &'a dyn View,
    writes: Writes,
    pub(crate) counters: &'a mut Counters,
    before: (Seq, Seq),
    full: Option<StoreError>,
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("writes", &self.writes.len()).finish_non_exhaustive()
    }
}

impl<'a> Transaction<'a> {
    /// Runs `operation`; what it wrote is for the engine to write, before it runs another one. `full`: there is no room for
    /// more messages, only for what becomes of those that are there.
    ///
    /// # Errors
    /// What `operation` says; then it wrote nothing.
    pub fn run<R>(
        view: &'a dyn View,
        counters: &'a mut Counters,
        full: Option<StoreError>,
        operation: impl FnOnce(&mut Self) -> Result<R, StoreError>,
    ) -> Result<(R, Writes), StoreError> {
        let before = (counters.next, counters.reserved);
        let mut transaction = Self { view, writes: Writes::new(), counters, before, full };
        match operation(&mut transaction) {
            Ok(answer) => Ok((answer, transaction.writes)),
            Err(error) => {
                let before = transaction.before;
                (transaction.counters.next, transaction.counters.reserved) = before;
                Err(error)
            }
        }
    }

    /// The next place in the order.
    pub(crate) fn next(&mut self) -> Seq {
        if self.counters.next == self.counters.reserved {
            self.counters.reserved += RESERVED;
            let reserved = self.counters.reserved;
            self.put(key::meta("reserved"), &reserved);
            self.put(key::meta("format"), &FORMAT);
        }
        self.counters.next += 1;
        self.counters.next
    }

    /// Whether there is room for one more message.
    pub(crate) fn has_room(&self) -> Result<(), StoreError> {
        self.full.clone().map_or(Ok(()), Err)
    }

    /// The records as they were before.
    pub(crate) fn before(&self) -> &'a dyn View {
        self.view
    }

    /// How many records it writes or removes.
    pub(crate) fn changes(&self) -> usize {
        self.writes.len()
    }

    /// How many records it removes.
    pub(crate) fn removals(&self) -> usize {
        self.writes.values().filter(|written| written.is_none()).count()
    }

    /// Gives no place up to `last` again.
    pub(crate) fn reserve(&mut self, last: Seq) {
        if self.counters.next < last {
            (self.counters.next, self.counters.reserved) = (last, last);
            self.put(key::meta("reserved"), &last);
            self.put(key::meta("format"), &FORMAT);
        }
    }

    pub(crate) fn put(&mut self, key: Key, record: &impl Serialize) {
        self.put_raw(key, encode(record));
    }

    pub(crate) fn put_raw(&mut self, key: Key, bytes: Vec<u8>) {
        self.writes.insert(key.into_bytes(), Some(bytes));
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.remove_raw(key.into_bytes());
    }

    pub(crate) fn remove_raw(&mut self, key: Vec<u8>) {
        self.writes.insert(key, None);
    }
}

/// Its own writes are in `get`, not in `walk`.
impl View for Transaction<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.as_ref().map(|bytes| Bytes::copy_from_slice(bytes))),
            None => self.view.get(key),
        }
    }

    fn walk(&self, range: &Range<Vec<u8>>, backwards: bool, each: &mut Each<'_>) -> Result<(), StoreError> {
        self.view.walk(range, backwards, each)
    }
}

/// One record, read.
pub(crate) fn get<T: DeserializeOwned>(view: &dyn View, key: &Key) -> Result<Option<T>, StoreError> {
    view.get(key.bytes())?.map(|bytes| decode_owned(key.bytes(), &bytes)).transpose()
}
