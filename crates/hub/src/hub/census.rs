//! Who is there, on all nodes: what this one knows itself, and what the others have told it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::cluster::GRACE;
use crate::command::Control;
use crate::presence::UserPresence;

impl Hub {
    /// How many sessions are in a channel.
    #[must_use]
    pub fn members(&self, app: AppId, channel: &str) -> usize {
        self.channels().members(app, channel) + self.cluster().map_or(0, |others| others.index.members(app, channel))
    }

    /// All channels of an app that have members, with their counts, by name.
    #[must_use]
    pub fn occupied(&self, app: AppId) -> Vec<(Arc<str>, usize)> {
        let mut found: BTreeMap<Arc<str>, usize> = self.channels().list(app).into_iter().collect();
        let others = self.cluster().map(|others| others.index.channels(app)).unwrap_or_default();
        for (channel, count) in others.into_iter().filter(|(channel, _)| !crate::channel::is_own(channel)) {
            *found.entry(channel).or_default() += count;
        }
        found.into_iter().collect()
    }

    /// One user, online or not.
    #[must_use]
    pub fn user(&self, app: AppId, user: &str) -> UserPresence {
        let here = self.presence().user(app, user);
        let Some(others) = self.cluster() else { return here };
        let there = others.index.user(app, user);
        if there.connections == 0 {
            return here;
        }
        let derived = || Arc::from("online");
        let own = Some(here.status).filter(|_| here.online);
        UserPresence {
            name: here.name.or(there.name),
            online: true,
            // What they said last is not known; what they said anywhere says more than that they are online.
            status: own.filter(|status| **status != *"online").or(there.status).unwrap_or_else(derived),
            connections: here.connections + there.connections,
            ..here
        }
    }

    /// How many connections a user has on other nodes.
    #[must_use]
    pub fn elsewhere(&self, app: AppId, user: &str) -> usize {
        self.cluster().map_or(0, |others| others.index.user(app, user).connections)
    }

    /// The ids of all online users of an app, sorted.
    #[must_use]
    pub fn users(&self, app: AppId) -> Vec<Arc<str>> {
        let here = self.presence().users(app).into_iter().map(|known| known.user);
        let there = self.cluster().map(|others| others.index.users(app)).unwrap_or_default();
        let mut users: Vec<Arc<str>> = here.chain(there).collect();
        users.sort_unstable();
        users.dedup();
        users
    }

    /// How many users of an app are online.
    #[must_use]
    pub fn online(&self, app: AppId) -> usize {
        let others = self.cluster().map(|others| others.index.users(app)).unwrap_or_default();
        // One who is here, too, counts once.
        let elsewhere_only = others.iter().filter(|user| !self.presence().user(app, user).online).count();
        self.presence().count(app) + elsewhere_only
    }

    /// Closes the connections of a user to this node that are too many, if the oldest ones have to go.
    pub fn make_room(&self, app: &App, user: &Arc<str>) {
        let Some(most) = app.limits.newest_of_user() else { return };
        let elsewhere = self.cluster().map(|others| others.index.since(app.id, user)).unwrap_or_default();
        for oldest in self.presence().make_room(app.id, user, most, &elsewhere, self.node()) {
            self.control(oldest.shard, Control::Replace(oldest));
        }
    }

    /// Whether other nodes know that a user is online, or was a moment ago.
    #[must_use]
    pub fn is_about(&self, app: AppId, user: &Arc<str>) -> bool {
        self.cluster().is_some_and(|others| others.index.is_about(app, user))
    }

    /// Whether a user whose last connection here has ended is online on some node [`GRACE`] later; at once where there are no
    /// other nodes.
    pub async fn is_elsewhere_soon(&self, app: AppId, user: &Arc<str>) -> bool {
        if self.is_alone() {
            return false;
        }
        if let Some(others) = self.cluster() {
            others.index.went(app, user);
        }
        tokio::time::sleep(GRACE).await;
        self.user(app, user).online
    }
}
