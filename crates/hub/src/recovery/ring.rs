//! What a log keeps: a ring of publications for each channel, and where it has not heard all that was said.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::log::{Missed, Wanted};
use super::{Had, is_direct};
use crate::cluster::{Origin, Peer};
use crate::delivery::Publication;

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

/// What a server of another make says reaches nodes at about the same time, and nothing says that it is the same: for so long
/// nobody can tell what another node has heard of it.
const BLUR: Duration = Duration::from_secs(1);

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

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rings: HashMap<Arc<str>, Ring>,
    /// All entries of all rings, oldest first; some have left their ring already, at most about as many as have not.
    pub(super) order: VecDeque<(Instant, u64, Arc<str>)>,
    /// So many have left their ring.
    stale: usize,
    pub(super) bytes: usize,
    /// Up to here a channel that is not among the rings may have been forgotten.
    pub(super) forgotten: u64,
    /// Other nodes say things, too.
    pub(super) is_shared: bool,
    /// From where on all that is said on other nodes is heard here, by channel.
    pub(super) ears: HashMap<Arc<str>, u64>,
    /// Up to here something may have been said on other nodes that was not heard, in any channel.
    pub(super) missed: u64,
    /// The number of the last publication of each node that is remembered here.
    pub(super) numbers: HashMap<Peer, u64>,
    /// Who waits for something to be said, by channel.
    pub(super) waiting: HashMap<Arc<str>, Arc<Notify>>,
}

#[derive(Debug)]
pub(super) struct Ring {
    history: History,
    /// The newest position that was in here and is not any more.
    pub(super) lost: u64,
    /// Up to here something may have been said that never was in here.
    missed: u64,
    /// The newest position of what wanted an answer: it cannot be said again.
    asked: u64,
    pub(super) entries: VecDeque<Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) position: u64,
    pub(super) at: Instant,
    pub(super) publication: Arc<Publication>,
    /// It wanted an answer.
    pub(super) asks: bool,
    /// Where it was said; none: there are no other nodes.
    pub(super) origin: Option<Origin>,
}

impl Entry {
    /// Whether it is not among what somebody has.
    pub(super) fn is_new(&self, had: &Had) -> bool {
        let heard =
            |origin: Origin| had.numbers.iter().any(|(peer, had)| *peer == origin.peer && origin.number <= *had);
        !self.origin.is_some_and(heard) && !self.publication.is_within(had.recorded)
    }

    /// Bytes that it costs, about.
    fn cost(&self) -> usize {
        self.publication.size() + self.publication.event.len() + self.publication.id.len() + BESIDE
    }
}

impl State {
    pub(super) fn add(&mut self, channel: Arc<str>, history: History, entry: Entry) {
        self.bytes += entry.cost();
        self.order.push_back((entry.at, entry.position, Arc::clone(&channel)));
        let lost = self.forgotten;
        if let Some(waiter) = self.waiting.remove(&channel) {
            waiter.notify_waiters();
        }
        let begin = || Ring { history, lost, missed: 0, asked: 0, entries: VecDeque::new() };
        let ring = self.rings.entry(channel).or_insert_with(begin);
        ring.history = history;
        if let Some(Origin { peer, number }) = entry.origin {
            let last = self.numbers.entry(peer).or_default();
            *last = number.max(*last);
        }
        if entry.asks {
            ring.asked = entry.position;
        }
        let now = entry.at;
        ring.entries.push_back(entry);
        let left = ring.trim(now);
        self.note(left);
    }

    /// Something was said in a channel and not heard here.
    pub(super) fn miss(&mut self, channel: &Arc<str>, position: u64, now: Instant) {
        let (history, lost) = (History { last: 0, time: Duration::MAX }, self.forgotten);
        let begin = || Ring { history, lost, missed: 0, asked: 0, entries: VecDeque::new() };
        self.rings.entry(Arc::clone(channel)).or_insert_with(begin).missed = position;
        // A place of nothing, with which the ring goes in its time.
        self.order.push_back((now, position, Arc::clone(channel)));
        self.stale += 1;
    }

    /// Notes what has left its ring and is still in the order.
    fn note(&mut self, left: Left) {
        self.bytes -= left.bytes;
        self.stale += left.entries;
        if self.stale > STALE_MIN && self.stale > self.order.len() / 2 {
            let rings = &self.rings;
            // The last that was in a ring stays, so that the ring goes in its time, too.
            self.order.retain(|(_, position, channel)| {
                let lives = |ring: &Ring| {
                    *position > ring.lost || (ring.entries.is_empty() && *position == ring.lost.max(ring.missed))
                };
                rings.get(channel).is_some_and(lives)
            });
            self.stale = 0;
        }
    }

    /// What was said in these channels, beside what was `had`, unless that is too much for the wire. (Nothing can be said while it is collected,
    /// so of a channel with a long history no more is looked at than will be used.)
    pub(super) fn missed(&self, wanted: &[Wanted], had: &Had, budget: usize) -> Option<Missed> {
        let mut missed: Missed = Vec::new();
        for wanted in wanted {
            let Some(ring) = self.rings.get(&wanted.channel) else { continue };
            let first = ring.entries.partition_point(|entry| entry.position <= wanted.since);
            let mut left = budget;
            let entries = ring.entries.range(first..).take_while(|entry| wanted.covers(entry.position));
            for entry in entries.filter(|entry| entry.is_new(had)) {
                left = left.checked_sub(entry.publication.on_wire())?;
                missed.push((entry.position, Arc::clone(&entry.publication)));
            }
        }
        missed.sort_unstable_by_key(|(position, _)| *position);
        missed.dedup_by_key(|(position, _)| *position);
        let size: usize = missed.iter().map(|(_, publication)| publication.on_wire()).sum();
        (size <= budget).then_some(missed)
    }

    /// What a reader misses that begins anew, as something is lost in these channels: all that was said in the others, too,
    /// whether or not it is still there. None: maybe anything.
    pub(super) fn missing(&mut self, mut lost: Vec<Arc<str>>, wanted: &[Wanted], now: Instant) -> Vec<Arc<str>> {
        if lost.is_empty() {
            return lost;
        }
        for one in wanted {
            let newest = self.rings.get(&one.channel).and_then(|ring| ring.entries.back()).map(|entry| entry.position);
            // This node was listening to it all the while, or another one looked when it did.
            if newest.is_some_and(|last| last > one.since) || self.has_lost(one, u64::MAX, now) {
                lost.push(Arc::clone(&one.channel));
            }
        }
        lost.sort_unstable();
        lost.dedup();
        lost
    }

    /// Whether something may have been said after that place which is not there. `there`: up to where the reader has
    /// certainly been in the channel, so that this node was listening to it all the while.
    pub(super) fn has_lost(&mut self, wanted: &Wanted, there: u64, now: Instant) -> bool {
        let since = wanted.since;
        let unheard = |began: &u64| wanted.lasts() && since.max(there) < *began;
        if since < self.missed || self.ears.get(&wanted.channel).is_some_and(unheard) {
            return true;
        }
        let Some(ring) = self.rings.get_mut(&wanted.channel) else { return since < self.forgotten };
        let left = ring.trim(now);
        let lost = since < ring.lost.max(ring.missed);
        self.note(left);
        lost
    }

    /// Those of these channels of which nobody can tell whether another node has heard the same.
    pub(super) fn blurred(&self, wanted: &[Wanted], now: Instant) -> Vec<Arc<str>> {
        let is_foreign = |entry: &Entry| entry.origin.is_none();
        let is_blurred = |ring: &Ring| {
            let mut latest =
                ring.entries.iter().rev().take_while(|entry| now.saturating_duration_since(entry.at) < BLUR);
            latest.any(is_foreign)
        };
        let channels = wanted.iter().map(|wanted| &wanted.channel).filter(|channel| !is_direct(channel));
        channels.filter(|channel| self.rings.get(*channel).is_some_and(is_blurred)).cloned().collect()
    }

    /// Whether something was said after that place which wanted an answer.
    pub(super) fn has_asked(&self, wanted: &Wanted) -> bool {
        self.rings.get(&wanted.channel).is_some_and(|ring| wanted.since < ring.asked)
    }

    /// Forgets what is too old, or too much.
    pub(super) fn trim(&mut self, bounds: Bounds, now: Instant) {
        while let Some((at, position, channel)) = self.order.front()
            && (self.bytes > bounds.bytes || now.saturating_duration_since(*at) > bounds.time)
        {
            let mut was_there = false;
            if let Some(ring) = self.rings.get_mut(channel) {
                let left = ring.forget(*position);
                self.bytes -= left.bytes;
                was_there = left.entries > 0;
                if ring.entries.is_empty() {
                    self.forgotten = self.forgotten.max(ring.lost.max(ring.missed));
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
pub(super) struct Left {
    entries: usize,
    pub(super) bytes: usize,
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
    pub(super) fn forget(&mut self, position: u64) -> Left {
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
