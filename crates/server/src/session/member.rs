//! A session's membership of one namespace: who it is there, which channels it is in, whose answers it owes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::num::NonZeroU64;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use oyez_hub::address::Address;
use oyez_hub::address::AppId;
use oyez_hub::channel::{Key, is_own, spread};
use oyez_hub::delivery::{AckReport, AckRequest};
use oyez_hub::policy::Identity;
use oyez_hub::socket::Lane;
use tokio::time::Instant;

use crate::session::Session;
use crate::session::seam::Inbox;
use crate::session::trail::Trail;

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

/// The channels that a member is in, with its place in the list of each.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    table: HashTable<Membership>,
    /// How many of them the hub has put it into for its own purposes.
    own: u32,
}

#[derive(Debug)]
struct Membership {
    name: Arc<str>,
    hash: u32,
    place: u32,
}

impl Memberships {
    /// Whether the member is in that channel.
    pub(crate) fn contains(&self, key: Key<'_>) -> bool {
        self.table.find(spread(key.hash), |known| *known.name == **key.name).is_some()
    }

    /// How many there are that a client can name.
    pub(crate) fn len(&self) -> usize {
        self.table.len() - self.own as usize
    }

    /// Their names, sorted.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<_> = self.table.iter().map(|known| Arc::clone(&known.name)).collect();
        names.sort_unstable();
        names
    }

    /// Notes the place in a channel; `join` gives it, and is not asked when the member is already there. Returns whether
    /// it was not.
    pub(crate) fn insert(&mut self, key: Key<'_>, join: impl FnOnce() -> u32) -> bool {
        let own = u32::from(is_own(key.name));
        match self.table.entry(spread(key.hash), |known| *known.name == **key.name, |known| spread(known.hash)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(Membership { name: Arc::clone(key.name), hash: key.hash, place: join() });
                self.own += own;
                true
            }
        }
    }

    /// Notes that the place in a channel has changed.
    pub(crate) fn moved(&mut self, key: Key<'_>, place: u32) {
        if let Some(known) = self.table.find_mut(spread(key.hash), |known| *known.name == **key.name) {
            known.place = place;
        }
    }

    /// Forgets a channel; returns the place that the member had.
    pub(crate) fn remove(&mut self, key: Key<'_>) -> Option<u32> {
        let known = self.table.find_entry(spread(key.hash), |known| *known.name == **key.name).ok()?;
        self.own -= u32::from(is_own(key.name));
        Some(known.remove().0.place)
    }
}

/// An answer that a publisher waits for.
#[derive(Debug)]
struct Owed {
    request: AckRequest,
    until: Instant,
    /// The place of the question in the app's log, if it has one.
    position: Option<NonZeroU64>,
}

/// One client in one namespace.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its own name; the slot is its place in the shard's table of members.
    pub address: Address,
    /// Its id on the wire: the same, or, of one that came back, the name that it had before.
    pub known_as: Address,
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
    owed: RefCell<HashMap<u64, Owed>>,
    /// Where embedding code hears of it.
    pub lane: Option<Lane>,
    /// What it hears says its position.
    pub positions: bool,
    /// It was greeted. The greeting of a raw client has no position: it would say that nothing was missed in channels
    /// that the client has still to join.
    pub greeted: Cell<bool>,
    /// What has reached it, where it can come back after it was cut off.
    pub trail: Option<Box<Trail>>,
    /// What it has of its user's inbox, where the app has inboxes.
    pub inbox: Option<Box<Inbox>>,
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
            known_as: address,
            app,
            namespace,
            session: Rc::downgrade(session),
            identity: RefCell::new(identity),
            channels: RefCell::default(),
            times: Cell::default(),
            owed: RefCell::default(),
            lane,
            positions: false,
            greeted: Cell::new(false),
            trail: None,
            inbox: None,
            pace: Cell::new(0),
            connected_at,
        })
    }

    /// The same as one that can come back; to be called before it is shared.
    pub(crate) fn recoverable(mut self: Rc<Self>, known_as: Address, trail: Trail) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            (own.known_as, own.trail) = (known_as, Some(Box::new(trail)));
        }
        self.with_positions()
    }

    /// The same as one that hears positions; to be called before it is shared.
    pub(crate) fn with_positions(mut self: Rc<Self>) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.positions = true;
        }
        self
    }

    /// The same as one whose user has an inbox; to be called before it is shared.
    pub(crate) fn with_inbox(mut self: Rc<Self>) -> Rc<Self> {
        if let Some(own) = Rc::get_mut(&mut self) {
            own.inbox = Some(Box::new(Inbox::new()));
        }
        self
    }

    /// Expects an answer to `id`, a question with that place in the app's log.
    pub(crate) fn owe(&self, id: u64, request: &AckRequest, position: Option<NonZeroU64>) {
        let now = Instant::now();
        let mut owed = self.owed.borrow_mut();
        if owed.len() >= OWED_MAX {
            owed.retain(|_, owed| owed.until > now);
        }
        if owed.len() >= OWED_MAX
            && let Some(oldest) = owed.keys().min().copied()
            && let Some(owed) = owed.remove(&oldest)
        {
            let _ = owed.request.answers.send(AckReport::Gone);
        }
        owed.insert(id, Owed { request: request.clone(), until: now + request.timeout, position });
    }

    /// The client answered `id`; answers that nobody waits for are ignored, as in Node.
    pub(crate) fn answered(&self, id: u64, args: oyez_protocol::message::Args) {
        let Some(Owed { request, until, position }) = self.owed.borrow_mut().remove(&id) else { return };
        if let (Some(trail), Some(position)) = (&self.trail, position) {
            // Whoever answers has everything that was written before the question.
            trail.arrived(position.get());
        }
        if until > Instant::now() {
            let _ = request.answers.send(AckReport::Answer(args));
        }
    }

    /// The client is gone and will answer nothing.
    pub(crate) fn forgive(&self) {
        for (_, owed) in self.owed.borrow_mut().drain() {
            let _ = owed.request.answers.send(AckReport::Gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_channels_are_each_found_and_forgotten() {
        let names: Vec<Arc<str>> = (0..200).map(|at| format!("c{at:03}").into()).collect();
        // Few different hashes, so that names decide.
        let key = |at: u32| Key { app: AppId(0), name: &names[at as usize], hash: at % 5 };
        let mut memberships = Memberships::default();
        for at in (0..200).map(|at| at * 7 % 200) {
            assert!(memberships.insert(key(at), || at));
            assert!(!memberships.insert(key(at), || unreachable!("it is there")));
        }
        assert_eq!((memberships.len(), memberships.names()), (200, names.clone()));
        memberships.moved(key(1), 1_000);
        assert_eq!([memberships.remove(key(1)), memberships.remove(key(1))], [Some(1_000), None]);
        for at in (0..200).filter(|at| *at != 1) {
            assert_eq!(memberships.remove(key(at)), Some(at));
        }
        assert_eq!((memberships.len(), memberships.contains(key(2))), (0, false));
    }
}
