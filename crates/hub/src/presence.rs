//! Who is online: users of an app and how many connections each has.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::Serialize;

use crate::address::{Address, AppId};
use crate::policy::Rights;

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
    /// The connections by age, where the oldest may have to go, with when they began, in Unix milliseconds.
    by_age: VecDeque<(u64, Address)>,
    /// What access depended on last, where others have to know that.
    rights: Option<Arc<Rights>>,
}

/// What other nodes are told of a user on this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) status: Option<Arc<str>>,
    pub(crate) connections: usize,
    /// When connections began, where the oldest may have to go.
    pub(crate) since: Vec<u64>,
    pub(crate) rights: Option<Arc<Rights>>,
}

/// Hears of each user whose presence on this node has changed, and how many connections they have here; it must not block.
pub type Watcher = Box<dyn Fn(AppId, &Arc<str>, usize) + Send + Sync>;

/// Presence of all apps of a node. One lock: it is taken on connect and disconnect, never on delivery.
#[derive(Default)]
pub struct Presence {
    apps: Mutex<HashMap<AppId, HashMap<Arc<str>, Entry>>>,
    watchers: RwLock<Vec<Watcher>>,
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Presence")
    }
}

impl Presence {
    /// From now on `watcher`, too, hears whose presence has changed.
    pub fn watch(&self, watcher: Watcher) {
        self.watchers.write().push(watcher);
    }

    fn changed(&self, app: AppId, user: &Arc<str>, connections: usize) {
        self.watchers.read().iter().for_each(|watcher| watcher(app, user, connections));
    }

    /// What is known of a user on this node.
    pub(crate) fn known(&self, app: AppId, user: &str) -> Known {
        let apps = self.apps.lock();
        let entry = apps.get(&app).and_then(|users| users.get(user));
        entry.map_or_else(Known::default, |entry| Known {
            name: entry.name.clone(),
            status: entry.status.clone(),
            connections: entry.connections,
            since: entry.by_age.iter().map(|(since, _)| *since).collect(),
            rights: entry.rights.clone(),
        })
    }

    /// Notes what others need who have to tell that an online user has gone.
    pub fn note_rights(&self, app: AppId, user: &Arc<str>, rights: &Arc<Rights>) {
        if let Some(entry) = self.apps.lock().get_mut(&app).and_then(|users| users.get_mut(user)) {
            entry.rights = Some(Arc::clone(rights));
            self.changed(app, user, entry.connections);
        }
    }

    /// Counts one more connection and returns how many the user now has.
    pub fn connect(&self, app: AppId, user: &Arc<str>, name: Option<&Arc<str>>) -> usize {
        let mut apps = self.apps.lock();
        let entry = apps.entry(app).or_default().entry(Arc::clone(user)).or_default();
        entry.connections += 1;
        if entry.name.is_none() {
            entry.name = name.cloned();
        }
        self.changed(app, user, entry.connections);
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
        self.changed(app, user, left);
        left
    }

    /// Notes the newest connection of a user, where the oldest may have to go; `since` in Unix milliseconds.
    pub fn arrive(&self, app: AppId, user: &Arc<str>, address: Address, since: u64) {
        if let Some(entry) = self.apps.lock().get_mut(&app).and_then(|users| users.get_mut(user)) {
            entry.by_age.push_back((since, address));
            self.changed(app, user, entry.connections);
        }
    }

    /// Connections of a user that have to go, the oldest first, so that `most` are left on all nodes: those of this one, which
    /// is `me`, that are among the oldest. `elsewhere`: when others began, and on which node.
    pub fn make_room(
        &self,
        app: AppId,
        user: &Arc<str>,
        most: usize,
        elsewhere: &[(u64, u16)],
        me: u16,
    ) -> Vec<Address> {
        let mut apps = self.apps.lock();
        let Some(entry) = apps.get_mut(&app).and_then(|users| users.get_mut(user)) else { return Vec::new() };
        let over = (entry.by_age.len() + elsewhere.len()).saturating_sub(most);
        if over == 0 {
            return Vec::new();
        }
        let mut all: Vec<(u64, u16)> = entry.by_age.iter().map(|(since, _)| (*since, me)).collect();
        all.extend(elsewhere);
        // All nodes agree on which are the oldest.
        all.sort_unstable();
        let own = all[..over].iter().filter(|(_, node)| *node == me).count();
        let gone = entry.by_age.drain(..own).map(|(_, address)| address).collect();
        self.changed(app, user, entry.connections);
        gone
    }

    /// A connection that was noted by [`Presence::arrive`] has gone.
    pub fn depart(&self, app: AppId, user: &Arc<str>, address: Address) {
        if let Some(entry) = self.apps.lock().get_mut(&app).and_then(|users| users.get_mut(user)) {
            entry.by_age.retain(|(_, known)| *known != address);
            self.changed(app, user, entry.connections);
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
            self.changed(app, &Arc::from(user), entry.connections);
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
            presence.arrive(AppId(0), &user, address(slot), u64::from(slot) * 10);
            presence.make_room(AppId(0), &user, 2, &[], 1)
        };
        assert_eq!([arrive(1), arrive(2)], [vec![], vec![]]);
        assert_eq!(arrive(3), [address(1)]);
        presence.depart(AppId(0), &user, address(2));
        assert_eq!(arrive(4), []);
        assert_eq!(arrive(5), [address(3)]);
        assert_eq!(presence.make_room(AppId(1), &user, 0, &[], 1), []);
        // Those of other nodes count, too, and go there when they are older.
        assert_eq!(presence.make_room(AppId(0), &user, 2, &[(30, 2), (35, 3)], 1), []);
        assert_eq!(presence.make_room(AppId(0), &user, 2, &[(39, 2), (45, 2)], 1), [address(4)]);
        assert_eq!(presence.make_room(AppId(0), &user, 1, &[(50, 0)], 1), []);
        assert_eq!(presence.make_room(AppId(0), &user, 1, &[(50, 2)], 1), [address(5)]);
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
