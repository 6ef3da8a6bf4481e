//! Word of a gap: what clients are told when something that was said to them is lost.

use std::rc::Rc;
use std::sync::Arc;

use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::channel::is_own;
use oyez_hub::dialect::Message;
use oyez_hub::recovery::{Lost, is_direct};
use oyez_protocol::message::Args;
use serde_json::json;
use tokio::sync::oneshot;

use crate::session::codec::Variant;
use crate::session::comeback::Comeback;
use crate::session::{Member, Session};
use crate::shard::Shard;

impl Shard {
    /// Tells a client that something is lost: in these channels, or, if there are none, maybe in any.
    pub(crate) fn tell_gap(&self, session: &Rc<Session>, member: &Member, app: &App, channels: &[Arc<str>]) {
        // What it was told by its name, or as everyone, may be about anything.
        let is_nameless = |channel: &Arc<str>| is_direct(channel) || is_own(channel);
        let channels = if channels.iter().any(is_nameless) { &[] } else { channels };
        let words = match channels {
            [] => json!({ "channels": channels, "all": true }),
            _ => json!({ "channels": channels }),
        };
        let message = Message { event: "gap".to_owned(), args: Args::one(&words), whole: false };
        match &app.dialect {
            Some(dialect) => self.say(session, member, dialect, &message),
            None => {
                let variant = Variant::of_member(session, member);
                let mark = self.mark_to_say(session, member);
                self.queue(session, variant.said(&member.namespace, &message.event, &message.args, mark));
            }
        }
    }

    /// Tells a member that it begins anew, and in which channels it has missed something. That has a place of its own, so that it is known
    /// whether the client has heard it when it comes back.
    pub(crate) async fn begin_anew(&self, app: &App, member: &Rc<Member>, lost: Lost) {
        let Some(recovery) = &app.recovery else { return };
        let (done, told) = oneshot::channel();
        self.pass_marker(&recovery.log, Comeback::Anew { member: Rc::clone(member), lost, done });
        // Nothing comes when the node goes down.
        let _ = told.await;
    }

    /// Something that was said elsewhere before that position in these channels, or in any, was not heard on this node: whoever
    /// is in one that remembers is told so, before anything that comes after it.
    pub(crate) fn tell_missed(&self, app: AppId, channels: Option<&[Arc<str>]>, position: u64) {
        self.reached(app, position);
        let app = self.hub.app(app);
        let is_missed =
            |name: &Arc<str>| channels.is_none_or(|missed| missed.contains(name)) && app.policy.history(name).is_some();
        for member in self.all_members().into_iter().filter(|member| member.app == app.id) {
            let mut names = member.channels.borrow().names();
            names.retain(is_missed);
            if let Some(session) = member.session.upgrade().filter(|_| !names.is_empty()) {
                self.tell_gap(&session, &member, &app, &names);
                self.flush(&session);
            }
        }
    }
}
