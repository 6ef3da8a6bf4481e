//! Tells an app's backend that users come and go, and that channels fill and empty: at least once, and for each user or
//! channel in order.
//!
//! `tracker` knows who is there and what was said of them, `journal` keeps in the store what is to be told and what was
//! told last, `queue` tells it, `teller` puts them together. Every node watches, and one of them tells: the eldest that
//! lives. An event is in the journal before it is told and until the backend has taken it, and what was told last is there,
//! too: whoever tells next, be it after a restart, goes on with it, and tells of those who have gone meanwhile.

mod journal;
mod queue;
mod teller;
#[cfg(test)]
mod tests;
mod tracker;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::Hub;
use crate::address::AppId;
use crate::backend::Endpoint;
use crate::channel::is_own;
use crate::policy::channel::Pattern;

/// What can be told of: of users, and of channels.
pub const EVENTS: [&str; 4] = ["user.online", "user.offline", "channel.occupied", "channel.vacated"];

/// `[app.NAME.webhook]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Where it is told.
    pub endpoint: Endpoint,
    /// What of [`EVENTS`].
    pub events: Vec<String>,
    /// Of which channels; none: of all.
    pub channels: Option<Vec<Pattern>>,
}

impl Rules {
    /// Whether something of that kind is told at all.
    fn watches(&self, kind: Kind) -> bool {
        self.events.iter().any(|event| *event == word(kind, true) || *event == word(kind, false))
    }

    fn wants(&self, event: &Event) -> bool {
        self.events.iter().any(|wanted| *wanted == event.word())
    }

    fn covers(&self, key: &Key) -> bool {
        let named = |patterns: &Vec<Pattern>| patterns.iter().any(|pattern| pattern.matches(&key.name).is_some());
        self.watches(key.kind) && (key.kind == Kind::User || self.channels.as_ref().is_none_or(named))
    }
}

/// Of what something is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    User,
    Channel,
}

impl Kind {
    const ALL: [Self; 2] = [Self::User, Self::Channel];

    /// What it is called in what is told.
    fn word(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Channel => "channel",
        }
    }
}

fn word(kind: Kind, on: bool) -> &'static str {
    EVENTS[2 * usize::from(kind == Kind::Channel) + usize::from(!on)]
}

/// One user, or one channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Key {
    app: AppId,
    kind: Kind,
    name: Arc<str>,
}

/// Something that happened to one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    /// Says when, too, and sorts by that.
    id: Uuid,
    key: Key,
    /// It came, or filled; else it went, or emptied.
    on: bool,
}

impl Event {
    fn new(key: Key, on: bool) -> Self {
        Self { id: Uuid::now_v7(), key, on }
    }

    fn word(&self) -> &'static str {
        word(self.key.kind, self.on)
    }

    /// Milliseconds since the Unix epoch.
    fn at(&self) -> u64 {
        self.id.get_timestamp().map_or(0, |at| {
            let (seconds, nanos) = at.to_unix();
            seconds * 1_000 + u64::from(nanos) / 1_000_000
        })
    }

    /// As a backend is told.
    fn body(&self, app: &str) -> Value {
        let mut body = json!({ "id": self.id.to_string(), "type": self.word(), "at": self.at(), "app": app });
        body[self.key.kind.word()] = Value::from(&*self.key.name);
        body
    }
}

/// What has happened, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Events that a backend has taken.
    pub told: AtomicU64,
    /// Attempts that came to nothing.
    pub failed: AtomicU64,
    /// Events that wait to be told.
    pub waiting: AtomicU64,
    /// Users and channels of whom only what is so at last will be told, because too much waits.
    pub merged: AtomicU64,
    /// What the store could not keep or forget.
    pub unkept: AtomicU64,
    /// This node is the one that tells.
    pub telling: AtomicBool,
}

/// What a node sees of comings and goings.
#[derive(Default)]
pub struct Lifecycle {
    /// Whether an app wants to hear of users, and of channels.
    watched: Box<[[AtomicBool; 2]]>,
    /// Of whom something has changed; whether they were there in between.
    changes: Mutex<HashMap<Key, bool>>,
    changed: Notify,
    /// What has happened.
    pub figures: Figures,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").finish_non_exhaustive()
    }
}

impl Lifecycle {
    fn new(apps: usize) -> Self {
        Self { watched: (0..apps).map(|_| Default::default()).collect(), ..Self::default() }
    }

    /// Somebody's connections, or a channel's members, have changed somewhere; whether there were some at that moment.
    /// Never blocks: it is called under locks.
    fn note(&self, kind: Kind, app: AppId, name: &Arc<str>, there: bool) {
        let watched = self.watched.get(usize::from(app.0)).is_some_and(|kinds| kinds[kind as usize].load(Relaxed));
        let tells = match kind {
            Kind::User => !name.is_empty(),
            Kind::Channel => !is_own(name),
        };
        if watched && tells {
            *self.changes.lock().entry(Key { app, kind, name: Arc::clone(name) }).or_default() |= there;
            self.changed.notify_one();
        }
    }
}

impl Hub {
    /// Tells backends of comings and goings from now on, where an app's rules say so; once, after
    /// [`Hub::keep_in`] and [`Hub::join_cluster`], before anybody connects.
    pub fn begin_lifecycle(&self) {
        let Some(inboxes) = self.inboxes() else { return };
        let store = Arc::clone(inboxes.store());
        let lifecycle = Arc::new(Lifecycle::new(self.apps().count()));
        if self.inner.lifecycle.set(Arc::clone(&lifecycle)).is_ok() {
            self.watch_lifecycle(&lifecycle);
            self.spawn(teller::run(self.downgrade(), lifecycle, store));
        }
    }

    fn watch_lifecycle(&self, lifecycle: &Arc<Lifecycle>) {
        let seen = Arc::clone(lifecycle);
        self.presence().watch(Box::new(move |app, user, count| seen.note(Kind::User, app, user, count > 0)));
        let seen = Arc::clone(lifecycle);
        self.channels().watch(Box::new(move |app, channel, before, now| {
            if (before == 0) != (now == 0) {
                seen.note(Kind::Channel, app, channel, true);
            }
        }));
        if let Some(cluster) = self.cluster() {
            let seen = Arc::clone(lifecycle);
            cluster.index.watch(Box::new(move |is_user, app, name| {
                // Who is told to have gone was there, be it for less than it takes to say so.
                seen.note(if is_user { Kind::User } else { Kind::Channel }, app, name, true);
            }));
        }
    }

    /// What this node sees of comings and goings.
    #[must_use]
    pub fn lifecycle(&self) -> Option<&Arc<Lifecycle>> {
        self.inner.lifecycle.get()
    }

    fn is_there(&self, key: &Key) -> bool {
        match key.kind {
            Kind::User => self.user(key.app, &key.name).online,
            Kind::Channel => self.members(key.app, &key.name) > 0,
        }
    }
}
