//! A node among others: what it says to them goes through the broker, what they say becomes deliveries and controls here.
//!
//! `words` is what they say and how it is written, `members` knows who is there, `interest` which channels are heard here,
//! `outbound` brings what is said here to the broker, `inbound` what is said elsewhere to the shards, `question` asks all of
//! them for something and gathers the answers.
//!
//! A publication of this node takes its place in its channels' order here and, under the same lock, in the queue to the
//! broker, so that all nodes hear what one node says in one order. It keeps its permit until the broker has it: a slow broker
//! slows publishers down. One that is not reached slows nobody: what it could not be told is counted as lost, local delivery
//! goes on, and the channels that remember tell their clients of a gap.

mod inbound;
mod index;
mod interest;
mod members;
mod outbound;
mod question;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{info, warn};

pub use members::{BEAT, Change, Door, LEASE, Members, Peer};

use crate::Hub;
use crate::address::Address;
use crate::app::App;
use crate::broker::{Broker, Inlet, Said};
use crate::channel::{EVERYONE, is_own};
use crate::clock::unix_millis;
use crate::delivery::{Delivery, Target};
use crate::hub::Inner;
pub use index::GRACE;
use index::{Index, ROWS, Row, TELL};
use interest::{Interest, Interests};
use outbound::Outbound;
pub(crate) use words::Question;
use words::{Answer, Letter, Words};

/// What all nodes listen to.
const ALL: &str = "@all";

/// How long other nodes may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Where the answers to one question go, with who gave them.
type Answers = mpsc::UnboundedSender<(u16, Answer)>;

/// What has happened, for metrics.
#[derive(Debug, Default)]
pub struct Figures {
    /// Publications that other nodes were told.
    pub said: AtomicU64,
    /// Publications that other nodes could not be told.
    pub unsaid: AtomicU64,
    /// Publications of other nodes that were delivered here.
    pub heard: AtomicU64,
    /// Letters that could not be read.
    pub unread: AtomicU64,
    /// Questions that some node did not answer in time.
    pub unanswered: AtomicU64,
    /// How often the broker was lost.
    pub lost: AtomicU64,
}

/// A node's place among the others.
pub struct Cluster {
    me: Peer,
    door: Option<Door>,
    broker: Arc<dyn Broker>,
    members: Mutex<Members>,
    /// What is to be said; bounded by the permits of the door, and by the authors of commands, who each have one under way.
    outbound: mpsc::UnboundedSender<Outbound>,
    interests: Interests,
    pub(crate) index: Arc<Index>,
    questions: Mutex<HashMap<u64, Answers>>,
    numbers: AtomicU64,
    reached: AtomicBool,
    background: Handle,
    /// What has happened.
    pub figures: Figures,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("me", &self.me).finish_non_exhaustive()
    }
}

/// By the clock that tests can hold.
fn now() -> std::time::Instant {
    tokio::time::Instant::now().into_std()
}

/// The topic on which one node is spoken to.
fn of_node(node: u16) -> Arc<str> {
    format!("@{node:04x}").into()
}

/// The topic of a channel.
fn of_channel(app: &str, channel: &str) -> Arc<str> {
    format!("{app}#{channel}").into()
}

impl Hub {
    /// Joins the nodes that share a broker; once, before anybody connects. `door`: where requests for sessions of this node
    /// are taken in that come to other nodes; without it, they are refused there.
    pub fn join_cluster(&self, broker: &Arc<dyn Broker>, inlet: Inlet, door: Option<Door>) {
        let (outbound, said) = mpsc::unbounded_channel();
        let (interests, wanted) = Interests::new();
        let me = Peer { node: self.node(), life: rand::random() };
        let cluster = Arc::new(Cluster {
            me,
            door,
            broker: Arc::clone(broker),
            members: Mutex::default(),
            outbound,
            interests: interests.clone(),
            index: Arc::default(),
            questions: Mutex::default(),
            numbers: AtomicU64::new(1),
            reached: AtomicBool::new(false),
            background: self.inner.background.clone(),
            figures: Figures::default(),
        });
        if self.inner.cluster.set(Arc::clone(&cluster)).is_err() {
            return;
        }
        let index = Arc::clone(&cluster.index);
        self.channels().watch(Box::new(move |app, channel, before, now| {
            if (before == 0) != (now == 0) {
                interests.note(Interest { app, channel: Arc::clone(channel), wanted: now > 0 });
            }
            if !is_own(channel) || **channel == *EVERYONE {
                index.channel_changed(app, channel);
            }
        }));
        let index = Arc::clone(&cluster.index);
        self.presence().watch(Box::new(move |app, user| index.user_changed(app, user)));
        self.spawn(interest::keep(self.downgrade(), Arc::clone(broker), wanted));
        self.spawn(outbound::carry(self.downgrade(), Arc::clone(&cluster), said));
        self.spawn(inbound::hear(self.downgrade(), Arc::clone(&cluster), inlet));
        self.spawn(tell(self.downgrade(), Arc::clone(&cluster)));
        self.spawn(beat(Arc::downgrade(&cluster)));
    }

    /// Its place among other nodes, if there are any.
    #[must_use]
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.inner.cluster.get()
    }

    /// Waits until what other nodes say in channels that have been joined here reaches this node.
    pub async fn reach(&self) {
        if let Some(cluster) = self.cluster() {
            cluster.interests.settled().await;
        }
    }

    /// Whether there are others who could hear something.
    pub(crate) fn is_alone(&self) -> bool {
        self.cluster().is_none_or(|cluster| cluster.members.lock().count() == 0)
    }
}

impl Cluster {
    /// How many other nodes there are.
    #[must_use]
    pub fn others(&self) -> usize {
        self.members.lock().count()
    }

    /// Whether the broker is reached now.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.reached.load(Relaxed)
    }

    /// Whether there is another node of that number.
    #[must_use]
    pub fn knows(&self, node: u16) -> bool {
        self.members.lock().has(node)
    }

    /// Where another node takes in requests of its clients.
    #[must_use]
    pub fn door_of(&self, node: u16) -> Option<Door> {
        self.members.lock().door_of(node)
    }

    /// Has the owner of a polling session answer what waits: the client asks again, elsewhere.
    pub fn release(&self, session: Address) {
        self.tell(of_node(session.node), Words::Release(session));
    }

    /// Whether this is the secret of this node's own door.
    #[must_use]
    pub fn is_opened_by(&self, shown: &[u8; 32]) -> bool {
        self.door.is_some_and(|door| verify_slices_are_equal(&door.secret, shown).is_ok())
    }

    /// Says goodbye: the others forget this node at once.
    pub async fn leave(&self) {
        let said = Said { topic: ALL.into(), payload: self.letter(Words::Leave).write() };
        // Who does not hear it forgets this node a moment later.
        let _ = timeout(PATIENCE, self.broker.say(&[said])).await;
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed)
    }

    fn tell(&self, topic: Arc<str>, words: Words) {
        let _ = self.outbound.send(Outbound::Words(topic, words));
    }

    fn letter(&self, words: Words) -> Letter {
        Letter { from: self.me, words }
    }

    /// Has other nodes told of a delivery; `remembered` are the channels that keep it. Returns how many nodes will report
    /// whom they reached, where that is asked. Never blocks: it is called under the locks of channels.
    pub(crate) fn relay(self: &Arc<Self>, delivery: &Arc<Delivery>, remembered: Vec<Arc<str>>) -> usize {
        let mut reports = 0;
        let asks = delivery.ack.as_ref().map(|ack| {
            let number = self.number();
            reports = match &delivery.to {
                Target::Channels(_) => self.others(),
                Target::Socket(address) => usize::from(address.node != self.me.node),
            };
            question::await_reports(self, number, ack);
            (number, u64::try_from(ack.timeout.as_millis()).unwrap_or(u64::MAX))
        });
        let _ = self.outbound.send(Outbound::Relay { delivery: Arc::clone(delivery), remembered, asks });
        reports
    }

    /// Tells rows of the index, a letter for some of them each.
    fn tell_rows(&self, topic: &Arc<str>, rows: Vec<Row>) {
        let mut rows = rows.into_iter().peekable();
        while rows.peek().is_some() {
            let some = rows.by_ref().take(ROWS).collect();
            self.tell(Arc::clone(topic), Words::Rows(some));
        }
    }

    /// Tells who is on a channel's roster from now on, or off it.
    pub(crate) fn tell_seated(&self, app: &App, channel: &Arc<str>, users: Vec<Arc<str>>, on: bool) {
        self.tell(ALL.into(), Words::Seated(app.name.clone(), Arc::clone(channel), users, on));
    }

    /// Tells what is revoked: who was away knows less.
    fn tell_revoked(&self, hub: &Hub, topic: &Arc<str>) {
        for app in hub.apps() {
            let Some(credentials) = &app.credentials else { continue };
            for some in credentials.revocations.all(unix_millis() / 1_000).chunks(ROWS) {
                self.tell(Arc::clone(topic), Words::Revoked(app.name.clone(), some.to_vec()));
            }
        }
    }

    fn hears(&self, from: Peer) {
        let change = self.members.lock().hear(from, now());
        match change {
            Change::None => {}
            Change::Came => {
                info!(event = "node_came", node = from.node);
                // It does not wait for the next beat to know of this node. What it has said of itself was forgotten, if it was
                // only away.
                self.tell(of_node(from.node), Words::Beat(self.door));
                self.tell(of_node(from.node), Words::Hello);
            }
            Change::Replaced(_) => {
                self.index.forget(from.node);
                warn!(event = "node_replaced", node = from.node, "another process has this number now");
            }
        }
    }
}

/// Tells the others what has changed here.
async fn tell(hub: Weak<Inner>, cluster: Arc<Cluster>) {
    let mut ticks = tokio::time::interval(TELL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(hub) = Hub::upgrade(&hub) else { return };
        let (users, channels) = cluster.index.take_changed();
        if !cluster.is_reached() {
            // All of it is told when the broker is there again.
            continue;
        }
        let user = |(app, user)| user_row(&hub, &hub.app(app), user);
        let channel = |(app, channel)| channel_row(&hub, &hub.app(app), channel);
        let rows: Vec<Row> = users.into_iter().map(user).chain(channels.into_iter().map(channel)).collect();
        cluster.tell_rows(&ALL.into(), rows);
    }
}

fn user_row(hub: &Hub, app: &App, user: Arc<str>) -> Row {
    let (name, status, connections) = hub.presence().known(app.id, &user);
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    Row::User { app: app.name.clone(), user, name, status, connections }
}

fn channel_row(hub: &Hub, app: &App, channel: Arc<str>) -> Row {
    let members = u32::try_from(hub.channels().members(app.id, &channel)).unwrap_or(u32::MAX);
    Row::Channel { app: app.name.clone(), channel, members }
}

/// All that others may know of this node.
fn all_rows(hub: &Hub) -> Vec<Row> {
    let of = |app: Arc<App>| {
        let users: Vec<Row> =
            hub.presence().users(app.id).into_iter().map(|known| user_row(hub, &app, known.user)).collect();
        let everyone = channel_row(hub, &app, EVERYONE.into());
        let channels = hub.channels().list(app.id).into_iter().map(|(channel, _)| channel);
        let channels: Vec<Row> = channels.map(|channel| channel_row(hub, &app, channel)).chain([everyone]).collect();
        users.into_iter().chain(channels)
    };
    hub.apps().flat_map(of).collect()
}

/// Says again and again that this node lives, and forgets those who do not.
async fn beat(cluster: Weak<Cluster>) {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(cluster) = cluster.upgrade() else { return };
        if cluster.is_reached() {
            cluster.tell(ALL.into(), Words::Beat(cluster.door));
        }
        if !cluster.is_reached() {
            // Nobody can be heard now; who is still there says so when the broker is.
            cluster.members.lock().spare(now());
        }
        let gone = cluster.members.lock().expire(now());
        cluster.index.tidy(now());
        for peer in gone {
            cluster.index.forget(peer.node);
            warn!(event = "node_lost", node = peer.node, "it has not been heard for {LEASE:?}");
        }
    }
}
