//! What other nodes say.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracing::{info, warn};

use super::index::Row;
use super::members::{Origin, Peer};
use super::number::News;
use super::words::{Answer, Letter, Question, Relay, Unread, Wording, Words};
use super::{Cluster, all_rows, now, of_node};
use crate::Hub;
use crate::address::Address;
use crate::app::App;
use crate::broker::{Inlet, Said, Tidings};
use crate::channel::{abroad_of, is_own};
use crate::command::{Control, Select};
use crate::delivery::{AckReport, AckRequest, Target};
use crate::hub::{ACK_WAIT_MAX, Inner};
use crate::inbox::owner_of;
use crate::recovery::Recovery;
use crate::store::Target as Owner;

impl Hub {
    /// Something that others said in these channels, or in any, was not heard here: who is in one that remembers is told of a
    /// gap, at once, and who comes back to it then. What was durable is looked for in the store.
    pub(super) fn has_missed(&self, app: &App, channels: Option<Vec<Arc<str>>>) {
        let parted = channels.map(|channels| channels.into_iter().partition(|channel| is_own(channel)));
        let (durable, channels): (Option<Vec<_>>, Option<Vec<_>>) = parted.unzip();
        self.has_missed_durable(app, durable);
        let Some(recovery) = &app.recovery else { return };
        let channels: Option<Arc<[Arc<str>]>> = channels.map(Into::into);
        recovery.log.miss(channels.as_deref(), Instant::now(), |position| {
            let missed = |_| Control::Missed(app.id, channels.clone(), position);
            self.control_all(app.id, &Select::Everyone, missed);
        });
    }
}

impl Hub {
    /// What others stored for who is in these of the hub's own channels, or in any, may not have been heard here.
    fn has_missed_durable(&self, app: &App, channels: Option<Vec<Arc<str>>>) {
        if app.inbox.is_some() && channels.as_ref().is_none_or(|channels| !channels.is_empty()) {
            let channels: Option<Arc<[Arc<str>]>> = channels.map(Into::into);
            self.control_all(app.id, &Select::Everyone, |_| Control::LookAgain(app.id, channels.clone()));
        }
    }
}

/// Hears what others say, as long as there is a hub.
pub(super) async fn hear(hub: Weak<Inner>, cluster: Arc<Cluster>, mut inlet: Inlet) {
    // The last publication of each node, with that node's life: what goes to several topics comes several times, one after
    // the other.
    let mut last: HashMap<u16, (u64, u64)> = HashMap::new();
    while let Some(tidings) = inlet.recv().await {
        let Some(hub) = Hub::upgrade(&hub) else { return };
        match tidings {
            Tidings::Up => {
                hub.apps().for_each(|app| hub.has_missed(&app, None));
                *cluster.up_since.lock() = Some(now());
                cluster.reached.store(true, Relaxed);
                info!(event = "broker_up");
                let _ = cluster.news.send(News::Up);
            }
            Tidings::Down => {
                cluster.reached.store(false, Relaxed);
                cluster.figures.lost.fetch_add(1, Relaxed);
                warn!(event = "broker_down", "other nodes are not reached; what is said here is delivered here");
            }
            Tidings::Said(said) => match Letter::read(&said.payload) {
                Ok(letter) if letter.from.life == cluster.life => {}
                Ok(letter) if letter.from.node == cluster.numbers.current() => {
                    cluster.meets_double(letter.from, &letter.words);
                }
                Ok(letter) => cluster.read(&hub, letter, &mut last).await,
                Err(why) => cluster.cannot_read(&said, why),
            },
        }
    }
}

/// A question is being answered for as long as it is there.
struct Answering(Arc<Cluster>);

impl Answering {
    fn new(cluster: &Arc<Cluster>) -> Self {
        cluster.answering.send_modify(|under_way| *under_way += 1);
        Self(Arc::clone(cluster))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.send_modify(|under_way| *under_way -= 1);
    }
}

impl Cluster {
    fn cannot_read(&self, said: &Said, why: Unread) {
        // The first, and then ever fewer.
        if self.figures.unread.fetch_add(1, Relaxed).wrapping_add(1).is_power_of_two() {
            warn!(event = "unreadable", topic = &*said.topic, %why, "a letter of another node is not understood");
        }
    }

    async fn read(self: &Arc<Self>, hub: &Hub, letter: Letter, last: &mut HashMap<u16, (u64, u64)>) {
        let Letter { from, words } = letter;
        if let Words::Leave = words {
            if self.members.lock().leave(from) {
                info!(event = "node_left", node = from.node);
                self.bury(hub, from.node);
                // What it took in last may have been stored, and no more.
                hub.apps().for_each(|app| hub.has_missed_durable(&app, None));
            }
            last.remove(&from.node);
            return;
        }
        // Who claims a number that nobody here has is not there yet.
        if !matches!(words, Words::Claim(_)) {
            self.hears(hub, from);
        }
        match words {
            Words::Beat(door, key) => {
                // Of two that had one number, each knows the sessions of its own.
                if !hub.is_home(from.node) {
                    hub.pids().meet(from.node, key);
                }
                self.note_door(from.node, door);
            }
            // To those who have the number.
            Words::Leave | Words::Claim(_) | Words::Taken => {}
            Words::Named(nodes) => nodes.into_iter().for_each(|(node, key)| hub.pids().hear_of(node, key)),
            Words::Hello => {
                self.tell_named(hub, of_node(from.node));
                self.tell_rows(&of_node(from.node), all_rows(hub));
                self.tell_revoked(hub, &of_node(from.node));
            }
            Words::Buried(app, users) => {
                if let Ok(app) = hub.find_app(&app) {
                    self.were_told(app.id, users);
                }
            }
            Words::Unsaid(app, channels, ago) => {
                // Where both were cut off, all have been told of that when this node was back.
                let up_for = self.up_since.lock().map(|up| now().saturating_duration_since(up));
                let is_known = up_for.is_some_and(|up_for| up_for <= Duration::from_millis(ago));
                if let (Ok(app), false) = (hub.find_app(&app), is_known) {
                    hub.has_missed(&app, Some(channels));
                }
            }
            Words::Unrecorded(app, channels) => {
                if let Ok(app) = hub.find_app(&app) {
                    hub.hears_unrecorded(&app, channels);
                }
            }
            Words::Recount(app, whose) => {
                if let Ok(app) = hub.find_app(&app) {
                    hub.unread_changed(&app, &whose);
                }
            }
            Words::Revoked(app, revoked) => {
                let hub = hub.clone();
                hub.clone().spawn(async move { drop(hub.answer(&app, Question::Revoke(revoked)).await) });
            }
            Words::Rows(rows) => self.note(hub, from, rows),
            Words::Relay(number, relay) => {
                if last.insert(from.node, (from.life, number)) != Some((from.life, number)) {
                    self.deliver(hub, Origin { peer: from, number }, *relay).await;
                }
            }
            Words::Release(address) => hub.control(address.shard, Control::Release(address)),
            Words::Ask(number, app, question) => self.is_asked(hub, from, number, app, question),
            Words::Answer(number, answer) => self.is_answered(hub, from, number, answer),
        }
    }

    /// Tells with what the names of sessions here are signed: their nodes may have gone before the other one came.
    fn tell_named(&self, hub: &Hub, topic: Arc<str>) {
        let recoveries = hub.apps().filter_map(|app| app.recovery.clone());
        let nodes: HashSet<u16> = recoveries.flat_map(|recovery| recovery.named_by()).collect();
        let keys = hub.pids().keys_of(nodes);
        if !keys.is_empty() {
            self.tell(topic, Words::Named(keys));
        }
    }

    fn is_asked(self: &Arc<Self>, hub: &Hub, from: Peer, number: u64, app: String, question: Question) {
        if let (Question::Seat(channel, users, on), Ok(app)) = (&question, hub.find_app(&app)) {
            // In the order in which it is heard.
            hub.seat(app.id, channel, users, *on);
        }
        let (hub, cluster) = (hub.clone(), Arc::clone(self));
        let answering = Answering::new(self);
        hub.clone().spawn(async move {
            let answer = hub.answer(&app, question).await;
            cluster.tell(of_node(from.node), Words::Answer(number, answer));
            drop(answering);
        });
    }

    fn is_answered(&self, hub: &Hub, from: Peer, number: u64, answer: Answer) {
        if let Answer::Fetched(fetched) = &answer
            && let Some(recovery) = hub.find_app(&fetched.app).ok().and_then(|app| app.recovery.clone())
        {
            // Before anything else is heard.
            recovery.late.expect(fetched.name, &fetched.numbers, Instant::now());
        }
        let waiting = self.questions.lock().get(&number).cloned();
        // Who asked may have stopped waiting.
        let _ = waiting.map(|waiting| waiting.send((from.node, answer)));
    }

    /// Notes what is like that on another node.
    fn note(self: &Arc<Self>, hub: &Hub, from: Peer, rows: Vec<Row>) {
        let now = now();
        for row in rows {
            let (Row::User { app, .. } | Row::Channel { app, .. }) = &row;
            let Ok(app) = hub.find_app(app) else { continue };
            let user = match &row {
                Row::User { user, .. } => Some(Arc::clone(user)),
                Row::Channel { .. } => None,
            };
            self.index.hear(from.node, app.id, row, now);
            if let Some(user) = user {
                self.unbury(hub, &app, &user, from);
                hub.make_room(&app, &user);
            }
        }
    }

    /// Hands a publication of another node to the shards, in the order in which it comes.
    async fn deliver(self: &Arc<Self>, hub: &Hub, origin: Origin, relay: Relay) {
        let Ok(app) = hub.find_app(&relay.app) else { return };
        let mut remembered = relay.remembered.clone();
        let asks = relay.asks.map(|(number, timeout)| (number, Duration::from_millis(timeout).min(ACK_WAIT_MAX)));
        let Some(mut publication) = relay.publication(&app) else {
            self.figures.unread.fetch_add(1, Relaxed);
            return;
        };
        if let Target::Socket(name) = publication.to
            && !self.may_have(&app, name)
        {
            if asks.is_none() {
                return;
            }
            // It says that it has reached nobody.
            remembered.clear();
        }
        if let Some(recovery) = app.recovery.as_ref().filter(|_| !remembered.is_empty()) {
            publication.except.extend(recovery.late.had(origin).iter().map(|name| name.encode().into()));
        }
        self.figures.heard.fetch_add(1, Relaxed);
        let changed = publication.stored.map_or_else(Vec::new, |_| owners(&publication.to));
        let (ack, reports) = match asks {
            Some((_, timeout)) => {
                let (answers, reports) = mpsc::unbounded_channel();
                (Some(AckRequest { answers, timeout }), Some(reports))
            }
            None => (None, None),
        };
        let shards = hub.deliver_here(&app, publication, origin, ack, &remembered, Instant::now()).await;
        changed.iter().for_each(|whose| hub.unread_changed(&app, whose));
        if let (Some(reports), Some((number, timeout))) = (reports, asks) {
            let cluster = Arc::clone(self);
            hub.spawn(async move {
                let report = cluster.report(origin.peer, number, shards, reports);
                let _ = tokio::time::timeout(timeout, report).await;
            });
        }
    }

    /// Whether a session may be here, or be awaited.
    fn may_have(&self, app: &App, name: Address) -> bool {
        let here = self.numbers.has(name.node);
        let came = |recovery: &Recovery| recovery.home(name).is_some() || recovery.log.is_listening(&abroad_of(name));
        here || app.recovery.as_ref().is_some_and(|recovery| came(recovery))
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

/// In whose inboxes, and logs, a publication lies.
fn owners(to: &Target) -> Vec<Owner> {
    let Target::Channels(heard) = to else { return Vec::new() };
    heard.iter().filter_map(|heard| owner_of(&heard.channel)).collect()
}
