//! A member and the inbox of its user: it catches up on what it missed, and acknowledges what it hears.
//!
//! A member is in its user's channel of devices before the store is asked what waits for it. What is delivered meanwhile
//! is let pass, because it will be found in the store; what was stored after the last look is delivered. A place in the
//! store's order, the horizon of that look, tells one from the other, so nothing is lost or doubled in between.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_hub::app::App;
use oyez_hub::channel::{devices_of, is_roster, roster_of};
use oyez_hub::command::{Command, Marking};
use oyez_hub::delivery::Target as Audience;
use oyez_hub::inbox::Inboxes;
use oyez_hub::policy::grants::Action;
use oyez_hub::promise::Acknowledge;
use oyez_hub::store::{Item, Owner, Page, Seq, State, Step, StoreError, Target, Which};
use oyez_protocol::message::Args;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::clock;
use crate::observe::event;
use crate::session::codec::Variant;
use crate::session::{Member, Session};
use crate::shard::Shard;

/// Messages that are read from the store at once.
const PAGE: usize = 100;

/// Messages that one member may have been sent and not acknowledged; beyond that the oldest expectation is given up, and
/// the message is sent again on the next connect.
const SENT_MAX: usize = 4_096;

/// Messages of which the store is told, when a member goes, that they were sent.
const NOTED_MAX: usize = 64;

/// Messages that are marked at once, so that others who write do not wait long.
const MARKED_AT_ONCE: usize = 256;

/// How long to wait before a store is asked again that could not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What a member has heard of its user's inbox.
#[derive(Debug)]
pub(crate) struct Inbox {
    seam: Cell<Seam>,
    sent: RefCell<VecDeque<Sent>>,
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

/// Why a page is not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// What the member may hear has become something else.
    Stale,
    /// The member has gone.
    Gone,
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
}

impl Inbox {
    /// One that has still to catch up.
    pub(crate) fn new() -> Self {
        Self { seam: Cell::new(Seam::Behind(0)), sent: RefCell::default(), turns: Cell::default() }
    }

    /// Its user may hear something else now: a page of the store that was read before does not count any more.
    pub(crate) fn turn(&self) {
        self.turns.set(self.turns.get().wrapping_add(1));
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
    fn caught_up(&self, horizon: Seq) -> bool {
        match self.seam.get() {
            Seam::Behind(latest) if latest > horizon => false,
            Seam::Behind(_) | Seam::Live(_) => {
                self.seam.set(Seam::Live(horizon));
                true
            }
        }
    }

    /// A message was sent that asks for that acknowledgement.
    pub(crate) fn sent(&self, ack: u64, id: &Arc<str>) {
        let mut sent = self.sent.borrow_mut();
        if sent.len() >= SENT_MAX {
            sent.pop_front();
        }
        sent.push_back(Sent { ack, id: Arc::clone(id), at: clock::unix_millis(), asked: None });
    }

    fn has(&self, id: &str) -> bool {
        self.sent.borrow().iter().any(|sent| *sent.id == *id)
    }

    /// The heartbeat with that number is sent after everything.
    fn asked(&self, beat: u32) {
        let mut sent = self.sent.borrow_mut();
        let new = sent.iter_mut().rev().take_while(|sent| sent.asked.is_none());
        new.for_each(|sent| sent.asked = Some(beat));
    }

    /// The heartbeat with that number was answered: what was sent before it has arrived.
    fn arrived(&self, beat: u32) -> Vec<Arc<str>> {
        let mut sent = self.sent.borrow_mut();
        let until = sent.iter().take_while(|sent| sent.asked.is_some_and(|asked| asked <= beat)).count();
        sent.drain(..until).map(|sent| sent.id).collect()
    }

    /// The message that asked for this acknowledgement.
    fn acknowledged(&self, ack: u64) -> Option<Arc<str>> {
        let mut sent = self.sent.borrow_mut();
        let at = sent.iter().position(|sent| sent.ack == ack)?;
        sent.remove(at).map(|sent| sent.id)
    }

    /// The user has said something about these messages.
    fn forget(&self, ids: &[Arc<str>]) {
        self.sent.borrow_mut().retain(|sent| !ids.contains(&sent.id));
    }
}

impl Shard {
    /// Has a member be one of its user's devices, before it joins channels: what is durable is told to the others in them,
    /// and to the devices as messages.
    pub(crate) fn enter_inbox(&self, member: &Rc<Member>) {
        if member.inbox.is_none() {
            return;
        }
        let user = Arc::clone(&member.identity.borrow().user);
        // One that was away may have been taken off a roster meanwhile. From here on, who puts it on one finds it.
        let known = member.channels.borrow().names();
        for roster in known.iter().filter(|name| is_roster(name)) {
            self.leave(member, self.key(member.app, roster));
        }
        self.join(member, self.key(member.app, &devices_of(&user)));
    }

    /// Sends a member what waits for its user, and then whatever comes.
    pub(crate) fn open_inbox(self: &Rc<Self>, member: &Rc<Member>) {
        if member.inbox.is_none() {
            return;
        }
        let user = Arc::clone(&member.identity.borrow().user);
        let (shard, member) = (Rc::clone(self), Rc::clone(member));
        tokio::task::spawn_local(async move {
            let hub = shard.hub.clone();
            let app = hub.app(member.app);
            let Ok(inboxes) = hub.inboxes_of(&app) else { return };
            let of = app.owner(&user);
            shard.join_rosters(&app, inboxes, &of, &member).await;
            // What is stored after the page that is read next, on any node, is heard.
            hub.reach().await;
            shard.catch_up_on(inboxes, &of, &member).await;
            hub.unread_changed(&app, &Target::User(user));
        });
    }

    /// Joins a member to those who hear what is durable in channels on whose rosters its user is, as far as it may.
    async fn join_rosters(&self, app: &App, inboxes: &Inboxes, of: &Owner, member: &Member) {
        let mut joined = Vec::new();
        for channel in self.rosters_of(app, inboxes, of, member).await {
            let identity = Arc::clone(&member.identity.borrow());
            if self.permit(app, &identity, Action::Subscribe, &channel).await.is_ok() && self.is_member(member) {
                self.join(member, self.key(app.id, &roster_of(&channel)));
                joined.push(channel);
            }
        }
        if joined.is_empty() {
            return;
        }
        // Who took it off one while it was not there yet did not find it.
        let rosters = self.rosters_of(app, inboxes, of, member).await;
        for lost in joined.iter().filter(|channel| !rosters.contains(channel)) {
            self.leave(member, self.key(app.id, &roster_of(lost)));
        }
    }

    /// The channels on whose rosters a user is; none, if its member has gone.
    async fn rosters_of(&self, app: &App, inboxes: &Inboxes, of: &Owner, member: &Member) -> Vec<Arc<str>> {
        while self.is_member(member) {
            match inboxes.store().channels(of).await {
                Ok(channels) => return channels,
                Err(error) => self.wait_for_store(app, &error).await,
            }
        }
        Vec::new()
    }

    async fn catch_up_on(self: &Rc<Self>, inboxes: &Inboxes, of: &Owner, member: &Rc<Member>) {
        let Some(inbox) = &member.inbox else { return };
        let mut after = None;
        while self.is_member(member) {
            // Its rights, and the rules, may become others while it reads.
            let (app, turn) = (self.hub.app(member.app), inbox.turns.get());
            let page = match inboxes.store().pending(of, after, PAGE, clock::span().earliest).await {
                Ok(page) => page,
                Err(error) => {
                    self.wait_for_store(&app, &error).await;
                    continue;
                }
            };
            let Page { items, next, horizon } = page;
            match self.send_page(&app, inboxes, member, &items, (turn, &mut after)).await {
                Ok(()) => {}
                Err(Broken::Stale) => continue,
                Err(Broken::Gone) => return,
            }
            if !self.drained(member).await {
                return;
            }
            match next {
                Some(next) => after = Some(next),
                None if inbox.caught_up(horizon) => return,
                None => after = Some(horizon),
            }
        }
    }

    /// Sends a page that was read at that turn, and notes of what the member may not hear that it was withheld; `done` is
    /// the place of the last that was.
    async fn send_page(
        &self,
        app: &App,
        inboxes: &Inboxes,
        member: &Member,
        items: &[Item],
        (turn, done): (u32, &mut Option<Seq>),
    ) -> Result<(), Broken> {
        let Some(inbox) = &member.inbox else { return Err(Broken::Gone) };
        let of = app.owner(&member.identity.borrow().user);
        let mut rights = Vec::new();
        for item in items.iter().filter(|item| !inbox.has(&item.message.id)) {
            let refusal = self.refusal(app, member, &item.via, &mut rights).await;
            if inbox.turns.get() != turn {
                return Err(Broken::Stale);
            }
            match refusal {
                None => self.send_again(app, inboxes, member, item, turn).await?,
                Some(reason) => self.note(&of, &item.message.id, Step::Withheld(reason), clock::unix_millis()),
            }
            *done = Some(item.seq);
        }
        Ok(())
    }

    async fn wait_for_store(&self, app: &App, error: &StoreError) {
        event::store_failed(app, "read", error);
        sleep(RETRY).await;
    }

    /// Why a member may not hear what came through this channel; none: it may.
    async fn refusal(
        &self,
        app: &App,
        member: &Member,
        via: &Target,
        known: &mut Vec<(Target, Option<String>)>,
    ) -> Option<String> {
        let Target::Channel(channel) = via else { return None };
        if let Some((_, word)) = known.iter().find(|(target, _)| target == via) {
            return word.clone();
        }
        let identity = Arc::clone(&member.identity.borrow());
        let word = self.permit(app, &identity, Action::Subscribe, channel).await.err().map(|denial| denial.reason);
        known.push((via.clone(), word.clone()));
        word
    }

    /// Sends a message that waits in the store, as soon as there is room for it, if that turn lasts until then.
    async fn send_again(
        &self,
        app: &App,
        inboxes: &Inboxes,
        member: &Member,
        item: &Item,
        turn: u32,
    ) -> Result<(), Broken> {
        let session = member.session.upgrade().filter(|_| self.is_member(member)).ok_or(Broken::Gone)?;
        let inbox = member.inbox.as_ref().ok_or(Broken::Gone)?;
        let publication = self.hub.publication_of(app, &item.message, &[(item.via.clone(), item.seq)]);
        if let Audience::Channels(heard) = &publication.to
            && let Some(audience) = heard.first().and_then(|heard| heard.audience.as_ref())
            && !audience.admits(&member.identity.borrow().rights)
        {
            let of = app.owner(&member.identity.borrow().user);
            let reason = "not in the channel's audience".to_owned();
            self.note(&of, &item.message.id, Step::Withheld(reason), clock::unix_millis());
            return Ok(());
        }
        let ack = self.take_ack_id();
        let variant = Variant::of_member(&session, member);
        let parcel = variant.publication(&member.namespace, Some(ack), &publication, None);
        // Half of the room is for what others say meanwhile.
        let crowded = session.outbox.borrow().owes_more_with(&parcel, session.front.outbox_bytes / 2);
        if crowded && !(self.drained(member).await && self.is_member(member)) {
            return Err(Broken::Gone);
        }
        if inbox.turns.get() != turn {
            return Err(Broken::Stale);
        }
        inbox.sent(ack, &item.message.id);
        inboxes.figures().redelivered.fetch_add(1, Relaxed);
        self.metrics.sent(app.id, 1);
        self.queue(&session, parcel);
        Ok(())
    }

    /// Waits until a client has taken all that must not be lost; false: it has gone. What may be lost there can always be
    /// more of.
    async fn drained(&self, member: &Member) -> bool {
        let waiting = {
            let Some(session) = member.session.upgrade().filter(|session| session.closed.get().is_none()) else {
                return false;
            };
            self.flush(&session);
            if !session.outbox.borrow().holds_promises() {
                return session.closed.get().is_none();
            }
            let (sender, waiting) = oneshot::channel();
            session.drained.borrow_mut().push(sender);
            waiting
        };
        waiting.await.is_ok()
    }

    /// A client has acknowledged the event that had this number; false: it was no message of an inbox. What it says
    /// beside that may be how far the message has come: `"read"`.
    pub(crate) fn acknowledge(&self, member: &Member, ack: u64, args: &Args) -> bool {
        let Some(id) = member.inbox.as_ref().and_then(|inbox| inbox.acknowledged(ack)) else { return false };
        let said = args.first().and_then(|first| serde_json::from_str::<State>(first.get()).ok());
        let to = said.unwrap_or(State::Delivered).max(State::Delivered);
        self.mark_later(member, vec![id], to);
        true
    }

    /// A heartbeat goes out behind everything durable that was sent.
    pub(crate) fn ask_delivered(&self, session: &Session) {
        for inbox in session.members.borrow().iter().filter_map(|member| member.inbox.as_ref()) {
            inbox.asked(session.beats.get());
        }
    }

    /// The heartbeat with that number was answered: where that counts, what was sent before it is acknowledged.
    pub(crate) fn confirm_delivered(&self, session: &Session, beat: u32) {
        for member in session.members.borrow().iter() {
            let Some(inbox) = &member.inbox else { continue };
            let app = self.hub.app(member.app);
            if app.inbox.as_ref().is_some_and(|rules| rules.acknowledge == Acknowledge::Heartbeat) {
                let ids = inbox.arrived(beat);
                if !ids.is_empty() {
                    self.mark_later(member, ids, State::Delivered);
                }
            }
        }
    }

    fn mark_later(&self, member: &Member, ids: Vec<Arc<str>>, to: State) {
        let (hub, app) = (self.hub.clone(), member.app);
        let user = Arc::clone(&member.identity.borrow().user);
        let by = member.session.upgrade().map(|session| member.wire_address(&session));
        tokio::task::spawn_local(async move {
            for ids in ids.chunks(MARKED_AT_ONCE) {
                let marking = Marking { user: Arc::clone(&user), which: Which::Ids(ids.to_vec()), to, by };
                if let Err(error) = hub.execute(app, Command::Mark(marking)).await {
                    event::acknowledgement_lost(&hub.app(app), &error);
                }
            }
        });
    }

    /// A client has said something about these messages.
    pub(crate) fn settled_with(&self, member: &Member, ids: &[Arc<str>]) {
        if let Some(inbox) = &member.inbox {
            inbox.forget(ids);
        }
    }

    /// A member goes: of what it has not acknowledged, the store learns that it was sent.
    pub(crate) fn close_inbox(&self, app: &App, member: &Member) {
        let Some(inbox) = &member.inbox else { return };
        let of = app.owner(&member.identity.borrow().user);
        for sent in inbox.sent.borrow_mut().drain(..).rev().take(NOTED_MAX) {
            self.note(&of, &sent.id, Step::Sent, sent.at);
        }
    }

    fn note(&self, of: &Owner, id: &Arc<str>, step: Step, at: u64) {
        let (hub, of, id) = (self.hub.clone(), of.clone(), Arc::clone(id));
        self.hub.spawn(async move {
            if let Some(inboxes) = hub.inboxes() {
                // It only tells who asks later; a store that fails is told elsewhere.
                let _ = inboxes.store().note(&of, &id, step, at).await;
            }
        });
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
        inbox.forget(&["c".into()]);
        assert_eq!(ids(inbox.arrived(2)), "");
    }
}
