//! A bounded map whose entries end at a given second. Time is the caller's.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Holds at most `capacity` entries; what happens to the next one is the caller's choice: [`Self::make_room`] or a
/// refusal when [`Self::is_full`].
#[derive(Debug)]
pub(crate) struct ExpiringMap<K, V> {
    entries: HashMap<K, (V, u64)>,
    by_end: BTreeSet<(u64, K)>,
    capacity: usize,
}

impl<K: Ord + Hash + Clone, V> ExpiringMap<K, V> {
    /// An empty map for `capacity` entries.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), by_end: BTreeSet::new(), capacity }
    }

    /// The value of `key` and when it ends, unless that is over at `now`.
    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q, now: u64) -> Option<(&V, u64)>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).filter(|(_, end)| now < *end).map(|(value, end)| (value, *end))
    }

    /// What is not over at `now`, with its end; in no order.
    pub(crate) fn iter(&self, now: u64) -> impl Iterator<Item = (&K, &V, u64)> {
        self.entries.iter().filter(move |(_, (_, end))| now < *end).map(|(key, (value, end))| (key, value, *end))
    }

    /// Drops what is over at `now`; each entry is looked at only when it ends.
    pub(crate) fn purge(&mut self, now: u64) {
        while self.by_end.first().is_some_and(|(end, _)| *end <= now) {
            self.drop_first();
        }
    }

    /// Whether one more key would be too many.
    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// Drops what ends soonest, if the map is full.
    pub(crate) fn make_room(&mut self) {
        while self.is_full() && !self.by_end.is_empty() {
            self.drop_first();
        }
    }

    /// Sets the value of `key` until `end`, in place of an earlier one. The caller has made sure of room.
    pub(crate) fn insert(&mut self, key: K, value: V, end: u64) {
        if let Some((_, old)) = self.entries.insert(key.clone(), (value, end)) {
            self.by_end.remove(&(old, key.clone()));
        }
        self.by_end.insert((end, key));
    }

    fn drop_first(&mut self) {
        if let Some((_, key)) = self.by_end.pop_first() {
            self.entries.remove(&key);
        }
    }
}
