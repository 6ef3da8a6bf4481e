//! A member comes online and goes offline.

use std::rc::Rc;

use oyez_hub::app::AppId;

use crate::session::Member;
use crate::shard::Shard;

impl Shard {
    /// A member has connected.
    pub(crate) fn went_online(&self, member: &Rc<Member>) {
        let identity = std::sync::Arc::clone(&member.identity.borrow());
        self.hub.presence().connect(member.app, &identity.user, identity.name.as_ref());
    }

    /// A member has gone.
    pub(crate) fn went_offline(&self, member: &Rc<Member>) {
        let identity = std::sync::Arc::clone(&member.identity.borrow());
        self.hub.presence().disconnect(member.app, &identity.user);
    }

    /// Looks again at every member's credentials.
    pub(crate) fn recheck(&self, _app: AppId) {}

    /// What is due for one member.
    pub(crate) fn look_at_member(
        &self,
        _session: &Rc<crate::session::Session>,
        _member: &Rc<Member>,
        _now: tokio::time::Instant,
    ) {
    }
}
