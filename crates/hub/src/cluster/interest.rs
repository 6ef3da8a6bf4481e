//! Which channels are listened to: those with members on this node, and for a while longer those of which somebody may have
//! to be told what they missed when they come back.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{ALL, of_channel};
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::broker::Broker;
use crate::channel::{EVERYONE, is_abroad};
use crate::hub::Inner;

/// Changes that are taken together.
const TOGETHER: usize = 4_096;

/// A channel is listened to for so much longer than a client may be away: whoever was cut off left it a moment earlier.
const MARGIN: Duration = Duration::from_secs(5);

/// A channel of an app.
type Name = (AppId, Arc<str>);

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

/// Where changes are noted, and how many of them have been looked at.
#[derive(Debug, Clone)]
pub(crate) struct Interests {
    noted: Arc<AtomicU64>,
    /// What is listened to though nobody is in it, and how often that is wanted.
    held: Arc<Mutex<HashMap<Name, usize>>>,
    /// Bounded by what joins and leaves; taken together, so that a channel that comes and goes is one change.
    changes: mpsc::UnboundedSender<Interest>,
    done: watch::Receiver<u64>,
}

/// The other end.
#[derive(Debug)]
pub struct Wanted {
    changes: mpsc::UnboundedReceiver<Interest>,
    held: Arc<Mutex<HashMap<Name, usize>>>,
    done: watch::Sender<u64>,
}

impl Wanted {
    /// The last word on each channel of which something was said; `None` when nothing will be said any more.
    pub async fn next(&mut self) -> Option<Changed<'_>> {
        let mut batch = Vec::new();
        let count = self.changes.recv_many(&mut batch, TOGETHER).await as u64;
        let channels = batch.into_iter().map(|interest| (interest.channel, interest.wanted)).collect();
        (count > 0).then(|| Changed { channels, count, done: &self.done })
    }
}

/// Changes that have become so when this is dropped.
#[derive(Debug)]
pub struct Changed<'a> {
    /// Which channels have members now, or have none any more.
    pub channels: HashMap<Arc<str>, bool>,
    count: u64,
    done: &'a watch::Sender<u64>,
}

impl Drop for Changed<'_> {
    fn drop(&mut self) {
        self.done.send_modify(|done| *done += self.count);
    }
}

/// Has channels listened to for as long as it is there, whether or not somebody is in them.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    interests: Interests,
    names: Vec<Name>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.interests.held.lock();
        for name in self.names.drain(..) {
            if let Entry::Occupied(mut count) = held.entry(name.clone()) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
            let (app, channel) = name;
            self.interests.note(Interest { app, channel, wanted: false });
        }
    }
}

impl Interests {
    pub(super) fn new() -> (Self, Wanted) {
        let (sender, changes) = mpsc::unbounded_channel();
        let (done, seen) = watch::channel(0);
        let held = Arc::default();
        let wanted = Wanted { changes, held: Arc::clone(&held), done };
        (Self { noted: Arc::default(), held, changes: sender, done: seen }, wanted)
    }

    /// Notes a change; never blocks.
    pub(super) fn note(&self, interest: Interest) {
        if self.changes.send(interest).is_ok() {
            self.noted.fetch_add(1, SeqCst);
        }
    }

    /// Has channels listened to.
    pub(super) fn hold(&self, names: Vec<Name>) -> Hold {
        for name in &names {
            *self.held.lock().entry(name.clone()).or_default() += 1;
            let (app, channel) = name.clone();
            self.note(Interest { app, channel, wanted: true });
        }
        Hold { interests: self.clone(), names }
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

/// How long a channel is listened to after its last member has gone; none: no longer.
fn lingers(app: &App, channel: &str) -> Option<Duration> {
    let recovery = app.recovery.as_ref()?;
    let remembered = is_abroad(channel) || app.policy.history(channel).is_some();
    remembered.then_some(recovery.window + MARGIN)
}

/// What is listened to now.
#[derive(Default)]
struct Heard {
    topics: HashMap<Name, Arc<str>>,
    /// Those that nobody was in at some time, with when that will have been long enough since the last time.
    ends: HashMap<Name, Instant>,
    /// When to look at them: each once, then or earlier.
    by_end: BTreeMap<Instant, Vec<Name>>,
}

/// What is to become of it.
#[derive(Default)]
struct Change {
    more: Vec<Name>,
    less: Vec<Name>,
}

impl Heard {
    fn next_end(&self) -> Option<Instant> {
        self.by_end.keys().next().copied()
    }

    /// Channels whose time is over, if nobody is in them.
    fn due(&mut self, now: Instant) -> Vec<Name> {
        let mut due = Vec::new();
        while let Some(entry) = self.by_end.first_entry().filter(|entry| *entry.key() <= now) {
            for name in entry.remove() {
                match self.ends.get(&name).copied().filter(|end| *end > now) {
                    Some(later) => self.by_end.entry(later).or_default().push(name),
                    None => {
                        self.ends.remove(&name);
                        due.push(name);
                    }
                }
            }
        }
        due
    }

    /// Looks at a channel. `is_over`: it has been empty for long enough.
    fn look(&mut self, hub: &Hub, is_held: bool, name: Name, is_over: bool, change: &mut Change) {
        let wanted = is_held || hub.channels().members(name.0, &name.1) > 0;
        let heard = self.topics.contains_key(&name);
        let lingers = || lingers(&hub.app(name.0), &name.1).filter(|_| !is_over);
        if wanted && !heard {
            change.more.push(name);
        } else if wanted || !heard {
            // It stays what it is.
        } else if let Some(longer) = lingers() {
            let end = Instant::now() + longer;
            if self.ends.insert(name.clone(), end).is_none() {
                self.by_end.entry(end).or_default().push(name);
            }
        } else {
            change.less.push(name);
        }
    }
}

/// Listens to what is wanted, as long as there is a hub.
pub(super) async fn keep(hub: Weak<Inner>, broker: Arc<dyn Broker>, mut wanted: Wanted) {
    let Some(first) = Hub::upgrade(&hub) else { return };
    let everyone = first.apps().map(|app| of_channel(&app.name, EVERYONE));
    let own: Vec<Arc<str>> = [ALL.into()].into_iter().chain(everyone).collect();
    drop(first);
    broker.listen(&own).await;
    let (mut heard, mut batch, mut count) = (Heard::default(), Vec::new(), 0);
    loop {
        let end = heard.next_end();
        let ended = async move {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let noted = tokio::select! {
            noted = wanted.changes.recv_many(&mut batch, TOGETHER) => Some(noted),
            () = ended => None,
        };
        let Some(hub) = Hub::upgrade(&hub).filter(|_| noted != Some(0)) else { return };
        count += noted.unwrap_or_default() as u64;
        let mut change = Change::default();
        let due = heard.due(Instant::now());
        // What is so now counts.
        let looked = batch.drain(..).map(|Interest { app, channel, .. }| (app, channel));
        let looked: HashSet<Name> = looked.filter(|(_, channel)| **channel != *EVERYONE).collect();
        let all = looked.into_iter().map(|name| (name, false)).chain(due.into_iter().map(|name| (name, true)));
        for (name, is_over) in all {
            let is_held = wanted.held.lock().contains_key(&name);
            heard.look(&hub, is_held, name, is_over, &mut change);
        }
        carry_out(&hub, &broker, &mut heard, change).await;
        let _ = wanted.done.send(count);
    }
}

async fn carry_out(hub: &Hub, broker: &Arc<dyn Broker>, heard: &mut Heard, Change { more, less }: Change) {
    if !more.is_empty() {
        let topics: Vec<_> = more.iter().map(|(app, channel)| of_channel(&hub.app(*app).name, channel)).collect();
        broker.listen(&topics).await;
        listening(hub, &more);
        heard.topics.extend(more.into_iter().zip(topics));
    }
    let less: Vec<_> = less.into_iter().filter_map(|name| heard.topics.remove_entry(&name)).collect();
    for ((app, channel), _) in &less {
        if let Some(recovery) = &hub.app(*app).recovery {
            recovery.log.ignores(channel);
        }
    }
    if !less.is_empty() {
        let topics: Vec<_> = less.into_iter().map(|(_, topic)| topic).collect();
        broker.ignore(&topics).await;
    }
}

/// Tells the logs of apps which channels are listened to from now on.
fn listening(hub: &Hub, names: &[Name]) {
    let mut remembered: HashMap<AppId, Vec<Arc<str>>> = HashMap::new();
    for (id, channel) in names {
        if lingers(&hub.app(*id), channel).is_some() {
            remembered.entry(*id).or_default().push(Arc::clone(channel));
        }
    }
    for (id, channels) in remembered {
        if let Some(recovery) = &hub.app(id).recovery {
            recovery.log.listens(channels);
        }
    }
}
