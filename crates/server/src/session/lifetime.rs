//! How long a membership lasts: the token's end, a new token in its place, a revocation, silence.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::channel::{is_roster, ruled_by};
use oyez_hub::command::Goodbye;
use oyez_hub::dialect::{Denial, Message};
use oyez_hub::policy::grants::Action;
use oyez_hub::policy::{Identity, Verdict};
use oyez_hub::store::Target;
use oyez_protocol::code::Code;
use oyez_protocol::message::Args;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::clock;
use crate::observe::event;
use crate::session::member::Times;
use crate::session::rules::Facts;
use crate::session::{Member, Reason, Session};
use crate::shard::Shard;

/// How long before its token ends a client is warned.
const WARNING: Duration = Duration::from_secs(60);

impl Shard {
    /// Sets the deadlines of a membership from its identity.
    pub(crate) fn set_times(&self, member: &Member) {
        let app = self.hub.app(member.app);
        let now = Instant::now();
        let left = member.identity.borrow().expires_at.map(|at| Duration::from_millis(clock::millis_until(at)));
        // A far-away end would overflow the clock; it is as good as none.
        let expire_at = left.and_then(|left| now.checked_add(left));
        member.times.set(Times {
            idle_at: app.idle_timeout.map(|timeout| now + timeout),
            warn_at: expire_at.map(|at| at.checked_sub(WARNING).unwrap_or(now).max(now)),
            expire_at,
        });
    }

    /// The client has shown that it lives, in the app's terms.
    pub(crate) fn postpone_idle(&self, app: &App, member: &Member) {
        if let Some(timeout) = app.idle_timeout {
            member.times.set(Times { idle_at: Some(Instant::now() + timeout), ..member.times.get() });
        }
    }

    /// A packet arrived: a sign of life for all apps that do not insist on an event of their own.
    pub(crate) fn sign_of_life(&self, session: &Session) {
        for member in session.members.borrow().iter() {
            let app = self.hub.app(member.app);
            if app.idle_timeout.is_some() && app.dialect.as_ref().is_none_or(|dialect| dialect.heartbeat.is_none()) {
                self.postpone_idle(&app, member);
            }
        }
    }

    /// Does what is due for one membership.
    pub(crate) fn look_at_member(&self, session: &Rc<Session>, member: &Rc<Member>, now: Instant) {
        let mut times = member.times.get();
        if times.idle_at.is_some_and(|at| at <= now) {
            self.end(session, member, Reason { code: Code::PingTimeout, word: "ping timeout" });
        } else if times.expire_at.is_some_and(|at| at <= now) {
            self.end(session, member, Reason { code: Code::TokenExpired, word: "forced close" });
        } else if times.warn_at.is_some_and(|at| at <= now) {
            times.warn_at = None;
            member.times.set(times);
            let expires_at = member.identity.borrow().expires_at.unwrap_or_default();
            self.announce(session, member, "token:expiring", &json!({ "expiresAt": expires_at }));
        }
    }

    /// Ends a membership against the client's will: the connection too, unless other namespaces use it.
    fn end(&self, session: &Rc<Session>, member: &Rc<Member>, reason: Reason) {
        if session.members.borrow().len() > 1 {
            self.dismiss(member, Goodbye::Namespace);
        } else {
            self.close(session, reason);
        }
    }

    fn announce(&self, session: &Rc<Session>, member: &Rc<Member>, event: &str, data: &serde_json::Value) {
        if let Some(dialect) = &self.hub.app(member.app).dialect {
            let message = Message { event: event.to_owned(), args: Args::one(data), whole: false };
            self.say(session, member, dialect, &message);
        }
    }

    /// A new token in place of the old one: of the same user only. Rights count at once.
    pub(crate) async fn refresh(
        self: &Rc<Self>,
        app: &App,
        session: &Rc<Session>,
        member: &Rc<Member>,
        token: &str,
    ) -> Result<Args, Denial> {
        let refused = |reason: String, error| Denial { channel: None, reason, code: 401, limit: None, error };
        let Some(credentials) = &app.credentials else {
            return Err(refused("this app has no tokens".to_owned(), None));
        };
        let identity = credentials.identify(Some(token), clock::now()).await;
        let identity = identity.map_err(|refusal| refused(refusal.message, Some(refusal.code)))?;
        if identity.user != member.identity.borrow().user {
            return Err(refused("a refresh must be of the same user".to_owned(), None));
        }
        member.identity.replace(Arc::clone(&identity));
        if let Some(inbox) = &member.inbox {
            inbox.turn();
        }
        self.set_times(member);
        self.schedule(session);
        self.leave_lost(app, member, &identity).await;
        if member.inbox.is_some() {
            // With other rights something else is heard.
            self.hub.unread_asked(app, Arc::clone(&identity.user));
            let (shard, app, members) = (Rc::clone(self), app.id, vec![Rc::clone(member)]);
            tokio::task::spawn_local(async move { shard.hear_more(app, members).await });
        }
        if let Some(trail) = member.trail.as_ref().filter(|_| Arc::ptr_eq(&member.identity.borrow(), &identity)) {
            trail.decided_for(&identity);
        }
        if let Some(dialect) = &app.dialect {
            let facts = Facts::of(session, member);
            let mut plan = dialect.on_connect(&facts.cx("", RawValue::NULL));
            // Boxed, because carrying out a plan may lead here.
            Box::pin(self.join_own(session, member, &mut plan, &facts)).await;
        }
        let words = json!({ "expiresAt": identity.expires_at });
        self.announce(session, member, "auth:refreshed", &words);
        Ok(Args::one(&words))
    }

    /// Leaves the channels that the member may not hear any more: first those that the rules decide by themselves, so
    /// that a slow backend does not delay them, then those that the backend decides, all asked at once.
    async fn leave_lost(&self, app: &App, member: &Rc<Member>, identity: &Identity) {
        let channels = member.channels.borrow().names();
        let mut asked = Vec::new();
        for channel in &channels {
            let Some(ruling) = ruled_by(channel) else { continue };
            match app.policy.subscribe(identity, ruling) {
                Verdict::Allow(_) => {}
                Verdict::Deny { .. } => self.lose(app, member, channel),
                Verdict::Ask(_) => asked.push((channel, ruling)),
            }
        }
        let answers = asked.iter().map(|(_, ruling)| self.permit(app, identity, Action::Subscribe, ruling));
        for ((channel, _), answer) in asked.iter().zip(join_all(answers).await) {
            if answer.is_err() {
                self.lose(app, member, channel);
            }
        }
    }

    pub(crate) fn lose(&self, app: &App, member: &Member, channel: &Arc<str>) {
        if self.leave(member, self.key(member.app, channel)) {
            event::unsubscribed(app, member, channel);
            if is_roster(channel) {
                self.hub.unread_changed(app, &Target::User(Arc::clone(&member.identity.borrow().user)));
            }
        }
    }

    /// Ends the memberships whose credentials were revoked.
    pub(crate) fn recheck(&self, app: AppId) {
        for member in self.all_members().into_iter().filter(|member| member.app == app) {
            if let Some(session) = member.session.upgrade() {
                self.end_if_revoked(&session, &member);
            }
        }
    }

    /// Ends a membership whose credentials were revoked; returns whether they were.
    pub(crate) fn end_if_revoked(&self, session: &Rc<Session>, member: &Rc<Member>) -> bool {
        let app = self.hub.app(member.app);
        let Some(credentials) = &app.credentials else { return false };
        let revoked = credentials.is_revoked(&member.identity.borrow(), clock::unix_seconds());
        if revoked {
            self.end(session, member, Reason { code: Code::TokenRevoked, word: "forced close" });
        }
        revoked
    }
}
