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

use super::is_direct;
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

/// Bytes that remembering a publication costs beside what it says, about: without them nobody would count events that
/// say nothing.
const BESIDE: usize = 384;

/// Bytes of a packet beside its event's name and what it says, about: its position and its namespace, brackets and quotes.
const FRAMING: usize = 64;

/// So many places of publications that are forgotten are not worth tidying up.
const STALE_MIN: usize = 1_024;

/// How much an app's log keeps, whatever its channels want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For how long.
    pub time: Duration,
    /// How many bytes, about; then the oldest publications go first.
    pub bytes: usize,
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
    /// The channels of which something is lost; none when the mark itself is of another life, or when it is too much.
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
    /// All entries of all rings, oldest first; some have left their ring already, at most about as many as have not.
    order: VecDeque<(Instant, u64, Arc<str>)>,
    /// So many have left their ring.
    stale: usize,
    bytes: usize,
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
    /// The newest position of what wanted an answer: it cannot be said again.
    asked: u64,
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    position: u64,
    at: Instant,
    publication: Arc<Publication>,
    /// It wanted an answer.
    asks: bool,
}

/// Bytes that a client is written, about.
fn on_wire(publication: &Publication) -> usize {
    publication.size() + publication.event.len() + FRAMING
}

impl Entry {
    /// Bytes that it costs, about.
    fn cost(&self) -> usize {
        self.publication.size() + self.publication.event.len() + self.publication.id.len() + BESIDE
    }
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

    /// What will be said in these channels.
    pub(crate) fn all_from_now(&self, channels: &[Arc<str>]) -> Vec<Wanted> {
        let since = self.last();
        channels.iter().map(|channel| Wanted { channel: Arc::clone(channel), since }).collect()
    }

    /// Gives a publication its place in these channels, and pushes it while nobody else can have one. One that `asks` for
    /// an answer is never replayed: it is a gap for who has missed it.
    pub fn append<R>(
        &self,
        publication: &Arc<Publication>,
        asks: bool,
        channels: impl IntoIterator<Item = (Arc<str>, History)>,
        now: Instant,
        push: impl FnOnce(u64) -> R,
    ) -> R {
        let mut state = self.state.lock();
        let position = self.last() + 1;
        for (channel, history) in channels {
            let entry = Entry { position, at: now, publication: Arc::clone(publication), asks };
            state.add(channel, history, entry);
        }
        state.trim(self.bounds, now);
        let pushed = push(position);
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
        // A place at which nothing was said: all that anybody has heard lies before it.
        state.forgotten = self.last() + 1;
        self.last.store(state.forgotten, Ordering::Release);
    }

    /// Hands `push` what was said in these channels, and the position up to which that goes, while nothing else can be
    /// said.
    ///
    /// # Errors
    /// [`Gap`]: some of it is not known any more or wanted an answer, it is more than `budget` bytes on the wire, or the mark is of another
    /// life of this log. Nothing was pushed.
    pub fn replay<R>(
        &self,
        epoch: u32,
        wanted: &[Wanted],
        budget: usize,
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
        let lost = wanted.iter().filter(|wanted| state.has_lost(wanted, now) || state.has_asked(wanted));
        let channels: Vec<_> = lost.map(|wanted| Arc::clone(&wanted.channel)).collect();
        if !channels.is_empty() {
            return Err(Gap { channels, until });
        }
        let missed = state.missed(wanted, budget).ok_or(Gap { channels: Vec::new(), until })?;
        Ok(push(missed, last))
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

impl State {
    fn add(&mut self, channel: Arc<str>, history: History, entry: Entry) {
        self.bytes += entry.cost();
        self.order.push_back((entry.at, entry.position, Arc::clone(&channel)));
        let lost = self.forgotten;
        if let Some(waiter) = self.waiting.remove(&channel) {
            waiter.notify_waiters();
        }
        let begin = || Ring { history, lost, asked: 0, entries: VecDeque::new() };
        let ring = self.rings.entry(channel).or_insert_with(begin);
        ring.history = history;
        if entry.asks {
            ring.asked = entry.position;
        }
        let now = entry.at;
        ring.entries.push_back(entry);
        let left = ring.trim(now);
        self.note(left);
    }

    /// Notes what has left its ring and is still in the order.
    fn note(&mut self, left: Left) {
        self.bytes -= left.bytes;
        self.stale += left.entries;
        if self.stale > STALE_MIN && self.stale > self.order.len() / 2 {
            let rings = &self.rings;
            // The last that was in a ring stays, so that the ring goes in its time, too.
            self.order.retain(|(_, position, channel)| {
                let lives = |ring: &Ring| *position > ring.lost || (ring.entries.is_empty() && *position == ring.lost);
                rings.get(channel).is_some_and(lives)
            });
            self.stale = 0;
        }
    }

    /// What was said in these channels, unless that is too much for the wire. (Nothing can be said while it is collected,
    /// so of a channel with a long history no more is looked at than will be used.)
    fn missed(&self, wanted: &[Wanted], budget: usize) -> Option<Missed> {
        let mut missed: Missed = Vec::new();
        for Wanted { channel, since } in wanted {
            let Some(ring) = self.rings.get(channel) else { continue };
            let first = ring.entries.partition_point(|entry| entry.position <= *since);
            let mut left = budget;
            for entry in ring.entries.range(first..) {
                left = left.checked_sub(on_wire(&entry.publication))?;
                missed.push((entry.position, Arc::clone(&entry.publication)));
            }
        }
        missed.sort_unstable_by_key(|(position, _)| *position);
        missed.dedup_by_key(|(position, _)| *position);
        let size: usize = missed.iter().map(|(_, publication)| on_wire(publication)).sum();
        (size <= budget).then_some(missed)
    }

    /// Whether something was said after that place which is not there any more.
    fn has_lost(&mut self, wanted: &Wanted, now: Instant) -> bool {
        let Some(ring) = self.rings.get_mut(&wanted.channel) else { return wanted.since < self.forgotten };
        let left = ring.trim(now);
        let lost = wanted.since < ring.lost;
        self.note(left);
        lost
    }

    /// Whether something was said after that place which wanted an answer.
    fn has_asked(&self, wanted: &Wanted) -> bool {
        self.rings.get(&wanted.channel).is_some_and(|ring| wanted.since < ring.asked)
    }

    /// Forgets what is too old, or too much.
    fn trim(&mut self, bounds: Bounds, now: Instant) {
        while let Some((at, position, channel)) = self.order.front()
            && (self.bytes > bounds.bytes || now.saturating_duration_since(*at) > bounds.time)
        {
            let mut was_there = false;
            if let Some(ring) = self.rings.get_mut(channel) {
                let left = ring.forget(*position);
                self.bytes -= left.bytes;
                was_there = left.entries > 0;
                if ring.entries.is_empty() {
                    self.forgotten = self.forgotten.max(ring.lost);
                    self.rings.remove(channel);
                }
            }
            if !was_there {
                self.stale = self.stale.saturating_sub(1);
            }
            self.order.pop_front();
        }
    }
}

/// What has left a ring.
#[derive(Debug, Clone, Copy, Default)]
struct Left {
    entries: usize,
    bytes: usize,
}

impl Ring {
    /// Forgets what is more than the channel keeps.
    fn trim(&mut self, now: Instant) -> Left {
        let mut left = Left::default();
        while let Some(oldest) = self.entries.front()
            && (self.entries.len() > self.history.last || now.saturating_duration_since(oldest.at) > self.history.time)
        {
            let Left { entries, bytes } = self.forget(oldest.position);
            left = Left { entries: left.entries + entries, bytes: left.bytes + bytes };
        }
        left
    }

    /// Forgets everything up to that position.
    fn forget(&mut self, position: u64) -> Left {
        let mut left = Left::default();
        while self.entries.front().is_some_and(|entry| entry.position <= position)
            && let Some(entry) = self.entries.pop_front()
        {
            self.lost = entry.position;
            left = Left { entries: left.entries + 1, bytes: left.bytes + entry.cost() };
        }
        left
    }
}
