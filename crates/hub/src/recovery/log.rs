//! What an app has said lately in the channels that keep a history, in the one order in which all shards hear it.
//!
//! A publication gets its position, enters the history of its channels and is pushed to the shards under one lock; a
//! client that comes back reads what it missed, and its marker is pushed to its own shard, under the same lock. So all
//! that it missed up to the marker is in what it read, and all that comes after the marker it hears live.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::ghost::Lost;
use super::ring::{Bounds, Entry, History, State};
use super::{Had, is_direct};
use crate::cluster::Origin;
use crate::delivery::Publication;
use crate::sync::{Mutex, MutexGuard};

/// A place in a log, as clients hold it: opaque to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    /// One life of the log.
    pub epoch: u32,
    /// How many publications there were up to here.
    pub position: u64,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.epoch, self.position)
    }
}

/// The text is not a place in any log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a position")]
pub struct NotAMark;

impl FromStr for Mark {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (epoch, position) = text.split_once('.').filter(|(a, b)| plain(a) && plain(b)).ok_or(NotAMark)?;
        let epoch = u32::from_str_radix(epoch, 16).map_err(|_| NotAMark)?;
        let position = u64::from_str_radix(position, 16).map_err(|_| NotAMark)?;
        Ok(Self { epoch, position })
    }
}

/// A channel of which something was missed: what was said in it after a place is wanted. Or a stay in one, which may have
/// ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The channel.
    pub channel: Arc<str>,
    /// The last position that is not wanted.
    pub since: u64,
    /// The last one that is.
    pub until: u64,
}

impl Wanted {
    /// All that is said in a channel after that position.
    #[must_use]
    pub fn after(channel: Arc<str>, since: u64) -> Self {
        Self { channel, since, until: u64::MAX }
    }

    /// Whether it has no end. A stay that has ended was listened to while it lasted.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.until == u64::MAX
    }

    /// Whether what is at that position in the channel is wanted.
    #[must_use]
    pub fn covers(&self, position: u64) -> bool {
        self.since < position && position <= self.until
    }
}

/// Part of what is asked for is not known any more, or never was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The channels in which something was missed, if something is lost of one of them; none when the mark itself is of another
    /// life, or when it is too much.
    pub channels: Vec<Arc<str>>,
    /// The place from which everything will be known.
    pub until: Mark,
}

/// What was said, oldest first, each with its position.
pub type Missed = Vec<(u64, Arc<Publication>)>;

/// What a channel remembers, as far as was asked for.
#[derive(Debug)]
pub struct Past {
    /// Oldest first.
    pub publications: Missed,
    /// Whoever has these, or the place that was asked from if there are none, goes on from here.
    pub until: Mark,
    /// The last that was said in the channel.
    pub last: Mark,
    /// Some of what was asked for is not known any more.
    pub gap: bool,
    /// There is more after these.
    pub more: bool,
}

/// The log of one app.
#[derive(Debug)]
pub struct Log {
    pub(super) epoch: u32,
    pub(super) bounds: Bounds,
    /// The position of the last publication that has been pushed.
    pub(super) last: AtomicU64,
    pub(super) state: Mutex<State>,
}

impl Log {
    /// An empty log. `epoch` must not be that of an earlier life.
    #[must_use]
    pub fn new(epoch: u32, bounds: Bounds) -> Self {
        Self { epoch, bounds, last: AtomicU64::new(0), state: Mutex::default() }
    }

    /// A position as clients hold it.
    #[must_use]
    pub fn mark(&self, position: u64) -> Mark {
        Mark { epoch: self.epoch, position }
    }

    /// The position of the last publication; all up to it have been pushed.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// For how long anything is kept.
    pub(crate) fn longest(&self) -> std::time::Duration {
        self.bounds.time
    }

    /// What will be said in these channels.
    pub(crate) fn all_from_now(&self, channels: &[Arc<str>]) -> Vec<Wanted> {
        let since = self.last();
        channels.iter().map(|channel| Wanted::after(Arc::clone(channel), since)).collect()
    }

    /// Gives a publication its place in these channels, and pushes it while nobody else can have one. One that `asks` for
    /// an answer is never replayed: it is a gap for who has missed it. `origin`: where it was said, asked then.
    pub fn append<R>(
        &self,
        publication: &Arc<Publication>,
        asks: bool,
        origin: impl FnOnce() -> Option<Origin>,
        channels: impl IntoIterator<Item = (Arc<str>, History)>,
        now: Instant,
        push: impl FnOnce(u64, Option<Origin>) -> R,
    ) -> R {
        let mut state = self.state.lock();
        let (position, origin) = (self.last() + 1, origin());
        for (channel, history) in channels {
            let entry = Entry { position, at: now, publication: Arc::clone(publication), asks, origin };
            state.add(channel, history, entry);
        }
        state.trim(self.bounds, now);
        let pushed = push(position, origin);
        self.last.store(position, Ordering::Release);
        pushed
    }

    /// Other channels are remembered from now on. Whoever was away then has lost what was said in those that were not, or
    /// are not any more.
    pub fn turn_leaf(&self, is_kept: impl Fn(&str) -> bool) {
        let mut state = self.state.lock();
        let State { rings, order, bytes, .. } = &mut *state;
        rings.retain(|channel, ring| {
            let kept = is_direct(channel) || is_kept(channel);
            if !kept {
                *bytes -= ring.forget(u64::MAX).bytes;
            }
            kept
        });
        order.retain(|(_, _, channel)| rings.contains_key(channel));
        state.forgotten = self.nothing(&state);
    }

    /// The channels in which a client that begins anew has missed something by now; none: maybe in any.
    pub fn missing(&self, lost: Lost, now: Instant) -> Vec<Arc<str>> {
        let mut state = self.state.lock();
        state.trim(self.bounds, now);
        state.missing(lost.channels, &lost.wanted, now)
    }

    /// Has `push` called with a place at which nothing is said, while nothing else can be.
    pub fn pass<R>(&self, push: impl FnOnce(u64) -> R) -> R {
        let state = self.state.lock();
        push(self.nothing(&state))
    }

    /// A place at which nothing is said: all that anybody has heard lies before it.
    pub(super) fn nothing(&self, _order: &MutexGuard<'_, State>) -> u64 {
        let position = self.last() + 1;
        self.last.store(position, Ordering::Release);
        position
    }

    /// Hands `push` what was said in these channels, and the position up to which that goes, while nothing else can be
    /// said. `from`: where the reader has certainly been in all of them.
    ///
    /// # Errors
    /// [`Gap`]: some of it is not known any more or wanted an answer, it is more than `budget` bytes on the wire, or the mark is of another
    /// life of this log. Nothing was pushed.
    pub fn replay<R>(
        &self,
        from: Mark,
        wanted: &[Wanted],
        budget: usize,
        now: Instant,
        push: impl FnOnce(Missed, u64) -> R,
    ) -> Result<R, Gap> {
        self.replay_beside(&Had::default(), from, wanted, budget, now, push)
    }

    pub(super) fn look(
        &self,
        state: &mut State,
        from: Mark,
        wanted: &[Wanted],
        had: &Had,
        budget: usize,
        now: Instant,
    ) -> Result<Missed, Gap> {
        state.trim(self.bounds, now);
        let last = self.last();
        let until = self.mark(last);
        if from.epoch != self.epoch || wanted.iter().any(|wanted| wanted.since > last) {
            return Err(Gap { channels: Vec::new(), until });
        }
        let lost = |wanted: &&Wanted| state.has_lost(wanted, from.position, now) || state.has_asked(wanted);
        let channels: Vec<_> = wanted.iter().filter(lost).map(|wanted| Arc::clone(&wanted.channel)).collect();
        if !channels.is_empty() {
            return Err(Gap { channels: state.missing(channels, wanted, now), until });
        }
        state.missed(wanted, had, budget).ok_or(Gap { channels: Vec::new(), until })
    }
}

impl Log {
    /// How many channels somebody waits for.
    #[cfg(test)]
    pub(super) fn waited_for(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// How many places of publications are kept.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.state.lock().order.len()
    }

    /// What a channel remembers: the newest, or what was said after a place; at most `limit`.
    pub fn read(&self, channel: &str, since: Option<Mark>, limit: usize, now: Instant) -> Past {
        let mut state = self.state.lock();
        state.trim(self.bounds, now);
        let other_life = since.is_some_and(|mark| mark.epoch != self.epoch || mark.position > self.last());
        let after = since.filter(|_| !other_life).map(|mark| mark.position);
        let wanted = Wanted::after(channel.into(), after.unwrap_or_default());
        let unheard = state.is_shared && !state.ears.contains_key(channel);
        let gap = since.is_some() && (other_life || unheard || state.has_lost(&wanted, 0, now));
        let heard = state.ears.get(channel).copied().unwrap_or_default().max(state.missed);
        let Some(ring) = state.rings.get(channel) else {
            let last = self.mark(after.unwrap_or(state.forgotten).max(heard));
            return Past { publications: Vec::new(), until: last, last, gap, more: false };
        };
        let entries = &ring.entries;
        let newest = || entries.len().saturating_sub(limit);
        let first = after.map_or_else(newest, |after| entries.partition_point(|entry| entry.position <= after));
        let found: Missed =
            entries.range(first..).take(limit).map(|entry| (entry.position, Arc::clone(&entry.publication))).collect();
        let more = first + found.len() < entries.len();
        let last = entries.back().map_or(ring.lost, |entry| entry.position);
        let until = found.last().map_or(after.unwrap_or(last), |(position, _)| *position);
        // What was not heard before lies behind whoever is told so.
        let until = if more { until } else { until.max(heard) };
        Past { publications: found, until: self.mark(until), last: self.mark(last), gap, more }
    }

    /// Waits until something is said in a channel, from the moment of this call on. Cancel-safe.
    pub fn next_in(&self, channel: &Arc<str>) -> impl Future<Output = ()> + use<'_> {
        let waiter = Arc::clone(self.state.lock().waiting.entry(Arc::clone(channel)).or_default());
        // Counts from now on, not from its first poll.
        let mut notified = Box::pin(Arc::clone(&waiter).notified_owned());
        notified.as_mut().enable();
        let waiting = Waiting { log: self, channel: Arc::clone(channel), waiter };
        async move {
            notified.await;
            drop(waiting);
        }
    }
}

/// Somebody waits; the last one that goes takes the place away.
struct Waiting<'a> {
    log: &'a Log,
    channel: Arc<str>,
    waiter: Arc<Notify>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        // One in the table, one here and perhaps one in the future of who goes. If it is not in the table any more, what
        // is there belongs to those who came later.
        let is_last = |waiter: &Arc<Notify>| Arc::ptr_eq(waiter, &self.waiter) && Arc::strong_count(waiter) <= 3;
        if state.waiting.get(&self.channel).is_some_and(is_last) {
            state.waiting.remove(&self.channel);
        }
    }
}
