//! Who is on this shard: opening, finding and ending sessions and memberships.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oyez_hub::address::{Address, AppId};
use oyez_hub::channel::{EVERYONE, Key, is_roster};
use oyez_hub::handler::Happening;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::Code;
use oyez_protocol::websocket::frame;
use tokio::time::Instant;

use crate::observe::event;
use crate::session::codec::Variant;
use crate::session::{Fault, Link, Member, Reason, Session};
use crate::shard::Shard;
use crate::shard::line::{Line, Place, entry_of};
use crate::shard::outbox::Parcel;

/// How long a polling client may take to fetch the last words of a session that the server has closed (Node's
/// `closeTimeout`).
const LAST_WORDS: Duration = Duration::from_secs(30);

/// Why sessions end when the node does.
pub(super) const GOING_DOWN: Reason = Reason { code: Code::GoingAway, word: "server shutting down" };

impl Shard {
    /// Gives a new session its place; `make` gets its name.
    pub(crate) fn admit(&self, make: impl FnOnce(Address) -> Session) -> Rc<Session> {
        let mut sessions = self.sessions.borrow_mut();
        let entry = sessions.vacant_entry();
        let session = Rc::new(make(self.address(entry.key())));
        entry.insert(Rc::clone(&session));
        self.load.fetch_add(1, Ordering::Relaxed);
        *entry_of(&mut self.lines.borrow_mut(), session.address.slot) = Line::default();
        self.attach(&session);
        session
    }

    /// Lets deliveries go directly to a session's websocket, if it has one. A session that is over is left out: its slot
    /// may be somebody else's by now.
    pub(crate) fn attach(&self, session: &Session) {
        if session.closed.get().is_some() {
            return;
        }
        if let Link::WebSocket { stream, deflate } = &*session.link.borrow() {
            let slot = session.address.slot;
            self.wires.borrow_mut().attach(slot, stream);
            let line = &mut self.lines.borrow_mut()[slot as usize];
            line.deflate = *deflate;
            line.direct = stream.plain().is_some() && session.outbox.borrow().is_empty();
        }
    }

    fn address(&self, key: usize) -> Address {
        let slot = u32::try_from(key).unwrap_or(u32::MAX);
        Address { node: self.hub.node(), shard: self.id, slot, nonce: rand::random() }
    }

    /// The session of that name, if it lives here.
    pub(crate) fn session(&self, address: Address) -> Option<Rc<Session>> {
        let here = self.hub.is_home(address.node) && address.shard == self.id;
        if here { self.session_at(address.slot, address.nonce) } else { None }
    }

    /// The session of that name, if it lives here and is not over.
    pub(crate) fn open_session_named(&self, address: Address) -> Option<Rc<Session>> {
        self.session(address).filter(|session| session.closed.get().is_none())
    }

    pub(crate) fn session_at(&self, slot: u32, nonce: u64) -> Option<Rc<Session>> {
        let sessions = self.sessions.borrow();
        sessions.get(slot as usize).filter(|session| session.address.nonce == nonce).cloned()
    }

    pub(crate) fn session_in(&self, slot: u32) -> Option<Rc<Session>> {
        self.sessions.borrow().get(slot as usize).cloned()
    }

    /// Gives a new membership of `namespace` its place; `make` gets its name and the namespace's.
    pub(crate) fn enroll(
        &self,
        session: &Session,
        namespace: &str,
        make: impl FnOnce(Address, Arc<str>) -> Rc<Member>,
    ) -> Rc<Member> {
        let namespace = self.forms.borrow_mut().name(namespace);
        let mut members = self.members.borrow_mut();
        let entry = members.vacant_entry();
        let member = make(self.address(entry.key()), namespace);
        entry.insert(Rc::clone(&member));
        drop(members);
        let form = self.forms.borrow_mut().intern(Variant::of_member(session, &member), &member.namespace);
        let place = Place { mark: 0, session: session.address.slot, form };
        *entry_of(&mut self.places.borrow_mut(), member.address.slot) = place;
        self.join(&member, self.key(member.app, &EVERYONE.into()));
        member
    }

    /// The membership of that name; a client of Engine.IO 3 is also known by its session's name.
    pub(crate) fn member(&self, address: Address) -> Option<Rc<Member>> {
        let found = self.members.borrow().get(address.slot as usize).filter(|m| m.address == address).cloned();
        found.or_else(|| self.session(address)?.members.borrow().first().cloned())
    }

    /// The membership that an app's clients know by that name.
    pub(crate) fn member_known_as(&self, app: AppId, name: Address) -> Option<Rc<Member>> {
        self.member(name).or_else(|| self.member(self.hub.app(app).recovery.as_ref()?.home(name)?))
    }

    pub(crate) fn member_at(&self, slot: u32) -> Option<Rc<Member>> {
        self.members.borrow().get(slot as usize).cloned()
    }

    /// All memberships, for the rare walk over everybody.
    pub(crate) fn all_members(&self) -> Vec<Rc<Member>> {
        self.members.borrow().iter().map(|(_, member)| Rc::clone(member)).collect()
    }

    /// A channel's name with its hash, as all tables want it.
    pub(crate) fn key<'a>(&self, app: AppId, name: &'a Arc<str>) -> Key<'a> {
        self.hub.channels().key(app, name)
    }

    /// Members of a channel.
    pub(crate) fn room(&self, app: AppId, name: &Arc<str>) -> Vec<u32> {
        self.rooms.borrow().members(self.key(app, name)).to_vec()
    }

    /// Whether a membership has not ended; whoever has waited for something has to ask again.
    pub(crate) fn is_member(&self, member: &Member) -> bool {
        self.members.borrow().get(member.address.slot as usize).is_some_and(|known| known.address == member.address)
    }

    /// Puts a member into a channel; returns whether it was new there. One that has been expelled joins nothing: its
    /// slot may be somebody else's by now.
    pub(crate) fn join(&self, member: &Member, channel: Key<'_>) -> bool {
        if !self.is_member(member) {
            return false;
        }
        // Before others can know that it is here: rather once too much than lost.
        let recovery = member.trail.as_ref().and_then(|_| self.hub.app(member.app).recovery.clone());
        let before = recovery.map(|recovery| recovery.log.last());
        let place = || self.rooms.borrow_mut().add(channel, member.address.slot);
        let new = member.channels.borrow_mut().insert(channel, place);
        if new {
            self.hub.channels().join(channel, self.id);
            if let (Some(trail), Some(before)) = (&member.trail, before) {
                trail.joined(channel.name, before);
            }
        }
        new
    }

    /// Takes a member that stays out of a channel; returns whether it was there.
    pub(crate) fn leave(&self, member: &Member, channel: Key<'_>) -> bool {
        if !self.part(member, channel) {
            return false;
        }
        if let Some(trail) = &member.trail {
            let position = self.mark(member.app).map_or(0, |mark| mark.position);
            trail.left(channel.name, position);
        }
        if let Some(inbox) = member.inbox.as_ref().filter(|_| is_roster(channel.name)) {
            inbox.turn();
        }
        true
    }

    /// Takes a member out of a channel, with nothing noted for it; returns whether it was there.
    fn part(&self, member: &Member, channel: Key<'_>) -> bool {
        let Some(place) = member.channels.borrow_mut().remove(channel) else { return false };
        self.hub.channels().leave(channel, self.id);
        let moved = self.rooms.borrow_mut().remove(channel, place);
        if let Some(other) = moved.and_then(|slot| self.member_at(slot)) {
            other.channels.borrow_mut().moved(channel, place);
        }
        true
    }

    /// Ends a membership, unless that has happened; the connection stays.
    pub(crate) fn expel(&self, session: &Session, member: &Rc<Member>, word: &'static str) {
        if !self.is_member(member) {
            // Its last word was one too many for its outbox, which ended the whole session.
            return;
        }
        session.members.borrow_mut().retain(|other| !Rc::ptr_eq(other, member));
        let app = self.hub.app(member.app);
        if let Some(recovery) = app.recovery.as_ref().filter(|_| member.known_as != member.address) {
            recovery.left(member.known_as);
        }
        if !word.ends_with("namespace disconnect") {
            self.remember(&app, member);
        }
        let channels = member.channels.borrow().names();
        for name in &channels {
            self.part(member, self.key(member.app, name));
        }
        member.forgive();
        self.close_inbox(&app, member);
        self.members.borrow_mut().try_remove(member.address.slot as usize);
        self.went_offline(session, member);
        if let Some(lane) = member.lane.clone() {
            // The lane may be full; its client is gone, so waiting for a place slows nobody down.
            self.hub.spawn(async move {
                let _ = lane.send(Happening::Disconnected(word)).await;
            });
        }
        self.metrics.disconnected(member.app, &member.identity.borrow().user);
        event::disconnected(&self.hub.app(member.app), member, session, word);
    }

    /// Ends a session: its memberships, its place, and its connection.
    pub(crate) fn close(&self, session: &Rc<Session>, reason: Reason) {
        if session.closed.replace(Some(reason)).is_some() {
            return;
        }
        session.drained.take();
        if let Some(limit) = Limit::behind(reason.code) {
            self.metrics.limited(limit);
        }
        let members = session.members.borrow().clone();
        for member in &members {
            self.expel(session, member, reason.word);
        }
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.metrics.closed(reason.code);
        self.blame_for_end(session, reason.code);
        self.spill(session);
        match &*session.link.borrow() {
            Link::WebSocket { .. } => {
                session.outbox.borrow_mut().insist(Parcel::frame(frame::close(reason.code)));
            }
            Link::Polling(polling) => {
                // A client that said goodbye itself only needs its waiting GET released.
                polling.parting.set(reason != Fault::Closed.into());
                polling.wake();
                if reason.code == Code::PingTimeout {
                    polling.gone.cancel();
                }
                if reason.is_a_wish() {
                    // The last words may be more than one response takes: they wait for the client's next GETs.
                    let until = Instant::now() + LAST_WORDS;
                    session.scheduled.set(Some(until));
                    self.deadlines.add(until, session.address);
                    return;
                }
            }
        }
        self.remove(session);
        self.flush(session);
        session.wake();
    }

    /// Gives the place of a closed session away.
    pub(crate) fn remove(&self, session: &Session) {
        if self.session(session.address).is_some() {
            let slot = session.address.slot;
            self.sessions.borrow_mut().try_remove(slot as usize);
            self.wires.borrow_mut().detach(slot);
            self.removed.notify_one();
        }
    }

    /// The names of all sessions.
    pub(super) fn addresses(&self) -> Vec<Address> {
        self.sessions.borrow().iter().map(|(_, session)| session.address).collect()
    }

    /// Ends every session that is left; the connections' tasks then say goodbye.
    pub(super) fn close_all(&self) {
        for session in self.addresses().into_iter().filter_map(|address| self.session(address)) {
            self.close(&session, GOING_DOWN);
        }
    }

    /// Ends a session whose request was agreed to just before the node went down: [`Shard::close_all`] may have been
    /// there already.
    pub(crate) fn close_if_late(&self, session: &Rc<Session>) {
        if self.stop.is_cancelled() {
            self.close(session, GOING_DOWN);
        }
    }
}
