//! What other threads ask of this shard's members, besides deliveries.

use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::address::AppId;
use oyez_hub::channel::{is_roster, ruled_by};
use oyez_hub::command::{Control, Goodbye, Hearer, Select, SocketInfo};
use oyez_hub::policy::Verdict;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::code::Code;
use oyez_protocol::socketio::packet::Packet;

use crate::session::codec::Variant;
use crate::session::{Dialog, Link, Member, Parser, Reason};
use crate::shard::Shard;

const KICKED: Reason = Reason { code: Code::Kicked, word: "server namespace disconnect" };

/// Told like a command, so that stock clients do not come back by themselves: two of them would take turns for ever.
const REPLACED: Reason = Reason { code: Code::Replaced, word: "server namespace disconnect" };

impl Shard {
    /// Does what another thread asks.
    pub(crate) fn control(self: &Rc<Self>, control: &Control) {
        match control {
            Control::Join(app, select, channels) => self.each(*app, select, |member| {
                for name in channels {
                    match self.ruling_on(member, name) {
                        None | Some(Verdict::Allow(_)) => drop(self.join(member, self.key(member.app, name))),
                        Some(Verdict::Deny { .. }) => {}
                        Some(Verdict::Ask(_)) => self.enter_roster_when_allowed(member, name),
                    }
                }
            }),
            Control::Leave(app, select, channels) => self.each(*app, select, |member| {
                for name in channels {
                    self.leave(member, self.key(member.app, name));
                }
            }),
            Control::Disconnect(app, select, how) => self.each(*app, select, |member| self.dismiss(member, *how)),
            Control::Describe(app, select, reply) => {
                let mut found = Vec::new();
                self.each(*app, select, |member| found.extend(describe(member)));
                let _ = reply.send(found);
            }
            Control::Hearers(app, select, reply) => {
                let mut found = Vec::new();
                self.each(*app, select, |member| found.push(hearer(member)));
                let _ = reply.send(found);
            }
            Control::Devices(app, user, id, reply) => {
                let (mut connected, mut handed) = (0, 0);
                self.each(*app, &Select::User(Arc::clone(user)), |member| {
                    let Some(inbox) = &member.inbox else { return };
                    connected += 1;
                    handed += usize::from(inbox.has(id));
                });
                let _ = reply.send((connected, handed));
            }
            Control::Recheck(app) => self.recheck(*app),
            Control::Replace(address) => {
                if let Some(member) = self.member(*address) {
                    self.metrics.limited(Limit::UserConnections);
                    let alone = member.session.upgrade().is_none_or(|session| session.members.borrow().len() == 1);
                    let how = if alone { Goodbye::Transport } else { Goodbye::Namespace };
                    self.dismiss_for(&member, how, REPLACED);
                }
            }
            Control::Reform(old) => self.reform(old, self.all_members()),
            Control::Reached(app, position) => self.reached(*app, *position),
            Control::Missed(app, channels, position) => self.tell_missed(*app, channels.as_deref(), *position),
            Control::LookAgain(app, channels) => self.look_again(*app, channels.as_deref()),
            Control::Return { ticket, missed, until } => self.on_return(*ticket, missed, *until),
            // That it is dropped is the answer.
            Control::Surrender(address, user, _done) => self.give_up(*address, user),
            Control::Release(address) => {
                if let Some(session) = self.session(*address)
                    && let Link::Polling(polling) = &*session.link.borrow()
                {
                    polling.wake();
                }
            }
            Control::Answer(address, id, args) => {
                if let Some(member) = self.member(*address)
                    && let Some(session) = member.session.upgrade()
                {
                    self.queue_dirty(&session, Variant::of(&session).ack(&member.namespace, *id, args));
                }
            }
        }
    }

    /// What the rules say of putting a member into a channel; `None`: a backend's word is enough. It is for any channel, but
    /// what is said to a roster is heard by those only whom the rules allow it, or the app's backend where they ask that.
    fn ruling_on(&self, member: &Member, name: &str) -> Option<Verdict> {
        let channel = ruled_by(name).filter(|channel| *channel != name)?;
        Some(self.hub.app(member.app).policy.subscribe(&member.identity.borrow(), channel))
    }

    /// Ends one membership by command, or with the connection all of its memberships: each is told in its namespace.
    pub(crate) fn dismiss(&self, member: &Rc<Member>, how: Goodbye) {
        self.dismiss_for(member, how, KICKED);
    }

    fn dismiss_for(&self, member: &Rc<Member>, how: Goodbye, reason: Reason) {
        let Some(session) = member.session.upgrade() else { return };
        if session.dialog == Dialog::Native || session.parser.get() == Parser::Bare {
            // There is no namespace to leave: the connection is the membership.
            return self.close(&session, reason);
        }
        let members = match how {
            Goodbye::Namespace => vec![Rc::clone(member)],
            Goodbye::Transport => session.members.borrow().to_vec(),
        };
        for member in &members {
            let packet = Packet::Disconnect { nsp: member.namespace.to_string() };
            self.queue(&session, Variant::of(&session).packet(&packet));
            self.expel(&session, member, reason.word);
        }
        match how {
            Goodbye::Namespace => self.flush(&session),
            Goodbye::Transport => self.close(&session, reason),
        }
    }

    fn each(&self, app: AppId, select: &Select, mut act: impl FnMut(&Rc<Member>)) {
        let found: Vec<Rc<Member>> = match select {
            Select::Socket(address) => self.member_known_as(app, *address).into_iter().collect(),
            Select::Everyone => self.all_members(),
            Select::User(user) => {
                self.all_members().into_iter().filter(|member| member.identity.borrow().user == *user).collect()
            }
            Select::Channels { to, except } => {
                // A session's id, beside channels, is that session.
                let named = |name: &str| name.parse().ok().and_then(|address| self.member_known_as(app, address));
                let within = |names: &[Arc<str>], member: &Rc<Member>| {
                    let channels = member.channels.borrow();
                    let is = |other: Rc<Member>| Rc::ptr_eq(&other, member);
                    names.iter().any(|name| channels.contains(self.key(app, name)) || named(name).is_some_and(is))
                };
                let rooms = to.iter().flat_map(|name| self.room(app, name));
                let sessions = to.iter().filter_map(|name| Some(named(name)?.address.slot));
                let mut slots: Vec<u32> = rooms.chain(sessions).collect();
                slots.sort_unstable();
                slots.dedup();
                let members = slots.into_iter().filter_map(|slot| self.member_at(slot));
                members.filter(|member| !within(except, member)).collect()
            }
        };
        for member in found.iter().filter(|member| member.app == app) {
            act(member);
        }
    }
}

fn hearer(member: &Rc<Member>) -> Hearer {
    let names = member.channels.borrow().names();
    let rosters = names.iter().filter(|name| is_roster(name)).filter_map(|name| ruled_by(name)).map(Arc::from);
    Hearer { rosters: rosters.collect(), rights: Arc::clone(&member.identity.borrow().rights) }
}

fn describe(member: &Rc<Member>) -> Option<SocketInfo> {
    let session = member.session.upgrade()?;
    let identity = member.identity.borrow();
    let channels = member.channels.borrow();
    let channels = channels.names().into_iter().filter(|name| !oyez_hub::channel::is_own(name)).collect();
    Some(SocketInfo {
        id: member.wire_id(&session),
        user: Arc::clone(&identity.user),
        name: identity.name.clone(),
        roles: identity.rights.roles.clone(),
        transport: session.transport(),
        address: session.request.peer.map(|peer| peer.to_string()),
        connected_at: member.connected_at,
        channels,
    })
}
