//! A member comes online and goes offline: counted, limited, and told as the app's rules say.

use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::app::App;
use oyez_hub::command::Command;
use oyez_hub::dialect::Moment;
use oyez_hub::policy::Identity;
use oyez_protocol::message::Args;
use serde_json::value::RawValue;

use crate::session::rules::{Facts, composed};
use crate::session::{Member, Session};
use crate::shard::Shard;

/// What a client hears that has too many connections already.
pub(crate) const TOO_MANY: &str = "Too many connections of this user";

impl Shard {
    /// Counts a connection of a user, unless that would be one too many.
    pub(crate) fn enter(&self, app: &App, identity: &Arc<Identity>) -> Result<usize, &'static str> {
        let count = self.hub.presence().connect(app.id, &identity.user, identity.name.as_ref());
        if app.limits.connections_per_user.is_some_and(|most| count > most) {
            self.hub.presence().disconnect(app.id, &identity.user);
            return Err(TOO_MANY);
        }
        Ok(count)
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
        let user = Arc::clone(&member.identity.borrow().user);
        let left = self.hub.presence().disconnect(member.app, &user);
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
            let publish = composed(&publication, &Args::none(), &member.wire_id(session));
            let (hub, app) = (self.hub.clone(), member.app);
            // Tasks of a shard start in the order in which they were made, and permits are given in order of
            // asking: a user who leaves and comes back is not told the other way round.
            tokio::task::spawn_local(async move {
                let _ = hub.execute(app, Command::Publish(publish)).await;
            });
        }
    }
}
