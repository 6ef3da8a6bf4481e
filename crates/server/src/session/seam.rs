//! What a member has heard of its user's inbox: what was sent and is not acknowledged, and the seam between what it finds in
//! the store and what is delivered.

use std::cell::{Cell, RefCell};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use oyez_hub::store::Seq;

use crate::clock;

/// Messages that one member may have been sent and not acknowledged; beyond that the oldest expectation is given up, and
/// the message is sent again on the next connect.
const SENT_MAX: usize = 16_384;

/// What a member has heard of its user's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    seam: Cell<Seam>,
    /// Something may have been missed since it began to catch up.
    again: Cell<bool>,
    sent: RefCell<VecDeque<Sent>>,
    /// Messages that are being acknowledged: a look at the store may still find them.
    marking: RefCell<Vec<Marking>>,
    /// How often what it may hear has become something else.
    turns: Cell<u32>,
}

/// Whether a member gets what is delivered, or finds it in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seam {
    /// It catches up; the latest place that was let pass meanwhile.
    Behind(Seq),
    /// It hears what has a later place than this.
    Live(Seq),
}

/// A message that is being acknowledged.
#[derive(Debug)]
struct Marking {
    id: Arc<str>,
    /// The store has it; a look that began before may not.
    done: bool,
}

/// A message that was sent and is not acknowledged.
#[derive(Debug)]
struct Sent {
    ack: u64,
    id: Arc<str>,
    /// When, in Unix milliseconds.
    at: u64,
    /// The number of the first heartbeat that was sent after it.
    asked: Option<u32>,
    /// The user has said something about it by its id: it is not expected any more, but its own acknowledgement may still
    /// say how far it has come.
    settled: bool,
}

impl Inbox {
    /// One that has still to catch up.
    pub(crate) fn new() -> Self {
        Self {
            seam: Cell::new(Seam::Behind(0)),
            again: Cell::default(),
            sent: RefCell::default(),
            marking: RefCell::default(),
            turns: Cell::default(),
        }
    }

    /// Its user may hear something else now: a page of the store that was read before does not count any more.
    pub(crate) fn turn(&self) {
        self.turns.set(self.turns.get().wrapping_add(1));
    }

    /// How often that has happened.
    pub(super) fn turned(&self) -> u32 {
        self.turns.get()
    }

    /// Whether what is delivered from that place is to be sent now; if not, it will be found in the store, or has been.
    pub(crate) fn takes(&self, place: Seq) -> bool {
        match self.seam.get() {
            Seam::Live(since) => place > since,
            Seam::Behind(latest) => {
                self.seam.set(Seam::Behind(latest.max(place)));
                false
            }
        }
    }

    /// All up to that place was read. False: more has passed meanwhile, and has to be read, too.
    pub(super) fn caught_up(&self, horizon: Seq) -> bool {
        match self.seam.get() {
            _ if self.again.take() => false,
            Seam::Behind(latest) if latest > horizon => false,
            Seam::Behind(_) | Seam::Live(_) => {
                self.seam.set(Seam::Live(horizon));
                self.marking.borrow_mut().retain(|marking| !marking.done);
                true
            }
        }
    }

    /// What was stored may not have been heard here; true: it has to catch up, and does not yet.
    pub(super) fn missed(&self) -> bool {
        let live = matches!(self.seam.get(), Seam::Live(_));
        if live {
            self.seam.set(Seam::Behind(0));
        } else {
            self.again.set(true);
        }
        live
    }

    /// The store is being told that these are acknowledged.
    pub(super) fn marks(&self, ids: &[Arc<str>]) {
        self.marking.borrow_mut().extend(ids.iter().map(|id| Marking { id: Arc::clone(id), done: false }));
    }

    /// It has been told.
    pub(super) fn marked(&self, ids: &[Arc<str>]) {
        let mut marking = self.marking.borrow_mut();
        // They may be many, with one heartbeat.
        let ids: HashSet<_> = ids.iter().collect();
        match self.seam.get() {
            Seam::Live(_) => marking.retain(|marking| !ids.contains(&marking.id)),
            Seam::Behind(_) => {
                marking.iter_mut().filter(|marking| ids.contains(&marking.id)).for_each(|marking| marking.done = true);
            }
        }
    }

    /// A message was sent that asks for that acknowledgement.
    pub(crate) fn sent(&self, ack: u64, id: &Arc<str>) {
        let mut sent = self.sent.borrow_mut();
        if sent.len() >= SENT_MAX {
            sent.pop_front();
        }
        sent.push_back(Sent { ack, id: Arc::clone(id), at: clock::unix_millis(), asked: None, settled: false });
    }

    /// The messages that it has been sent, as far as a look at the store may find them again.
    pub(super) fn known(&self) -> HashSet<Arc<str>> {
        let sent = self.sent.borrow();
        let marking = self.marking.borrow();
        let expected = sent.iter().filter(|sent| !sent.settled).map(|sent| &sent.id);
        expected.chain(marking.iter().map(|marking| &marking.id)).cloned().collect()
    }

    /// Whether that message was sent, and no acknowledgement of it is stored.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.sent.borrow().iter().any(|sent| !sent.settled && *sent.id == *id)
            || self.marking.borrow().iter().any(|marking| *marking.id == *id)
    }

    /// The heartbeat with that number is sent after everything.
    pub(super) fn asked(&self, beat: u32) {
        let mut sent = self.sent.borrow_mut();
        let new = sent.iter_mut().rev().take_while(|sent| sent.asked.is_none());
        new.for_each(|sent| sent.asked = Some(beat));
    }

    /// The heartbeat with that number was answered: what was sent before it has arrived.
    pub(super) fn arrived(&self, beat: u32) -> Vec<Arc<str>> {
        let mut sent = self.sent.borrow_mut();
        let until = sent.iter().take_while(|sent| sent.asked.is_some_and(|asked| asked <= beat)).count();
        sent.drain(..until).filter(|sent| !sent.settled).map(|sent| sent.id).collect()
    }

    /// The message that asked for this acknowledgement.
    pub(super) fn acknowledged(&self, ack: u64) -> Option<Arc<str>> {
        let mut sent = self.sent.borrow_mut();
        let at = sent.iter().position(|sent| sent.ack == ack)?;
        sent.remove(at).map(|sent| sent.id)
    }

    /// It ends: the last messages that were sent and not acknowledged, each with when that was.
    pub(super) fn end(&self, most: usize) -> Vec<(Arc<str>, u64)> {
        let mut sent = self.sent.borrow_mut();
        let expected = sent.drain(..).rev().filter(|sent| !sent.settled);
        expected.take(most).map(|sent| (sent.id, sent.at)).collect()
    }

    /// The user has said something about these messages.
    pub(super) fn settle(&self, ids: &[Arc<str>]) {
        let ids: HashSet<_> = ids.iter().collect();
        let mut sent = self.sent.borrow_mut();
        sent.iter_mut().filter(|sent| ids.contains(&sent.id)).for_each(|sent| sent.settled = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_while_it_catches_up_is_read_again() {
        let inbox = Inbox::new();
        assert!(!inbox.takes(7) && !inbox.takes(5), "it will be found in the store");
        assert!(!inbox.caught_up(6), "7 passed after that look");
        assert!(inbox.caught_up(7));
        assert!(!inbox.takes(7) && inbox.takes(9) && inbox.takes(8), "in whatever order");
    }

    #[test]
    fn what_is_being_acknowledged_is_known_until_no_look_can_find_it() {
        let inbox = Inbox::new();
        let a: [Arc<str>; 1] = ["a".into()];
        assert!(inbox.caught_up(0));
        assert!(!inbox.has("a"));
        inbox.marks(&a);
        assert!(inbox.has("a") && !inbox.has("b"));
        assert!(inbox.missed(), "it looks again");
        inbox.marked(&a);
        assert!(inbox.known().contains("a"), "the look may have begun before");
        assert!(!inbox.missed(), "it looks already");
        assert!(!inbox.caught_up(9), "but not after the last word of that");
        assert!(inbox.caught_up(9));
        assert!(inbox.known().is_empty());
    }

    #[test]
    fn an_answered_heartbeat_confirms_what_was_sent_before_it() {
        let inbox = Inbox::new();
        let ids = |ids: Vec<Arc<str>>| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        inbox.sent(1, &"a".into());
        inbox.sent(2, &"b".into());
        inbox.asked(1);
        inbox.sent(3, &"c".into());
        assert_eq!(inbox.acknowledged(1).as_deref(), Some("a"));
        assert_eq!(inbox.acknowledged(1), None);
        inbox.asked(2);
        assert_eq!(ids(inbox.arrived(0)), "", "an earlier one");
        assert_eq!(ids(inbox.arrived(1)), "b");
        assert_eq!(ids(inbox.arrived(1)), "", "c was sent after it");
        inbox.settle(&["c".into()]);
        assert!(inbox.known().is_empty(), "given again, it is sent again");
        assert_eq!(ids(inbox.arrived(2)), "");
        inbox.sent(4, &"d".into());
        inbox.settle(&["d".into()]);
        assert_eq!(inbox.acknowledged(4).as_deref(), Some("d"), "it may have been read by now");
    }
}
