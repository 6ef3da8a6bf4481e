//! What has certainly reached a client: so that it gets no more and no less than what it missed when it comes back.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use oyez_hub::recovery::Wanted;

/// How far a member has come in its app's log.
#[derive(Debug)]
pub(crate) struct Trail {
    /// All up to here was not for it, or has reached it.
    confirmed: Cell<u64>,
    /// The same, once it answers the ping that is under way.
    asked: Cell<u64>,
    /// Channels that it has joined since then, each with what was said before.
    joined: RefCell<Vec<Wanted>>,
}

impl Trail {
    /// Begins at that position.
    pub(crate) fn new(position: u64) -> Self {
        Self { confirmed: Cell::new(position), asked: Cell::new(position), joined: RefCell::default() }
    }

    /// A ping is queued behind everything up to that position.
    pub(crate) fn asked(&self, position: u64) {
        self.asked.set(position);
    }

    /// The ping was answered, so what was written before it has arrived.
    pub(crate) fn answered(&self) {
        self.confirmed.set(self.asked.get());
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
