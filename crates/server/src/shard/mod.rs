//! One thread's share of the sessions. Everything here belongs to that thread and takes no lock.

pub(crate) mod control;
pub(crate) mod deadline;
pub(crate) mod fanout;
pub(crate) mod flush;
pub(crate) mod gate;
mod leave;
pub(crate) mod line;
pub(crate) mod mailbox;
pub(crate) mod outbox;
pub(crate) mod rooms;
mod shrink;
pub(crate) mod table;
pub(crate) mod throttle;
pub(crate) mod turn;
mod watch;
pub(crate) mod wire;

use std::cell::{Cell, RefCell, RefMut};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::command::Mail;
use oyez_hub::policy::limits::offences::Offences;
use oyez_hub::recovery::Mark;
use slab::Slab;
use tokio::sync::{Barrier, Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::observe::event;
use crate::observe::metrics::Metrics;
use crate::seats::Seats;
use crate::session::comeback::Comeback;
use crate::session::{Member, Session};
use crate::settings::Settings;
use crate::tls::Tls;
use deadline::Deadlines;
use flush::Chunk;
use gate::Gate;
use line::{Forms, Line, Place};
use mailbox::{Letter, Peer};
use rooms::{Rooms, Slot};
use shrink::Ebb;
use throttle::Throttle;
use turn::Turn;
use wire::Wires;

/// Bytes read from a socket at once, shared by all connections of a shard.
pub(crate) const SCRATCH: usize = 64 * 1024;

/// Publications taken from the mailbox before their packets are written.
const MAIL_BATCH: usize = 64;

/// What clients may have said, counted as bytes, before whoever speaks gives way to the others.
const TURN: usize = 16 * 1024;

/// What a message costs beside its bytes.
pub(crate) const PER_MESSAGE: usize = 256;

/// Handshakes of TLS that take a step before whoever has something to deliver gets a turn; a step takes up to a
/// millisecond.
const HANDSHAKES: usize = 8;

/// What comes from other threads. The hub and the other shards hold the other ends, and so does this shard.
pub(crate) struct Inlet {
    /// Publications and controls.
    pub mail: mpsc::UnboundedReceiver<Mail>,
    /// Connections and requests.
    pub letters: mpsc::UnboundedReceiver<Letter>,
}

/// What a shard is built from; `Send`, unlike the shard.
pub(crate) struct Parts {
    pub id: u8,
    pub hub: Hub,
    pub settings: Arc<Settings>,
    pub peers: Vec<Peer>,
    pub router: Router,
    pub metrics: Arc<Metrics>,
    pub load: Arc<AtomicUsize>,
    pub stop: CancellationToken,
    pub heard_out: CancellationToken,
    pub threads: Arc<Barrier>,
    pub tls: Option<Tls>,
    pub seats: Seats,
    pub offences: Arc<Offences>,
    pub release: fn(),
}

/// One thread's sessions, channels and deadlines.
pub(crate) struct Shard {
    /// Its number on this node.
    pub id: u8,
    /// What all threads share.
    pub hub: Hub,
    /// Transports, as the configuration is now.
    settings: RefCell<Arc<Settings>>,
    /// Handshakes of sessions under way.
    gate: Gate,
    /// Handshakes that wait because of what is held against their addresses.
    throttle: Throttle,
    /// How far this shard has come in each app's log.
    marks: RefCell<Vec<Option<Mark>>>,
    /// Clients that are coming back.
    pub comebacks: RefCell<Slab<Comeback>>,
    /// Answers whatever is not a realtime connection.
    pub router: Router,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The other shards (and this one), by number.
    pub peers: Vec<Peer>,
    /// The certificate, if connections are encrypted.
    pub tls: Option<Tls>,
    /// How many more sessions the node has room for.
    pub seats: Seats,
    /// Who may take a step of a handshake in this turn.
    pub handshakes: Semaphore,
    /// Deadlines of all sessions.
    pub deadlines: Deadlines,
    /// Cancelled when the node goes down.
    pub stop: CancellationToken,
    /// Cancelled after that, when no polling client has anything left to fetch from any thread: then connections end, and
    /// no more are accepted.
    pub heard_out: CancellationToken,
    /// Connections that are still being served.
    pub connections: TaskTracker,
    sessions: RefCell<Slab<Rc<Session>>>,
    members: RefCell<Slab<Rc<Member>>>,
    rooms: RefCell<Rooms>,
    /// Where the threads wait for each other on their way down.
    threads: Arc<Barrier>,
    /// Told of each session that gives its place away.
    removed: Notify,
    /// By a member's slot.
    places: RefCell<Vec<Place>>,
    /// By a session's slot.
    lines: RefCell<Vec<Line>>,
    /// Their sockets.
    wires: RefCell<Wires>,
    forms: RefCell<Forms>,
    /// What the current batch of publications brings to whom.
    turn: RefCell<Turn>,
    /// Sessions that this turn brings something, by slot.
    dirty: RefCell<Vec<u32>>,
    chunk: Cell<Chunk>,
    detained: Cell<Vec<Slot>>,
    scratch: RefCell<Box<[u8]>>,
    /// How much of the current turn is used up.
    spent: Cell<usize>,
    stamp: Cell<u64>,
    next_ack: Cell<u64>,
    /// Whether many have left.
    ebb: Ebb,
    /// Has the allocator give back what this thread has freed.
    release: fn(),
    load: Arc<AtomicUsize>,
}

impl Shard {
    /// A shard without sessions.
    pub(crate) fn new(parts: Parts) -> Rc<Self> {
        let mark = |app: Arc<App>| app.recovery.as_ref().map(|recovery| recovery.log.mark(0));
        let marks = parts.hub.apps().map(mark).collect();
        Rc::new(Self {
            id: parts.id,
            hub: parts.hub,
            router: parts.router,
            metrics: parts.metrics,
            peers: parts.peers,
            tls: parts.tls,
            seats: parts.seats,
            handshakes: Semaphore::new(HANDSHAKES),
            deadlines: Deadlines::default(),
            stop: parts.stop,
            heard_out: parts.heard_out,
            connections: TaskTracker::new(),
            sessions: RefCell::default(),
            members: RefCell::default(),
            rooms: RefCell::default(),
            threads: parts.threads,
            removed: Notify::new(),
            places: RefCell::default(),
            lines: RefCell::default(),
            wires: RefCell::new(Wires::new(parts.settings.io_uring)),
            settings: RefCell::new(parts.settings),
            gate: Gate::default(),
            throttle: Throttle::new(parts.offences),
            marks: RefCell::new(marks),
            comebacks: RefCell::default(),
            forms: RefCell::default(),
            turn: RefCell::default(),
            dirty: RefCell::default(),
            chunk: Cell::default(),
            detained: Cell::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            spent: Cell::new(0),
            stamp: Cell::new(0),
            next_ack: Cell::new(0),
            ebb: Ebb::default(),
            release: parts.release,
            load: parts.load,
        })
    }

    /// Serves until the node goes down.
    pub(crate) async fn run(self: Rc<Self>, mut inlet: Inlet) {
        event::shard_started(self.id, self.wires.borrow().has_ring());
        let clock = tokio::task::spawn_local(Rc::clone(&self).watch_deadlines());
        let watch = tokio::task::spawn_local(Rc::clone(&self).keep_watch());
        let deadline = self.serve_until(&mut inlet, Rc::clone(&self).say_goodbyes()).await;
        clock.abort();
        self.finish(&mut inlet, deadline).await;
        watch.abort();
    }

    /// Takes in what comes from other threads, until `end`.
    async fn serve_until<T>(self: &Rc<Self>, inlet: &mut Inlet, end: impl Future<Output = T>) -> T {
        let mut end = pin!(end);
        let mut batch = Vec::with_capacity(MAIL_BATCH);
        loop {
            tokio::select! {
                _ = inlet.mail.recv_many(&mut batch, MAIL_BATCH) => {
                    self.vitals().left_in_mailbox(inlet.mail.len());
                    self.handle(&mut batch).await;
                }
                Some(letter) = inlet.letters.recv() => self.open(letter),
                ended = &mut end => return ended,
            }
        }
    }

    async fn handle(self: &Rc<Self>, batch: &mut Vec<Mail>) {
        for mail in batch.iter() {
            match mail {
                Mail::Deliver(delivery) => self.fan_out(delivery),
                Mail::Control(control) => self.control(control),
            }
        }
        self.flush_dirty().await;
        // Only now do the publications' permits return: their packets are written.
        batch.clear();
    }

    /// How far this shard has come in an app's log; none for an app that has none.
    pub(crate) fn mark(&self, app: AppId) -> Option<Mark> {
        self.marks.borrow().get(usize::from(app.0)).copied().flatten()
    }

    /// All publications of an app up to that position that this shard hears have been noted for their members.
    pub(crate) fn reached(&self, app: AppId, position: u64) {
        let mut marks = self.marks.borrow_mut();
        if marks.len() <= usize::from(app.0) {
            marks.resize(usize::from(app.0) + 1, None);
        }
        let mark = &mut marks[usize::from(app.0)];
        match mark {
            Some(mark) => mark.position = mark.position.max(position),
            None => *mark = self.hub.app(app).recovery.as_ref().map(|recovery| recovery.log.mark(position)),
        }
    }

    /// The configuration's settings as they are now.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Runs a connection's task; at the end of the node it is waited for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        tokio::task::spawn_local(self.connections.track_future(task));
    }

    /// The buffer into which all connections of this thread read. Never held across an await.
    pub(crate) fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// Notes that a client was listened to for `cost`. From time to time the others get a turn: a client that talks
    /// without end would keep the thread for itself, because its socket always has more.
    pub(crate) async fn give_way(&self, cost: usize) {
        let spent = self.spent.get() + cost;
        self.spent.set(if spent < TURN { spent } else { 0 });
        if spent >= TURN {
            tokio::task::yield_now().await;
        }
    }

    async fn watch_deadlines(self: Rc<Self>) {
        let mut due = Vec::new();
        loop {
            self.deadlines.due(&mut due).await;
            for (slot, nonce) in due.drain(..) {
                if let Some(session) = self.session_at(slot, nonce) {
                    self.look(&session);
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
