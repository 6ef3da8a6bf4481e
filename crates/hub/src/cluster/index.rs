//! Who is online on the other nodes, and how many are in which channel there: each node says what has changed with it, a few
//! times a second, as what is now and not as how much more; all of it to whoever asks. Read here, without asking anybody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::address::AppId;

/// How often changes are told.
pub(super) const TELL: Duration = Duration::from_millis(200);

/// Who has no connection any more is not told to be offline for so long: they may be on their way to another node.
pub const GRACE: Duration = Duration::from_secs(3);

/// Rows in one letter.
pub(super) const ROWS: usize = 1_000;

/// What a node says of one user, or of one channel, of the app of that name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Row {
    User { app: String, user: Arc<str>, name: Option<Arc<str>>, status: Option<Arc<str>>, connections: u32 },
    Channel { app: String, channel: Arc<str>, members: u32 },
}

/// A user as another node knows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elsewhere {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) status: Option<Arc<str>>,
    pub(crate) connections: usize,
}

type Name = (AppId, Arc<str>);

#[derive(Debug, Default)]
struct Others {
    /// By name, then by node.
    users: HashMap<Name, BTreeMap<u16, Elsewhere>>,
    channels: HashMap<Name, BTreeMap<u16, usize>>,
    /// Who went from some node a moment ago.
    went: HashMap<Name, Instant>,
}

/// The index, and what is to be told of this node.
#[derive(Debug, Default)]
pub(crate) struct Index {
    others: Mutex<Others>,
    users: Mutex<HashSet<Name>>,
    channels: Mutex<HashSet<Name>>,
}

impl Index {
    /// A user's connections here have changed, or what they say of themselves.
    pub(crate) fn user_changed(&self, app: AppId, user: &Arc<str>) {
        self.users.lock().insert((app, Arc::clone(user)));
    }

    /// A channel's members here have changed.
    pub(crate) fn channel_changed(&self, app: AppId, channel: &Arc<str>) {
        self.channels.lock().insert((app, Arc::clone(channel)));
    }

    /// What has changed here since this was asked last.
    pub(super) fn take_changed(&self) -> (HashSet<Name>, HashSet<Name>) {
        (std::mem::take(&mut self.users.lock()), std::mem::take(&mut self.channels.lock()))
    }

    /// What another node says of an app of this one.
    pub(super) fn hear(&self, node: u16, app: AppId, row: Row, now: Instant) {
        let mut others = self.others.lock();
        match row {
            Row::User { user, name, status, connections, .. } => {
                let key = (app, user);
                if connections > 0 {
                    let user = Elsewhere { name, status, connections: connections as usize };
                    others.users.entry(key).or_default().insert(node, user);
                } else {
                    others.went.insert(key.clone(), now);
                    forget(&mut others.users, &key, node);
                }
            }
            Row::Channel { channel, members, .. } => {
                let key = (app, channel);
                if members > 0 {
                    others.channels.entry(key).or_default().insert(node, members as usize);
                } else {
                    forget(&mut others.channels, &key, node);
                }
            }
        }
    }

    /// A user's last connection here has ended.
    pub(crate) fn went(&self, app: AppId, user: &Arc<str>) {
        self.others.lock().went.insert((app, Arc::clone(user)), super::now());
    }

    /// Forgets what a node has said: it is gone, or says all of it anew.
    pub(super) fn forget(&self, node: u16) {
        let mut others = self.others.lock();
        others.users.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
        others.channels.retain(|_, nodes| {
            nodes.remove(&node);
            !nodes.is_empty()
        });
    }

    /// Forgets who went longer ago than they may take.
    pub(super) fn tidy(&self, now: Instant) {
        self.others.lock().went.retain(|_, went| now.saturating_duration_since(*went) < GRACE);
    }

    /// A user on the other nodes.
    pub(crate) fn user(&self, app: AppId, user: &str) -> Elsewhere {
        let others = self.others.lock();
        let nodes = others.users.get(&(app, Arc::from(user)));
        nodes.into_iter().flat_map(BTreeMap::values).fold(Elsewhere::default(), |sum, one| Elsewhere {
            name: sum.name.or_else(|| one.name.clone()),
            status: sum.status.or_else(|| one.status.clone()),
            connections: sum.connections + one.connections,
        })
    }

    /// Whether others know that the user is here or there, or was a moment ago.
    pub(crate) fn is_about(&self, app: AppId, user: &Arc<str>) -> bool {
        let (others, key) = (self.others.lock(), (app, Arc::clone(user)));
        others.users.contains_key(&key) || others.went.contains_key(&key)
    }

    /// The users of an app on the other nodes.
    pub(crate) fn users(&self, app: AppId) -> Vec<Arc<str>> {
        let others = self.others.lock();
        others.users.keys().filter(|(of, _)| *of == app).map(|(_, user)| Arc::clone(user)).collect()
    }

    /// Members of a channel on the other nodes.
    pub(crate) fn members(&self, app: AppId, channel: &str) -> usize {
        let others = self.others.lock();
        others.channels.get(&(app, Arc::from(channel))).map_or(0, |nodes| nodes.values().sum())
    }

    /// The channels of an app on the other nodes, with their members there.
    pub(crate) fn channels(&self, app: AppId) -> Vec<(Arc<str>, usize)> {
        let others = self.others.lock();
        let own = others.channels.iter().filter(|((of, _), _)| *of == app);
        own.map(|((_, channel), nodes)| (Arc::clone(channel), nodes.values().sum())).collect()
    }
}

fn forget<T>(of: &mut HashMap<Name, BTreeMap<u16, T>>, key: &Name, node: u16) {
    if let Some(nodes) = of.get_mut(key) {
        nodes.remove(&node);
        if nodes.is_empty() {
            of.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(0);

    fn user(connections: u32) -> Row {
        Row::User { app: String::new(), user: "ann".into(), name: Some("Ann".into()), status: None, connections }
    }

    fn channel(members: u32) -> Row {
        Row::Channel { app: String::new(), channel: "room".into(), members }
    }

    #[test]
    fn what_is_now_counts_and_not_how_often_it_was_said() {
        let (index, now) = (Index::default(), Instant::now());
        for (node, row) in [(1, user(1)), (1, user(2)), (2, user(1)), (1, channel(3)), (1, channel(3)), (2, channel(1))]
        {
            index.hear(node, APP, row, now);
        }
        assert_eq!((index.user(APP, "ann").connections, index.members(APP, "room")), (3, 4));
        assert_eq!(index.user(AppId(1), "ann").connections, 0);
        assert_eq!(index.channels(APP), [("room".into(), 4)]);
        index.forget(1);
        assert_eq!((index.user(APP, "ann").connections, index.members(APP, "room")), (1, 1));
        index.hear(2, APP, channel(0), now);
        assert_eq!(index.channels(APP), []);
    }

    #[test]
    fn who_went_a_moment_ago_is_still_about() {
        let (index, now, ann) = (Index::default(), Instant::now(), Arc::from("ann"));
        assert!(!index.is_about(APP, &ann));
        index.hear(1, APP, user(1), now);
        index.hear(1, APP, user(0), now);
        assert_eq!(index.users(APP), []);
        index.tidy(now + GRACE / 2);
        assert!(index.is_about(APP, &ann));
        index.tidy(now + GRACE);
        assert!(!index.is_about(APP, &ann));
    }
}
