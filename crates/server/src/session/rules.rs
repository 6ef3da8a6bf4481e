//! What an app's rules make of a client's words: a plan is carried out step by step, each under the policy, and
//! answered in the app's own words.

use std::cell::OnceCell;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use oyez_hub::address::Address;
use oyez_hub::app::App;
use oyez_hub::channel::EVERYONE;
use oyez_hub::command::{self as hub, Command, CommandError, Control, Marking, Publish};
use oyez_hub::dialect::{Cx, Denial, Dialect, Message, Outcome, Plan, Publication, Replies, SessionInfo, Step};
use oyez_hub::policy::grants::Action;
use oyez_hub::policy::limits::Limit;
use oyez_hub::policy::{Identity, Verdict};
use oyez_hub::promise::Roster;
use oyez_hub::recovery::Lost;
use oyez_hub::store::{Marked, State, Which};
use oyez_protocol::json;
use oyez_protocol::message::Args;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::clock;
use crate::observe::event;
use crate::session::codec::{Variant, placed};
use crate::session::{Dialog, Member, Session, inbox};
use crate::shard::Shard;
use crate::shard::outbox::{Parcel, Standing};

/// The facts in which rules are evaluated, owned, so that they outlive an await. Most are not asked for, so they become
/// text only when they are.
pub(crate) struct Facts {
    pub(super) identity: Arc<Identity>,
    pub(super) session: Address,
    peer: Peer,
    transport: &'static str,
    pub(super) id: Fresh,
    now: u64,
}

/// An id that nobody has yet, made when it is first asked for.
#[derive(Default)]
pub(super) struct Fresh(OnceCell<Uuid>);

impl fmt::Display for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.get_or_init(Uuid::now_v7).fmt(f)
    }
}

/// Where a client comes from; nothing where that is unknown.
struct Peer(Option<IpAddr>);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |address| address.fmt(f))
    }
}

impl Facts {
    /// Who speaks, on which session, and when.
    pub(crate) fn of(session: &Session, member: &Member) -> Self {
        let facts = Self::of_guest(session, &member.identity.borrow());
        Self { session: member.wire_address(session), ..facts }
    }

    /// The same of a client that is not a member yet, and has no name of its own.
    pub(crate) fn of_guest(session: &Session, identity: &Arc<Identity>) -> Self {
        Self {
            identity: Arc::clone(identity),
            session: session.address,
            peer: Peer(session.request.peer),
            transport: session.transport(),
            id: Fresh::default(),
            now: clock::unix_millis(),
        }
    }

    /// As rules see them.
    pub(crate) fn cx<'a>(&'a self, event: &'a str, data: &'a RawValue) -> Cx<'a> {
        let session = SessionInfo { id: &self.session, address: &self.peer, transport: self.transport };
        Cx { identity: &self.identity, session, event, data, now: self.now, id: &self.id }
    }
}

/// A client's event: what it is called, what it brings, and whether it waits for an answer.
pub(crate) struct Said<'a> {
    /// The event's name.
    pub event: &'a str,
    /// Its first argument, or the whole raw frame.
    pub data: &'a RawValue,
    /// All of them, with attachments.
    pub args: &'a Args,
    /// The client waits for an answer.
    pub ack: Option<u64>,
}

impl Shard {
    /// Does what the app's rules make of an event.
    pub(crate) async fn obey(self: &Rc<Self>, session: &Rc<Session>, member: &Rc<Member>, said: Said<'_>) {
        let app = self.hub.app(member.app);
        let Some(dialect) = &app.dialect else { return };
        if !self.is_within_limits(session, member, &said) {
            return;
        }
        let facts = Facts::of(session, member);
        let cx = facts.cx(said.event, said.data);
        let Some(mut plan) = dialect.on_event(&cx) else {
            self.metrics.unknown(member.app);
            return;
        };
        let mut answer = None;
        let outcome = self.carry_out(session, member, &mut plan, &facts, &said, &mut answer).await;
        for denial in plan.denied.iter().chain(&outcome.denied) {
            self.note_denied(&app, member, said.event, denial);
        }
        let mut replies = dialect.replies(&plan, &cx, &outcome);
        replies.ack = answer.or(replies.ack);
        self.reply(session, member, dialect, replies, said.ack);
    }

    /// Whether a client may say so much; if not, it is told, by an embedded app in the words that an app has unless it
    /// chooses others.
    pub(crate) fn is_within_limits(&self, session: &Rc<Session>, member: &Rc<Member>, said: &Said<'_>) -> bool {
        static PLAIN: LazyLock<Dialect> = LazyLock::new(Dialect::default);
        let app = self.hub.app(member.app);
        let Some(limit) = over(&app, member, said) else { return true };
        let (denial, facts) = (Denial::over(limit, None), Facts::of(session, member));
        self.note_denied(&app, member, said.event, &denial);
        let dialect = app.dialect.as_deref().unwrap_or(&PLAIN);
        self.say(session, member, dialect, &dialect.refusal(&denial, &facts.cx(said.event, said.data)));
        false
    }

    fn note_denied(&self, app: &App, member: &Member, asked: &str, denial: &Denial) {
        self.metrics.denied(app.id, denial.code);
        if let Some(limit) = denial.limit {
            self.metrics.limited(limit);
        }
        event::denied(app, member, asked, denial);
    }

    /// Joins the channels of a client's own, and greets it. `lost`: what it has missed. It hears that when it is in its own: what it loads then is not older than what it hears from then on.
    pub(crate) async fn settle_in(self: &Rc<Self>, session: &Rc<Session>, member: &Rc<Member>, lost: Option<Lost>) {
        let app = self.hub.app(member.app);
        let tell_gap = async || {
            if let Some(lost) = lost {
                Box::pin(self.begin_anew(&app, member, lost)).await;
            }
        };
        if let Some(dialect) = &app.dialect {
            let facts = Facts::of(session, member);
            let mut plan = dialect.on_connect(&facts.cx("", RawValue::NULL));
            let outcome = self.join_own(session, member, &mut plan, &facts).await;
            tell_gap().await;
            let replies = dialect.replies(&plan, &facts.cx("", RawValue::NULL), &outcome);
            self.reply(session, member, dialect, replies, None);
        } else {
            tell_gap().await;
        }
        member.greeted.set(true);
        member.trail.iter().for_each(|trail| trail.settle());
    }

    /// The channels that the app's rules give a client unasked; one that it may not hear is passed over in silence.
    pub(crate) async fn join_own(
        self: &Rc<Self>,
        session: &Rc<Session>,
        member: &Rc<Member>,
        plan: &mut Plan,
        facts: &Facts,
    ) -> Outcome {
        let said = Said { event: "", data: RawValue::NULL, args: &Args::none(), ack: None };
        let outcome = self.carry_out(session, member, plan, facts, &said, &mut None).await;
        Outcome { denied: Vec::new(), ..outcome }
    }

    /// Takes the steps out of a plan and does them. (What is long and rare is boxed, so that the rest stays small.)
    async fn carry_out(
        self: &Rc<Self>,
        session: &Rc<Session>,
        member: &Rc<Member>,
        plan: &mut Plan,
        facts: &Facts,
        said: &Said<'_>,
        answer: &mut Option<Args>,
    ) -> Outcome {
        let app = self.hub.app(member.app);
        let mut outcome = Outcome::default();
        for step in std::mem::take(&mut plan.steps) {
            let result = match step {
                Step::Join(channel) => self.subscribe(&app, member, facts, channel, None, &mut outcome).await,
                Step::JoinSince(channel, since) => {
                    Box::pin(self.subscribe(&app, member, facts, channel, Some(&since), &mut outcome)).await
                }
                Step::Leave(channel) => {
                    let name: Arc<str> = channel.as_str().into();
                    if self.leave(member, self.key(member.app, &name)) {
                        event::unsubscribed(&app, member, &channel);
                    }
                    outcome.left.push(channel);
                    Ok(())
                }
                Step::Publish(publication) => {
                    let published = Box::pin(self.relay(&app, member, facts, &publication, said.args)).await;
                    published.map(|()| outcome.published += 1)
                }
                Step::Status(status) => {
                    self.hub.presence().set_status(member.app, &facts.identity.user, &status);
                    Ok(())
                }
                Step::Heartbeat => {
                    self.postpone_idle(&app, member);
                    Ok(())
                }
                Step::Refresh(token) => {
                    let words = Box::pin(self.refresh(&app, session, member, &token)).await;
                    words.map(|words| *answer = Some(words))
                }
                Step::Mark(which, to) => {
                    let marked = Box::pin(self.mark_messages(member, facts, which, to)).await;
                    marked.map(|marked| {
                        if !plan.is_ruled() {
                            *answer = Some(acknowledged(&marked));
                        }
                        outcome.marked = Some(marked);
                    })
                }
                // What was refused is not forwarded.
                Step::Forward(_) if !plan.denied.is_empty() || !outcome.denied.is_empty() => Ok(()),
                Step::Forward(endpoint) => {
                    let words = Box::pin(self.forward(session, member, facts, &endpoint, said)).await;
                    words.map(|words| *answer = Some(words))
                }
            };
            outcome.denied.extend(result.err());
        }
        if !outcome.joined.is_empty() {
            self.reach(&app).await;
        }
        // Afterwards, so that nobody who hears what is live waits for the store.
        if app.policy.has_rosters() {
            Box::pin(self.keep_rosters(&app, facts, &mut outcome)).await;
        }
        outcome
    }

    /// Waits until what other nodes say in the channels that were joined reaches this one. What is said next has a position
    /// from which on all is heard: so far this shard has come, too.
    async fn reach(&self, app: &App) {
        self.hub.reach().await;
        let Some(recovery) = app.recovery.as_ref().filter(|_| self.hub.cluster().is_some()) else { return };
        let last = recovery.log.last();
        if self.mark(app.id).is_some_and(|mark| mark.position < last) {
            self.hub.control(self.id, Control::Reached(app.id, last));
            self.hub.settled_on(app.id, self.id).await;
        }
    }

    async fn subscribe(
        self: &Rc<Self>,
        app: &App,
        member: &Rc<Member>,
        facts: &Facts,
        channel: String,
        since: Option<&str>,
        outcome: &mut Outcome,
    ) -> Result<(), Denial> {
        let name: Arc<str> = channel.as_str().into();
        let key = self.key(member.app, &name);
        if member.channels.borrow().contains(key) {
            if let Some(session) = since.and_then(|_| member.session.upgrade()) {
                // What was said before it was put there, by the app's rules or a backend, it was not told.
                self.tell_gap(&session, member, app, std::slice::from_ref(&name));
            }
            outcome.joined.push(channel);
            return Ok(());
        }
        self.permit(app, &facts.identity, Action::Subscribe, &channel).await?;
        // While the backend was asked, the rules may have become others.
        let current = self.hub.app(app.id);
        if !std::ptr::eq(&*current, app) {
            self.permit(&current, &facts.identity, Action::Subscribe, &channel).await?;
        }
        if app.limits.channels_per_session.is_some_and(|most| member.channels.borrow().len() >= most) {
            return Err(Denial::over(Limit::Channels, Some(channel)));
        }
        let new = match since {
            Some(since) => Box::pin(self.join_since(&current, member, &name, since)).await,
            None => self.join(member, key),
        };
        if new {
            self.metrics.subscribed(member.app);
            event::subscribed(app, member, &channel);
        }
        outcome.joined.push(channel);
        Ok(())
    }

    /// Puts a user on the rosters of the channels that it has subscribed to, and takes it off those of the others, where
    /// subscribing decides about that.
    async fn keep_rosters(&self, app: &App, facts: &Facts, outcome: &mut Outcome) {
        let user = &facts.identity.user;
        if user.is_empty() {
            return;
        }
        let rostered = |channel: &&String| app.policy.roster(channel) == Some(Roster::Subscribe);
        let users = || vec![Arc::clone(user)];
        let enroll = |channel: &String| (channel.clone(), Command::Enroll(channel.clone(), users()));
        let dismiss = |channel: &String| (channel.clone(), Command::Dismiss(channel.clone(), users()));
        let commands: Vec<_> = outcome.left.iter().filter(rostered).map(dismiss).collect();
        let commands = commands.into_iter().chain(outcome.joined.iter().filter(rostered).map(enroll));
        let commands: Vec<_> = commands.collect();
        for (channel, command) in commands {
            if let Err(error) = self.hub.execute(app.id, command).await {
                let reason = error.for_client();
                outcome.denied.push(Denial { channel: Some(channel), reason, code: 503, limit: None, error: None });
            }
        }
    }

    /// Whether an identity may do that, asking the app's backend where the rule says so.
    pub(crate) async fn permit(
        &self,
        app: &App,
        identity: &Identity,
        action: Action<'_>,
        channel: &str,
    ) -> Result<(), Denial> {
        let reason = match app.policy.decide(action, identity, channel) {
            Verdict::Allow(_) => return Ok(()),
            Verdict::Deny { limit: Some(limit), .. } => return Err(Denial::over(limit, Some(channel.to_owned()))),
            Verdict::Deny { reason, .. } => reason,
            Verdict::Ask(question) => {
                let now = clock::steady_seconds();
                let allowed = match &app.backend {
                    Some(backend) => Box::pin(backend.allows(&question, now)).await,
                    None => question.ask.default,
                };
                if allowed {
                    return Ok(());
                }
                format!("not allowed to {} to {channel}", action.word())
            }
        };
        Err(Denial { channel: Some(channel.to_owned()), reason, code: 403, limit: None, error: None })
    }

    /// Publishes what a rule made of a client's words.
    async fn relay(
        &self,
        app: &App,
        member: &Rc<Member>,
        facts: &Facts,
        publication: &Publication,
        said: &Args,
    ) -> Result<(), Denial> {
        for channel in publication.to.iter().filter(|channel| *channel != EVERYONE) {
            let name: Arc<str> = channel.as_str().into();
            let member = member.channels.borrow().contains(self.key(member.app, &name));
            let action = Action::Publish { event: &publication.message.event, member };
            self.permit(app, &facts.identity, action, channel).await?;
        }
        let publish = composed(publication, said, facts.session);
        let refused = |error: CommandError| Denial {
            channel: None,
            reason: error.for_client(),
            code: 400,
            limit: None,
            error: None,
        };
        self.hub.execute(member.app, Command::Publish(publish)).await.map(|_| ()).map_err(refused)
    }

    /// Notes what a client says of its user's messages.
    async fn mark_messages(&self, member: &Member, facts: &Facts, which: Which, to: State) -> Result<Marked, Denial> {
        let named = if let Which::Ids(ids) = &which { ids.clone() } else { Vec::new() };
        self.settled_with(member, &named);
        let said = match self.hearing(&self.hub.app(member.app), member).await {
            Ok(hearing) => {
                let user = Arc::clone(&facts.identity.user);
                let marking = Marking { user, which, to, by: Some(facts.session), hearing: Some(hearing) };
                self.hub.execute(member.app, Command::Mark(marking)).await
            }
            Err(error) => Err(error),
        };
        inbox::marked(member, &named);
        match said {
            Ok(hub::Outcome::Marked(marked)) => Ok(marked),
            Ok(_) => Ok(Marked::default()),
            Err(error) => {
                Err(Denial { channel: None, reason: error.for_client(), code: 503, limit: None, error: None })
            }
        }
    }

    /// Says a message to one client, in its own protocol.
    pub(crate) fn say(&self, session: &Rc<Session>, member: &Member, dialect: &Dialect, message: &Message) {
        let mark = self.mark_to_say(session, member);
        let parcel = match session.dialog {
            Dialog::Native => {
                let id = Uuid::now_v7().to_string();
                let mark = mark.filter(|_| member.positions && member.greeted.get());
                let parcel = Parcel::native(placed(&dialect.native(message, &id, clock::unix_millis()), mark), true);
                if mark.is_some() { parcel.with(Standing::Barrier) } else { parcel }
            }
            Dialog::Engine { .. } => {
                let variant = Variant::of_member(session, member);
                variant.said(&member.namespace, &message.event, &message.args, mark)
            }
        };
        self.metrics.sent(member.app, 1);
        self.queue(session, parcel);
    }

    fn reply(&self, session: &Rc<Session>, member: &Member, dialect: &Dialect, replies: Replies, ack: Option<u64>) {
        for message in &replies.messages {
            self.say(session, member, dialect, message);
        }
        if let (Some(id), Some(args)) = (ack, replies.ack) {
            self.queue(session, Variant::of(session).ack(&member.namespace, id, &args));
        }
    }
}

/// What a client hears who has said something of its user's messages.
fn acknowledged(marked: &Marked) -> Args {
    let mut ids: Vec<_> = marked.changed.iter().map(|change| &change.id).collect();
    ids.dedup();
    Args::one(&serde_json::json!({ "ok": marked.unknown.is_empty(), "changed": ids, "unknown": marked.unknown }))
}

/// The limit that an event exceeds, if it does.
fn over(app: &App, member: &Member, said: &Said<'_>) -> Option<Limit> {
    let limits = &app.limits;
    // A plain WebSocket's event has no arguments of its own: the frame is its data.
    let brought = if said.args.text().is_empty() { said.data.get() } else { said.args.text() };
    if limits.events.is_some_and(|rate| !rate.allows(&member.pace, clock::steady_nanos())) {
        Some(Limit::Events)
    } else if limits.app_events.is_some_and(|rate| !rate.allows_shared(&app.usage.events, clock::steady_nanos())) {
        Some(Limit::AppEvents)
    } else if limits.json_depth.is_some_and(|levels| !json::is_within(brought, levels)) {
        Some(Limit::JsonDepth)
    } else {
        None
    }
}

/// A rule's publication as a command: it is sent as the rule wrote it. Binaries that the client sent travel along
/// where the rule passed their placeholders on.
pub(crate) fn composed(publication: &Publication, said: &Args, sender: Address) -> Publish {
    let message = &publication.message;
    let text = message.args.text();
    let args = if said.attachments().is_empty() || !text.contains("\"_placeholder\"") {
        message.args.clone()
    } else {
        Args::from_validated(text.to_owned(), said.attachments().to_vec())
    };
    Publish { args, skip: publication.skip_self.then_some(sender), ..publication.command() }
}
