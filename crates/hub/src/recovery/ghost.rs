//! What a node remembers of sessions that were cut off, for as long as they may come back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Wanted;
use crate::address::Address;
use crate::policy::{Identity, Policy};

/// A session that was cut off.
#[derive(Debug, Clone)]
pub struct Ghost {
    /// Who it was; whoever comes back in its name must be the same user.
    pub identity: Arc<Identity>,
    /// The rules under which it was there.
    pub policy: Arc<Policy>,
    /// Where it was, and of each channel up to where all that was said has certainly reached it or was not for it.
    pub channels: Vec<Wanted>,
    /// The same for all of them.
    pub confirmed: u64,
}

/// Bytes that a ghost costs beside the names of its channels, and each of those, about.
const EACH: usize = 256;
const PER_CHANNEL: usize = 40;

impl Ghost {
    /// Bytes that it costs, about.
    fn cost(&self) -> usize {
        EACH + self.channels.iter().map(|known| known.channel.len() + PER_CHANNEL).sum::<usize>()
    }

    /// What it missed, if it says that it has everything up to `heard`.
    #[must_use]
    pub fn wanted(&self, heard: u64) -> Vec<Wanted> {
        let since = self.confirmed.max(heard);
        let wanted = |known: &Wanted| Wanted { channel: Arc::clone(&known.channel), since: known.since.max(since) };
        self.channels.iter().map(wanted).collect()
    }
}

/// All of an app. When there are too many, those that wait longest are forgotten.
#[derive(Debug)]
pub struct Ghosts {
    most: usize,
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ghosts: HashMap<Address, (Ghost, Instant)>,
    /// By when they are forgotten. One that came back and was cut off again is in here twice, and only the later
    /// time is its own.
    ends: VecDeque<(Instant, Address)>,
    bytes: usize,
}

impl Ghosts {
    /// Nobody; at most so many, and of so many bytes, about.
    #[must_use]
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, state: Mutex::new(State::default()) }
    }

    /// Remembers a session for a while.
    pub fn keep(&self, address: Address, ghost: Ghost, window: Duration, now: Instant) {
        let mut state = self.state.lock();
        state.forget(now);
        let is_full = |state: &State| state.ghosts.len() >= self.most || state.bytes > self.most_bytes;
        state.bytes += ghost.cost();
        while is_full(&state) && state.forget_oldest() {}
        let end = now + window;
        if let Some((other, _)) = state.ghosts.insert(address, (ghost, end)) {
            state.bytes -= other.cost();
        }
        // Apps have different windows, so this is not always the end of the line.
        let at = state.ends.partition_point(|(other, _)| *other <= end);
        state.ends.insert(at, (end, address));
    }

    /// Takes back what is remembered of a session.
    #[must_use]
    pub fn take(&self, address: Address, now: Instant) -> Option<Ghost> {
        let mut state = self.state.lock();
        state.forget(now);
        state.remove(address)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().ghosts.len()
    }
}

impl State {
    fn remove(&mut self, address: Address) -> Option<Ghost> {
        let (ghost, _) = self.ghosts.remove(&address)?;
        self.bytes -= ghost.cost();
        Some(ghost)
    }

    fn forget(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
    }

    /// Forgets whose time is over first; false when there is nobody.
    fn forget_oldest(&mut self) -> bool {
        let Some((end, address)) = self.ends.pop_front() else { return false };
        if self.ghosts.get(&address).is_some_and(|(_, own)| *own == end) {
            self.remove(address);
        }
        true
    }
}
