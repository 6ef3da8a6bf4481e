//! What has certainly reached a client: so that it gets no more and no less than what it missed when it comes back.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use oyez_hub::policy::{Identity, Policy};
use oyez_hub::recovery::{Anew, Mark, Wanted};

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
    /// The place that its client showed when it came from another node.
    showed: Option<Mark>,
    /// It is in its own channels, or in those that it had: one that was cut off before cannot come back.
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

    /// Whether it is.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled.get()
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
        let mut joined = self.joined.borrow_mut();
        joined.retain(|channel| channel.since > self.confirmed.get());
        if joined.is_empty() {
            *joined = Vec::new();
        }
    }

    /// A channel was joined after that position.
    pub(crate) fn joined(&self, channel: &Arc<str>, position: u64) {
        if position > self.confirmed.get() {
            self.joined.borrow_mut().push(Wanted { channel: Arc::clone(channel), since: position });
        }
    }

    /// What is not missed in the channels of one that has come back, now that it has joined them again.
    pub(crate) fn resume(&self, wanted: &[Wanted]) {
        let later = wanted.iter().filter(|known| known.since > self.confirmed.get());
        *self.joined.borrow_mut() = later.cloned().collect();
    }

    /// A channel was left.
    pub(crate) fn left(&self, channel: &str) {
        self.joined.borrow_mut().retain(|known| *known.channel != *channel);
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
