//! A client that was cut off comes back: it shows the secret that it was given (`pid`) and how far it has heard
//! (`offset`), and gets what it missed, in order, before anything that is said from now on.
//!
//! What it missed is read, and a marker put into this shard's mailbox, under the lock of the app's log. When the marker's
//! turn comes, all that was pushed before it has been delivered to others; so the client becomes a member exactly there.
//! Protocol: Socket.IO's connection state recovery.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use oyez_hub::address::Address;
use oyez_hub::app::App;
use oyez_hub::channel::{EVERYONE, abroad_of, is_own};
use oyez_hub::cluster::Brought;
use oyez_hub::command::{Control, Goodbye};
use oyez_hub::delivery::{Heard, Publication, Target};
use oyez_hub::policy::grants::Action;
use oyez_hub::policy::{Identity, Verdict};
use oyez_hub::recovery::{Anew, Ghost, Had, Log, Lost, Mark, Missed, Recovery, Wanted, is_direct, is_in, leaves_out};
use oyez_protocol::code::Code;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::session::codec::Variant;
use crate::session::handshake::Guest;
use crate::session::trail::Trail;
use crate::session::{Member, Reason, Session};
use crate::shard::Shard;

/// Why a session is ended whose client has opened another one and wants to go on there.
const MOVED: Reason = Reason { code: Code::Moved, word: "transport close" };

/// What is known of a client that says it comes back.
#[derive(Debug)]
pub(crate) enum Return {
    /// It says nothing of the kind.
    No,
    /// It does, but something of what it was is not known any more.
    Forgotten(Lost),
    /// What it was, and how far it says to have heard; nothing, if it has heard nothing.
    Known(Box<Claim>),
}

/// What a client that comes back was. If nothing comes of it (there is no room for it, or it is cut off again), it is
/// remembered as before.
#[derive(Debug)]
pub(crate) struct Claim {
    recovery: Arc<Recovery>,
    /// Its name.
    name: Address,
    /// None: it has been made use of.
    ghost: Option<Ghost>,
    /// The channels that it may not hear any more.
    lost: Vec<Arc<str>>,
    heard: Mark,
    /// Up to here it was in its channels.
    left_at: u64,
}

impl Claim {
    /// What it missed.
    fn wanted(&self) -> Vec<Wanted> {
        let Some(ghost) = &self.ghost else { return Vec::new() };
        let mut wanted = ghost.wanted(self.name, self.heard.position);
        wanted.retain(|wanted| !self.lost.contains(&wanted.channel));
        wanted
    }

    /// Nothing is given back any more: it is there again, or begins anew.
    fn settle(&mut self) -> Option<Ghost> {
        self.ghost = None;
        self.recovery.ghosts.settle(self.name)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.ghost.is_some() {
            self.recovery.left(self.name);
            self.recovery.ghosts.give_back(self.name, self.recovery.window, Instant::now());
        }
    }
}

/// Somebody whose marker is under way.
pub(crate) enum Comeback {
    /// A client between its claim and its membership.
    Session { session: Rc<Session>, guest: Rc<Guest>, claim: Claim, done: oneshot::Sender<Rc<Member>> },
    /// A member that joins a channel and wants to hear what was said in it before, beginning with what another node has.
    Channel { member: Rc<Member>, wanted: Wanted, brought: Vec<Publication>, done: oneshot::Sender<bool> },
    /// A member that joins a channel of which something is lost since then.
    Late { member: Rc<Member>, channel: Arc<str>, done: oneshot::Sender<bool> },
    /// A member that begins anew, in its channels: what it misses.
    Anew { member: Rc<Member>, lost: Lost, done: oneshot::Sender<()> },
}

impl Shard {
    /// Looks up what a client was that shows a `pid`. If its old connection is still there, it ends: the client knows
    /// better. Who is not the same user gets nothing.
    pub(crate) async fn summon(
        &self,
        session: &Session,
        app: &Arc<App>,
        identity: &Arc<Identity>,
        auth: &Value,
    ) -> Return {
        let Some(recovery) = &app.recovery else { return Return::No };
        let Some(pid) = auth.get("pid").and_then(Value::as_str).filter(|_| Variant::can_recover(session)) else {
            return Return::No;
        };
        let forgotten = || Return::Forgotten(Lost::default());
        let Some(name) = self.hub.pids().read(pid) else { return forgotten() };
        let own = recovery.log.mark(0);
        // What is no position is of no life of the log that there was.
        let nowhere = Mark { epoch: !own.epoch, position: 0 };
        let shown = auth.get("offset").and_then(Value::as_str).map(|text| text.parse().unwrap_or(nowhere));
        let claim = || recovery.ghosts.claim(name, Instant::now());
        let mut ghost = claim();
        if ghost.is_none() {
            self.hub.surrender(app, name, &identity.user).await;
            ghost = claim();
        }
        if ghost.is_none() && self.hub.cluster().is_some() {
            if let Err(lost) = Box::pin(self.bring(session, app, identity, name, shown)).await {
                return Return::Forgotten(lost);
            }
            ghost = claim();
        }
        let Some(ghost) = ghost else { return forgotten() };
        let mine = ghost.identity.user == identity.user;
        let (heard, left_at) = (ghost.heard(shown, own), ghost.left_at);
        let unheard = ghost.unheard(name, heard).filter(|_| mine);
        let mut claim =
            Claim { recovery: Arc::clone(recovery), name, ghost: Some(ghost), lost: Vec::new(), heard, left_at };
        if let Some(lost) = unheard {
            // It is a new client once more.
            let _ = claim.settle();
            return Return::Forgotten(lost);
        }
        if mine { Return::Known(Box::new(claim)) } else { forgotten() }
    }

    /// Takes a session over from another node, with those of its channels that the client may still hear.
    async fn bring(
        &self,
        session: &Session,
        app: &Arc<App>,
        identity: &Arc<Identity>,
        name: Address,
        shown: Option<Mark>,
    ) -> Result<(), Lost> {
        let mut afar = self.hub.seek(app, name, &identity.user).await.ok_or_else(Lost::default)?;
        // What is said here from now on may not reach the other node before it looks.
        let since = app.recovery.as_ref().map_or(0, |recovery| recovery.log.last());
        for (channel, put) in std::mem::take(&mut afar.channels) {
            // One that it could not join by itself, a backend has put it into; there it stays.
            if put || self.permit(app, identity, Action::Subscribe, &channel).await.is_ok() {
                afar.channels.push((channel, put));
            } else {
                afar.without.push(channel);
            }
        }
        let at = |(channel, _): &(Arc<str>, bool)| Wanted::after(Arc::clone(channel), since);
        let everyone = Wanted::after(EVERYONE.into(), since);
        let wanted: Vec<_> = afar.channels.iter().map(at).chain([everyone]).collect();
        let fetched = self.hub.fetch(app, afar, identity, shown, session.front.outbox_bytes).await;
        fetched.map_err(|mut channels| {
            // Of those that it may not hear any more it hears no name.
            let may = |name: &Arc<str>| is_direct(name) || wanted.iter().any(|wanted| wanted.channel == *name);
            channels.retain(may);
            Lost { channels, wanted }
        })
    }

    /// Ends a session on this shard whose client has opened another one.
    pub(crate) fn give_up(&self, address: Address, user: &Arc<str>) {
        let own = self.member(address).filter(|member| member.identity.borrow().user == *user);
        if let Some(session) = own.and_then(|member| member.session.upgrade()) {
            self.close(&session, MOVED);
        }
    }

    /// Makes a client what it was: a member of its channels, with what it missed.
    ///
    /// # Errors
    /// What is lost; it then begins anew.
    pub(crate) async fn come_back(
        self: &Rc<Self>,
        session: &Rc<Session>,
        guest: &Rc<Guest>,
        mut claim: Claim,
    ) -> Result<Option<Rc<Member>>, Lost> {
        let Guest { app, identity, .. } = &**guest;
        if let Some(ghost) = &claim.ghost {
            claim.lost = self.lost(app, identity, ghost).await;
        }
        let wanted = claim.wanted();
        let from = Mark { position: claim.left_at, ..claim.heard };
        // Whoever has other nodes listens before it looks.
        let names = wanted.iter().map(|wanted| &wanted.channel).filter(|channel| !is_direct(channel)).cloned();
        let _listening = self.hub.listen(app.id, names).await;
        let budget = session.front.outbox_bytes;
        let (done, member) = oneshot::channel();
        let comeback = Comeback::Session { session: Rc::clone(session), guest: Rc::clone(guest), claim, done };
        if let Err(channels) = self.send_marker(app, from, &wanted, &Had::default(), budget, comeback) {
            return Err(Lost { channels, wanted });
        }
        // Nothing comes when the client has gone again.
        Ok(member.await.ok())
    }

    /// Joins a channel with what was said in it since that place, or with word of a gap; returns whether it was new to the
    /// member.
    pub(crate) async fn join_since(
        self: &Rc<Self>,
        app: &Arc<App>,
        member: &Rc<Member>,
        channel: &Arc<str>,
        since: &str,
    ) -> bool {
        let key = self.key(app.id, channel);
        let Some(session) = member.session.upgrade() else { return false };
        let Some(recovery) = &app.recovery else { return self.join(member, key) };
        let budget = session.front.outbox_bytes;
        let mut from = since.parse().unwrap_or(Mark { epoch: 0, position: u64::MAX });
        let _listening = self.hub.listen(app.id, [Arc::clone(channel)]).await;
        let mut brought = Brought::default();
        if from.epoch != recovery.log.mark(0).epoch {
            let identity = Arc::clone(&member.identity.borrow());
            let reader = (member.known_as, &identity.rights);
            let found = match self.hub.bring_recorded(app, channel, from, budget, reader).await {
                None => self.hub.bring(app, channel, from, budget, member.known_as).await,
                found => found,
            };
            if let Some(found) = found {
                (from, brought) = (recovery.log.mark(found.since), found);
            }
        }
        let Brought { publications: brought, had, .. } = brought;
        let wanted = Wanted::after(Arc::clone(channel), from.position);
        let (done, joined) = oneshot::channel();
        let comeback = Comeback::Channel { member: Rc::clone(member), wanted: wanted.clone(), brought, done };
        match self.send_marker(app, from, &[wanted], &had, budget, comeback) {
            Ok(()) => joined.await.unwrap_or_default(),
            Err(_) => {
                let (done, joined) = oneshot::channel();
                let (member, channel) = (Rc::clone(member), Arc::clone(channel));
                self.pass_marker(&recovery.log, Comeback::Late { member, channel, done });
                joined.await.unwrap_or_default()
            }
        }
    }

    /// Puts a marker into this shard's mailbox: what its turn makes known is behind all that was said before.
    pub(crate) fn pass_marker(&self, log: &Log, comeback: Comeback) {
        let ticket = self.comebacks.borrow_mut().insert(comeback);
        log.pass(|until| self.hub.control(self.id, Control::Return { ticket, missed: Missed::default(), until }));
    }

    /// Reads what was missed, and puts a marker behind it into this shard's mailbox. From then on this shard hears the
    /// channels.
    ///
    /// # Errors
    /// The channels of which something is lost; none of them, if that cannot be told, or if it is more than may wait for a
    /// client.
    fn send_marker(
        &self,
        app: &App,
        from: Mark,
        wanted: &[Wanted],
        had: &Had,
        budget: usize,
        comeback: Comeback,
    ) -> Result<(), Vec<Arc<str>>> {
        let Some(recovery) = &app.recovery else { return Err(Vec::new()) };
        let name = match &comeback {
            Comeback::Session { claim, .. } => Some(claim.name),
            _ => None,
        };
        let ticket = self.comebacks.borrow_mut().insert(comeback);
        let sent = recovery.log.replay_beside(had, from, wanted, budget, Instant::now(), |missed, until| {
            for Wanted { channel, .. } in wanted.iter().filter(|wanted| !is_direct(&wanted.channel)) {
                self.hub.channels().join(self.key(app.id, channel), self.id);
            }
            if let Some(name) = name {
                recovery.heads_for(name, self.hub.node(), self.id);
            }
            self.hub.control(self.id, Control::Return { ticket, missed, until });
        });
        let Err(gap) = sent else { return Ok(()) };
        if let Some(Comeback::Session { claim, .. }) = &mut self.comebacks.borrow_mut().try_remove(ticket) {
            // It is a new client now.
            let _ = claim.settle();
        }
        Err(gap.channels)
    }

    /// The marker's turn has come.
    pub(crate) fn on_return(self: &Rc<Self>, ticket: usize, missed: &Missed, until: u64) {
        let Some(comeback) = self.comebacks.borrow_mut().try_remove(ticket) else { return };
        let (app, heard) = match comeback {
            Comeback::Session { session, guest, claim, done } => {
                let heard = claim.wanted();
                self.reached(guest.app.id, until);
                self.return_session(&session, &guest, claim, (missed, until), done);
                (guest.app.id, heard)
            }
            Comeback::Channel { member, wanted, brought, done } => {
                self.reached(member.app, until);
                let new = self.join(&member, self.key(member.app, &wanted.channel));
                match member.session.upgrade() {
                    Some(session) if new => {
                        self.hear_brought(&session, &member, &brought);
                        let wanted = std::slice::from_ref(&wanted);
                        self.catch_up(&session, &member, (wanted, wanted), missed);
                    }
                    // A backend has put it there meanwhile: what it has heard since then is not known.
                    Some(session) => {
                        let channel = std::slice::from_ref(&wanted.channel);
                        self.tell_gap(&session, &member, &self.hub.app(member.app), channel);
                    }
                    None => {}
                }
                let _ = done.send(new);
                (member.app, vec![wanted])
            }
            Comeback::Late { member, channel, done } => {
                self.reached(member.app, until);
                let new = self.join(&member, self.key(member.app, &channel));
                if let Some(session) = member.session.upgrade() {
                    let app = self.hub.app(member.app);
                    self.tell_gap(&session, &member, &app, std::slice::from_ref(&channel));
                }
                let _ = done.send(new);
                (member.app, Vec::new())
            }
            Comeback::Anew { member, lost, done } => {
                self.reached(member.app, until);
                let app = self.hub.app(member.app);
                let missing = |recovery: &Arc<Recovery>| recovery.log.missing(lost, Instant::now());
                let lost = app.recovery.as_ref().map_or_else(Vec::new, missing);
                if let Some(session) = member.session.upgrade() {
                    self.tell_gap(&session, &member, &app, &lost);
                    self.flush(&session);
                }
                if let Some(trail) = &member.trail {
                    trail.begins_anew(Anew { position: until, lost });
                }
                let _ = done.send(());
                (member.app, Vec::new())
            }
        };
        for Wanted { channel, .. } in heard.iter().filter(|wanted| !is_direct(&wanted.channel)) {
            // Who has joined counts for itself now.
            self.hub.channels().leave(self.key(app, channel), self.id);
        }
    }

    fn return_session(
        self: &Rc<Self>,
        session: &Rc<Session>,
        guest: &Guest,
        mut claim: Claim,
        (missed, until): (&Missed, u64),
        done: oneshot::Sender<Rc<Member>>,
    ) {
        if session.closed.get().is_some() {
            return;
        }
        let looked_up = claim.wanted();
        let Some(ghost) = claim.ghost.take() else { return };
        let confirmed = ghost.confirmed.max(claim.heard.position);
        let trail = Trail::new(confirmed, Arc::clone(&guest.identity), Arc::clone(&guest.app.policy));
        let trail = trail.returning(ghost.showed);
        let member = self.make_member(session, guest, Some((claim.name, trail)));
        if member.known_as.node != self.hub.node() {
            self.join(&member, self.key(member.app, &abroad_of(member.known_as)));
        }
        // Before it is in channels: what is durable is told to others in them.
        self.enter_inbox(&member);
        // From here on commands find it; those before have changed what is left.
        let Some(mut left) = claim.settle() else {
            self.dismiss(&member, Goodbye::Transport);
            let _ = done.send(member);
            return;
        };
        left.leave(&claim.lost, until);
        let mut wanted = left.wanted(claim.name, claim.heard.position);
        wanted.retain(|known| looked_up.iter().any(|one| one.channel == known.channel));
        for known in &left.channels {
            self.join(&member, self.key(member.app, &known.channel));
        }
        let stays = left.stays();
        if let Some(trail) = &member.trail {
            trail.resume(&left.channels, left.left);
        }
        // Where it was put after what it missed was looked up.
        let names = left.channels.into_iter().map(|known| known.channel);
        let added: Vec<_> = names.filter(|channel| !ghost.is_in(channel)).collect();
        // Stock servers say it behind what was missed. But a stock client keeps what comes before it, even when it is cut off
        // then, and would hear that again beside what it is sent the next time.
        self.confirm(session, &member);
        self.catch_up(session, &member, (&wanted, &stays), missed);
        if !added.is_empty() {
            self.tell_gap(session, &member, &guest.app, &added);
        }
        if !Arc::ptr_eq(&self.hub.app(guest.app.id).policy, &guest.app.policy) {
            // The rules have become others since its channels were looked at.
            self.reform(&guest.app, vec![Rc::clone(&member)]);
        }
        let _ = done.send(member);
    }

    /// Queues what a member has missed, each with its own position.
    fn catch_up(&self, session: &Rc<Session>, member: &Member, known: (&[Wanted], &[Wanted]), missed: &Missed) {
        let app = self.hub.app(member.app);
        let Some(recovery) = &app.recovery else { return };
        let variant = Variant::of_member(session, member);
        for (position, publication) in missed {
            if is_for(publication, member, known, *position) {
                let mark = recovery.log.mark(*position);
                self.metrics.sent(app.id, 1);
                self.queue_dirty(session, variant.publication(&member.namespace, None, publication, Some(mark)));
            }
        }
    }

    /// Queues what another node has said. No position of this node says how far the client has come with that; it goes on
    /// from the last that it was given.
    fn hear_brought(&self, session: &Rc<Session>, member: &Member, brought: &[Publication]) {
        let (variant, identity) = (Variant::of_member(session, member), Arc::clone(&member.identity.borrow()));
        let hears = |heard: &Heard| heard.audience.as_ref().is_none_or(|audience| audience.admits(&identity.rights));
        let is_for = |publication: &&Publication| match &publication.to {
            Target::Socket(_) => false,
            Target::Channels(heard) => heard.iter().any(hears),
        };
        for publication in brought.iter().filter(is_for) {
            self.metrics.sent(member.app, 1);
            self.queue_dirty(session, variant.publication(&member.namespace, None, publication, None));
        }
    }

    /// The channels that the client might hear then and may not any more. One that it could not join by itself, a backend
    /// has put it into; there it stays.
    async fn lost(&self, app: &App, identity: &Identity, ghost: &Ghost) -> Vec<Arc<str>> {
        let mut lost = Vec::new();
        if Arc::ptr_eq(&ghost.identity.rights, &identity.rights) && Arc::ptr_eq(&ghost.policy, &app.policy) {
            return lost;
        }
        for Wanted { channel, .. } in ghost.channels.iter().filter(|wanted| !is_own(&wanted.channel)) {
            let may = match (ghost.policy.subscribe(&ghost.identity, channel), app.policy.subscribe(identity, channel))
            {
                (Verdict::Deny { .. }, _) | (_, Verdict::Allow(_)) => true,
                (_, Verdict::Deny { .. }) => false,
                (_, Verdict::Ask(_)) => self.permit(app, identity, Action::Subscribe, channel).await.is_ok(),
            };
            if !may {
                lost.push(Arc::clone(channel));
            }
        }
        lost
    }

    /// Remembers a member that was cut off.
    pub(crate) fn remember(&self, app: &App, member: &Member) {
        let (Some(trail), Some(recovery)) = (&member.trail, &app.recovery) else { return };
        if !trail.can_return() {
            // It would come back without some of its channels, and without word of what it missed.
            return;
        }
        let names = member.channels.borrow().names();
        let at = |channel: Arc<str>| {
            let since = trail.since(&channel);
            Wanted::after(channel, since)
        };
        let channels = names.into_iter().map(at).collect();
        let (identity, policy) = trail.decided();
        let left_at = recovery.log.last();
        let (confirmed, showed, anew) = (trail.confirmed(), trail.showed(), trail.anew());
        let ghost = Ghost { identity, policy, channels, left: trail.before(), confirmed, left_at, showed, anew };
        recovery.ghosts.keep(member.known_as, ghost, recovery.window, Instant::now());
    }
}

/// Whether a member would have heard it that wants this, and was in channels when `stays` says.
fn is_for(publication: &Publication, member: &Member, (wanted, stays): (&[Wanted], &[Wanted]), position: u64) -> bool {
    let identity = member.identity.borrow();
    let hears = |heard: &Heard| {
        is_in(wanted, &heard.channel, position)
            && heard.audience.as_ref().is_none_or(|audience| audience.admits(&identity.rights))
    };
    let is_meant = match &publication.to {
        Target::Socket(name) => *name == member.known_as,
        Target::Channels(heard) => heard.iter().any(hears),
    };
    is_meant && !leaves_out(publication, member.known_as, stays, position)
}
