//! Which other nodes there are: each says every [`BEAT`] that it lives, and is forgotten when that has not been heard for
//! [`LEASE`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::timeout_at;

use super::Cluster;

/// How often a node says that it lives.
pub const BEAT: Duration = Duration::from_millis(1_500);

/// Who has not been heard for so long is gone.
pub const LEASE: Duration = Duration::from_secs(5);

/// A node as the others know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Peer {
    /// Its number in session ids.
    pub node: u16,
    /// Which of its lives: a process draws one when it starts, and who starts later draws a higher one.
    pub life: u64,
}

/// Where a publication was said, and its number there: among those that one app remembers, in the order in which they were
/// said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The node.
    pub peer: Peer,
    /// The number.
    pub number: u64,
}

/// Where a node takes in what other nodes bring of its clients.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Door {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is shown there first.
    pub secret: [u8; 32],
}

impl fmt::Debug for Door {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("address", &self.address).finish_non_exhaustive()
    }
}

/// What hearing somebody has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing: it is known.
    None,
    /// It is new, or was gone.
    Came,
    /// Another one of this number was there before: it has been started anew, or two have drawn the same number.
    Replaced(Peer),
}

/// So long after the broker was reached the others have said who they are.
const ACQUAINTED: Duration = Duration::from_millis(500);

/// What is known of one of them.
#[derive(Debug, Clone, Copy)]
struct Known {
    life: u64,
    heard: Instant,
    door: Option<Door>,
}

/// The others.
#[derive(Debug, Default)]
pub struct Members {
    known: HashMap<u16, Known>,
}

impl Members {
    /// Somebody said something.
    pub fn hear(&mut self, peer: Peer, now: Instant) -> Change {
        let new = Known { life: peer.life, heard: now, door: None };
        match self.known.entry(peer.node) {
            Entry::Vacant(unknown) => {
                unknown.insert(new);
                Change::Came
            }
            Entry::Occupied(mut known) if known.get().life == peer.life => {
                known.get_mut().heard = now;
                Change::None
            }
            Entry::Occupied(mut other) => {
                let Known { life, .. } = other.insert(new);
                Change::Replaced(Peer { life, ..peer })
            }
        }
    }

    /// Somebody who is there said where their door is.
    pub fn note_door(&mut self, node: u16, door: Option<Door>) {
        if let Some(known) = self.known.get_mut(&node) {
            known.door = door;
        }
    }

    /// The door of somebody who is there.
    #[must_use]
    pub fn door_of(&self, node: u16) -> Option<Door> {
        self.known.get(&node)?.door
    }

    /// Somebody said that they go; false when nobody knew them.
    pub fn leave(&mut self, peer: Peer) -> bool {
        let there = self.known.get(&peer.node).is_some_and(|known| known.life == peer.life);
        if there {
            self.known.remove(&peer.node);
        }
        there
    }

    /// Nobody could be heard until now: that is nobody's fault.
    pub fn spare(&mut self, now: Instant) {
        self.known.values_mut().for_each(|known| known.heard = now);
    }

    /// Who has not been heard for too long; they are forgotten.
    pub fn expire(&mut self, now: Instant) -> Vec<Peer> {
        let is_over = |_: &u16, known: &mut Known| now.saturating_duration_since(known.heard) >= LEASE;
        self.known.extract_if(is_over).map(|(node, Known { life, .. })| Peer { node, life }).collect()
    }

    /// Whether all of them began their lives after this one.
    #[must_use]
    pub fn are_younger(&self, than: Peer) -> bool {
        self.known.iter().all(|(node, known)| (known.life, *node) > (than.life, than.node))
    }

    /// Which of them began first, and when it was heard last.
    #[must_use]
    pub fn eldest(&self) -> Option<(Peer, Instant)> {
        let all = self.known.iter().map(|(node, known)| (Peer { node: *node, life: known.life }, known.heard));
        all.min_by_key(|(peer, _)| (peer.life, peer.node))
    }

    /// The numbers of all of them, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<u16> {
        let mut nodes: Vec<u16> = self.known.keys().copied().collect();
        nodes.sort_unstable();
        nodes
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, node: u16) -> bool {
        self.known.contains_key(&node)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

impl Cluster {
    /// Another node says where its door is.
    pub(super) fn note_door(&self, node: u16, door: Option<Door>) {
        self.members.lock().note_door(node, door);
        self.door_noted.notify_waiters();
    }

    /// Where another node lets requests for its sessions in; `None`: it is not there. Who has just begun waits a moment for the
    /// others to say so.
    pub async fn door_of(&self, node: u16) -> Option<Door> {
        let up_since = (*self.up_since.lock())?;
        let until = up_since + ACQUAINTED;
        loop {
            let mut noted = pin!(self.door_noted.notified());
            noted.as_mut().enable();
            let door = self.members.lock().door_of(node);
            if door.is_some() || timeout_at(until.into(), noted).await.is_err() {
                return door;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_heard_for_a_lease_is_gone() {
        let (start, mut members) = (Instant::now(), Members::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        let (a, b) = (Peer { node: 1, life: 10 }, Peer { node: 2, life: 20 });
        assert_eq!(members.hear(a, at(0)), Change::Came);
        assert_eq!(members.hear(b, at(1_000)), Change::Came);
        assert_eq!(members.hear(a, at(1_500)), Change::None);
        assert_eq!(members.nodes(), [1, 2]);
        assert!(members.are_younger(Peer { node: 3, life: 9 }));
        assert_eq!(members.eldest(), Some((a, at(1_500))));
        assert!(!members.are_younger(Peer { node: 3, life: 11 }));
        assert_eq!(members.expire(at(5_999)), []);
        assert_eq!(members.expire(at(6_000)), [b]);
        assert_eq!((members.nodes(), members.has(2), members.count()), (vec![1], false, 1));
        assert_eq!(members.hear(b, at(6_001)), Change::Came, "who was only paused is back");
    }

    #[test]
    fn another_life_takes_the_place_of_the_first_and_leaves_by_itself() {
        let (now, mut members) = (Instant::now(), Members::default());
        let (old, new) = (Peer { node: 1, life: 10 }, Peer { node: 1, life: 11 });
        members.hear(old, now);
        assert_eq!(members.hear(new, now), Change::Replaced(old));
        assert!(!members.leave(old), "its goodbye comes late");
        assert!(members.has(1));
        assert!(members.leave(new));
        assert!(!members.has(1));
    }
}
