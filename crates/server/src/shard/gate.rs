//! How many handshakes of sessions are under way. When all clients come back at once, those that have begun are served
//! quickly and the others are told to come later, so that neither they nor those who never left wait in one long line.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use oyez_hub::address::Address;
use tokio::time::Instant;

use crate::session::Session;
use crate::shard::Shard;

/// How long a handshake counts that does not get on: who says nothing must not keep others out.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a search for tickets to take back is not repeated: it looks at all of them, and a crowd that is sent away
/// would have it do so for each.
const SWEEP_AGAIN: Duration = Duration::from_millis(5);

/// The right to one handshake; it ends with this.
#[derive(Debug)]
pub(crate) struct Ticket(Rc<Cell<usize>>);

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Who has a ticket.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    out: Rc<Cell<usize>>,
    /// Tickets of sessions that have begun, oldest first.
    begun: RefCell<VecDeque<(Instant, Address, Ticket)>>,
    swept: Cell<Option<Instant>>,
}

impl Shard {
    /// A ticket for one handshake, from the request to the membership; none while too many are out.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        let out = &self.gate.out;
        let most = self.settings().handshakes;
        if out.get() >= most && self.gate.swept.get().is_none_or(|swept| swept.elapsed() >= SWEEP_AGAIN) {
            self.take_tickets_back();
        }
        if out.get() >= most {
            return None;
        }
        out.set(out.get() + 1);
        Some(Ticket(Rc::clone(out)))
    }

    /// Takes tickets back from those who need them no more.
    fn take_tickets_back(&self) {
        let now = Instant::now();
        let waits = |session: Rc<Session>| session.connect_by.get().is_some();
        let needs = |at: Instant, address| now - at < PATIENCE && self.session(address).is_some_and(waits);
        self.gate.begun.borrow_mut().retain(|(at, address, _)| needs(*at, *address));
        self.gate.swept.set(Some(now));
    }

    /// The same when many have left; the room that the list took goes, too.
    pub(super) fn forget_tickets(&self) {
        self.take_tickets_back();
        self.gate.begun.borrow_mut().shrink_to_fit();
    }

    /// A session has begun whose client has still to join a namespace.
    pub(crate) fn hold_ticket(&self, session: &Session, ticket: Ticket) {
        self.gate.begun.borrow_mut().push_back((Instant::now(), session.address, ticket));
    }
}
