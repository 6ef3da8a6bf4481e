//! What this node says: taken from its queue as it comes, written once, said in batches.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::index::ROWS;
use super::words::{LARGEST, Relay, Words};
use super::{ALL, Cluster, Numbers, now, of_channel, of_node};
use crate::Hub;
use crate::address::AppId;
use crate::admission::PERMITS;
use crate::app::App;
use crate::broker::Said;
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

/// Says what comes until goodbye has been said, or nobody can say anything any more.
pub(super) async fn carry(hub: Weak<Inner>, cluster: Arc<Cluster>, mut queue: mpsc::UnboundedReceiver<Outbound>) {
    let mut batch = Vec::new();
    let mut unsaid = Unsaid::default();
    while queue.recv_many(&mut batch, PERMITS).await > 0 {
        let Some(hub) = Hub::upgrade(&hub) else { return };
        let (mut said, mut publications) = (Vec::new(), 0_u64);
        let mut risked = unsaid.clone();
        let last = batch.extract_if(.., |outbound| matches!(outbound, Outbound::Last(_))).next();
        let tells = cluster.is_reached();
        if tells {
            said.extend(
                unsaid.words(&hub).map(|words| Said { topic: ALL.into(), payload: cluster.letter(words).write() }),
            );
        }
        for outbound in &mut batch {
            match outbound {
                Outbound::Last(_) => {}
                Outbound::Words(topic, words) => {
                    let words = std::mem::replace(words, Words::Leave);
                    said.push(Said { topic: Arc::clone(topic), payload: cluster.letter(words).write() });
                }
                Outbound::Relay { delivery, remembered, number, asks } => {
                    publications += 1;
                    let app = hub.app(delivery.app);
                    risked.note(app.id, remembered);
                    if let (Target::Channels(heard), Some(_)) = (&delivery.to, delivery.stored) {
                        risked.note(app.id, &heard.iter().map(|heard| Arc::clone(&heard.channel)).collect::<Vec<_>>());
                    }
                    let relay =
                        Relay { remembered: std::mem::take(remembered), asks: *asks, ..Relay::of(&app, delivery) };
                    let payload = cluster.letter(Words::Relay(*number, Box::new(relay))).write();
                    // All report whom they reached, nobody included.
                    let all = asks.filter(|_| is_for_all(&app, &delivery.to)).map(|_| ALL.into());
                    let topics = all.map_or_else(|| topics(&app, delivery, &cluster.numbers), |all| vec![all]);
                    said.extend(topics.into_iter().map(|topic| Said { topic, payload: payload.clone() }));
                }
            }
        }
        drop(hub);
        if last.is_some() {
            said.push(Said { topic: ALL.into(), payload: cluster.letter(Words::Leave).write() });
        }
        let large = said.extract_if(.., |said| said.payload.len() > LARGEST).count() as u64;
        if large > 0 {
            warn!(event = "letter_too_large", letters = large, most = LARGEST, "it would cut off those who listen");
            cluster.figures.unsaid.fetch_add(large, Relaxed);
        }
        let outcome = cluster.broker.say(&said).await;
        if outcome.is_err() || large > 0 {
            unsaid = Unsaid { last: Some(now()), ..risked };
        } else if tells {
            unsaid = Unsaid::default();
        }
        let figure = if outcome.is_ok() { &cluster.figures.said } else { &cluster.figures.unsaid };
        figure.fetch_add(publications.saturating_sub(large), Relaxed);
        // Permits return.
        batch.clear();
        if let Some(Outbound::Last(is_said)) = last {
            let _ = is_said.send(());
            return;
        }
    }
}

/// The channels whose members on other nodes could not be told something that is remembered, or stored.
#[derive(Debug, Clone, Default)]
struct Unsaid {
    channels: HashMap<AppId, HashSet<Arc<str>>>,
    /// When the last attempt failed.
    last: Option<Instant>,
}

impl Unsaid {
    fn note(&mut self, app: AppId, channels: &[Arc<str>]) {
        if !channels.is_empty() {
            self.channels.entry(app).or_default().extend(channels.iter().cloned());
        }
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
fn topics(app: &App, delivery: &Delivery, own: &Numbers) -> Vec<Arc<str>> {
    match &delivery.to {
        Target::Channels(heard) => heard.iter().map(|heard| of_channel(&app.name, &heard.channel)).collect(),
        Target::Socket(name) => {
            let abroad = app.recovery.iter().map(|_| of_channel(&app.name, &abroad_of(*name)));
            let owner = (!own.has_alone(name.node)).then(|| of_node(name.node));
            owner.into_iter().chain(abroad).collect()
        }
    }
}
