//! Doors through which backends publish without asking: what arrives there becomes publications by rules, as a client's
//! words do, and is acknowledged to the source only when the hub has taken them.
//!
//! The hub knows no vendor. Who reads from one holds an [`Intake`], gives it each message, and does what it says.

mod figures;
mod rule;
mod storm;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use oyez_protocol::json::MAX_DEPTH;
use tracing::{debug, warn};

use crate::address::AppId;
use crate::app::App;
use crate::clock::unix_millis;
use crate::command::{Command, CommandError, Outcome, Publish};
use crate::delivery::Priority;
use crate::hub::Hub;
use crate::inbox::rules::Class;
use crate::policy::expression::{Fault, Shape};
use crate::store::StoreError;

pub use figures::{Figures, Trouble};
pub use rule::{Plan, SourceRule, body_names, names};
pub use storm::{Storm, WhenStormy};

/// The wait before the second attempt; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The longest reason that is kept with a dead letter, in characters.
const REASON_MAX: usize = 400;

/// One `[app.NAME.source.NAME]`, without how its vendor is reached.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name.
    pub name: Arc<str>,
    /// Line in the file.
    pub line: usize,
    /// Where in the body the data is; none: it is the body.
    pub data: Option<Shape>,
    /// Fields that nobody gets to see, of the body and of the data.
    pub drop: Vec<Arc<str>>,
    /// How often a message is tried that is refused for a reason that may pass.
    pub attempts: u32,
    /// How much one channel may get; none: everything.
    pub storm: Option<Storm>,
    /// What becomes of messages.
    pub rules: Vec<SourceRule>,
    /// What is counted.
    pub figures: Arc<Figures>,
    memory: Arc<storm::Memory>,
}

impl Source {
    /// A source without rules, whose messages are their own data.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            line: 0,
            data: None,
            drop: Vec::new(),
            attempts: 5,
            storm: None,
            rules: Vec::new(),
            figures: Arc::default(),
            memory: Arc::default(),
        }
    }

    /// The same with what was counted under other rules.
    pub(crate) fn succeed(&self, old: &Self) -> Self {
        Self { figures: Arc::clone(&old.figures), memory: Arc::clone(&old.memory), ..self.clone() }
    }
}

/// A message as a source has it.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// What it came by: a routing key, a channel.
    pub address: &'a str,
    /// What it says.
    pub body: &'a [u8],
    /// A JSON object: what its author has written beside.
    pub headers: &'a str,
    /// The id that its author gave it.
    pub id: Option<&'a str>,
    /// When it was sent, in Unix milliseconds.
    pub sent: Option<u64>,
    /// How urgent its author thinks it is.
    pub priority: Option<Priority>,
}

impl<'a> Arrival<'a> {
    /// A message of which no more is known.
    #[must_use]
    pub fn new(address: &'a str, body: &'a [u8]) -> Self {
        Self { address, body, headers: "{}", id: None, sent: None, priority: None }
    }
}

/// Why a message can not be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poison {
    /// A word.
    pub word: &'static str,
    /// In words; nothing of what the message says.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

impl Poison {
    fn new(word: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into().chars().take(REASON_MAX).collect();
        Self { word, reason, attempts: 1 }
    }

    fn fault(line: usize, fault: &Fault) -> Self {
        Self::new("data", format!("line {line} of the configuration: {fault}"))
    }
}

/// What to tell the source of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Taken {
    /// Acknowledge it: what was to be published has been taken, stored where that is promised.
    Done,
    /// Put it with the dead letters, and then acknowledge it.
    Dead(Poison),
    /// Keep it: the node, or the source, is about to end.
    Not,
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
            Ok(Plan::Publish(publications)) => {
                for publish in publications {
                    match self.publish(&app, source, publish).await {
                        Taken::Done => {}
                        Taken::Dead(poison) => return self.dead(&app, arrival, poison),
                        Taken::Not => return Taken::Not,
                    }
                }
            }
            Ok(Plan::Unaddressed) => {
                self.figures.count(|figures| &figures.unaddressed);
                debug!(event = "source_unaddressed", app = %app.name, source = %self.name, address = shown(arrival.address), "its data names nobody");
            }
            Ok(Plan::Unmatched) => self.figures.count(|figures| &figures.unmatched),
            Err(poison) => return self.dead(&app, arrival, poison),
        }
        Taken::Done
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
