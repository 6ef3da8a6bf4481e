//! Channels as all threads see them: which shards have members, and in which order publications happened.
//!
//! A channel is one entry under one of the striped locks. A publication takes its number and is pushed to every
//! interested shard under that lock, so all shards hear the same order; a join registers under the same lock, so a
//! publication is either before it or after it, never half.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::address::AppId;
use crate::sync::{Mutex, MutexGuard};

#[cfg(test)]
mod tests;

/// Enough that two busy channels rarely meet; a power of two so that the hash is masked.
const STRIPES: usize = 64;

/// The channel that every connected session of an app is in; no client can name it.
pub const EVERYONE: &str = "*";

type Key = (AppId, Arc<str>);

type Locked<'a> = MutexGuard<'a, HashMap<Key, Channel>>;

#[derive(Debug, Default)]
struct Channel {
    /// Members per shard, indexed by shard.
    members: SmallVec<[u32; 4]>,
    /// The number of the last publication.
    sequence: u64,
}

impl Channel {
    fn is_empty(&self) -> bool {
        self.members.iter().all(|count| *count == 0)
    }
}

/// The registry of all channels of a node.
#[derive(Debug)]
pub struct Channels {
    stripes: Vec<Mutex<HashMap<Key, Channel>>>,
    hasher: RandomState,
}

impl Default for Channels {
    fn default() -> Self {
        Self::new(RandomState::new())
    }
}

impl Channels {
    fn new(hasher: RandomState) -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), hasher }
    }

    fn stripe(&self, key: &Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) & (STRIPES as u64 - 1)).unwrap_or(0)
    }

    /// Notes one more member on `shard`.
    pub fn join(&self, app: AppId, name: &Arc<str>, shard: u8) {
        let key = (app, Arc::clone(name));
        let mut stripe = self.stripes[self.stripe(&key)].lock();
        let members = &mut stripe.entry(key).or_default().members;
        let shard = usize::from(shard);
        if members.len() <= shard {
            members.resize(shard + 1, 0);
        }
        members[shard] += 1;
    }

    /// Notes one member less on `shard`; a channel without members is forgotten.
    pub fn leave(&self, app: AppId, name: &Arc<str>, shard: u8) {
        let key = (app, Arc::clone(name));
        let mut stripe = self.stripes[self.stripe(&key)].lock();
        let Some(channel) = stripe.get_mut(&key) else {
            return;
        };
        if let Some(count) = channel.members.get_mut(usize::from(shard)) {
            *count = count.saturating_sub(1);
        }
        if channel.is_empty() {
            stripe.remove(&key);
        }
    }

    /// Fixes the place of one publication in all of `names` and hands each interested shard to `push`, once, while
    /// the order cannot change. `push` must not block.
    pub fn publish<'a>(&self, app: AppId, names: impl IntoIterator<Item = &'a Arc<str>>, mut push: impl FnMut(u8)) {
        let keys: SmallVec<[Key; 2]> = names.into_iter().map(|name| (app, Arc::clone(name))).collect();
        let mut order: SmallVec<[usize; 2]> = keys.iter().map(|key| self.stripe(key)).collect();
        // One global order of locking, so two publications to several channels cannot wait for each other.
        order.sort_unstable();
        order.dedup();
        let mut guards: SmallVec<[(usize, Locked<'_>); 2]> =
            order.iter().map(|&stripe| (stripe, self.stripes[stripe].lock())).collect();
        let mut interested: SmallVec<[bool; 64]> = SmallVec::new();
        for key in &keys {
            let stripe = self.stripe(key);
            let Some((_, guard)) = guards.iter_mut().find(|(at, _)| *at == stripe) else {
                continue;
            };
            let Some(channel) = guard.get_mut(key) else {
                continue;
            };
            channel.sequence += 1;
            if interested.len() < channel.members.len() {
                interested.resize(channel.members.len(), false);
            }
            for (shard, count) in channel.members.iter().enumerate() {
                interested[shard] |= *count > 0;
            }
        }
        for (shard, wanted) in interested.iter().enumerate() {
            if let (true, Ok(shard)) = (*wanted, u8::try_from(shard)) {
                push(shard);
            }
        }
    }

    /// How many sessions are in a channel.
    #[must_use]
    pub fn members(&self, app: AppId, name: &str) -> usize {
        let key = (app, Arc::from(name));
        let stripe = self.stripes[self.stripe(&key)].lock();
        stripe.get(&key).map_or(0, |channel| channel.members.iter().map(|count| *count as usize).sum())
    }

    /// All channels of an app that have members, with their counts, in no order. Takes each lock in turn, so the
    /// answer is not one moment in time.
    #[must_use]
    pub fn list(&self, app: AppId) -> Vec<(Arc<str>, usize)> {
        let mut found = Vec::new();
        for stripe in &self.stripes {
            for ((owner, name), channel) in stripe.lock().iter() {
                if *owner == app && &**name != EVERYONE {
                    found.push((Arc::clone(name), channel.members.iter().map(|count| *count as usize).sum()));
                }
            }
        }
        found
    }
}
