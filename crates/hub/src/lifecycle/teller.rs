//! The one that watches, and tells if it is its turn to.
//!
//! Among several nodes the eldest tells, when it has been that for a while: by then it knows who is there on the others. The
//! others see the same and keep it for some time, so that what nobody told while a node died is told by the next.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use super::queue::{MOST, Queue};
use super::tracker::Tracker;
use super::{Event, Key, Kind, Lifecycle, journal};
use crate::Hub;
use crate::address::AppId;
use crate::cluster::{GRACE, LEASE, Peer};
use crate::hub::Inner;
use crate::store::{Store, StoreError};

/// How often is looked whose turn it is, and what the rules are.
const LOOK: Duration = Duration::from_millis(500);

/// Others see a thing so much earlier or later, and have it in the journal so much later.
const MARGIN: Duration = Duration::from_secs(2);

/// So much is kept by those who do not tell; then the oldest goes.
const KEPT_MOST: usize = 10_000;

/// Whose turn it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    /// Another node's.
    #[default]
    Watches,
    /// It may be this one's, since then.
    Waits(Instant),
    Tells,
}

/// See the module.
pub(super) struct Teller {
    lifecycle: Arc<Lifecycle>,
    store: Arc<dyn Store>,
    tracker: Tracker,
    queue: Queue,
    role: Role,
    /// What was seen while another node tells, and perhaps not by that.
    seen: VecDeque<(Instant, Event)>,
    /// The eldest of the others, and since when it is.
    eldest: Option<(Peer, Instant)>,
    /// When one was heard last whose turn it was to tell.
    heard: Instant,
    /// When this was running last.
    ran: Instant,
    /// The other nodes were heard then.
    reached: bool,
}

/// Watches and tells as long as there is a hub.
pub(super) async fn run(hub: Weak<Inner>, lifecycle: Arc<Lifecycle>, store: Arc<dyn Store>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut teller = Teller::new(Arc::clone(&lifecycle), store);
    loop {
        let next = teller.tracker.next().into_iter().chain(teller.queue.next()).min();
        let due = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = teller.queue.ended() => teller.queue.end(outcome, &lifecycle.figures, Instant::now()),
            () = lifecycle.changed.notified() => {}
            () = due => {}
            _ = ticks.tick() => {}
        }
        let Some(hub) = Hub::upgrade(&hub) else { return };
        teller.turn(&hub).await;
    }
}

impl Teller {
    pub(super) fn new(lifecycle: Arc<Lifecycle>, store: Arc<dyn Store>) -> Self {
        let (tracker, queue, role) = (Tracker::default(), Queue::default(), Role::default());
        let now = Instant::now();
        Self {
            lifecycle,
            store,
            tracker,
            queue,
            role,
            seen: VecDeque::new(),
            eldest: None,
            heard: now,
            ran: now,
            reached: false,
        }
    }

    /// Does what there is to do.
    pub(super) async fn turn(&mut self, hub: &Hub) {
        self.follow_rules(hub);
        self.take_turns(hub).await;
        let now = Instant::now();
        let mut events = Vec::new();
        let changes = std::mem::take(&mut *self.lifecycle.changes.lock());
        for (key, was_there) in changes {
            if hub.app(key.app).lifecycle.as_ref().is_none_or(|rules| !rules.covers(&key)) {
                continue;
            }
            let there = hub.is_there(&key);
            if was_there && !there && !self.tracker.is_there(&key) {
                // It came and went before anybody looked.
                self.tracker.note(&key, true, now);
                events.extend(self.say(&key, events.len()));
            }
            self.tracker.note(&key, there, now);
            events.extend(self.say(&key, events.len()));
        }
        for key in self.tracker.gone(now) {
            events.extend(self.say(&key, events.len()));
        }
        if self.has_room(events.len()) {
            for key in self.tracker.unsaid() {
                events.extend(self.say(&key, events.len()));
            }
        }
        self.emit(hub, events, now).await;
        while let Some(outcome) = self.queue.ended().now_or_never() {
            self.queue.end(outcome, &self.lifecycle.figures, now);
        }
        self.queue.start(hub, Instant::now());
        self.forget(hub).await;
        let figures = &self.lifecycle.figures;
        figures.waiting.store(self.queue.len() as u64, Relaxed);
        figures.merged.store(self.tracker.unsaid_count() as u64, Relaxed);
    }

    fn has_room(&self, more: usize) -> bool {
        self.queue.len() + more < MOST
    }

    fn say(&mut self, key: &Key, more: usize) -> Option<Event> {
        let room = self.has_room(more);
        self.tracker.say(key, room)
    }

    /// Looks what is wanted; who is there when somebody begins to want it has come.
    fn follow_rules(&mut self, hub: &Hub) {
        let (mut begun, mut ended) = (false, false);
        for app in hub.apps() {
            let Some(watched) = self.lifecycle.watched.get(usize::from(app.id.0)) else { continue };
            for kind in Kind::ALL {
                let wanted = app.lifecycle.as_ref().is_some_and(|rules| rules.watches(kind));
                let was = watched[kind as usize].swap(wanted, Relaxed);
                (begun, ended) = (begun || wanted && !was, ended || was && !wanted);
                if wanted && !was {
                    let there = match kind {
                        Kind::User => hub.users(app.id),
                        Kind::Channel => hub.occupied(app.id).into_iter().map(|(channel, _)| channel).collect(),
                    };
                    there.iter().for_each(|name| self.lifecycle.note(kind, app.id, name, true));
                }
            }
        }
        if begun {
            // What was said of them in another time is in the journal.
            self.role = Role::Watches;
        }
        if ended {
            self.tracker.retain(|key| hub.app(key.app).lifecycle.as_ref().is_some_and(|rules| rules.covers(key)));
        }
    }

    /// Notes whether the one is there whose turn it is to tell.
    fn watch(&mut self, eldest: Option<(Peer, std::time::Instant)>, now: Instant) {
        let since = self.eldest.filter(|(peer, _)| eldest.is_some_and(|(other, _)| other == *peer));
        self.eldest = since.or(eldest.map(|(peer, _)| (peer, now)));
        // By then it has taken its turn.
        if let (Some((_, since)), Some((_, heard))) = (since, eldest)
            && now.saturating_duration_since(since) >= LEASE
        {
            self.heard = Instant::from_std(heard);
        }
    }

    /// Looks whose turn it is.
    async fn take_turns(&mut self, hub: &Hub) {
        let now = Instant::now();
        let (away, was_reached) = (now.saturating_duration_since(self.ran) >= LEASE, self.reached);
        self.ran = now;
        let role = match hub.cluster() {
            None => Role::Tells,
            Some(cluster) => {
                self.reached = cluster.is_reached();
                if !cluster.is_eldest() {
                    self.watch(cluster.eldest(), now);
                }
                match self.role {
                    // Nobody is heard: who told goes on.
                    role if !self.reached => role,
                    _ if !cluster.is_eldest() => Role::Watches,
                    // Others may have told meanwhile.
                    Role::Tells if away || !was_reached => Role::Waits(now),
                    Role::Watches => Role::Waits(now),
                    Role::Waits(since) if now.saturating_duration_since(since) >= GRACE => Role::Tells,
                    role => role,
                }
            }
        };
        if role == self.role {
            return;
        }
        if role == Role::Tells {
            if let Err(error) = self.take_over(hub, now).await {
                self.lifecycle.figures.unkept.fetch_add(1, Relaxed);
                warn!(event = "webhook_journal", %error, "what is to be told cannot be read; it is tried again");
                return;
            }
        } else if self.role == Role::Tells && self.store.is_shared() {
            // It is all in the journal, for who tells next.
            self.queue.clear();
        }
        let (tells, told) = (role == Role::Tells, self.role == Role::Tells);
        let is_watched = hub.apps().any(|app| app.lifecycle.is_some());
        // Among several nodes it tells where to look for what a backend hears. One alone always tells.
        if tells != told && is_watched && hub.cluster().is_some() {
            info!(event = "webhook_turn", tells);
        }
        self.role = role;
        self.lifecycle.figures.telling.store(tells, Relaxed);
    }

    /// Goes on where the one before has stopped: this process in its last life, or another node.
    async fn take_over(&mut self, hub: &Hub, now: Instant) -> Result<(), StoreError> {
        let (mut said, mut waiting) = (HashSet::new(), Vec::new());
        for app in hub.apps().filter(|app| app.lifecycle.is_some()) {
            let found = journal::load(&*self.store, app.id, &app.name).await?;
            said.extend(found.said);
            waiting.extend(found.waiting);
        }
        self.queue.clear();
        let (waiting, unwanted): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|event| wants(hub, event));
        self.queue.still_told(unwanted);
        waiting.into_iter().for_each(|event| self.queue.push(event));
        let shared = self.store.is_shared();
        let mut again = Vec::new();
        for (_, event) in std::mem::take(&mut self.seen) {
            // Where nodes do not share a journal, what the other has told is not known.
            if !shared || said.contains(&event.key) != event.on {
                journal::apply(&mut said, &event);
                again.push(event);
            }
        }
        self.keep(hub, again).await;
        self.tracker.believe(&said, shared, now);
        let mut events = Vec::new();
        for key in self.tracker.keys() {
            events.extend(self.say(&key, events.len()));
        }
        self.keep(hub, events).await;
        Ok(())
    }

    /// Tells of events, or keeps them for when it must.
    async fn emit(&mut self, hub: &Hub, events: Vec<Event>, now: Instant) {
        if self.role == Role::Tells {
            return self.keep(hub, events).await;
        }
        self.seen.extend(events.into_iter().map(|event| (now, event)));
        let (heard, more) = (self.heard, self.seen.len().saturating_sub(KEPT_MOST));
        self.seen.drain(..more);
        // Whoever was alive after that has told of it, or has it in the journal.
        while self.seen.pop_front_if(|(at, _)| *at + MARGIN < heard).is_some() {}
    }

    /// Puts events into the journal, and tells them then. Where the journal cannot be written they are told all the same.
    async fn keep(&mut self, hub: &Hub, events: Vec<Event>) {
        let mut apps: HashMap<AppId, Vec<&Event>> = HashMap::new();
        for event in &events {
            apps.entry(event.key.app).or_default().push(event);
        }
        for (id, some) in apps {
            let app = hub.app(id);
            let kept = journal::keep(&*self.store, &app.name, &some, |event| wants(hub, event)).await;
            self.note(kept);
        }
        events.into_iter().filter(|event| wants(hub, event)).for_each(|event| self.queue.push(event));
    }

    /// Takes what was told out of the journal.
    async fn forget(&mut self, hub: &Hub) {
        for (id, events) in self.queue.told() {
            let forgotten = journal::forget(&*self.store, &hub.app(id).name, &events).await;
            if forgotten.is_err() {
                self.queue.still_told(events);
            }
            self.note(forgotten);
        }
    }

    fn note(&self, outcome: Result<(), StoreError>) {
        if let Err(error) = outcome {
            self.lifecycle.figures.unkept.fetch_add(1, Relaxed);
            warn!(event = "webhook_journal", %error, "if this node ends now, something may be told again, or not at all");
        }
    }
}

/// Whether the app's rules want to hear of it.
fn wants(hub: &Hub, event: &Event) -> bool {
    hub.app(event.key.app).lifecycle.as_ref().is_some_and(|rules| rules.wants(event))
}
