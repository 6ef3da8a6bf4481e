//! What a session was handed over with on another node, and this one may still hear: it is not said to it again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Numbers;
use crate::address::Address;
use crate::cluster::{Origin, Peer};

/// Nothing that a node has said is heard later than that after another node has heard it.
const LATEST: Duration = Duration::from_secs(60);

/// By the node that says it: sessions, each with the number up to which it has all that this node has said.
#[derive(Debug, Default)]
pub(crate) struct Late(Mutex<HashMap<Peer, Vec<Had>>>);

#[derive(Debug)]
struct Had {
    number: u64,
    name: Address,
    since: Instant,
}

impl Late {
    /// A session has all up to these numbers.
    pub(crate) fn expect(&self, name: Address, numbers: &Numbers, now: Instant) {
        let mut late = self.0.lock();
        for (peer, number) in numbers {
            let had = late.entry(*peer).or_default();
            had.retain(|had| now.saturating_duration_since(had.since) < LATEST);
            had.push(Had { number: *number, name, since: now });
        }
    }

    /// Who has this already. What a node says is heard in its order, so nothing older comes after it.
    pub(crate) fn had(&self, origin: Origin) -> Vec<Address> {
        let mut late = self.0.lock();
        let Some(had) = late.get_mut(&origin.peer) else { return Vec::new() };
        had.retain(|had| had.number >= origin.number);
        let names = had.iter().map(|had| had.name).collect();
        if had.is_empty() {
            late.remove(&origin.peer);
        }
        names
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
