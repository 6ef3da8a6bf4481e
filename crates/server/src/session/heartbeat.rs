//! Heartbeats as absolute deadlines, and everything else about a session that happens by the clock.

use std::rc::Rc;

use oyez_protocol::code::Code;
use oyez_protocol::engineio::packet::{PacketType, Version};
use oyez_protocol::websocket::frame;
use tokio::time::Instant;

use crate::observe::vitals::STALL;
use crate::session::{Dialog, Reason, Session};
use crate::settings::Heartbeat;
use crate::shard::Shard;
use crate::shard::deadline::STANDSTILL;
use crate::shard::outbox::Parcel;

/// When to ping and when to give up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pulse {
    /// The next ping that the server sends; Engine.IO 3 clients ping by themselves.
    pub ping_at: Option<Instant>,
    /// Without an answer the session is dead.
    pub dead_at: Instant,
}

impl Pulse {
    /// The deadlines after a sign of life at `now`. Both are counted from `now`, so rounding in timers does not add up.
    pub(crate) fn after(now: Instant, dialog: Dialog, heartbeat: &Heartbeat) -> Self {
        let dead_at = now + heartbeat.interval + heartbeat.timeout;
        match dialog {
            Dialog::Engine { version: Version::V3, .. } => Self { ping_at: None, dead_at },
            Dialog::Engine { version: Version::V4, .. } => Self { ping_at: Some(now + heartbeat.interval), dead_at },
            Dialog::Native => Self { ping_at: Some(now + heartbeat.interval), dead_at: now + heartbeat.timeout },
        }
    }
}

impl Shard {
    /// A pong (or, of version 3, a ping) arrived.
    pub(crate) fn beat(&self, session: &Session) {
        let heartbeat = Self::heartbeat(session);
        let mut pulse = Pulse::after(Instant::now(), session.dialog, heartbeat);
        if session.dialog == Dialog::Native {
            // The rhythm of a raw connection is its own; only the deadline moves.
            pulse.ping_at = session.pulse.get().ping_at;
        }
        session.pulse.set(pulse);
        for trail in session.members.borrow().iter().filter_map(|member| member.trail.as_ref()) {
            trail.answered();
        }
    }

    /// Makes sure that the session is looked at when its next deadline comes.
    pub(crate) fn schedule(&self, session: &Session) {
        let pulse = session.pulse.get();
        let members = session.members.borrow();
        let times = members.iter().filter_map(|member| member.times.get().next());
        let next = times
            .chain(pulse.ping_at)
            .chain(session.connect_by.get())
            .chain(session.ask_by.get())
            .fold(pulse.dead_at, Instant::min);
        if session.scheduled.get().is_none_or(|at| next < at) {
            session.scheduled.set(Some(next));
            self.deadlines.add(next, session.address);
        }
    }

    /// Does what is due for one session.
    pub(crate) fn look(self: &Rc<Self>, session: &Rc<Session>) {
        let now = Instant::now();
        if session.scheduled.get().is_some_and(|at| at > now) {
            // Another entry was added for this session; were this one put back too, they would grow in number.
            return;
        }
        if session.closed.get().is_some() {
            // Its last words were not fetched in time.
            self.remove(session);
            return;
        }
        session.scheduled.set(None);
        // First of all: whom this thread could not ask in time is not dead.
        self.ping(session, now);
        if session.pulse.get().dead_at <= now {
            self.close(session, Reason { code: Code::PingTimeout, word: "ping timeout" });
            return;
        }
        if session.connect_by.get().is_some_and(|at| at <= now) {
            self.close(session, Reason { code: Code::ConnectTimeout, word: "forced close" });
            return;
        }
        if session.ask_by.get().is_some_and(|at| at <= now) {
            session.ask_by.set(None);
            self.blame(session);
        }
        let members = session.members.borrow().clone();
        for member in members {
            self.look_at_member(session, &member, now);
        }
        if session.closed.get().is_none() {
            self.schedule(session);
            self.flush(session);
        }
    }

    /// Does what was due before a client asked for more: timers are a moment behind. What a thread missed that stood
    /// still is not looked at here, because what its clients said meanwhile is read first.
    pub(crate) fn look_if_due(self: &Rc<Self>, session: &Rc<Session>) {
        let late = session.scheduled.get().and_then(|at| Instant::now().checked_duration_since(at));
        if late.is_some_and(|late| late < STANDSTILL) {
            self.look(session);
        }
    }

    fn ping(&self, session: &Rc<Session>, now: Instant) {
        let mut pulse = session.pulse.get();
        let Some(due) = pulse.ping_at.filter(|at| *at <= now) else { return };
        let version = session.dialog.version();
        let heartbeat = Self::heartbeat(session);
        let beat = session.beats.get().wrapping_add(1);
        session.beats.set(beat);
        if session.dialog == Dialog::Native {
            let mut bytes = Vec::new();
            frame::append(&mut bytes, frame::Opcode::Ping, false, &beat.to_be_bytes());
            self.queue(session, Parcel::beat(bytes));
            pulse.ping_at = Some(now + heartbeat.interval);
        } else {
            self.queue(session, Parcel::engine(PacketType::Ping, "", version));
            pulse.ping_at = None;
        }
        self.ask(session);
        // As late as the ping is, so late may the answer be; but a timer's rounding is no gift to who says nothing.
        let late = now - due;
        if late > STALL {
            pulse.dead_at += late;
        }
        session.pulse.set(pulse);
    }

    /// A heartbeat was queued. Its answer will say that all that was written before it has arrived; but it overtakes what
    /// waits, so where that matters the answer says nothing new.
    pub(crate) fn ask(&self, session: &Session) {
        if session.outbox.borrow().holds_promises() {
            return;
        }
        self.ask_delivered(session);
        for member in session.members.borrow().iter() {
            if let (Some(trail), Some(mark)) = (&member.trail, self.mark(member.app)) {
                trail.asked(mark.position);
            }
        }
    }

    fn heartbeat(session: &Session) -> &Heartbeat {
        let front = &session.front;
        match (session.dialog, &front.native) {
            (Dialog::Native, Some(native)) => &native.heartbeat,
            _ => &front.engine.heartbeat,
        }
    }
}
