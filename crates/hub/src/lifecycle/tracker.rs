//! Who is there, and whether that was said: a going is one only when nobody has come back for a while.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::time::Instant;

use super::{Event, Key};
use crate::cluster::GRACE;

/// What is known of one.
#[derive(Debug, Default)]
struct Standing {
    there: bool,
    /// It has gone, and is gone then.
    gone_at: Option<Instant>,
    /// That it is there was said last.
    said: bool,
}

impl Standing {
    fn is_there(&self) -> bool {
        self.there || self.gone_at.is_some()
    }
}

/// All of whom something is told.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    known: HashMap<Key, Standing>,
    /// In order of time, since all have the same.
    going: VecDeque<(Instant, Key)>,
    /// Of whom something is to be said when there is room.
    unsaid: HashSet<Key>,
}

impl Tracker {
    /// One is there, or not.
    pub(super) fn note(&mut self, key: &Key, there: bool, now: Instant) {
        if there {
            let standing = self.known.entry(key.clone()).or_default();
            (standing.there, standing.gone_at) = (true, None);
        } else if let Some(standing) = self.known.get_mut(key).filter(|standing| standing.there) {
            standing.there = false;
            standing.gone_at = Some(now + GRACE);
            self.going.push_back((now + GRACE, key.clone()));
        }
    }

    /// Whether one was there when that was noted last.
    pub(super) fn is_there(&self, key: &Key) -> bool {
        self.known.get(key).is_some_and(|standing| standing.there)
    }

    /// Who has been gone for long enough.
    pub(super) fn gone(&mut self, now: Instant) -> Vec<Key> {
        let mut gone = Vec::new();
        while let Some((at, key)) = self.going.pop_front_if(|(at, _)| *at <= now) {
            if let Some(standing) = self.known.get_mut(&key).filter(|standing| standing.gone_at == Some(at)) {
                standing.gone_at = None;
                gone.push(key);
            }
        }
        gone
    }

    /// When somebody is gone.
    pub(super) fn next(&self) -> Option<Instant> {
        self.going.front().map(|(at, _)| *at)
    }

    /// What is to be said of one now; without `room`, it is remembered that something is.
    pub(super) fn say(&mut self, key: &Key, room: bool) -> Option<Event> {
        let standing = self.known.get_mut(key)?;
        let is = standing.is_there();
        if is == standing.said {
            if !is {
                self.known.remove(key);
            }
            return None;
        }
        if !room {
            self.unsaid.insert(key.clone());
            return None;
        }
        standing.said = is;
        if !is {
            self.known.remove(key);
        }
        Some(Event::new(key.clone(), is))
    }

    /// Of whom something was to be said when there was no room.
    pub(super) fn unsaid(&mut self) -> HashSet<Key> {
        std::mem::take(&mut self.unsaid)
    }

    /// How many those are.
    pub(super) fn unsaid_count(&self) -> usize {
        self.unsaid.len()
    }

    /// All that are known.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.known.keys().cloned().collect()
    }

    /// Forgets those that nobody wants to hear of any more.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Key) -> bool) {
        self.known.retain(|key, _| wanted(key));
        self.unsaid.retain(wanted);
    }

    /// These were said to be there; `all`: and no others. Who is not seen here has gone, as far as is known.
    pub(super) fn believe(&mut self, said: &HashSet<Key>, all: bool, now: Instant) {
        for key in said {
            let standing = self.known.entry(key.clone()).or_insert_with(|| {
                self.going.push_back((now + GRACE, key.clone()));
                Standing { gone_at: Some(now + GRACE), ..Standing::default() }
            });
            standing.said = true;
        }
        if all {
            self.known.retain(|key, standing| {
                standing.said = said.contains(key);
                // Who is about to be gone, and is not said to be there, was said to be gone by somebody else.
                standing.said || standing.there
            });
        }
    }
}
