//! A node among others: what it says to them goes through the broker, what they say becomes deliveries and controls here.
//!
//! `words` is what they say and how it is written, `number` which one this is, `members` who else is there, `interest` which
//! channels are heard here,
//! `outbound` writes what is said here and brings it to the broker, by way of the `letterbox`, `inbound` brings what is said
//! elsewhere to the shards, `question` asks all of them for something and gathers the answers, `neighbours` are servers of
//! another make.
//!
//! A publication of this node takes its place in its channels' order here and, under the same lock, in the queue to the
//! broker, so that all nodes hear what one node says in one order. It keeps its permit until its letter is written. Letters wait
//! in a box: a broker that takes them slowly slows publishers down, one that takes none slows nobody. What it could not be told is counted as lost, local delivery goes on, and the channels that remember tell their clients of a gap.

mod fetch;
mod goodbye;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod inbound;
mod index;
mod interest;
mod letterbox;
mod members;
mod neighbours;
mod number;
mod orphans;
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
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

pub(crate) use fetch::share;
pub use fetch::{Afar, Brought, HAND_OVER};
pub use members::{BEAT, Change, Door, LEASE, Members, Origin, Peer};
pub(crate) use neighbours::Lane;
pub use neighbours::{Line, Outward, Standing, Told, WeakHub};

use crate::Hub;
use crate::address::{Address, AppId};
use crate::app::App;
use crate::broker::{Broker, Inlet};
use crate::channel::{EVERYONE, is_own};
use crate::clock::unix_millis;
use crate::delivery::{Delivery, Target};
use crate::hub::Inner;
use crate::inbox::heard_in;
use crate::presence::Known;
use crate::recovery::PidKey;
use crate::store::Target as Owner;
pub use index::GRACE;
use index::{Index, ROWS, Row, TELL};
pub use interest::{Changed, Hold, Wanted};
use interest::{Interest, Interests};
pub use letterbox::{Letterbox, beside};
use number::News;
pub(crate) use number::Numbers;
use orphans::Buried;
use outbound::{Outbound, is_for_all};
pub use question::Devices;
pub use words::Question;
use words::{Answer, Letter, Words};
pub(crate) use words::{keep, kept};

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
    /// See [`number::new_life`].
    life: u64,
    pub(crate) numbers: Arc<Numbers>,
    /// The number is claimed.
    held: watch::Sender<bool>,
    /// Sessions may have begun.
    opened: AtomicBool,
    news: mpsc::UnboundedSender<News>,
    /// Changes when others are not heard any more.
    losses: watch::Sender<()>,
    door: Option<Door>,
    pid_key: PidKey,
    broker: Arc<dyn Broker>,
    members: Mutex<Members>,
    /// What is to be written; bounded by the permits of the door, and by the authors of commands, who each have one under way.
    outbound: mpsc::UnboundedSender<Outbound>,
    interests: Interests,
    pub(crate) index: Arc<Index>,
    buried: Buried,
    questions: Mutex<HashMap<u64, Answers>>,
    /// How many questions of others are being answered.
    answering: watch::Sender<usize>,
    /// Of questions and publications, to tell them apart.
    count: AtomicU64,
    reached: AtomicBool,
    /// Since when.
    up_since: Mutex<Option<std::time::Instant>>,
    /// One of the others has said where its door is.
    door_noted: Notify,
    background: Handle,
    /// What has happened.
    pub figures: Figures,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("me", &self.me()).finish_non_exhaustive()
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
        let (news, heard) = mpsc::unbounded_channel();
        let cluster = Arc::new(Cluster {
            life: number::new_life(),
            numbers: Arc::clone(&self.inner.numbers),
            held: watch::Sender::new(false),
            opened: AtomicBool::new(false),
            news,
            losses: watch::Sender::new(()),
            door,
            pid_key: self.pids().own(),
            broker: Arc::clone(broker),
            members: Mutex::default(),
            outbound,
            interests: interests.clone(),
            index: Arc::default(),
            buried: Buried::default(),
            questions: Mutex::default(),
            answering: watch::Sender::new(0),
            count: AtomicU64::new(1),
            reached: AtomicBool::new(false),
            up_since: Mutex::default(),
            door_noted: Notify::new(),
            background: self.inner.background.clone(),
            figures: Figures::default(),
        });
        if self.inner.cluster.set(Arc::clone(&cluster)).is_err() {
            return;
        }
        self.apps().filter_map(|app| app.recovery.clone()).for_each(|recovery| recovery.log.share());
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
        self.presence().watch(Box::new(move |app, user, _| index.user_changed(app, user)));
        self.spawn(interest::keep(self.downgrade(), Arc::clone(broker), wanted));
        self.spawn(outbound::carry(self.downgrade(), Arc::clone(&cluster), said));
        self.spawn(inbound::hear(self.downgrade(), Arc::clone(&cluster), inlet));
        self.spawn(number::hold(self.downgrade(), Arc::downgrade(&cluster), heard));
        self.spawn(tell(self.downgrade(), Arc::clone(&cluster)));
        self.spawn(beat(self.downgrade(), Arc::downgrade(&cluster)));
    }

    /// Has other nodes know of a user before they are told that the user has come: should this node go, they tell that the
    /// user has gone, too.
    pub fn introduce(&self, app: &App, user: &Arc<str>) {
        if let Some(cluster) = self.cluster() {
            cluster.tell_rows(&ALL.into(), vec![user_row(self, app, Arc::clone(user))]);
        }
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
        self.reach_neighbours().await;
    }

    /// Has what others say in channels heard here, and remembered where they have a history, as if somebody were in them;
    /// for as long as the answer is there, and a while longer.
    pub async fn listen(&self, app: AppId, channels: impl IntoIterator<Item = Arc<str>>) -> Option<Hold> {
        let names = channels.into_iter().map(|channel| (app, channel)).collect();
        let hold = self.cluster()?.interests.hold(names);
        self.reach().await;
        Some(hold)
    }

    /// Whether there never are others who could hear something.
    pub(crate) fn has_no_others(&self) -> bool {
        self.cluster().is_none() && !self.has_neighbours()
    }

    /// Whether nobody is known now who could hear something.
    pub(crate) fn is_alone(&self) -> bool {
        self.cluster().is_none_or(|cluster| cluster.members.lock().count() == 0) && !self.has_neighbours()
    }
}

impl Cluster {
    /// As which the others know this node.
    fn me(&self) -> Peer {
        Peer { node: self.numbers.current(), life: self.life }
    }

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

    /// Whether no other node that lives began before this one.
    pub(crate) fn is_eldest(&self) -> bool {
        self.members.lock().are_younger(self.me())
    }

    /// Which of the other nodes began first, and when it was heard last.
    pub(crate) fn eldest(&self) -> Option<(Peer, std::time::Instant)> {
        self.members.lock().eldest()
    }

    /// Whether there is another node of that number.
    #[must_use]
    pub fn knows(&self, node: u16) -> bool {
        self.members.lock().has(node)
    }

    /// Waits until another node is not heard any more.
    pub async fn loses(&self, node: u16) {
        let mut losses = self.losses.subscribe();
        while self.knows(node) && losses.changed().await.is_ok() {}
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

    fn number(&self) -> u64 {
        self.count.fetch_add(1, Relaxed)
    }

    fn tell(&self, topic: Arc<str>, words: Words) {
        let _ = self.outbound.send(Outbound::Words(topic, words));
    }

    /// Tells those who have devices for it that what is unread there has changed.
    pub(crate) fn tell_recount(&self, app: &App, whose: &Owner) {
        self.tell(of_channel(&app.name, &heard_in(whose)), Words::Recount(app.name.clone(), whose.clone()));
    }

    fn letter(&self, words: Words) -> Letter {
        Letter { from: self.me(), words }
    }

    /// The next place of a publication of this node.
    pub(crate) fn next_origin(&self) -> Origin {
        Origin { peer: self.me(), number: self.number() }
    }

    /// Has other nodes told of a delivery; `remembered` are the channels that keep it. Returns how many nodes will report
    /// whom they reached, where that is asked. Never blocks: it is called under the locks of channels.
    pub(crate) fn relay(
        self: &Arc<Self>,
        app: &App,
        delivery: &Arc<Delivery>,
        remembered: Vec<Arc<str>>,
        number: u64,
    ) -> usize {
        let mut reports = 0;
        let asks = delivery.ack.as_ref().map(|ack| {
            reports = match &delivery.to {
                to if is_for_all(app, to) => self.others(),
                to => usize::from(matches!(to, Target::Socket(one) if !self.numbers.has_alone(one.node))),
            };
            let question = self.number();
            question::await_reports(self, question, ack);
            (question, u64::try_from(ack.timeout.as_millis()).unwrap_or(u64::MAX))
        });
        let _ = self.outbound.send(Outbound::Relay { delivery: Arc::clone(delivery), remembered, number, asks });
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

    /// Tells that what was said in these channels could not be kept where nodes share it.
    pub(crate) fn tell_unrecorded(&self, app: &App, channels: Vec<Arc<str>>) {
        self.tell(ALL.into(), Words::Unrecorded(app.name.clone(), channels));
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

    /// That this node lives.
    fn beat(&self) -> Words {
        Words::Beat(self.door, self.pid_key)
    }

    fn hears(self: &Arc<Self>, hub: &Hub, from: Peer) {
        let change = self.members.lock().hear(from, now());
        match change {
            Change::None => return,
            Change::Came => info!(event = "node_came", node = from.node),
            Change::Replaced(_) => {
                self.bury(hub, from.node);
                warn!(event = "node_replaced", node = from.node, "another process has this number now");
            }
        }
        // It does not wait for the next beat to know of this node. What it has said of itself was forgotten, if it was
        // only away.
        if self.is_held() {
            self.tell(of_node(from.node), self.beat());
            self.tell(of_node(from.node), Words::Hello);
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
        if !cluster.is_reached() || !cluster.is_held() {
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
    let Known { name, status, connections, since, rights } = hub.presence().known(app.id, &user);
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    Row::User { app: app.name.clone(), user, name, status, connections, since, rights }
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
async fn beat(hub: Weak<Inner>, cluster: Weak<Cluster>) {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = now() + BEAT;
    loop {
        ticks.tick().await;
        let Some((cluster, hub)) = cluster.upgrade().zip(Hub::upgrade(&hub)) else { return };
        let stood_still = now().saturating_duration_since(due) > BEAT;
        due = now() + BEAT;
        if cluster.is_reached() && cluster.is_held() {
            cluster.tell(ALL.into(), cluster.beat());
        }
        if stood_still || !cluster.is_reached() {
            // Nobody was heard, or can be now; who is still there says so.
            cluster.members.lock().spare(now());
        }
        let gone = cluster.members.lock().expire(now());
        cluster.index.tidy(now());
        if gone.is_empty() {
            continue;
        }
        for peer in &gone {
            cluster.bury(&hub, peer.node);
            warn!(event = "node_lost", node = peer.node, "it has not been heard for {LEASE:?}");
        }
        cluster.losses.send_replace(());
        // What they said last may have been heard by their own clients alone.
        hub.apps().for_each(|app| hub.has_missed(&app, None));
    }
}
