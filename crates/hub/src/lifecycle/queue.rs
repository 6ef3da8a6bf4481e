//! What is to be told, on its way: of one user or channel one after the other, of different ones together. It is tried
//! until the backend has taken it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::Instant;
use tracing::warn;

use super::{Event, Figures, Key};
use crate::Hub;
use crate::address::AppId;
use crate::backend::{Refused, jittered};

/// Events of all apps that wait; beyond that, only what is so at last is told.
pub(super) const MOST: usize = 100_000;

/// Events of one app that are told at once.
const TOGETHER: usize = 16;

/// How long to wait after the first attempt; twice as long after each further one.
const FIRST: Duration = Duration::from_millis(500);

/// It is never waited for longer.
const LONGEST: Duration = Duration::from_secs(30);

/// How long to wait when a backend has too much to do already.
const BUSY: Duration = Duration::from_millis(250);

type Telling = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What came of an attempt.
pub(super) type Outcome = (Key, Result<(), Refused>);

/// What waits for one user or channel.
#[derive(Debug, Default)]
struct Line {
    events: VecDeque<Event>,
    attempts: u32,
}

/// What waits for one app's backend. A line is under way, ready, or paused.
#[derive(Debug, Default)]
struct Lane {
    lines: HashMap<Key, Line>,
    ready: VecDeque<Key>,
    paused: BTreeMap<(Instant, u64), Key>,
    /// Nothing is told before.
    held: Option<Instant>,
    under_way: usize,
}

/// All that waits.
#[derive(Default)]
pub(super) struct Queue {
    lanes: HashMap<AppId, Lane>,
    under_way: FuturesUnordered<Telling>,
    count: usize,
    pauses: u64,
    told: Vec<Event>,
}

impl Queue {
    /// How many events wait.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Tells one more.
    pub(super) fn push(&mut self, event: Event) {
        let lane = self.lanes.entry(event.key.app).or_default();
        let line = lane.lines.entry(event.key.clone()).or_default();
        if line.events.is_empty() {
            lane.ready.push_back(event.key.clone());
        }
        line.events.push_back(event);
        self.count += 1;
    }

    /// Forgets all that waits; what is under way may be told.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next attempt that has come to an end; never, while none is under way.
    pub(super) async fn ended(&mut self) -> Outcome {
        match self.under_way.next().await {
            Some(outcome) => outcome,
            None => std::future::pending().await,
        }
    }

    /// What came of an attempt.
    pub(super) fn end(&mut self, (key, result): Outcome, figures: &Figures, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&key.app) else { return };
        lane.under_way = lane.under_way.saturating_sub(1);
        let Some(line) = lane.lines.get_mut(&key) else { return };
        let refused = match result {
            Ok(()) => {
                figures.told.fetch_add(1, Relaxed);
                self.done(&key);
                return;
            }
            Err(refused) => refused,
        };
        if let Refused::Broken { .. } | Refused::Busy = refused {
            // That was no attempt, and others would fare no better.
            let wait = if let Refused::Broken { wait } = refused { wait } else { BUSY };
            lane.held = Some(now + wait);
            lane.ready.push_front(key);
            return;
        }
        line.attempts += 1;
        figures.failed.fetch_add(1, Relaxed);
        if line.attempts.is_power_of_two() {
            let (attempts, what) = (line.attempts, line.events.front().map_or("", Event::word));
            warn!(event = "webhook_refused", what, attempts, reason = %refused, "it is told again");
        }
        let pause = FIRST.saturating_mul(1 << (line.attempts - 1).min(16)).min(LONGEST);
        self.pauses += 1;
        lane.paused.insert((now + jittered(pause), self.pauses), key);
    }

    /// The first event of a line is done with.
    fn done(&mut self, key: &Key) {
        let Some(lane) = self.lanes.get_mut(&key.app) else { return };
        let Some(line) = lane.lines.get_mut(key) else { return };
        self.told.extend(line.events.pop_front());
        self.count -= 1;
        line.attempts = 0;
        if line.events.is_empty() {
            lane.lines.remove(key);
        } else {
            lane.ready.push_back(key.clone());
        }
    }

    /// Tells what can be told now.
    pub(super) fn start(&mut self, hub: &Hub, now: Instant) {
        for (id, lane) in &mut self.lanes {
            while let Some(first) = lane.paused.first_entry().filter(|first| first.key().0 <= now) {
                lane.ready.push_back(first.remove());
            }
            if lane.held.is_some_and(|held| held > now) {
                continue;
            }
            lane.held = None;
            let app = hub.app(*id);
            let (Some(rules), Some(backend)) = (&app.lifecycle, &app.backend) else {
                // Nobody wants to hear of it any more.
                let lines = std::mem::take(lane).lines;
                for line in lines.into_values() {
                    self.count -= line.events.len();
                    self.told.extend(line.events);
                }
                continue;
            };
            while lane.under_way < TOGETHER {
                let Some(key) = lane.ready.pop_front() else { break };
                let Some(event) = lane.lines.get(&key).and_then(|line| line.events.front()) else { continue };
                let (backend, endpoint) = (backend.clone(), rules.endpoint.clone());
                let (id, body) = (event.id.to_string(), event.body(&app.name));
                lane.under_way += 1;
                self.under_way.push(Box::pin(async move {
                    let told = backend.tell(&endpoint, &id, &body).await;
                    (key, told.map(drop))
                }));
            }
        }
    }

    /// When something can be told again that must wait now.
    pub(super) fn next(&self) -> Option<Instant> {
        let next = |lane: &Lane| {
            let held = lane.held.filter(|_| !lane.ready.is_empty());
            let paused = lane.paused.keys().next().map(|(at, _)| *at);
            held.into_iter().chain(paused).min()
        };
        self.lanes.values().filter_map(next).min()
    }

    /// What is done with since this was asked last, by app.
    pub(super) fn told(&mut self) -> HashMap<AppId, Vec<Event>> {
        let mut told: HashMap<AppId, Vec<Event>> = HashMap::new();
        for event in self.told.drain(..) {
            told.entry(event.key.app).or_default().push(event);
        }
        told
    }

    /// What could not be forgotten: it is tried again.
    pub(super) fn still_told(&mut self, events: Vec<Event>) {
        self.told.extend(events);
    }
}
