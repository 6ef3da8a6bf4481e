//! A member and the inbox of its user: it catches up on what it missed, and acknowledges what it hears.
//!
//! A member is in its user's channel of devices before the store is asked what waits for it. What is delivered meanwhile
//! is let pass, because it will be found in the store; what was stored after the last look is delivered. A place in the
//! store's order, the horizon of that look, tells one from the other, so nothing is lost or doubled in between.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::StreamExt as _;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::channel::{devices_of, is_roster, roster_of, ruled_by};
use oyez_hub::command::{Command, CommandError, Marking};
use oyez_hub::inbox::{Hearing, Inboxes};
use oyez_hub::policy::Identity;
use oyez_hub::policy::grants::{Action, Audience as Wanted};
use oyez_hub::promise::Acknowledge;
use oyez_hub::store::{Item, Owner, Page, Seq, State, Step, StoreError, Which};
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

/// Messages of which the store is told, when a member goes, that they were sent.
const NOTED_MAX: usize = 64;

/// Messages that are marked at once, so that others who write do not wait long.
const MARKED_AT_ONCE: usize = 256;

/// Members that look at the store at once, after something may have been missed.
const LOOKING_AT_ONCE: usize = 32;

/// Channels about which the rules, or the app's backend, are asked at once for one member.
const ASKED_AT_ONCE: usize = 32;

/// How long to wait before a store is asked again that could not answer.
const RETRY: Duration = Duration::from_secs(1);

/// Why a page is not sent to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    /// What the member may hear has become something else.
    Stale,
    /// The member has gone.
    Gone,
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
            hub.unread_asked(&app, user);
        });
    }

    /// The same for the channel of a roster on which its user was put just now, once the app's backend has allowed it; what
    /// was stored there meanwhile lies in the store.
    pub(crate) fn enter_roster_when_allowed(self: &Rc<Self>, member: &Rc<Member>, roster: &Arc<str>) {
        let (shard, member, roster) = (Rc::clone(self), Rc::clone(member), Arc::clone(roster));
        tokio::task::spawn_local(async move {
            let Some(channel) = ruled_by(&roster) else { return };
            let (app, identity) = (shard.hub.app(member.app), Arc::clone(&member.identity.borrow()));
            let Ok(inboxes) = shard.hub.inboxes_of(&app) else { return };
            if shard.permit(&app, &identity, Action::Subscribe, channel).await.is_err() || !shard.is_member(&member) {
                return;
            }
            shard.join(&member, shard.key(app.id, &roster));
            let of = app.owner(&identity.user);
            if !shard.rosters_of(&app, inboxes, &of, &member).await.iter().any(|on| **on == *channel) {
                shard.leave(&member, shard.key(app.id, &roster));
                return;
            }
            shard.look_again_for(app.id, member).await;
        });
    }

    /// Members, whose rights or the rules have become others, hear what that lets them hear: what is said from now on, and what
    /// waits for them. (Channels that they may not hear any more they have left.)
    pub(crate) async fn hear_more(self: &Rc<Self>, app: AppId, mut members: Vec<Rc<Member>>) {
        members.retain(|member| member.inbox.is_some());
        members.iter().filter_map(|member| member.inbox.as_ref()).for_each(|inbox| inbox.turn());
        let look = async |member: Rc<Member>| {
            let (app, user) = (self.hub.app(app), Arc::clone(&member.identity.borrow().user));
            let Ok(inboxes) = self.hub.inboxes_of(&app) else { return };
            if app.policy.has_rosters() {
                self.join_rosters(&app, inboxes, &app.owner(&user), &member).await;
                self.hub.reach().await;
            }
            self.look_again_for(app.id, member).await;
        };
        futures_util::stream::iter(members).for_each_concurrent(LOOKING_AT_ONCE, look).await;
    }

    /// Of these channels each with why a member may not hear it, if it may not.
    async fn refusals(
        &self,
        app: &App,
        identity: &Identity,
        channels: Vec<Arc<str>>,
    ) -> Vec<(Arc<str>, Option<String>)> {
        let ask = async |channel: Arc<str>| {
            let refusal = self.permit(app, identity, Action::Subscribe, &channel).await.err();
            (channel, refusal.map(|denial| denial.reason))
        };
        futures_util::stream::iter(channels).map(ask).buffered(ASKED_AT_ONCE).collect().await
    }

    /// Joins a member to those who hear what is durable in channels on whose rosters its user is, as far as it may.
    async fn join_rosters(&self, app: &App, inboxes: &Inboxes, of: &Owner, member: &Member) {
        let channels = self.rosters_of(app, inboxes, of, member).await;
        let identity = Arc::clone(&member.identity.borrow());
        let refusals = self.refusals(app, &identity, channels).await;
        let allowed = refusals.into_iter().filter(|(_, refusal)| refusal.is_none()).map(|(channel, _)| channel);
        self.enter_rosters(app, inboxes, of, (member, &identity), allowed).await;
    }

    /// The same for channels on whose rosters its user was, and which that identity may hear; whether any was new to it.
    async fn enter_rosters(
        &self,
        app: &App,
        inboxes: &Inboxes,
        of: &Owner,
        (member, identity): (&Member, &Arc<Identity>),
        channels: impl Iterator<Item = Arc<str>>,
    ) -> bool {
        // Its rights may have become others while the backend was asked.
        let is_same = Arc::ptr_eq(identity, &member.identity.borrow());
        let mut joined: Vec<_> = channels.filter(|_| is_same).collect();
        joined.retain(|channel| self.join(member, self.key(app.id, &roster_of(channel))));
        if joined.is_empty() {
            return false;
        }
        // Who took it off one while it was not there yet did not find it.
        let rosters = self.rosters_of(app, inboxes, of, member).await;
        for lost in joined.iter().filter(|channel| !rosters.contains(channel)) {
            self.leave(member, self.key(app.id, &roster_of(lost)));
        }
        true
    }

    /// What a member may hear now of what its user has.
    pub(crate) async fn hearing(&self, app: &App, member: &Member) -> Result<Hearing, CommandError> {
        let identity = Arc::clone(&member.identity.borrow());
        let mut channels = Vec::new();
        if app.policy.has_rosters() {
            let inboxes = self.hub.inboxes_of(app)?;
            channels = inboxes.store().channels(&app.owner(&identity.user)).await?;
        }
        let refusals = self.refusals(app, &identity, channels).await;
        let deaf_to = refusals.into_iter().filter_map(|(channel, refusal)| refusal.map(|_| channel));
        Ok(Hearing::new(Arc::clone(&identity.rights), deaf_to))
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

    /// What is durable may not have been heard by who is in these of the hub's own channels, or by all: it is in the store.
    /// Some at once look there, since this happens to many.
    pub(crate) fn look_again(self: &Rc<Self>, app: AppId, channels: Option<&[Arc<str>]>) {
        let concerns = |member: &Rc<Member>| {
            let names = member.channels.borrow().names();
            channels.is_none_or(|missed| names.iter().any(|name| missed.contains(name)))
        };
        let mut members = self.all_members();
        // From here on what they hear is found behind what they missed, also by those who look later.
        let concerns = |member: &Rc<Member>| member.app == app && concerns(member);
        members.retain(|member| member.inbox.as_ref().is_some_and(|inbox| concerns(member) && inbox.missed()));
        let shard = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let look = |member| shard.find_missed(app, member);
            futures_util::stream::iter(members).for_each_concurrent(LOOKING_AT_ONCE, look).await;
        });
    }

    async fn look_again_for(self: &Rc<Self>, app: AppId, member: Rc<Member>) {
        if member.inbox.as_ref().is_some_and(|inbox| inbox.missed()) {
            self.find_missed(app, member).await;
        }
    }

    /// Has a member find what it missed, before whatever comes meanwhile.
    async fn find_missed(self: &Rc<Self>, app: AppId, member: Rc<Member>) {
        let (hub, app) = (self.hub.clone(), self.hub.app(app));
        let Ok(inboxes) = hub.inboxes_of(&app) else { return };
        if self.is_member(&member) {
            let user = Arc::clone(&member.identity.borrow().user);
            self.catch_up_on(inboxes, &app.owner(&user), &member).await;
            hub.unread_asked(&app, user);
        }
    }

    async fn catch_up_on(self: &Rc<Self>, inboxes: &Inboxes, of: &Owner, member: &Rc<Member>) {
        let Some(inbox) = &member.inbox else { return };
        let (mut after, mut turn) = (None, inbox.turned());
        while self.is_member(member) {
            // Its rights, and the rules, may become others while it reads: then it may hear what was passed over.
            let app = self.hub.app(member.app);
            if inbox.turned() != turn {
                (after, turn) = (None, inbox.turned());
            }
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
        let rights = self.rights_in(app, inboxes, &of, member, items).await;
        let mut known = if items.is_empty() { HashSet::new() } else { inbox.known() };
        for item in items {
            if known.contains(&item.message.id) {
                continue;
            }
            let refusal = match item.via.channel().and_then(|channel| rights.get(channel)) {
                None | Some(None) => exclusion(app, member, item),
                Some(refusal) => refusal.clone(),
            };
            if inbox.turned() != turn {
                return Err(Broken::Stale);
            }
            match refusal {
                None => {
                    self.send_again(app, inboxes, member, item, turn).await?;
                    // What lies in several places is one message.
                    known.insert(Arc::clone(&item.message.id));
                }
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

    /// Of the channels through which these came each with why a member may not hear it, if it may not. What it may hear it hears
    /// from now on, too: the backend may not have answered when it connected.
    async fn rights_in(
        &self,
        app: &App,
        inboxes: &Inboxes,
        of: &Owner,
        member: &Member,
        items: &[Item],
    ) -> HashMap<Arc<str>, Option<String>> {
        let channels: HashSet<_> = items.iter().filter_map(|item| item.via.channel().cloned()).collect();
        let identity = Arc::clone(&member.identity.borrow());
        let refusals = self.refusals(app, &identity, channels.into_iter().collect()).await;
        let allowed = refusals.iter().filter(|(_, refusal)| refusal.is_none()).map(|(channel, _)| channel);
        if self.enter_rosters(app, inboxes, of, (member, &identity), allowed.cloned()).await
            && let Some(inbox) = &member.inbox
        {
            self.hub.reach().await;
            // What was said there since the page was read.
            inbox.missed();
        }
        refusals.into_iter().collect()
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
        let ack = self.take_ack_id();
        let variant = Variant::of_member(&session, member);
        let parcel = variant.publication(&member.namespace, Some(ack), &publication, None);
        // Half of the room is for what others say meanwhile.
        let crowded = session.outbox.borrow().owes_more_with(&parcel, session.front.outbox_bytes / 2);
        if crowded && !(self.drained(member).await && self.is_member(member)) {
            return Err(Broken::Gone);
        }
        if inbox.turned() != turn {
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
    pub(crate) fn acknowledge(&self, member: &Rc<Member>, ack: u64, args: &Args) -> bool {
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

    fn mark_later(&self, member: &Rc<Member>, ids: Vec<Arc<str>>, to: State) {
        if let Some(inbox) = &member.inbox {
            inbox.marks(&ids);
        }
        let (hub, app) = (self.hub.clone(), member.app);
        let user = Arc::clone(&member.identity.borrow().user);
        let by = member.session.upgrade().map(|session| member.wire_address(&session));
        let member = Rc::clone(member);
        tokio::task::spawn_local(async move {
            for ids in ids.chunks(MARKED_AT_ONCE) {
                // It has heard them.
                let marking =
                    Marking { user: Arc::clone(&user), which: Which::Ids(ids.to_vec()), to, by, hearing: None };
                if let Err(error) = hub.execute(app, Command::Mark(marking)).await {
                    event::acknowledgement_lost(&hub.app(app), &member, &error);
                }
            }
            marked(&member, &ids);
        });
    }

    /// A client has said something about these messages, which the store is told next; then [`marked`].
    pub(crate) fn settled_with(&self, member: &Member, ids: &[Arc<str>]) {
        if let Some(inbox) = &member.inbox {
            inbox.settle(ids);
            inbox.marks(ids);
        }
    }

    /// A member goes: of what it has not acknowledged, the store learns that it was sent.
    pub(crate) fn close_inbox(&self, app: &App, member: &Member) {
        let Some(inbox) = &member.inbox else { return };
        let of = app.owner(&member.identity.borrow().user);
        for (id, at) in inbox.end(NOTED_MAX) {
            self.note(&of, &id, Step::Sent, at);
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

/// Why a message is not for a member where it lies, though the member may hear what lies there; none: it is.
fn exclusion(app: &App, member: &Member, item: &Item) -> Option<String> {
    let wanted = Wanted::MayHear(item.message.audience.of(&item.via)?.to_string());
    let admits = app.policy.admits(&wanted, &member.identity.borrow().rights);
    (!admits).then(|| "not in the channel's audience".to_owned())
}

/// The store has been told what a client said about these messages.
pub(crate) fn marked(member: &Member, ids: &[Arc<str>]) {
    if let Some(inbox) = &member.inbox {
        inbox.marked(ids);
    }
}
