//! Clients that are thrown out and come again at once cost more than those who stay. What ends a session by its client's
//! own fault is held against the address, and handshakes of an address against which there is too much have to wait.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::policy::limits::Limit;
use oyez_hub::policy::limits::offences::{Offences, Verdict};
use oyez_protocol::code::Code;
use tokio::time::sleep;

use crate::clock;
use crate::observe::event;
use crate::session::{Request, Session};
use crate::shard::Shard;

/// How long a client may take to ask for something. Stock clients do at once.
pub(crate) const ASK_WITHIN: Duration = Duration::from_secs(5);

/// How long a handshake waits.
const DELAY: Duration = Duration::from_secs(1);

/// Handshakes of all addresses that wait on one thread; more are refused at once.
const WAITING_MAX: usize = 1024;

/// As long as so many wait, those that will be refused wait too: who is refused at once comes again at once.
const REFUSED_LATER_MAX: usize = 512;

/// Who waits on this thread, and what all threads know of addresses.
#[derive(Debug)]
pub(crate) struct Throttle {
    offences: Arc<Offences>,
    waiting: Cell<usize>,
}

impl Throttle {
    /// With what the node knows.
    pub(crate) fn new(offences: Arc<Offences>) -> Self {
        Self { offences, waiting: Cell::default() }
    }
}

/// One handshake that waits, until this is dropped.
pub(crate) struct Waiting<'a> {
    shard: &'a Shard,
    address: IpAddr,
    may_enter: bool,
}

impl Waiting<'_> {
    /// Waits, less long when the node goes down; then whether it goes on.
    pub(crate) async fn over(self) -> Result<(), Limit> {
        tokio::select! {
            () = sleep(DELAY) => {}
            () = self.shard.stop.cancelled() => {}
        }
        if self.may_enter { Ok(()) } else { Err(Limit::Connects) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Throttle { offences, waiting } = &self.shard.throttle;
        if self.may_enter {
            offences.waited(self.address);
        }
        waiting.set(waiting.get() - 1);
    }
}

impl Shard {
    /// Holds against the address of a session's client what it has done.
    pub(crate) fn blame(&self, session: &Session) {
        if let (Some(address), Some(forgiven)) = (session.request.peer, self.settings().offences) {
            self.throttle.offences.note(address, forgiven, clock::steady_nanos());
        }
    }

    /// The same for a session that ends, if its end is an offence or its client has asked for nothing.
    pub(crate) fn blame_for_end(&self, session: &Session, code: Code) {
        let idle =
            session.ask_by.get().is_some() && matches!(code, Code::Normal | Code::PingTimeout | Code::ConnectTimeout);
        if idle || code.is_offence() {
            self.blame(session);
        }
    }

    /// Whether a handshake from there has to wait.
    pub(crate) fn is_throttled(&self, peer: Option<IpAddr>) -> bool {
        let (Some(address), Some(forgiven)) = (peer, self.settings().offences) else { return false };
        self.throttle.offences.is_offender(address, forgiven, clock::steady_nanos())
    }

    /// Whether a handshake has to wait, because too much is held against its address; refuses it if too many wait.
    pub(crate) fn delay(&self, request: &Request) -> Result<Option<Waiting<'_>>, Limit> {
        let (Some(address), Some(forgiven)) = (request.peer, self.settings().offences) else { return Ok(None) };
        let Throttle { offences, waiting } = &self.throttle;
        let (may_enter, most) = match offences.enter(address, forgiven, clock::steady_nanos()) {
            Verdict::Free => return Ok(None),
            Verdict::Wait => (true, WAITING_MAX),
            Verdict::Refuse => (false, REFUSED_LATER_MAX),
        };
        waiting.set(waiting.get() + 1);
        let place = Waiting { shard: self, address, may_enter };
        let waits = waiting.get() <= most;
        event::throttled(request, !(waits && may_enter));
        if waits && may_enter {
            self.metrics.handshakes_delayed.inc();
        } else {
            self.metrics.limited(Limit::Connects);
        }
        if waits { Ok(Some(place)) } else { Err(Limit::Connects) }
    }
}
