//! What makes a client that was cut off whole again: the log of what its app has said, the name under which it asks,
//! and what the node remembers of it meanwhile.

mod ghost;
mod late;
mod log;
mod pid;
mod ring;
mod shared;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::address::Address;
use crate::delivery::Publication;

pub use ghost::{Anew, Change, Ghost, Ghosts, Lost, Order};
pub(crate) use late::{Joined, Late};
pub use log::{Gap, Log, Mark, Missed, NotAMark, Past, Wanted};
pub use pid::{PidKey, Pids};
pub use ring::{Bounds, History};
pub use shared::{Had, Numbers};

#[cfg(test)]
mod tests;

/// Sessions that a node remembers after they were cut off.
const GHOSTS: usize = 100_000;
/// And the bytes that they cost at most, about: each may be in hundreds of channels.
const GHOST_BYTES: usize = 128 << 20;

/// What a session is told by its own name is remembered like a channel, up to so much.
pub const DIRECT: History = History { last: 1_000, time: Duration::MAX };

/// The channel of what a session is told by its own name. No client could ask for it: it is no channel's name.
#[must_use]
pub fn direct(name: Address) -> Arc<str> {
    format!("{SESSION}{}", name.encode()).into()
}

/// Whether that is such a channel.
#[must_use]
pub fn is_direct(channel: &str) -> bool {
    channel.starts_with(SESSION)
}

/// Whether that position is within one of these stays in the channel.
#[must_use]
pub fn is_in(stays: &[Wanted], channel: &str, position: u64) -> bool {
    stays.iter().any(|stay| *stay.channel == *channel && stay.covers(position))
}

/// Whether it was said except a session that was there then, or except the session.
#[must_use]
pub fn leaves_out(publication: &Publication, name: Address, stays: &[Wanted], position: u64) -> bool {
    // Nearly everything is for all: the name is written only where somebody is left out.
    publication.except.iter().any(|one| is_in(stays, one, position) || **one == *name.encode())
}

/// How they begin.
const SESSION: char = '\0';

/// Channels of which something could not be kept where nodes share it; of an app that has more, all are told of a gap.
const UNRECORDED: usize = 10_000;

/// The channels of which something could not be kept where nodes share it.
#[derive(Debug, Default)]
pub(crate) struct Unrecorded {
    pub(crate) channels: HashSet<Arc<str>>,
    /// They are too many to be named, or nobody knows which they are.
    pub(crate) is_all: bool,
}

impl Unrecorded {
    /// All is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && !self.is_all
    }

    /// Whether something in that channel is not.
    pub(crate) fn has(&self, channel: &str) -> bool {
        self.is_all || self.channels.contains(channel)
    }

    /// In these something is not.
    pub(crate) fn note(&mut self, channels: impl IntoIterator<Item = Arc<str>>) {
        self.channels.extend(channels);
        if self.channels.len() > UNRECORDED {
            *self = Self { channels: HashSet::new(), is_all: true };
        }
    }
}

/// The recovery of one app.
#[derive(Debug)]
pub struct Recovery {
    /// How long a client that was cut off may take to come back.
    pub window: Duration,
    /// What was said.
    pub log: Log,
    /// Who was cut off.
    pub ghosts: Ghosts,
    /// What may still be heard of what sessions were handed over with.
    pub(crate) late: Late,
    /// What could not be kept where nodes share it.
    pub(crate) unrecorded: Mutex<Unrecorded>,
    /// Held while that is being told.
    pub(crate) mending: tokio::sync::Mutex<()>,
    /// Where sessions are that came back under the name that they had.
    homes: Mutex<HashMap<Address, Address>>,
}

impl Recovery {
    /// With an empty log.
    #[must_use]
    pub fn new(window: Duration, bounds: Bounds) -> Self {
        Self {
            window,
            log: Log::new(rand::random(), bounds),
            ghosts: Ghosts::new(GHOSTS, GHOST_BYTES),
            late: Late::default(),
            unrecorded: Mutex::default(),
            mending: tokio::sync::Mutex::default(),
            homes: Mutex::default(),
        }
    }

    /// A session comes back on that shard of this node: what is said to it from now on goes there.
    pub fn heads_for(&self, name: Address, node: u16, shard: u8) {
        self.moved(name, Address { node, shard, slot: u32::MAX, ..name });
    }

    /// A session that came back lives there now.
    pub fn moved(&self, name: Address, home: Address) {
        self.homes.lock().insert(name, home);
    }

    /// It has gone from there.
    pub fn left(&self, name: Address) {
        self.homes.lock().remove(&name);
    }

    /// Where a session that came back, or is about to, lives; none for all others.
    #[must_use]
    pub fn home(&self, name: Address) -> Option<Address> {
        self.homes.lock().get(&name).copied()
    }

    /// The nodes that gave the names of sessions which have come back here, and of those which may: some have gone.
    pub(crate) fn named_by(&self) -> HashSet<u16> {
        // Held, since who comes back is here before it is a ghost no more.
        let homes = self.homes.lock();
        let mut nodes = self.ghosts.named_by();
        nodes.extend(homes.keys().map(|name| name.node));
        nodes
    }
}
