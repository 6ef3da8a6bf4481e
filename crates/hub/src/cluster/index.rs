//! Who is online on the other nodes, and how many are in which channel there: each node says what has changed with it, a few
//! times a second, as what is now and not as how much more; all of it to whoever asks. Read here, without asking anybody.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::address::AppId;
use crate::policy::Rights;
use crate::presence::Known;

/// How often changes are told.
pub(super) const TELL: Duration = Duration::from_millis(200);

/// Who has no connection any more is not told to be offline for so long: they may be on their way to another node.
pub const GRACE: Duration = Duration::from_secs(3);

/// Rows in one letter.
pub(super) const ROWS: usize = 1_000;

/// What a node says of one user, or of one channel, of the app of that name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Row {
    User {
        app: String,
        user: Arc<str>,
        name: Option<Arc<str>>,
        status: Option<Arc<str>>,
        connections: u32,
        /// When they began, in Unix milliseconds, where the oldest may have to go.
        since: Vec<u64>,
        /// What access depends on, where it has to be told that the user has gone.
        rights: Option<Arc<Rights>>,
    },
    Channel {
        app: String,
        channel: Arc<str>,
        members: u32,
    },
}

type Name = (AppId, Arc<str>);

#[derive(Debug, Default)]
struct Others {
    /// By name, then by node.
    users: HashMap<Name, BTreeMap<u16, Known>>,
    channels: HashMap<Name, BTreeMap<u16, usize>>,
    /// Who went from some node a moment ago.
    went: HashMap<Name, Went>,
}

/// A user's last connection to a node has ended.
#[derive(Debug)]
struct Went {
    at: Instant,
    /// The node, if it is another one; it tells so, should they come to none.
    node: Option<u16>,
    known: Known,
}

/// Users of whom a node that has gone can tell nobody that they have gone, too, with what it knew of them.
pub(super) type Orphans = Vec<(Name, Known)>;

/// Hears of each user (or else channel) of whom something else is known now; it must not block.
type Watcher = Box<dyn Fn(bool, AppId, &Arc<str>) + Send + Sync>;

/// The index, and what is to be told of this node.
#[derive(Default)]
pub(crate) struct Index {
    others: Mutex<Others>,
    users: Mutex<HashSet<Name>>,
    channels: Mutex<HashSet<Name>>,
    watcher: OnceLock<Watcher>,
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

    /// From now on `watcher` hears of whom others have said something; once for all.
    pub(crate) fn watch(&self, watcher: Watcher) {
        let _ = self.watcher.set(watcher);
    }

    fn changed(&self, is_user: bool, (app, name): &Name) {
        if let Some(watcher) = self.watcher.get() {
            watcher(is_user, *app, name);
        }
    }

    /// What another node says of an app of this one.
    pub(super) fn hear(&self, node: u16, app: AppId, row: Row, now: Instant) {
        let mut others = self.others.lock();
        match row {
            Row::User { user, name, status, connections, since, rights, .. } => {
                let key = (app, user);
                self.changed(true, &key);
                if connections > 0 {
                    let known = Known { name, status, connections: connections as usize, since, rights };
                    others.users.entry(key).or_default().insert(node, known);
                } else if let Some(known) = forget(&mut others.users, &key, node) {
                    others.went.insert(key, Went { at: now, node: Some(node), known });
                }
            }
            Row::Channel { channel, members, .. } => {
                let key = (app, channel);
                self.changed(false, &key);
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
        let went = Went { at: super::now(), node: None, known: Known::default() };
        self.others.lock().went.insert((app, Arc::clone(user)), went);
    }

    /// Forgets what a node has said: it is gone, or says all of it anew. Returns whom it leaves behind.
    pub(super) fn forget(&self, node: u16, now: Instant) -> Orphans {
        let mut others = self.others.lock();
        let is_its_own = |went: &&mut Went| went.node == Some(node);
        let mut orphans: Orphans = Vec::new();
        for (name, went) in &mut others.went {
            if let Some(went) = Some(went).filter(is_its_own) {
                went.node = None;
                orphans.push((name.clone(), std::mem::take(&mut went.known)));
            }
        }
        others.users.retain(|name, nodes| {
            let known = nodes.remove(&node);
            if known.is_some() {
                self.changed(true, name);
            }
            if nodes.is_empty() {
                orphans.extend(known.map(|known| (name.clone(), known)));
            }
            !nodes.is_empty()
        });
        for (name, _) in &orphans {
            let went = Went { at: now, node: None, known: Known::default() };
            others.went.insert(name.clone(), went);
        }
        others.channels.retain(|name, nodes| {
            if nodes.remove(&node).is_some() {
                self.changed(false, name);
            }
            !nodes.is_empty()
        });
        orphans
    }

    /// Forgets who went longer ago than they may take.
    pub(super) fn tidy(&self, now: Instant) {
        self.others.lock().went.retain(|_, went| now.saturating_duration_since(went.at) < GRACE);
    }

    /// A user on the other nodes.
    pub(crate) fn user(&self, app: AppId, user: &str) -> Known {
        let others = self.others.lock();
        let nodes = others.users.get(&(app, Arc::from(user)));
        nodes.into_iter().flat_map(BTreeMap::values).fold(Known::default(), |sum, one| Known {
            name: sum.name.or_else(|| one.name.clone()),
            status: sum.status.or_else(|| one.status.clone()),
            connections: sum.connections + one.connections,
            ..sum
        })
    }

    /// A user on one other node.
    pub(super) fn on(&self, app: AppId, user: &Arc<str>, node: u16) -> Option<Known> {
        self.others.lock().users.get(&(app, Arc::clone(user)))?.get(&node).cloned()
    }

    /// When a user's connections to other nodes began, and to which.
    pub(crate) fn since(&self, app: AppId, user: &Arc<str>) -> Vec<(u64, u16)> {
        let others = self.others.lock();
        let nodes = others.users.get(&(app, Arc::clone(user)));
        let of = |(node, known): (&u16, &Known)| known.since.iter().map(|since| (*since, *node)).collect::<Vec<_>>();
        nodes.into_iter().flatten().flat_map(of).collect()
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

fn forget<T>(of: &mut HashMap<Name, BTreeMap<u16, T>>, key: &Name, node: u16) -> Option<T> {
    let nodes = of.get_mut(key)?;
    let known = nodes.remove(&node);
    if nodes.is_empty() {
        of.remove(key);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: AppId = AppId(0);

    fn user(connections: u32) -> Row {
        let (app, since) = (String::new(), (0..u64::from(connections)).collect());
        Row::User { app, user: "ann".into(), name: Some("Ann".into()), status: None, connections, since, rights: None }
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
        assert_eq!(index.since(APP, &"ann".into()), [(0, 1), (1, 1), (0, 2)]);
        assert_eq!(index.forget(1, now), [], "she is elsewhere, too");
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

    #[test]
    fn a_node_that_goes_leaves_behind_who_was_only_there_and_who_had_just_gone_from_there() {
        let (index, now) = (Index::default(), Instant::now());
        let named = |orphans: Orphans| {
            let names = orphans
                .into_iter()
                .map(|((_, user), known)| (user.to_string(), known.name.map(|name| name.to_string())));
            names.collect::<Vec<_>>()
        };
        let ann = || vec![("ann".to_owned(), Some("Ann".to_owned()))];
        index.hear(1, APP, user(1), now);
        assert_eq!(named(index.forget(1, now)), ann());
        assert_eq!(named(index.forget(1, now)), [], "once");
        index.hear(1, APP, user(1), now);
        index.hear(1, APP, user(0), now);
        assert_eq!(named(index.forget(2, now)), []);
        assert_eq!(named(index.forget(1, now)), ann());
        index.hear(1, APP, user(1), now);
        index.hear(1, APP, user(0), now);
        index.tidy(now + GRACE);
        assert_eq!(named(index.forget(1, now)), [], "that was told already");
        assert!(!index.is_about(APP, &"ann".into()));
    }
}
