//! What this node says: taken from its queue as it comes and written once, then said in batches.
//!
//! Writing waits for no broker: a publication gives its permit back when its letter is written. What is written waits in the
//! [`Letterbox`].

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::index::ROWS;
use super::letterbox::{Letterbox, beside};
use super::words::{LARGEST, Relay, Words};
use super::{ALL, Cluster, Numbers, now, of_channel, of_node};
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::broker::{Said, Unreached};
use crate::channel::abroad_of;
use crate::delivery::{Delivery, Target};
use crate::hub::Inner;

/// Something to say.
pub(super) enum Outbound {
    /// Others may have members for it.
    Relay {
        delivery: Arc<Delivery>,
        /// The channels that keep it.
        remembered: Vec<Arc<str>>,
        /// See [`super::Origin::number`].
        number: u64,
        /// See [`Relay::asks`].
        asks: Option<(u64, u64)>,
    },
    Words(Arc<str>, Words),
    /// Goodbye, after all that was to be said before; and who waits until it has been said.
    Last(oneshot::Sender<()>),
}

/// Says what comes until goodbye has been said, or there is no hub any more.
pub(super) async fn carry(hub: Weak<Inner>, cluster: Arc<Cluster>, queue: mpsc::UnboundedReceiver<Outbound>) {
    let broker = Arc::clone(&cluster.broker);
    let mut carrier = Carrier::new(hub, cluster, queue);
    loop {
        let Some(batch) = carrier.batch() else {
            if carrier.ended {
                break;
            }
            carrier.take_in().await;
            continue;
        };
        let outcome = beside(broker.say(&batch.said), carrier.take_all_in()).await;
        carrier.note(batch, &outcome);
    }
    if let Some(is_said) = carrier.last {
        let _ = is_said.send(());
    }
}

/// What waits to be said.
enum Entry {
    Letter(Written),
    /// Here letters are missing.
    Missing(Unsaid),
}

/// A letter.
struct Written {
    topics: SmallVec<[Arc<str>; 2]>,
    payload: Bytes,
    /// Of a publication: its app, and the channels that keep it.
    kept: Option<(AppId, Vec<Arc<str>>)>,
}

impl Written {
    /// Bytes that the broker is told, and those that it takes here.
    fn size(&self) -> usize {
        let said = self.topics.iter().map(|topic| topic.len() + self.payload.len()).sum::<usize>();
        said + size_of::<Entry>()
    }
}

/// Letters on their way to the broker.
#[derive(Default)]
struct Batch {
    said: Vec<Said>,
    publications: u64,
    /// What is at stake.
    risked: Unsaid,
    /// They begin with all that is [`Carrier::unsaid`].
    tells: bool,
}

/// Who writes, and knows what was not said.
struct Carrier {
    hub: Weak<Inner>,
    cluster: Arc<Cluster>,
    queue: mpsc::UnboundedReceiver<Outbound>,
    letterbox: Letterbox<Entry>,
    unsaid: Unsaid,
    last: Option<oneshot::Sender<()>>,
    /// Nothing comes any more.
    ended: bool,
}

impl Carrier {
    fn new(hub: Weak<Inner>, cluster: Arc<Cluster>, queue: mpsc::UnboundedReceiver<Outbound>) -> Self {
        let (letterbox, unsaid) = Default::default();
        Self { hub, cluster, queue, letterbox, unsaid, last: None, ended: false }
    }

    /// Writes what comes next, while there is room; permits return as each is written. Cancel-safe.
    async fn take_in(&mut self) {
        let mut next = self.letterbox.next_of(&mut self.queue).await;
        let Some(hub) = Hub::upgrade(&self.hub).filter(|_| next.is_some()) else {
            self.ended = true;
            if self.last.is_some() {
                self.write(ALL.into(), Words::Leave);
            }
            return;
        };
        let mut taken = 0;
        while let Some(outbound) = next {
            match outbound {
                Outbound::Last(is_said) => {
                    // What has come until now is said, too.
                    self.queue.close();
                    self.last = Some(is_said);
                }
                Outbound::Words(topic, words) => self.write(topic, words),
                Outbound::Relay { delivery, remembered, number, asks } => {
                    self.write_relay(&hub.app(delivery.app), &delivery, remembered, number, asks);
                }
            }
            taken += 1;
            next = self.letterbox.more_of(&mut self.queue, taken);
        }
    }

    /// The same until nothing comes any more.
    async fn take_all_in(&mut self) {
        while !self.ended {
            self.take_in().await;
        }
    }

    /// Words are few, and others wait for them.
    fn write(&mut self, topic: Arc<str>, words: Words) {
        let written = Written { topics: smallvec![topic], payload: self.cluster.letter(words).write(), kept: None };
        if written.payload.len() > LARGEST {
            self.miss_large(written);
        } else {
            let size = written.size();
            self.letterbox.keep(Entry::Letter(written), size);
        }
    }

    fn write_relay(
        &mut self,
        app: &App,
        delivery: &Delivery,
        remembered: Vec<Arc<str>>,
        number: u64,
        asks: Option<(u64, u64)>,
    ) {
        let mut kept = remembered.clone();
        if let (Target::Channels(heard), Some(_)) = (&delivery.to, delivery.stored) {
            kept.extend(heard.iter().map(|heard| Arc::clone(&heard.channel)));
        }
        let relay = Relay { remembered, asks, ..Relay::of(app, delivery) };
        let payload = self.cluster.letter(Words::Relay(number, Box::new(relay))).write();
        // All report whom they reached, nobody included.
        let all = asks.filter(|_| is_for_all(app, &delivery.to)).map(|_| ALL.into());
        let topics = all.map_or_else(|| topics(app, delivery, &self.cluster.numbers), |all| smallvec![all]);
        let written = Written { topics, payload, kept: Some((app.id, kept)) };
        if written.payload.len() > LARGEST {
            return self.miss_large(written);
        }
        let size = written.size();
        if let Err(Entry::Letter(written)) = self.letterbox.put(Entry::Letter(written), size)
            && self.miss(written)
        {
            warn!(
                event = "letters_missing",
                "the broker takes nothing, and no more can wait; what is said here is delivered here"
            );
        }
    }

    fn miss_large(&mut self, written: Written) {
        warn!(
            event = "letter_too_large",
            bytes = written.payload.len(),
            most = LARGEST,
            "it would cut off those who listen"
        );
        self.miss(written);
    }

    /// Notes in its place that a letter is not said; true: the one before it is.
    fn miss(&mut self, written: Written) -> bool {
        self.cluster.figures.unsaid.fetch_add(1, Relaxed);
        let (missing, is_first) = match self.letterbox.last_mut() {
            Some(Entry::Missing(missing)) => (missing, false),
            _ => {
                self.letterbox.keep(Entry::Missing(Unsaid::default()), size_of::<Entry>());
                let Some(Entry::Missing(missing)) = self.letterbox.last_mut() else { return true };
                (missing, true)
            }
        };
        missing.last = Some(now());
        written.kept.into_iter().for_each(|(app, channels)| missing.note(app, channels));
        is_first
    }

    /// What is said next; `None`: nothing waits.
    fn batch(&mut self) -> Option<Batch> {
        let entries = self.letterbox.take()?;
        let hub = Hub::upgrade(&self.hub)?;
        let mut batch = Batch { tells: self.cluster.is_reached(), ..Batch::default() };
        let cluster = &self.cluster;
        let tell = |said: &mut Vec<Said>, unsaid: &Unsaid| {
            let letter = |words| Said { topic: ALL.into(), payload: cluster.letter(words).write() };
            said.extend(unsaid.words(&hub).filter(|_| batch.tells).map(letter));
        };
        tell(&mut batch.said, &self.unsaid);
        let mut missing = Unsaid::default();
        for entry in entries {
            match entry {
                Entry::Missing(more) => missing.add(more),
                // It may be heard by now, but what was not said before could not be told before it.
                Entry::Letter(Written { kept: Some((app, channels)), .. }) if !batch.tells => {
                    cluster.figures.unsaid.fetch_add(1, Relaxed);
                    missing.note(app, channels);
                    missing.last = Some(now());
                }
                Entry::Letter(Written { topics, payload, kept }) => {
                    if let Some((app, channels)) = kept {
                        // Before what comes after it.
                        tell(&mut batch.said, &missing);
                        self.unsaid.add(std::mem::take(&mut missing));
                        batch.publications += 1;
                        batch.risked.note(app, channels);
                    }
                    batch.said.extend(topics.into_iter().map(|topic| Said { topic, payload: payload.clone() }));
                }
            }
        }
        tell(&mut batch.said, &missing);
        self.unsaid.add(missing);
        Some(batch)
    }

    /// Notes what has become of a batch.
    fn note(&mut self, batch: Batch, outcome: &Result<(), Unreached>) {
        self.letterbox.said(outcome.is_ok());
        let figures = &self.cluster.figures;
        let figure = if outcome.is_ok() { &figures.said } else { &figures.unsaid };
        figure.fetch_add(batch.publications, Relaxed);
        if outcome.is_err() {
            self.unsaid.add(Unsaid { last: Some(now()), ..batch.risked });
        } else if batch.tells {
            self.unsaid = Unsaid::default();
        }
    }
}

/// The channels whose members on other nodes could not be told something that is remembered, or stored.
#[derive(Debug, Default)]
struct Unsaid {
    channels: HashMap<AppId, HashSet<Arc<str>>>,
    /// When the last of it was not said.
    last: Option<Instant>,
}

impl Unsaid {
    fn note(&mut self, app: AppId, channels: impl IntoIterator<Item = Arc<str>>) {
        let mut channels = channels.into_iter().peekable();
        if channels.peek().is_some() {
            self.channels.entry(app).or_default().extend(channels);
        }
    }

    fn add(&mut self, other: Self) {
        other.channels.into_iter().for_each(|(app, channels)| self.note(app, channels));
        self.last = self.last.max(other.last);
    }

    /// In letters of some channels each.
    fn words(&self, hub: &Hub) -> impl Iterator<Item = Words> {
        let ago = self.last.map_or(0, |last| now().saturating_duration_since(last).as_millis());
        let ago = u64::try_from(ago).unwrap_or(u64::MAX);
        let of = move |(app, channels): (&AppId, &HashSet<Arc<str>>)| {
            let channels: Vec<_> = channels.iter().cloned().collect();
            let app = hub.app(*app).name.clone();
            channels.chunks(ROWS).map(|some| Words::Unsaid(app.clone(), some.to_vec(), ago)).collect::<Vec<_>>()
        };
        self.channels.iter().flat_map(of)
    }
}

/// Whether every node is told, so that each says whom it reached: who has a session is not known here, where it may have
/// come back elsewhere.
pub(super) fn is_for_all(app: &App, to: &Target) -> bool {
    matches!(to, Target::Channels(_)) || app.recovery.is_some()
}

/// Where a delivery is said.
fn topics(app: &App, delivery: &Delivery, own: &Numbers) -> SmallVec<[Arc<str>; 2]> {
    match &delivery.to {
        Target::Channels(heard) => heard.iter().map(|heard| of_channel(&app.name, &heard.channel)).collect(),
        Target::Socket(name) => {
            let abroad = app.recovery.iter().map(|_| of_channel(&app.name, &abroad_of(*name)));
            let owner = (!own.has_alone(name.node)).then(|| of_node(name.node));
            owner.into_iter().chain(abroad).collect()
        }
    }
}
