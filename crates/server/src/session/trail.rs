//! What has certainly reached a client: so that it gets no more and no less than what it missed when it comes back.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use oyez_hub::policy::{Identity, Policy};
use oyez_hub::recovery::{Anew, Mark, Wanted};

/// Channels that a member may leave between two signs that it has heard what was said, and still come back if it is cut off
/// then: who leaves more, with something said in between each time, begins anew.
const LEFT: usize = 256;

/// How far a member has come in its app's log, and by what its channels were decided.
#[derive(Debug)]
pub(crate) struct Trail {
    /// The identity with which the member was last looked at whole: that it has another one, or that the rules are others,
    /// takes a while to count, as its app's backend may be asked.
    identity: RefCell<Arc<Identity>>,
    /// The same for the rules.
    policy: RefCell<Arc<Policy>>,
    /// All up to here was not for it, or has reached it.
    confirmed: Cell<u64>,
    /// The same, once it answers the ping that is under way.
    asked: Cell<u64>,
    /// Channels that it has joined since then, each with what was said before.
    joined: RefCell<Vec<Wanted>>,
    /// Channels that it has left since then.
    left: RefCell<Vec<Wanted>>,
    /// Up to here it has left more than those.
    restless: Cell<u64>,
    /// The place that its client showed when it came from another node.
    showed: Option<Mark>,
    /// It is in its own channels, or in those that it had.
    settled: Cell<bool>,
    /// That it began anew, once it was told so.
    anew: RefCell<Option<Box<Anew>>>,
}

impl Trail {
    /// Begins at that position.
    pub(crate) fn new(position: u64, identity: Arc<Identity>, policy: Arc<Policy>) -> Self {
        Self {
            identity: RefCell::new(identity),
            policy: RefCell::new(policy),
            confirmed: Cell::new(position),
            asked: Cell::new(position),
            joined: RefCell::default(),
            left: RefCell::default(),
            restless: Cell::new(0),
            showed: None,
            settled: Cell::new(false),
            anew: RefCell::default(),
        }
    }

    /// The same of one that has come back, from another node with this place of its own.
    pub(crate) fn returning(self, showed: Option<Mark>) -> Self {
        Self { showed, settled: Cell::new(true), ..self }
    }

    /// It is in its own channels.
    pub(crate) fn settle(&self) {
        self.settled.set(true);
    }

    /// Whether it is, and all is known of where it was: one that was cut off before cannot come back.
    pub(crate) fn can_return(&self) -> bool {
        self.settled.get() && self.restless.get() <= self.confirmed()
    }

    /// It was told there that it began anew.
    pub(crate) fn begins_anew(&self, anew: Anew) {
        self.anew.replace(Some(Box::new(anew)));
    }

    /// What it was told of that, unless it is certain that it knows.
    pub(crate) fn anew(&self) -> Option<Anew> {
        let anew = self.anew.borrow();
        anew.as_deref().filter(|anew| anew.position > self.confirmed()).cloned()
    }

    /// The place that its client shows until it has heard something here, if it came from another node.
    pub(crate) fn showed(&self) -> Option<Mark> {
        self.showed
    }

    /// All channels were decided by that identity.
    pub(crate) fn decided_for(&self, identity: &Arc<Identity>) {
        self.identity.replace(Arc::clone(identity));
    }

    /// All channels were decided by those rules.
    pub(crate) fn decided_by(&self, policy: &Arc<Policy>) {
        self.policy.replace(Arc::clone(policy));
    }

    /// By what they were.
    pub(crate) fn decided(&self) -> (Arc<Identity>, Arc<Policy>) {
        (Arc::clone(&self.identity.borrow()), Arc::clone(&self.policy.borrow()))
    }

    /// A ping is queued behind everything up to that position.
    pub(crate) fn asked(&self, position: u64) {
        self.asked.set(position);
    }

    /// The ping was answered, so what was written before it has arrived.
    pub(crate) fn answered(&self) {
        self.arrived(self.asked.get());
    }

    /// All up to that position has arrived.
    pub(crate) fn arrived(&self, position: u64) {
        self.confirmed.set(self.confirmed.get().max(position));
        let confirmed = self.confirmed.get();
        keep(&mut self.joined.borrow_mut(), |known| known.since > confirmed);
        keep(&mut self.left.borrow_mut(), |known| known.until > confirmed);
    }

    /// A channel was joined after that position.
    pub(crate) fn joined(&self, channel: &Arc<str>, position: u64) {
        if position > self.confirmed.get() {
            self.joined.borrow_mut().push(Wanted::after(Arc::clone(channel), position));
        }
    }

    /// What is not missed in the channels of one that has come back, now that it has joined them again, and where it was before.
    pub(crate) fn resume(&self, channels: &[Wanted], left: Vec<Wanted>) {
        let confirmed = self.confirmed();
        *self.joined.borrow_mut() = channels.iter().filter(|known| known.since > confirmed).cloned().collect();
        *self.left.borrow_mut() = left;
        keep(&mut self.left.borrow_mut(), |known| known.until > confirmed);
    }

    /// A channel was left after that position.
    pub(crate) fn left(&self, channel: &Arc<str>, position: u64) {
        let since = self.since(channel);
        keep(&mut self.joined.borrow_mut(), |known| known.channel != *channel);
        if position <= since {
            return;
        }
        let mut left = self.left.borrow_mut();
        if left.len() < LEFT {
            left.push(Wanted { channel: Arc::clone(channel), since, until: position });
        } else {
            self.restless.set(position);
        }
    }

    /// Where it was before, as far as something of that may have to be said again.
    pub(crate) fn before(&self) -> Vec<Wanted> {
        self.left.borrow().clone()
    }

    /// All up to here has reached it.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed.get()
    }

    /// The last position in a channel that it does not miss.
    pub(crate) fn since(&self, channel: &str) -> u64 {
        let joined = self.joined.borrow();
        joined.iter().find(|known| *known.channel == *channel).map_or(self.confirmed(), |known| known.since)
    }
}

/// Forgets the others, and the room that they had if nothing is left.
fn keep(known: &mut Vec<Wanted>, is_kept: impl Fn(&Wanted) -> bool) {
    known.retain(is_kept);
    if known.is_empty() {
        *known = Vec::new();
    }
}
