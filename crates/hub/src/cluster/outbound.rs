//! What this node says: taken from its queue as it comes, written once, said in batches.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;

use super::words::{Relay, Words};
use super::{ALL, Cluster, of_channel, of_node};
use crate::Hub;
use crate::admission::PERMITS;
use crate::app::App;
use crate::broker::Said;
use crate::delivery::{Delivery, Target};
use crate::hub::Inner;

/// Something to say.
pub(super) enum Outbound {
    /// Others may have members for it.
    Relay {
        delivery: Arc<Delivery>,
        /// The channels that keep it.
        remembered: Vec<Arc<str>>,
        /// See [`Relay::asks`].
        asks: Option<(u64, u64)>,
    },
    Words(Arc<str>, Words),
}

/// Says what comes until nobody can say anything any more.
pub(super) async fn carry(hub: Weak<Inner>, cluster: Arc<Cluster>, mut queue: mpsc::UnboundedReceiver<Outbound>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, PERMITS).await > 0 {
        let Some(hub) = Hub::upgrade(&hub) else { return };
        let (mut said, mut publications) = (Vec::new(), 0);
        for outbound in &mut batch {
            match outbound {
                Outbound::Words(topic, words) => {
                    let words = std::mem::replace(words, Words::Leave);
                    said.push(Said { topic: Arc::clone(topic), payload: cluster.letter(words).write() });
                }
                Outbound::Relay { delivery, remembered, asks } => {
                    publications += 1;
                    let app = hub.app(delivery.app);
                    let relay =
                        Relay { remembered: std::mem::take(remembered), asks: *asks, ..Relay::of(&app, delivery) };
                    let payload = cluster.letter(Words::Relay(cluster.number(), Box::new(relay))).write();
                    // All report whom they reached, nobody included.
                    let all = asks.filter(|_| matches!(delivery.to, Target::Channels(_))).map(|_| ALL.into());
                    let some = topics(&app, delivery).filter(|_| all.is_none());
                    said.extend(all.iter().cloned().chain(some).map(|topic| Said { topic, payload: payload.clone() }));
                }
            }
        }
        drop(hub);
        let figure = match cluster.broker.say(&said).await {
            Ok(()) => &cluster.figures.said,
            Err(_) => &cluster.figures.unsaid,
        };
        figure.fetch_add(publications, Relaxed);
        // Permits return.
        batch.clear();
    }
}

/// Where a delivery is said.
fn topics<'a>(app: &'a App, delivery: &'a Delivery) -> impl Iterator<Item = Arc<str>> + 'a {
    let (channels, session) = match &delivery.to {
        Target::Channels(heard) => (&heard[..], None),
        Target::Socket(address) => (&[][..], Some(of_node(address.node))),
    };
    channels.iter().map(|heard| of_channel(&app.name, &heard.channel)).chain(session)
}
