//! Messages that were given up, counted by where they came from and why.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use super::catalogue::{Catalogue, Label, Labelled};
use super::metrics::{APP, REASON};
use crate::shard::outbox::Origin;

const CHANNEL: Label = Label {
    name: "channel",
    values: "the `name` of the rule in the file that the first channel falls under, such as `site:{siteId}`; `other` where \
             there is none",
};
const LANE: Label = Label { name: "lane", values: "`urgent`, `high`, `normal`, `low`" };

/// Why a message was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// Too much waited for its client.
    SlowConsumer,
    /// The same, and a later one of the same key was there.
    Conflated,
    /// It was volatile and its client busy.
    Volatile,
}

impl Dropped {
    fn word(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::Conflated => "conflated",
            Self::Volatile => "volatile",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PerDrop {
    app: Arc<str>,
    channel: Arc<str>,
    reason: &'static str,
    lane: &'static str,
}

impl Labelled for PerDrop {
    const LABELS: &'static [Label] = &[APP, CHANNEL, REASON, LANE];
}

/// The counts, by app, channel, reason and lane.
#[derive(Debug)]
pub(crate) struct Drops {
    /// By id.
    apps: Vec<Arc<str>>,
    /// What channels without a rule are called.
    other: Arc<str>,
    counts: Family<PerDrop, Counter>,
    all: Counter,
}

impl Drops {
    /// For the apps of these names, in the order of their ids.
    pub(super) fn new<'a>(catalogue: &mut Catalogue, apps: impl IntoIterator<Item = &'a str>) -> Self {
        let counts = catalogue.counters("oyez_messages_dropped", "Messages given up, each for one client");
        let apps = apps.into_iter().map(Arc::from).collect();
        Self { apps, other: "other".into(), counts, all: Counter::default() }
    }

    /// So many were given up, each of them for one client. Nothing is allocated for that, but the first time.
    pub(crate) fn count(&self, origin: &Origin, reason: Dropped, count: usize) {
        let Origin { app, rule, lane } = origin;
        let Some(app) = self.apps.get(usize::from(app.0)) else { return };
        let channel = rule.as_ref().unwrap_or(&self.other);
        let labels =
            PerDrop { app: Arc::clone(app), channel: Arc::clone(channel), reason: reason.word(), lane: lane.name() };
        self.counts.get_or_create(&labels).inc_by(count as u64);
        self.all.inc_by(count as u64);
    }

    /// How many there were.
    pub(super) fn all(&self) -> u64 {
        self.all.get()
    }
}
