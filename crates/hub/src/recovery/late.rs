//! What a session was handed over with on another node, and this one may still hear: it is not said to it again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::{Mark, Numbers};
use crate::address::Address;
use crate::cluster::{Origin, Peer};

/// Nothing that a node has said is heard later than that after another node has heard it.
const LATEST: Duration = Duration::from_secs(60);

/// Sessions that have something which may come to this node later.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// By the node that says it, each with the number up to which it has all that this node has said.
    said: Mutex<HashMap<Peer, Vec<Had>>>,
    /// By a channel that they have joined from a place of the history that nodes share.
    recorded: RwLock<Recorded>,
}

#[derive(Debug)]
struct Had {
    number: u64,
    name: Address,
    since: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Recorded {
    channels: HashMap<Arc<str>, VecDeque<Joined>>,
    /// When each was expected, the first first.
    order: VecDeque<(Instant, Arc<str>)>,
}

/// Who has joined a channel, and has what was said there.
#[derive(Debug)]
pub(crate) struct Joined {
    /// Its name.
    pub(crate) name: Address,
    /// All up to this place,
    pub(crate) since: Mark,
    /// and what is at these.
    pub(crate) brought: HashSet<u64>,
}

impl Late {
    /// A session joins a channel with what it has of the history that nodes share; what of that takes its place in this
    /// node's log after this call is not said to it again.
    pub(crate) fn expect_recorded(&self, channel: &Arc<str>, joined: Joined, now: Instant) {
        let mut recorded = self.recorded.write();
        recorded.forget(now);
        recorded.order.push_back((now, Arc::clone(channel)));
        recorded.channels.entry(Arc::clone(channel)).or_default().push_back(joined);
    }

    /// Who has what; nobody else is expected while this is held, so that it is until a publication has taken its place.
    pub(crate) fn recorded(&self, now: Instant) -> RwLockReadGuard<'_, Recorded> {
        let recorded = self.recorded.read();
        if !recorded.is_stale(now) {
            return recorded;
        }
        drop(recorded);
        self.recorded.write().forget(now);
        self.recorded.read()
    }

    /// A session has all up to these numbers.
    pub(crate) fn expect(&self, name: Address, numbers: &Numbers, now: Instant) {
        let mut late = self.said.lock();
        for (peer, number) in numbers {
            let had = late.entry(*peer).or_default();
            had.retain(|had| now.saturating_duration_since(had.since) < LATEST);
            had.push(Had { number: *number, name, since: now });
        }
    }

    /// Who has this already. What a node says is heard in its order, so nothing older comes after it.
    pub(crate) fn had(&self, origin: Origin) -> Vec<Address> {
        let mut late = self.said.lock();
        let Some(had) = late.get_mut(&origin.peer) else { return Vec::new() };
        had.retain(|had| had.number >= origin.number);
        let names = had.iter().map(|had| had.name).collect();
        if had.is_empty() {
            late.remove(&origin.peer);
        }
        names
    }
}

impl Recorded {
    fn is_stale(&self, now: Instant) -> bool {
        self.order.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= LATEST)
    }

    fn forget(&mut self, now: Instant) {
        while self.is_stale(now)
            && let Some((_, channel)) = self.order.pop_front()
        {
            // Of a channel they are in the same order.
            if let Entry::Occupied(mut joined) = self.channels.entry(channel) {
                joined.get_mut().pop_front();
                if joined.get().is_empty() {
                    joined.remove();
                }
            }
        }
    }

    /// Who has heard in that channel what is at that place, by the name under which it is left out.
    pub(crate) fn had(&self, channel: &str, place: Mark) -> impl Iterator<Item = Arc<str>> {
        let had = move |joined: &&Joined| {
            place.epoch == joined.since.epoch && (place <= joined.since || joined.brought.contains(&place.position))
        };
        let joined = self.channels.get(channel).into_iter().flatten();
        joined.filter(had).map(|joined| joined.name.encode().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_late_is_left_out_and_what_comes_later_ends_that() {
        let (late, now) = (Late::default(), Instant::now());
        let peer = |node| Peer { node, life: 7 };
        let origin = |node, number| Origin { peer: peer(node), number };
        let name = |slot| Address { node: 1, shard: 0, slot, nonce: 0 };
        late.expect(name(1), &vec![(peer(1), 10), (peer(2), 5)], now);
        late.expect(name(2), &vec![(peer(1), 12)], now);
        assert_eq!(late.had(origin(1, 9)), [name(1), name(2)]);
        assert_eq!(late.had(origin(1, 10)), [name(1), name(2)]);
        assert_eq!(late.had(origin(1, 11)), [name(2)]);
        assert_eq!(late.had(origin(3, 1)), []);
        assert_eq!(late.had(origin(1, 13)), []);
        assert_eq!(late.had(origin(2, 5)), [name(1)]);
        late.expect(name(3), &vec![(peer(2), 9)], now + LATEST);
        assert_eq!(late.had(origin(2, 5)), [name(3)], "the other one was too long ago");
    }

    #[test]
    fn who_joins_a_channel_has_what_was_brought_there_and_nothing_else() {
        let (late, now) = (Late::default(), Instant::now());
        let mark = |position| Mark { epoch: 7, position };
        let name = Address { node: 1, shard: 0, slot: 1, nonce: 0 };
        let room: Arc<str> = "room".into();
        let joined = |brought: &[u64]| Joined { name, since: mark(10), brought: brought.iter().copied().collect() };
        late.expect_recorded(&room, joined(&[12, 14]), now);
        let had = |channel: &str, place, now| late.recorded(now).had(channel, place).count();
        for (position, count) in [(9, 1), (10, 1), (11, 0), (12, 1), (13, 0), (14, 1), (15, 0)] {
            assert_eq!(had("room", mark(position), now), count, "{position}");
        }
        assert_eq!(had("other", mark(12), now), 0);
        assert_eq!(had("room", Mark { epoch: 8, ..mark(12) }, now), 0);
        late.expect_recorded(&room, joined(&[]), now + LATEST / 2);
        assert_eq!(had("room", mark(10), now + LATEST / 2), 2);
        assert_eq!(had("room", mark(10), now + LATEST), 1, "the first one was too long ago");
        assert_eq!(had("room", mark(10), now + LATEST * 2), 0);
        assert!(late.recorded(now).channels.is_empty());
    }
}
