//! Who is online: users of an app and how many connections each has.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use serde::Serialize;

use crate::address::{Address, AppId};

/// One user's presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UserPresence {
    /// The user id.
    pub user: Arc<str>,
    /// A name to show, where known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// Whether any connection is open.
    pub online: bool,
    /// What the user says of themselves (`online`, `busy`, ...), else derived from `online`.
    pub status: Arc<str>,
    /// Open connections.
    pub connections: usize,
}

#[derive(Debug, Default)]
struct Entry {
    name: Option<Arc<str>>,
    status: Option<Arc<str>>,
    connections: usize,
    /// The connections by age, where the oldest may have to go.
    by_age: VecDeque<Address>,
}

/// Hears of each user whose presence on this node has changed; it must not block.
pub type Watcher = Box<dyn Fn(AppId, &Arc<str>) + Send + Sync>;

/// Presence of all apps of a node. One lock: it is taken on connect and disconnect, never on delivery.
#[derive(Default)]
pub struct Presence {
    apps: Mutex<HashMap<AppId, HashMap<Arc<str>, Entry>>>,
    watcher: OnceLock<Watcher>,
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presence")
    }
}

impl Presence {
    /// From now on `watcher` hears whose presence has changed; once for all.
    pub fn watch(&self, watcher: Watcher) {
        let _ = self.watcher.set(watcher);
    }

    fn changed(&self, app: AppId, user: &Arc<str>) {
        if let Some(watcher) = self.watcher.get() {
            watcher(app, user);
        }
    }

    /// Name, own words and connections of a user on this node.
    pub(crate) fn known(&self, app: AppId, user: &str) -> (Option<Arc<str>>, Option<Arc<str>>, usize) {
        let apps = self.apps.lock();
        let entry = apps.get(&app).and_then(|users| users.get(user));
        entry.map_or((None, None, 0), |entry| (entry.name.clone(), entry.status.clone(), entry.connections))
    }

    /// Counts one more connection and returns how many the user now has.
    pub fn connect(&self, app: AppId, user: &Arc<str>, name: Option<&Arc<str>>) -> usize {
        let mut apps = self.apps.lock();
        let entry = apps.entry(app).or_default().entry(Arc::clone(user)).or_default();
        entry.connections += 1;
        if entry.name.is_none() {
            entry.name = name.cloned();
        }
        self.changed(app, user);
        entry.connections
    }

    /// Counts one connection less and returns how many are left; the last one forgets the user and the status.
    pub fn disconnect(&self, app: AppId, user: &Arc<str>) -> usize {
        let mut apps = self.apps.lock();
        let Some(users) = apps.get_mut(&app) else {
            return 0;
        };
        let Some(entry) = users.get_mut(user) else {
            return 0;
        };
        entry.connections = entry.connections.saturating_sub(1);
        let left = entry.connections;
        if left == 0 {
            users.remove(user);
        }
        self.changed(app, user);
        left
    }

    /// Notes the newest connection of a user who may keep `most`; returns those that have to go, the oldest first.
    pub fn arrive(&self, app: AppId, user: &str, address: Address, most: usize) -> Vec<Address> {
        let mut apps = self.apps.lock();
        let Some(entry) = apps.get_mut(&app).and_then(|users| users.get_mut(user)) else { return Vec::new() };
        entry.by_age.push_back(address);
        let over = entry.by_age.len().saturating_sub(most);
        entry.by_age.drain(..over).collect()
    }

    /// A connection that was noted by [`Presence::arrive`] has gone.
    pub fn depart(&self, app: AppId, user: &str, address: Address) {
        if let Some(entry) = self.apps.lock().get_mut(&app).and_then(|users| users.get_mut(user)) {
            entry.by_age.retain(|known| *known != address);
        }
    }

    /// Makes the tables as small as their contents.
    pub fn shrink(&self) {
        self.apps.lock().values_mut().for_each(HashMap::shrink_to_fit);
    }

    /// Notes what an online user says of themselves.
    pub fn set_status(&self, app: AppId, user: &str, status: &str) {
        if let Some(entry) = self.apps.lock().get_mut(&app).and_then(|users| users.get_mut(user)) {
            entry.status = Some(Arc::from(status));
            self.changed(app, &Arc::from(user));
        }
    }

    /// One user, online or not.
    #[must_use]
    pub fn user(&self, app: AppId, user: &str) -> UserPresence {
        let apps = self.apps.lock();
        let entry = apps.get(&app).and_then(|users| users.get(user));
        describe(&Arc::from(user), entry)
    }

    /// How many users of an app are online.
    #[must_use]
    pub fn count(&self, app: AppId) -> usize {
        self.apps.lock().get(&app).map_or(0, HashMap::len)
    }

    /// All online users of an app, sorted by id.
    #[must_use]
    pub fn users(&self, app: AppId) -> Vec<UserPresence> {
        let apps = self.apps.lock();
        let Some(users) = apps.get(&app) else {
            return Vec::new();
        };
        let mut found: Vec<_> = users.iter().map(|(user, entry)| describe(user, Some(entry))).collect();
        found.sort_unstable_by(|a, b| a.user.cmp(&b.user));
        found
    }
}

fn describe(user: &Arc<str>, entry: Option<&Entry>) -> UserPresence {
    let connections = entry.map_or(0, |entry| entry.connections);
    let derived = if connections > 0 { "online" } else { "offline" };
    UserPresence {
        user: Arc::clone(user),
        name: entry.and_then(|entry| entry.name.clone()),
        online: connections > 0,
        status: entry.and_then(|entry| entry.status.clone()).unwrap_or_else(|| Arc::from(derived)),
        connections,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_connections_make_room() {
        let presence = Presence::default();
        let user: Arc<str> = "u1".into();
        let address = |slot| Address { node: 1, shard: 0, slot, nonce: 7 };
        let arrive = |slot| {
            presence.connect(AppId(0), &user, None);
            presence.arrive(AppId(0), "u1", address(slot), 2)
        };
        assert_eq!([arrive(1), arrive(2)], [vec![], vec![]]);
        assert_eq!(arrive(3), [address(1)]);
        presence.depart(AppId(0), "u1", address(2));
        assert_eq!(arrive(4), []);
        assert_eq!(arrive(5), [address(3)]);
        assert_eq!(presence.arrive(AppId(1), "u1", address(6), 0), []);
    }

    #[test]
    fn a_user_is_online_until_the_last_connection_closes() {
        let presence = Presence::default();
        let user: Arc<str> = "u1".into();
        assert_eq!(presence.connect(AppId(0), &user, None), 1);
        assert_eq!(presence.connect(AppId(0), &user, None), 2);
        presence.set_status(AppId(0), "u1", "busy");
        presence.shrink();
        assert_eq!(presence.disconnect(AppId(0), &user), 1);
        assert_eq!(&*presence.user(AppId(0), "u1").status, "busy");
        assert_eq!(presence.disconnect(AppId(0), &user), 0);
        assert!(!presence.user(AppId(0), "u1").online);
        assert_eq!(presence.count(AppId(0)), 0);
    }
}
