//! What other nodes say.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::index::Row;
use super::members::Peer;
use super::words::{Answer, Letter, Question, Relay, Unread, Wording, Words};
use super::{ALL, Cluster, all_rows, now, of_node};
use crate::Hub;
use crate::broker::{Inlet, Said, Tidings};
use crate::command::Control;
use crate::delivery::{AckReport, AckRequest, Target};
use crate::hub::Inner;

impl Hub {
    /// Something that others said was not heard here: who comes back to a channel that remembers is told of a gap.
    fn has_missed(&self) {
        self.apps().filter_map(|app| app.recovery.clone()).for_each(|recovery| recovery.log.turn_leaf(|_| true));
    }
}

/// Hears what others say, as long as there is a hub.
pub(super) async fn hear(hub: Weak<Inner>, cluster: Arc<Cluster>, mut inlet: Inlet) {
    // The last publication of each node: what goes to several topics comes several times, one after the other.
    let mut last: HashMap<Peer, u64> = HashMap::new();
    while let Some(tidings) = inlet.recv().await {
        let Some(hub) = Hub::upgrade(&hub) else { return };
        match tidings {
            Tidings::Up => {
                if cluster.figures.lost.load(Relaxed) > 0 {
                    hub.has_missed();
                }
                cluster.reached.store(true, Relaxed);
                info!(event = "broker_up");
                cluster.tell(ALL.into(), Words::Beat(cluster.door));
                cluster.tell(ALL.into(), Words::Hello);
                cluster.tell_rows(&ALL.into(), all_rows(&hub));
                cluster.tell_revoked(&hub, &ALL.into());
            }
            Tidings::Down => {
                cluster.reached.store(false, Relaxed);
                cluster.figures.lost.fetch_add(1, Relaxed);
                warn!(event = "broker_down", "other nodes are not reached; what is said here is delivered here");
            }
            Tidings::Said(said) => match Letter::read(&said.payload) {
                Ok(letter) if letter.from == cluster.me => {}
                Ok(letter) => cluster.read(&hub, letter, &mut last).await,
                Err(why) => cluster.cannot_read(&said, why),
            },
        }
    }
}

impl Cluster {
    fn cannot_read(&self, said: &Said, why: Unread) {
        // The first, and then ever fewer.
        if self.figures.unread.fetch_add(1, Relaxed).wrapping_add(1).is_power_of_two() {
            warn!(event = "unreadable", topic = &*said.topic, %why, "a letter of another node is not understood");
        }
    }

    async fn read(self: &Arc<Self>, hub: &Hub, letter: Letter, last: &mut HashMap<Peer, u64>) {
        let Letter { from, words } = letter;
        if let Words::Leave = words {
            if self.members.lock().leave(from) {
                info!(event = "node_left", node = from.node);
                self.index.forget(from.node);
            }
            last.remove(&from);
            return;
        }
        self.hears(from);
        match words {
            Words::Beat(door) => self.members.lock().note_door(from.node, door),
            Words::Leave => {}
            Words::Hello => {
                self.tell_rows(&of_node(from.node), all_rows(hub));
                self.tell_revoked(hub, &of_node(from.node));
            }
            Words::Seated(app, channel, users, on) => {
                if let Ok(app) = hub.find_app(&app) {
                    hub.seat(app.id, &channel, &users, on);
                }
            }
            Words::Revoked(app, revoked) => {
                let hub = hub.clone();
                hub.clone().spawn(async move { drop(hub.answer(&app, Question::Revoke(revoked)).await) });
            }
            Words::Rows(rows) => self.note(hub, from, rows),
            Words::Relay(number, relay) => {
                if last.insert(from, number) != Some(number) {
                    self.deliver(hub, from, *relay).await;
                }
            }
            Words::Release(address) => hub.control(address.shard, Control::Release(address)),
            Words::Ask(number, app, question) => {
                let (hub, cluster) = (hub.clone(), Arc::clone(self));
                hub.clone().spawn(async move {
                    let answer = hub.answer(&app, question).await;
                    cluster.tell(of_node(from.node), Words::Answer(number, answer));
                });
            }
            Words::Answer(number, answer) => {
                let waiting = self.questions.lock().get(&number).cloned();
                // Who asked may have stopped waiting.
                let _ = waiting.map(|waiting| waiting.send((from.node, answer)));
            }
        }
    }

    /// Notes what is like that on another node.
    fn note(&self, hub: &Hub, from: Peer, rows: Vec<Row>) {
        let now = now();
        for row in rows {
            let (Row::User { app, .. } | Row::Channel { app, .. }) = &row;
            if let Ok(app) = hub.find_app(app) {
                self.index.hear(from.node, app.id, row, now);
            }
        }
    }

    /// Hands a publication of another node to the shards, in the order in which it comes.
    async fn deliver(self: &Arc<Self>, hub: &Hub, from: Peer, relay: Relay) {
        let Ok(app) = hub.find_app(&relay.app) else { return };
        let (remembered, asks) = (relay.remembered.clone(), relay.asks);
        let Some(publication) = relay.publication(&app) else {
            self.figures.unread.fetch_add(1, Relaxed);
            return;
        };
        if matches!(publication.to, Target::Socket(address) if address.node != self.me.node) {
            return;
        }
        self.figures.heard.fetch_add(1, Relaxed);
        let (ack, reports) = match asks {
            Some((_, timeout)) => {
                let (answers, reports) = mpsc::unbounded_channel();
                (Some(AckRequest { answers, timeout: Duration::from_millis(timeout) }), Some(reports))
            }
            None => (None, None),
        };
        let shards = hub.deliver_here(&app, publication, ack, &remembered, Instant::now()).await;
        if let (Some(reports), Some((number, timeout))) = (reports, asks) {
            let cluster = Arc::clone(self);
            hub.spawn(async move {
                let report = cluster.report(from, number, shards, reports);
                let _ = tokio::time::timeout(Duration::from_millis(timeout), report).await;
            });
        }
    }

    /// Tells the node that asked what the shards report.
    async fn report(&self, to: Peer, number: u64, mut shards: usize, mut reports: mpsc::UnboundedReceiver<AckReport>) {
        let answer = |answer| self.tell(of_node(to.node), Words::Answer(number, answer));
        let (mut reached, mut early) = (0, Vec::new());
        while shards > 0 {
            match reports.recv().await {
                Some(AckReport::Reached(count)) => {
                    reached += count;
                    shards -= 1;
                }
                Some(other) => early.push(other),
                None => break,
            }
        }
        answer(Answer::Reached(u32::try_from(reached).unwrap_or(u32::MAX)));
        let said = |report| match report {
            AckReport::Answer(args) => Answer::Acknowledged(Wording::from(&args)),
            AckReport::Gone => Answer::Gone,
            AckReport::Reached(count) => Answer::Reached(u32::try_from(count).unwrap_or(u32::MAX)),
        };
        let mut left = reached.saturating_sub(early.len());
        early.into_iter().map(said).for_each(answer);
        while left > 0
            && let Some(report) = reports.recv().await
        {
            answer(said(report));
            left -= 1;
        }
    }
}
