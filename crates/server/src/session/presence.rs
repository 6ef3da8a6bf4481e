//! A member comes online and goes offline: counted, limited, and told as the app's rules say.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::app::App;
use oyez_hub::command::Command;
use oyez_hub::dialect::Moment;
use oyez_hub::policy::Identity;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::message::Args;
use serde_json::value::RawValue;

use crate::clock;
use crate::observe::event;
use crate::session::rules::{Facts, composed};
use crate::session::{Member, Request, Session};
use crate::shard::Shard;

impl Shard {
    /// Notes that somebody wants to connect, before it is asked who: guessing tokens has a limit, too.
    pub(crate) fn knock(&self, app: &App, request: &Request) -> Result<(), Limit> {
        let (Some(peer), Some(rate)) = (request.peer, app.limits.connects) else { return Ok(()) };
        let may_try = app.usage.may_try(peer, rate, clock::steady_nanos());
        if may_try { Ok(()) } else { Err(self.turned_away(app, request, Limit::Connects)) }
    }

    /// Counts a connection of a user, unless that would be one too many.
    pub(crate) fn enter(&self, app: &App, identity: &Arc<Identity>, request: &Request) -> Result<usize, Limit> {
        let limits = &app.limits;
        let now = clock::steady_nanos();
        app.usage
            .enter(request.peer, limits.connections, limits.connections_per_address, now)
            .map_err(|limit| self.turned_away(app, request, limit))?;
        let count = self.hub.presence().connect(app.id, &identity.user, identity.name.as_ref());
        if self.hub.cluster().is_some() && app.tells(Moment::Offline) {
            self.hub.presence().note_rights(app.id, &identity.user, &identity.rights);
        }
        let known = !identity.user.is_empty();
        let everywhere = || count + self.hub.elsewhere(app.id, &identity.user);
        let full = known && limits.connections_per_user.is_some_and(|most| count > most || everywhere() > most);
        if full && limits.newest_of_user().is_none() {
            self.withdraw(app, identity, request.peer);
            return Err(self.turned_away(app, request, Limit::UserConnections));
        }
        Ok(count)
    }

    /// Counts and tells that a limit was in somebody's way.
    fn turned_away(&self, app: &App, request: &Request, limit: Limit) -> Limit {
        self.metrics.limited(limit);
        event::refused(app, request, limit.name());
        limit
    }

    /// Closes the oldest connections of a user who has more than the app lets a user keep.
    pub(crate) fn make_room(&self, app: &App, member: &Member) {
        let user = Arc::clone(&member.identity.borrow().user);
        if app.limits.newest_of_user().is_none() || user.is_empty() {
            return;
        }
        self.hub.presence().arrive(app.id, &user, member.address, member.connected_at);
        self.hub.make_room(app, &user);
    }

    /// Undoes [`Shard::enter`] and returns how many connections the user has left.
    pub(crate) fn withdraw(&self, app: &App, identity: &Identity, peer: Option<IpAddr>) -> usize {
        app.usage.leave(peer, clock::steady_nanos());
        self.hub.presence().disconnect(app.id, &identity.user)
    }

    /// Tells what the app tells of a connection, and of a user's first one.
    pub(crate) fn tell_online(&self, session: &Session, member: &Rc<Member>, count: usize) {
        self.tell(session, member, Moment::Connected);
        if count == 1 && !self.hub.is_about(member.app, &member.identity.borrow().user) {
            let app = self.hub.app(member.app);
            if app.tells(Moment::Offline) {
                self.hub.introduce(&app, &member.identity.borrow().user);
            }
            self.tell(session, member, Moment::Online);
        }
    }

    /// A member has gone.
    pub(crate) fn went_offline(&self, session: &Session, member: &Rc<Member>) {
        let identity = Arc::clone(&member.identity.borrow());
        let app = self.hub.app(member.app);
        if app.limits.newest_of_user().is_some() {
            self.hub.presence().depart(app.id, &identity.user, member.address);
        }
        let left = self.withdraw(&app, &identity, session.request.peer);
        self.tell(session, member, Moment::Disconnected);
        if left == 0 {
            self.tell(session, member, Moment::Offline);
        }
    }

    fn tell(&self, session: &Session, member: &Rc<Member>, moment: Moment) {
        let app = self.hub.app(member.app);
        let Some(dialect) = app.dialect.as_ref().filter(|dialect| !dialect.presence.is_empty()) else { return };
        let user = Arc::clone(&member.identity.borrow().user);
        let facts = Facts::of(session, member);
        for publication in dialect.on_presence(&facts.cx("", RawValue::NULL), moment) {
            let publish = composed(&publication, &Args::none(), member.wire_address(session));
            let (hub, app, user) = (self.hub.clone(), member.app, Arc::clone(&user));
            // Tasks of a shard start in the order in which they were made, and permits are given in order of
            // asking: a user who leaves and comes back is not told the other way round.
            tokio::task::spawn_local(async move {
                if moment == Moment::Offline && hub.is_elsewhere_soon(app, &user).await {
                    return;
                }
                let _ = hub.execute(app, Command::Publish(publish)).await;
            });
        }
    }
}
