//! Where messages become publications: all of one message or none, tried again where that may help, said once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::json::MAX_DEPTH;
use parking_lot::Mutex;
use tokio::task::unconstrained;
use tracing::{debug, warn};

use super::{Arrival, Figures, Plan, Planned, Poison, Source, Storm, Taken, WhenStormy};
use crate::address::AppId;
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::{Command, CommandError, Outcome, Publish};
use crate::hub::Hub;
use crate::promise::Class;
use crate::store::StoreError;

/// The wait before the second attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How many live publications are remembered, so that a message that comes again is not heard again.
const SAID_MAX: usize = 10_000;

/// The ids of live publications that were made of late.
#[derive(Debug, Default)]
pub(super) struct Said(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    known: HashSet<Arc<str>>,
    /// The oldest first.
    order: VecDeque<Arc<str>>,
}

impl Said {
    fn knows(&self, id: &str) -> bool {
        self.0.lock().known.contains(id)
    }

    fn note(&self, id: String) {
        let Ids { known, order } = &mut *self.0.lock();
        let id: Arc<str> = id.into();
        if !known.insert(Arc::clone(&id)) {
            return;
        }
        order.push_back(id);
        if order.len() > SAID_MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}

/// Where a source's messages go in; clones are the same.
#[derive(Debug, Clone)]
pub struct Intake {
    hub: Hub,
    app: AppId,
    name: Arc<str>,
    figures: Arc<Figures>,
}

impl Intake {
    /// For a source of an app; none when the app has no source of that name.
    #[must_use]
    pub fn new(hub: Hub, app: AppId, name: &str) -> Option<Self> {
        let source = hub.app(app).source(name).cloned()?;
        Some(Self { hub, app, name: Arc::clone(&source.name), figures: Arc::clone(&source.figures) })
    }

    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    pub(super) fn app(&self) -> AppId {
        self.app
    }

    /// The name of its app.
    #[must_use]
    pub fn app_name(&self) -> String {
        self.hub.app(self.app).name.clone()
    }

    /// What is counted of it.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Publishes what the rules make of a message; waits and tries again where that may help. When it is dropped meanwhile,
    /// the message must come again.
    pub async fn take(&self, arrival: &Arrival<'_>) -> Taken {
        let app = self.hub.app(self.app);
        let Some(source) = app.source(&self.name) else { return Taken::Not };
        self.figures.count(|figures| &figures.received);
        let levels = app.limits.json_depth.unwrap_or(MAX_DEPTH);
        match source.plan(arrival, levels, unix_millis()) {
            Ok(Plan::Publish(planned)) => match self.publish_all(&app, source, planned).await {
                Taken::Dead(poison) => self.dead(&app, arrival, poison),
                taken => taken,
            },
            Ok(Plan::Unaddressed) => {
                self.figures.count(|figures| &figures.unaddressed);
                debug!(event = "source_unaddressed", app = %app.name, source = %self.name, address = shown(arrival.address), "its data names nobody");
                Taken::Done
            }
            Ok(Plan::Unmatched) => {
                self.figures.count(|figures| &figures.unmatched);
                Taken::Done
            }
            Err(poison) => self.dead(&app, arrival, poison),
        }
    }

    /// Publishes all of one message, or, when one of them can never be published, none. What is durable goes first: a
    /// full inbox may still refuse it, before anybody has heard of the message.
    async fn publish_all(&self, app: &App, source: &Source, mut planned: Vec<Planned>) -> Taken {
        // One that is alone, of a message without an id, needs no care: where it is refused, nobody has heard of it.
        if let [Planned { id: None, .. }] = planned[..]
            && let Some(Planned { publish, .. }) = planned.pop()
        {
            return self.publish(app, source, publish).await;
        }
        let (mut durable, mut live) = (Vec::new(), Vec::new());
        for Planned { mut publish, id } in planned {
            let examined = match self.hub.examine(app, &publish, false) {
                Ok(examined) => examined,
                Err(error) => return Taken::Dead(Poison::new("refused", error.to_string())),
            };
            publish.id = publish.id.or(examined.id).or_else(|| id.clone());
            let (class, once) = if examined.durable.is_empty() { (&mut live, id) } else { (&mut durable, None) };
            class.push((publish, once));
        }
        let all = durable.len() + live.len();
        for (done, (publish, once)) in durable.into_iter().chain(live).enumerate() {
            // The store knows what it has; what is live is known here.
            if once.as_ref().is_some_and(|id| source.said.knows(id)) {
                self.figures.count(|figures| &figures.duplicates);
                continue;
            }
            match self.publish(app, source, publish).await {
                Taken::Done => once.into_iter().for_each(|id| source.said.note(id)),
                Taken::Dead(poison) => return Taken::Dead(poison.after(done, all)),
                Taken::Not => return Taken::Not,
            }
        }
        Taken::Done
    }

    /// What to tell the source of a message that is none: its reader found out why.
    pub fn refuse(&self, arrival: &Arrival<'_>, word: &'static str, reason: impl Into<String>) -> Taken {
        self.figures.count(|figures| &figures.received);
        self.dead(&self.hub.app(self.app), arrival, Poison::new(word, reason))
    }

    fn dead(&self, app: &App, arrival: &Arrival<'_>, poison: Poison) -> Taken {
        self.figures.count(|figures| &figures.dead);
        let Poison { word, reason, attempts } = &poison;
        warn!(event = "source_dead_letter", app = %app.name, source = %self.name, address = shown(arrival.address), reason = word, attempts, "{reason}");
        Taken::Dead(poison)
    }

    async fn publish(&self, app: &App, source: &Source, mut publish: Publish) -> Taken {
        if let Some(storm) = source.storm {
            self.calm(app, source, storm, &mut publish).await;
            if publish.to.is_empty() {
                return Taken::Done;
            }
        }
        let mut attempts = 0;
        let mut wait = FIRST_WAIT;
        loop {
            attempts += 1;
            let error = match self.hub.execute(self.app, Command::Publish(publish.clone())).await {
                Ok(Outcome::Published(published)) => {
                    self.figures.count(|figures| &figures.published);
                    if published.duplicate {
                        self.figures.count(|figures| &figures.duplicates);
                    }
                    return Taken::Done;
                }
                Ok(_) => return Taken::Done,
                Err(CommandError::ShuttingDown | CommandError::Store(StoreError::Closed)) => return Taken::Not,
                Err(error) => error,
            };
            match error {
                // What nothing can be stored for is not this message's fault: it waits until there is room.
                CommandError::Store(ref trouble) if trouble.is_trouble() => {}
                CommandError::Store(StoreError::InboxFull(_)) if attempts < source.attempts => {}
                error => {
                    let word = if attempts > 1 { "attempts" } else { "refused" };
                    return Taken::Dead(Poison { attempts, ..Poison::new(word, error.to_string()) });
                }
            }
            self.figures.count(|figures| &figures.retried);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Keeps a storm from the channels that are in it.
    async fn calm(&self, app: &App, source: &Source, storm: Storm, publish: &mut Publish) {
        // Whoever waits has all that come after it wait: their order is kept.
        let _turn = match storm.policy {
            WhenStormy::Defer => Some(unconstrained(source.turn.lock()).await),
            WhenStormy::DropNewest => None,
        };
        let mut calm = Vec::with_capacity(publish.to.len());
        for channel in std::mem::take(&mut publish.to) {
            let (mut hears, mut counted) = (true, false);
            while let Err(early) = source.memory.allows(&channel, storm.rate) {
                if !counted {
                    self.figures.count(|figures| &figures.limited);
                    counted = true;
                }
                if storm.policy == WhenStormy::Defer {
                    tokio::time::sleep(early).await;
                    continue;
                }
                // What was promised is kept.
                let ruled = || app.event(&publish.event, &channel).and_then(|rule| rule.class);
                hears = publish.promise.class.or_else(ruled) == Some(Class::Durable);
                break;
            }
            if hears {
                calm.push(channel);
            }
        }
        publish.to = calm;
    }
}

/// As much of an address as stands in a log.
fn shown(address: &str) -> String {
    address.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).take(200).collect()
}
