//! What an app has said lately in the channels that keep a history, in the one order in which all shards hear it.
//!
//! A publication gets its position, enters the history of its channels and is pushed to the shards under one lock; a
//! client that comes back reads what it missed, and its marker is pushed to its own shard, under the same lock. So all
//! that it missed up to the marker is in what it read, and all that comes after the marker it hears live.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::delivery::Publication;
use crate::sync::Mutex;

/// How much of a channel is kept; whichever is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// So many publications.
    pub last: usize,
    /// For so long.
    pub time: Duration,
}

/// How much an app's log keeps, whatever its channels want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For how long.
    pub time: Duration,
    /// How many bytes; then the oldest publications go first.
    pub bytes: usize,
}

/// What a publication takes beside its payload, about.
pub(super) const OVERHEAD: usize = 384;

/// Places in [`State::order`] that may be of entries which have left their ring, beside as many as there are others.
const STALE_MAX: usize = 1_024;

fn size(publication: &Publication) -> usize {
    publication.size() + OVERHEAD
}

/// A place in a log, as clients hold it: opaque to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A channel of which something was missed: what was said in it after a place is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The channel.
    pub channel: Arc<str>,
    /// The last position that is not wanted.
    pub since: u64,
}

/// Part of what is asked for is not known any more, or never was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The channels of which something is lost; none when the mark itself is of another life.
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
    epoch: u32,
    bounds: Bounds,
    /// The position of the last publication that has been pushed.
    last: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rings: HashMap<Arc<str>, Ring>,
    /// All entries of all rings, oldest first; some have left their ring already.
    order: VecDeque<(Instant, u64, Arc<str>)>,
    bytes: usize,
    /// How many entries there are.
    entries: usize,
    /// Up to here a channel that is not among the rings may have been forgotten.
    forgotten: u64,
    /// Who waits for something to be said, by channel.
    waiting: HashMap<Arc<str>, Arc<Notify>>,
}

#[derive(Debug)]
struct Ring {
    history: History,
    /// The newest position that was in here and is not any more.
    lost: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    at: Instant,
    publication: Arc<Publication>,
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

    /// Gives a publication its place in these channels, and pushes it while nobody else can have one.
    pub fn append<R>(
        &self,
        publication: &Arc<Publication>,
        channels: impl IntoIterator<Item = (Arc<str>, History)>,
        now: Instant,
        push: impl FnOnce(u64) -> R,
    ) -> R {
        let mut state = self.state.lock();
        let position = self.last() + 1;
        for (channel, history) in channels {
            let entry = Entry { position, at: now, publication: Arc::clone(publication) };
            state.add(channel, history, entry);
        }
        state.trim(self.bounds, now);
        let pushed = push(position);
        self.last.store(position, Ordering::Release);
        pushed
    }

    /// Hands `push` what was said in these channels, and the position up to which that goes, while nothing else can be
    /// said.
    ///
    /// # Errors
    /// [`Gap`]: some of it is not known any more, or the mark is of another life of this log. Nothing was pushed.
    pub fn replay<R>(
        &self,
        epoch: u32,
        wanted: &[Wanted],
        now: Instant,
        push: impl FnOnce(Missed, u64) -> R,
    ) -> Result<R, Gap> {
        let mut state = self.state.lock();
        state.trim(self.bounds, now);
        let last = self.last();
        let until = self.mark(last);
        if epoch != self.epoch || wanted.iter().any(|wanted| wanted.since > last) {
            return Err(Gap { channels: Vec::new(), until });
        }
        let lost = wanted.iter().filter(|wanted| state.has_lost(wanted, now));
        let channels: Vec<_> = lost.map(|wanted| Arc::clone(&wanted.channel)).collect();
        if !channels.is_empty() {
            return Err(Gap { channels, until });
        }
        let mut missed: Missed = Vec::new();
        for Wanted { channel, since } in wanted {
            let Some(ring) = state.rings.get(channel) else { continue };
            let first = ring.entries.partition_point(|entry| entry.position <= *since);
            let kept = ring.entries.range(first..);
            missed.extend(kept.map(|entry| (entry.position, Arc::clone(&entry.publication))));
        }
        missed.sort_unstable_by_key(|(position, _)| *position);
        missed.dedup_by_key(|(position, _)| *position);
        Ok(push(missed, last))
    }
}

#[cfg(test)]
impl Log {
    /// How many places are kept of entries, those that have left their ring included.
    pub(super) fn order(&self) -> usize {
        self.state.lock().order.len()
    }
}

impl Log {
    /// What a channel remembers: the newest, or what was said after a place; at most `limit`.
    pub fn read(&self, channel: &str, since: Option<Mark>, limit: usize, now: Instant) -> Past {
        let mut state = self.state.lock();
        state.trim(self.bounds, now);
        let other_life = since.is_some_and(|mark| mark.epoch != self.epoch || mark.position > self.last());
        let after = since.filter(|_| !other_life).map(|mark| mark.position);
        let wanted = Wanted { channel: channel.into(), since: after.unwrap_or_default() };
        let gap = since.is_some() && (other_life || state.has_lost(&wanted, now));
        let Some(ring) = state.rings.get(channel) else {
            let last = self.mark(after.unwrap_or(state.forgotten));
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
        Past { publications: found, until: self.mark(until), last: self.mark(last), gap, more }
    }

    /// Waits until something is said in a channel, from the moment of this call on. Cancel-safe.
    pub fn next_in(&self, channel: &Arc<str>) -> impl Future<Output = ()> + use<'_> {
        let waiter = Arc::clone(self.state.lock().waiting.entry(Arc::clone(channel)).or_default());
        let waiting = Waiting { log: self, channel: Arc::clone(channel) };
        // Counts from now on, not from its first poll.
        let mut notified = Box::pin(waiter.notified_owned());
        notified.as_mut().enable();
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
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.log.state.lock();
        // One in the table, one in the future of who goes.
        if state.waiting.get(&self.channel).is_some_and(|waiter| Arc::strong_count(waiter) <= 2) {
            state.waiting.remove(&self.channel);
        }
    }
}

impl State {
    fn add(&mut self, channel: Arc<str>, history: History, entry: Entry) {
        self.bytes += size(&entry.publication);
        self.entries += 1;
        self.order.push_back((entry.at, entry.position, Arc::clone(&channel)));
        let lost = self.forgotten;
        if let Some(waiter) = self.waiting.remove(&channel) {
            waiter.notify_waiters();
        }
        let ring = self.rings.entry(channel).or_insert_with(|| Ring { history, lost, entries: VecDeque::new() });
        ring.history = history;
        let now = entry.at;
        ring.entries.push_back(entry);
        let gone = ring.trim(now);
        self.let_go(gone);
        if self.order.len() > 2 * self.entries + STALE_MAX {
            self.compact();
        }
    }

    /// Lets go of places whose entries have left their ring, and of rings that are empty.
    fn compact(&mut self) {
        let forgotten = &mut self.forgotten;
        self.rings.retain(|_, ring| {
            if ring.entries.is_empty() {
                *forgotten = (*forgotten).max(ring.lost);
            }
            !ring.entries.is_empty()
        });
        let rings = &self.rings;
        self.order.retain(|(_, position, channel)| {
            let oldest = rings.get(channel).and_then(|ring| ring.entries.front());
            oldest.is_some_and(|oldest| oldest.position <= *position)
        });
    }

    fn let_go(&mut self, gone: Gone) {
        self.bytes -= gone.bytes;
        self.entries -= gone.entries;
    }

    /// Whether something was said after that place which is not there any more.
    fn has_lost(&mut self, wanted: &Wanted, now: Instant) -> bool {
        let Some(ring) = self.rings.get_mut(&wanted.channel) else { return wanted.since < self.forgotten };
        let gone = ring.trim(now);
        let lost = ring.lost;
        self.let_go(gone);
        wanted.since < lost
    }

    /// Forgets what is too old, or too much.
    fn trim(&mut self, bounds: Bounds, now: Instant) {
        while let Some((at, position, channel)) = self.order.front()
            && (self.bytes > bounds.bytes || now.saturating_duration_since(*at) > bounds.time)
        {
            if let Some(ring) = self.rings.get_mut(channel) {
                let gone = ring.forget(*position);
                self.bytes -= gone.bytes;
                self.entries -= gone.entries;
                if ring.entries.is_empty() {
                    self.forgotten = self.forgotten.max(ring.lost);
                    self.rings.remove(channel);
                }
            }
            self.order.pop_front();
        }
    }
}

/// What was forgotten.
#[derive(Debug, Clone, Copy, Default)]
struct Gone {
    entries: usize,
    bytes: usize,
}

impl Ring {
    /// Forgets what is more than the channel keeps.
    fn trim(&mut self, now: Instant) -> Gone {
        let History { last, time } = self.history;
        let too_many = self.entries.len().saturating_sub(last);
        let too_old = self.entries.partition_point(|entry| now.saturating_duration_since(entry.at) > time);
        self.forget_first(too_many.max(too_old))
    }

    /// Forgets everything up to that position.
    fn forget(&mut self, position: u64) -> Gone {
        self.forget_first(self.entries.partition_point(|entry| entry.position <= position))
    }

    fn forget_first(&mut self, count: usize) -> Gone {
        let mut gone = Gone::default();
        for entry in self.entries.drain(..count) {
            self.lost = entry.position;
            gone.entries += 1;
            gone.bytes += size(&entry.publication);
        }
        gone
    }
}
