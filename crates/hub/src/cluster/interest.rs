//! Which channels have members on this node: their topics are listened to, all others are not.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};

use tokio::sync::{mpsc, watch};

use super::{ALL, of_channel, of_node};
use crate::Hub;
use crate::address::AppId;
use crate::broker::Broker;
use crate::channel::EVERYONE;
use crate::hub::Inner;

/// Changes that are taken together.
const TOGETHER: usize = 4_096;

/// A channel has its first member on this node, or none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interest {
    /// Whose channel.
    pub(super) app: AppId,
    /// Its name.
    pub(super) channel: Arc<str>,
    /// Somebody here hears it.
    pub(super) wanted: bool,
}

/// Where changes are noted, and how many of them have become so.
#[derive(Debug, Clone)]
pub(super) struct Interests {
    noted: Arc<AtomicU64>,
    /// Bounded by what joins and leaves; taken together, so that a channel that comes and goes is one change.
    changes: mpsc::UnboundedSender<Interest>,
    done: watch::Receiver<u64>,
}

/// The other end.
pub(super) struct Wanted {
    changes: mpsc::UnboundedReceiver<Interest>,
    done: watch::Sender<u64>,
}

impl Interests {
    pub(super) fn new() -> (Self, Wanted) {
        let (sender, changes) = mpsc::unbounded_channel();
        let (done, seen) = watch::channel(0);
        (Self { noted: Arc::default(), changes: sender, done: seen }, Wanted { changes, done })
    }

    /// Notes a change; never blocks.
    pub(super) fn note(&self, interest: Interest) {
        if self.changes.send(interest).is_ok() {
            self.noted.fetch_add(1, SeqCst);
        }
    }

    /// Waits until all that was noted before is so.
    pub(super) async fn settled(&self) {
        let noted = self.noted.load(SeqCst);
        if *self.done.borrow() < noted {
            // Ends with an error when the node goes down.
            let _ = self.done.clone().wait_for(|done| *done >= noted).await;
        }
    }
}

/// Listens to what is wanted, as long as there is a hub.
pub(super) async fn keep(hub: Weak<Inner>, broker: Arc<dyn Broker>, mut wanted: Wanted) {
    let Some(first) = Hub::upgrade(&hub) else { return };
    let mut names: HashMap<_, String> = first.apps().map(|app| (app.id, app.name.clone())).collect();
    let own = [ALL.into(), of_node(first.node())];
    let everyone = names.values().map(|app| of_channel(app, EVERYONE));
    let own: Vec<Arc<str>> = own.into_iter().chain(everyone).collect();
    drop(first);
    broker.listen(&own).await;
    let own: HashSet<Arc<str>> = own.into_iter().collect();
    let (mut heard, mut batch, mut count) = (HashSet::new(), Vec::new(), 0);
    while wanted.changes.recv_many(&mut batch, TOGETHER).await > 0 {
        count += batch.len() as u64;
        let mut last: HashMap<Arc<str>, bool> = HashMap::new();
        for Interest { app, channel, wanted } in batch.drain(..) {
            if !names.contains_key(&app)
                && let Some(hub) = Hub::upgrade(&hub)
            {
                names.insert(app, hub.app(app).name.clone());
            }
            let topic = names.get(&app).map(|name| of_channel(name, &channel));
            last.extend(topic.filter(|topic| !own.contains(topic)).map(|topic| (topic, wanted)));
        }
        let (more, less): (Vec<_>, Vec<_>) = last.into_iter().partition(|(_, wanted)| *wanted);
        let more: Vec<Arc<str>> =
            more.into_iter().map(|(topic, _)| topic).filter(|it| heard.insert(Arc::clone(it))).collect();
        let less: Vec<Arc<str>> = less.into_iter().map(|(topic, _)| topic).filter(|it| heard.remove(it)).collect();
        if !more.is_empty() {
            broker.listen(&more).await;
        }
        if !less.is_empty() {
            broker.ignore(&less).await;
        }
        let _ = wanted.done.send(count);
    }
}
