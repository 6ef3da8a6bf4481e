//! A session's membership of one namespace: who it is there, which channels it is in, whose answers it owes.

use std::cell::{Cell, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use oyez_hub::address::Address;
use oyez_hub::address::AppId;
use oyez_hub::delivery::{AckReport, AckRequest};
use oyez_hub::policy::Identity;
use oyez_hub::socket::Lane;
use tokio::time::Instant;

use crate::session::Session;

/// Acknowledgements that one client may owe at once; the oldest expectation is given up for a new one.
const OWED_MAX: usize = 1_024;

/// Times at which a membership is looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// Without a sign of life that the app counts, it ends.
    pub idle_at: Option<Instant>,
    /// The client is warned that its token ends.
    pub warn_at: Option<Instant>,
    /// The token ends.
    pub expire_at: Option<Instant>,
}

impl Times {
    /// The earliest of them.
    pub(crate) fn next(&self) -> Option<Instant> {
        [self.idle_at, self.warn_at, self.expire_at].into_iter().flatten().min()
    }
}

/// How many channels are kept in a list.
const FEW: usize = 64;

/// The channels that a member is in, with its place in the list of each. Nearly all members are in a few, for which a
/// tree would be mostly empty room; in a long list, each join would move all that follow.
#[derive(Debug)]
pub(crate) enum Memberships {
    /// Sorted by name.
    Few(Vec<(Arc<str>, u32)>),
    /// More than [`FEW`], at least once.
    Many(BTreeMap<Arc<str>, u32>),
}

impl Default for Memberships {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

fn find(few: &[(Arc<str>, u32)], name: &str) -> Result<usize, usize> {
    few.binary_search_by(|(known, _)| (**known).cmp(name))
}

impl Memberships {
    /// Whether the member is in that channel.
    pub(crate) fn contains(&self, name: &str) -> bool {
        match self {
            Self::Few(few) => find(few, name).is_ok(),
            Self::Many(many) => many.contains_key(name),
        }
    }

    /// How many they are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    /// Their names, sorted.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        match self {
            Self::Few(few) => few.iter().map(|(name, _)| Arc::clone(name)).collect(),
            Self::Many(many) => many.keys().cloned().collect(),
        }
    }

    /// Notes the place in a channel; `join` gives it, and is not asked when the member is already there. Returns whether
    /// it was not.
    pub(crate) fn insert(&mut self, name: &Arc<str>, join: impl FnOnce() -> u32) -> bool {
        match self {
            Self::Few(few) => {
                let Err(at) = find(few, name) else { return false };
                few.insert(at, (Arc::clone(name), join()));
                if few.len() > FEW {
                    *self = Self::Many(std::mem::take(few).into_iter().collect());
                }
                true
            }
            Self::Many(many) => match many.entry(Arc::clone(name)) {
                Entry::Occupied(_) => false,
                Entry::Vacant(vacant) => {
                    vacant.insert(join());
                    true
                }
            },
        }
    }

    /// Notes that the place in a channel has changed.
    pub(crate) fn moved(&mut self, name: &str, place: u32) {
        let known = match self {
            Self::Few(few) => find(few, name).ok().map(|at| &mut few[at].1),
            Self::Many(many) => many.get_mut(name),
        };
        if let Some(known) = known {
            *known = place;
        }
    }

    /// Forgets a channel; returns the place that the member had.
    pub(crate) fn remove(&mut self, name: &str) -> Option<u32> {
        match self {
            Self::Few(few) => find(few, name).ok().map(|at| few.remove(at).1),
            Self::Many(many) => many.remove(name),
        }
    }
}

/// One client in one namespace.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its id on the wire; the slot is its place in the shard's table of members.
    pub address: Address,
    /// The app whose namespace it is.
    pub app: AppId,
    /// The namespace.
    pub namespace: Arc<str>,
    /// The connection it came over.
    pub session: Weak<Session>,
    /// Who the client is; replaced by a refresh.
    pub identity: RefCell<Arc<Identity>>,
    /// Channels and the place in each one's list.
    pub channels: RefCell<Memberships>,
    /// Deadlines.
    pub times: Cell<Times>,
    /// Answers that publishers wait for, by ack id.
    owed: RefCell<HashMap<u64, (AckRequest, Instant)>>,
    /// Where embedding code hears of it.
    pub lane: Option<Lane>,
    /// How fast it speaks: the memory of the app's event rate.
    pub pace: Cell<u64>,
    /// Milliseconds since the Unix epoch.
    pub connected_at: u64,
}

impl Member {
    /// A new membership without channels.
    pub(crate) fn new(
        address: Address,
        app: AppId,
        namespace: Arc<str>,
        session: &Rc<Session>,
        identity: Arc<Identity>,
        lane: Option<Lane>,
        connected_at: u64,
    ) -> Rc<Self> {
        Rc::new(Self {
            address,
            app,
            namespace,
            session: Rc::downgrade(session),
            identity: RefCell::new(identity),
            channels: RefCell::default(),
            times: Cell::default(),
            owed: RefCell::default(),
            lane,
            pace: Cell::new(0),
            connected_at,
        })
    }

    /// Expects an answer to `id`.
    pub(crate) fn owe(&self, id: u64, request: &AckRequest) {
        let now = Instant::now();
        let mut owed = self.owed.borrow_mut();
        if owed.len() >= OWED_MAX {
            owed.retain(|_, (_, until)| *until > now);
        }
        if owed.len() >= OWED_MAX
            && let Some(oldest) = owed.keys().min().copied()
            && let Some((request, _)) = owed.remove(&oldest)
        {
            let _ = request.answers.send(AckReport::Gone);
        }
        owed.insert(id, (request.clone(), now + request.timeout));
    }

    /// The client answered `id`; answers that nobody waits for are ignored, as in Node.
    pub(crate) fn answered(&self, id: u64, args: oyez_protocol::message::Args) {
        if let Some((request, until)) = self.owed.borrow_mut().remove(&id)
            && until > Instant::now()
        {
            let _ = request.answers.send(AckReport::Answer(args));
        }
    }

    /// The client is gone and will answer nothing.
    pub(crate) fn forgive(&self) {
        for (_, (request, _)) in self.owed.borrow_mut().drain() {
            let _ = request.answers.send(AckReport::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_channels_becomes_a_tree_and_stays_right() {
        let mut memberships = Memberships::default();
        let name = |at: u32| Arc::<str>::from(format!("c{at:03}"));
        let count = u32::try_from(3 * FEW).expect("it fits");
        // Not in order.
        for at in (0..count).map(|at| at * 7 % count) {
            assert!(memberships.insert(&name(at), || at));
            assert!(!memberships.insert(&name(at), || unreachable!("it is there")));
        }
        assert_eq!(memberships.len(), 3 * FEW);
        assert!(matches!(memberships, Memberships::Many(_)));
        assert_eq!(memberships.names(), (0..count).map(name).collect::<Vec<_>>());
        memberships.moved("c001", 1_000);
        assert_eq!(memberships.remove("c001"), Some(1_000));
        assert_eq!(memberships.remove("c001"), None);
        for at in (0..count).filter(|at| *at != 1) {
            assert_eq!(memberships.remove(&name(at)), Some(at));
        }
        assert_eq!((memberships.len(), memberships.contains("c002")), (0, false));
    }
}
