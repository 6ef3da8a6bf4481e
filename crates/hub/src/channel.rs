//! Channels as all threads see them: which shards have members, and in which order publications happened.
//!
//! A channel is one entry under one of the striped locks. A publication takes its number and is pushed to every
//! interested shard under that lock, so all shards hear the same order; a join registers under the same lock, so a
//! publication is either before it or after it, never half.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::address::{Address, AppId};
use crate::sync::{Mutex, MutexGuard};

#[cfg(test)]
mod tests;

/// Enough that two busy channels rarely meet; a power of two so that the hash is masked.
const STRIPES: usize = 64;

/// The channel that every connected session of an app is in; no client can name it.
pub const EVERYONE: &str = "*";

/// Whether it is a channel of the hub's own: everybody, a user's devices, who is on a roster. No client can name one, and
/// none is shown.
#[must_use]
pub fn is_own(name: &str) -> bool {
    name.starts_with(EVERYONE)
}

/// The channel that all sessions of a user are in who has an inbox.
#[must_use]
pub fn devices_of(user: &str) -> Arc<str> {
    format!("*@{user}").into()
}

/// The channel that the sessions of those are in who are on a channel's roster.
#[must_use]
pub fn roster_of(channel: &str) -> Arc<str> {
    format!("*#{channel}").into()
}

/// The channel of one session that lives on another node than its name says: by it others reach it there.
#[must_use]
pub fn abroad_of(name: Address) -> Arc<str> {
    format!("*={}", name.encode()).into()
}

/// Whether it is such a channel.
#[must_use]
pub fn is_abroad(name: &str) -> bool {
    name.starts_with("*=")
}

/// Whether it is the channel of those who are on some roster.
#[must_use]
pub fn is_roster(name: &str) -> bool {
    name.starts_with("*#")
}

/// The channel on whose right it depends who may stay in this one: itself, or that of the roster; `None`: nobody's.
#[must_use]
pub fn ruled_by(name: &str) -> Option<&str> {
    match name.strip_prefix("*#") {
        None if is_own(name) => None,
        channel => Some(channel.unwrap_or(name)),
    }
}

/// A channel's name with its hash, by which all tables find it: computed once for all of them by [`Channels::key`].
#[derive(Debug, Clone, Copy)]
pub struct Key<'a> {
    /// Whose channel it is.
    pub app: AppId,
    /// The name.
    pub name: &'a Arc<str>,
    /// Half of a hash is enough for any number of channels, and entries that keep it stay small.
    pub hash: u32,
}

/// A kept [`Key::hash`] as a table wants it, which looks at its lowest bits and at its highest.
#[must_use]
pub fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Which lock a channel is under: bits of its hash that a stripe's table does not look at.
fn stripe_of(hash: u32) -> usize {
    hash as usize >> 19 & (STRIPES - 1)
}

#[derive(Debug)]
struct Channel {
    app: AppId,
    hash: u32,
    name: Arc<str>,
    /// Members per shard, indexed by shard.
    members: SmallVec<[u32; 4]>,
    /// The number of the last publication.
    sequence: u64,
}

impl Channel {
    fn is(&self, app: AppId, name: &str) -> bool {
        self.app == app && *self.name == *name
    }

    fn count(&self) -> usize {
        self.members.iter().map(|count| *count as usize).sum()
    }
}

type Stripe = HashTable<Channel>;

/// Hears of each change of a channel's members on this node in order, under the lock of the channel: whose it is, its name,
/// how many there were, and how many there are. It must not block.
pub type Watcher = Box<dyn Fn(AppId, &Arc<str>, usize, usize) + Send + Sync>;

/// The registry of all channels of a node.
pub struct Channels {
    stripes: Vec<Mutex<Stripe>>,
    hasher: RandomState,
    watchers: RwLock<Vec<Watcher>>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channels")
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self::new(RandomState::new())
    }
}

impl Channels {
    fn new(hasher: RandomState) -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), hasher, watchers: RwLock::default() }
    }

    fn hash(&self, app: AppId, name: &str) -> u32 {
        // Half of it, as `Key::hash` says.
        (self.hasher.hash_one((app, name)) >> 32) as u32
    }

    /// From now on `watcher`, too, hears how many members channels have.
    pub fn watch(&self, watcher: Watcher) {
        self.watchers.write().push(watcher);
    }

    /// The name with its hash.
    #[must_use]
    pub fn key<'a>(&self, app: AppId, name: &'a Arc<str>) -> Key<'a> {
        Key { app, name, hash: self.hash(app, name) }
    }

    /// Notes one more member on `shard`.
    pub fn join(&self, key: Key<'_>, shard: u8) {
        let Key { app, name, hash } = key;
        let mut stripe = self.stripes[stripe_of(hash)].lock();
        let entry = stripe.entry(spread(hash), |known| known.is(app, name), |known| spread(known.hash));
        let fresh = || Channel { app, hash, name: Arc::clone(name), members: SmallVec::new(), sequence: 0 };
        let mut found = entry.or_insert_with(fresh);
        let members = &mut found.get_mut().members;
        let shard = usize::from(shard);
        if members.len() <= shard {
            members.resize(shard + 1, 0);
        }
        members[shard] += 1;
        let watchers = self.watchers.read();
        if !watchers.is_empty() {
            let count = found.get().count();
            watchers.iter().for_each(|watcher| watcher(app, name, count - 1, count));
        }
    }

    /// Notes one member less on `shard`; a channel without members is forgotten.
    pub fn leave(&self, key: Key<'_>, shard: u8) {
        let mut stripe = self.stripes[stripe_of(key.hash)].lock();
        let Ok(mut found) = stripe.find_entry(spread(key.hash), |known| known.is(key.app, key.name)) else {
            return;
        };
        if let Some(count) = found.get_mut().members.get_mut(usize::from(shard)) {
            *count = count.saturating_sub(1);
        }
        let count = found.get().count();
        if count == 0 {
            found.remove();
        }
        self.watchers.read().iter().for_each(|watcher| watcher(key.app, key.name, count + 1, count));
    }

    /// Fixes the place of one publication in all of `names` and hands each interested shard to `push`, once, while
    /// the order cannot change; then calls `elsewhere`. Neither must block.
    pub fn publish<'a>(
        &self,
        app: AppId,
        names: impl IntoIterator<Item = &'a Arc<str>>,
        mut push: impl FnMut(u8),
        elsewhere: impl FnOnce(),
    ) {
        let keys: SmallVec<[Key<'a>; 4]> = names.into_iter().map(|name| self.key(app, name)).collect();
        let mut order: SmallVec<[usize; 4]> = keys.iter().map(|key| stripe_of(key.hash)).collect();
        // One global order of locking, so two publications to several channels cannot wait for each other.
        order.sort_unstable();
        order.dedup();
        let mut guards: SmallVec<[(usize, MutexGuard<'_, Stripe>); 4]> =
            order.iter().map(|&stripe| (stripe, self.stripes[stripe].lock())).collect();
        let mut interested: SmallVec<[bool; 64]> = SmallVec::new();
        for key in &keys {
            let stripe = stripe_of(key.hash);
            let Some((_, guard)) = guards.iter_mut().find(|(at, _)| *at == stripe) else {
                continue;
            };
            let Some(channel) = guard.find_mut(spread(key.hash), |known| known.is(app, key.name)) else {
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
        elsewhere();
    }

    /// Makes the tables as small as their contents.
    pub fn shrink(&self) {
        for stripe in &self.stripes {
            stripe.lock().shrink_to_fit(|channel| spread(channel.hash));
        }
    }

    /// How many sessions are in a channel.
    #[must_use]
    pub fn members(&self, app: AppId, name: &str) -> usize {
        let hash = self.hash(app, name);
        let stripe = self.stripes[stripe_of(hash)].lock();
        stripe.find(spread(hash), |known| known.is(app, name)).map_or(0, Channel::count)
    }

    /// All channels of an app that have members, with their counts, in no order. Takes each lock in turn, so the
    /// answer is not one moment in time.
    #[must_use]
    pub fn list(&self, app: AppId) -> Vec<(Arc<str>, usize)> {
        let mut found = Vec::new();
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            let named = stripe.iter().filter(|channel| channel.app == app && !is_own(&channel.name));
            found.extend(named.map(|channel| (Arc::clone(&channel.name), channel.count())));
        }
        found
    }
}
