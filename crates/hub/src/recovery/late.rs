//! What a session was handed over with on another node, and this one may still hear: it is not said to it again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::{Mark, Numbers};
use crate::address::Address;
use crate::cluster::{Origin, Peer};
use crate::delivery::Publication;

/// Nothing that a node has said is heard later than that after another node has heard it.
const LATEST: Duration = Duration::from_secs(60);

/// Sessions that have something which may come to this node later.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// By the node that says it, each with the number up to which it has all that this node has said.
    said: Mutex<HashMap<Peer, Vec<Had>>>,
    /// With the place up to which each has the history that nodes share.
    recorded: RwLock<Vec<Recorded>>,
}

#[derive(Debug)]
struct Had {
    number: u64,
    name: Address,
    since: Instant,
}

#[derive(Debug)]
pub(crate) struct Recorded {
    until: Mark,
    name: Address,
    since: Instant,
}

impl Late {
    /// A session has the history that nodes share up to that place; what takes its place in this node's log after this call
    /// is not said to it again.
    pub(crate) fn expect_recorded(&self, name: Address, until: Mark, now: Instant) {
        let mut recorded = self.recorded.write();
        recorded.retain(|had| now.saturating_duration_since(had.since) < LATEST);
        recorded.push(Recorded { until, name, since: now });
    }

    /// Who has what; nobody else is expected while this is held, so that it is until a publication has taken its place.
    pub(crate) fn recorded(&self) -> RwLockReadGuard<'_, Vec<Recorded>> {
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
    /// Its session, if that has this publication already.
    pub(crate) fn has(&self, publication: &Publication) -> Option<Address> {
        publication.is_within(Some(self.until)).then_some(self.name)
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
}
