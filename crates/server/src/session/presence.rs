//! A member comes online and goes offline: counted, limited, and told as the app's rules say.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::app::App;
use oyez_hub::command::Command;
use oyez_hub::dialect::Moment;
use oyez_hub::policy::Identity;
use oyez_protocol::message::Args;
use serde_json::value::RawValue;

use crate::clock;
use crate::session::rules::{Facts, composed};
use crate::session::{Member, Session};
use crate::shard::Shard;

/// What a client hears whose user has too many connections already.
const TOO_MANY: &str = "Too many connections of this user";

/// What a client hears whose address has too many connections already, or makes them too fast.
const TOO_MANY_HERE: &str = "Too many connections from this address";

impl Shard {
    /// Counts a connection of a user, unless that would be one too many.
    pub(crate) fn enter(
        &self,
        app: &App,
        identity: &Arc<Identity>,
        peer: Option<IpAddr>,
    ) -> Result<usize, &'static str> {
        let limits = &app.limits;
        let here =
            |peer| app.addresses.enter(peer, limits.connections_per_address, limits.connects, clock::steady_nanos());
        if !peer.is_none_or(here) {
            return Err(TOO_MANY_HERE);
        }
        let count = self.hub.presence().connect(app.id, &identity.user, identity.name.as_ref());
        if app.limits.connections_per_user.is_some_and(|most| count > most) {
            self.withdraw(app, identity, peer);
            return Err(TOO_MANY);
        }
        Ok(count)
    }

    /// Undoes [`Shard::enter`] and returns how many connections the user has left.
    pub(crate) fn withdraw(&self, app: &App, identity: &Identity, peer: Option<IpAddr>) -> usize {
        if let Some(peer) = peer {
            app.addresses.leave(peer);
        }
        self.hub.presence().disconnect(app.id, &identity.user)
    }

    /// Tells what the app tells of a connection, and of a user's first one.
    pub(crate) fn tell_online(&self, session: &Session, member: &Rc<Member>, count: usize) {
        self.tell(session, member, Moment::Connected);
        if count == 1 {
            self.tell(session, member, Moment::Online);
        }
    }

    /// A member has gone.
    pub(crate) fn went_offline(&self, session: &Session, member: &Rc<Member>) {
        let identity = Arc::clone(&member.identity.borrow());
        let left = self.withdraw(&self.hub.app(member.app), &identity, session.request.peer);
        self.tell(session, member, Moment::Disconnected);
        if left == 0 {
            self.tell(session, member, Moment::Offline);
        }
    }

    fn tell(&self, session: &Session, member: &Rc<Member>, moment: Moment) {
        let app = self.hub.app(member.app);
        let Some(dialect) = app.dialect.as_ref().filter(|dialect| !dialect.presence.is_empty()) else { return };
        let facts = Facts::of(session, member);
        for publication in dialect.on_presence(&facts.cx("", RawValue::NULL), moment) {
            let publish = composed(&publication, &Args::none(), member.wire_address(session));
            let (hub, app) = (self.hub.clone(), member.app);
            // Tasks of a shard start in the order in which they were made, and permits are given in order of
            // asking: a user who leaves and comes back is not told the other way round.
            tokio::task::spawn_local(async move {
                let _ = hub.execute(app, Command::Publish(publish)).await;
            });
        }
    }
}
