//! One thread's share of the sessions. Everything here belongs to that thread and takes no lock.

pub(crate) mod control;
pub(crate) mod deadline;
pub(crate) mod fanout;
pub(crate) mod flush;
pub(crate) mod line;
pub(crate) mod mailbox;
pub(crate) mod outbox;
pub(crate) mod rooms;
pub(crate) mod table;
pub(crate) mod turn;
mod watch;
pub(crate) mod wire;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use oyez_hub::Hub;
use oyez_hub::command::Mail;
use slab::Slab;
use tokio::sync::{Barrier, Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::observe::event;
use crate::observe::metrics::Metrics;
use crate::session::{Member, Session};
use crate::settings::Settings;
use crate::tls::Tls;
use deadline::Deadlines;
use flush::Chunk;
use line::{Forms, Line, Place};
use mailbox::{Letter, Peer};
use rooms::{Rooms, Slot};
use turn::Turn;
use wire::Wires;

/// Bytes read from a socket at once, shared by all connections of a shard.
const SCRATCH: usize = 64 * 1024;

/// Publications taken from the mailbox before their packets are written.
const MAIL_BATCH: usize = 64;

/// What clients may have said, counted as bytes, before whoever speaks gives way to the others.
const TURN: usize = 16 * 1024;

/// What a message costs beside its bytes.
pub(crate) const PER_MESSAGE: usize = 256;

/// Handshakes of TLS that take a step before whoever has something to deliver gets a turn; a step takes up to a
/// millisecond.
const HANDSHAKES: usize = 8;

/// How long the node, going down, waits for polling clients to fetch what is left for them.
const LAST_CALL: Duration = Duration::from_secs(1);

/// How long connections may take to say goodbye when the node goes down.
const GOODBYE: Duration = Duration::from_secs(2);

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
    pub last_call: Arc<Barrier>,
    pub tls: Option<Tls>,
}

/// One thread's sessions, channels and deadlines.
pub(crate) struct Shard {
    /// Its number on this node.
    pub id: u8,
    /// What all threads share.
    pub hub: Hub,
    /// Transports.
    pub settings: Arc<Settings>,
    /// Answers whatever is not a realtime connection.
    pub router: Router,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The other shards (and this one), by number.
    pub peers: Vec<Peer>,
    /// The certificate, if connections are encrypted.
    pub tls: Option<Tls>,
    /// Who may take a step of a handshake in this turn.
    pub handshakes: Semaphore,
    /// Deadlines of all sessions.
    pub deadlines: Deadlines,
    /// Cancelled when the node goes down.
    pub stop: CancellationToken,
    /// Cancelled after that, when no polling client has anything left to fetch: then connections end.
    pub heard_out: CancellationToken,
    /// Connections that are still being served.
    pub connections: TaskTracker,
    sessions: RefCell<Slab<Rc<Session>>>,
    members: RefCell<Slab<Rc<Member>>>,
    rooms: RefCell<Rooms>,
    /// Where the shards wait for each other before connections end: a polling client may come by any of them.
    last_call: Arc<Barrier>,
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
    load: Arc<AtomicUsize>,
}

impl Shard {
    /// A shard without sessions.
    pub(crate) fn new(parts: Parts) -> Rc<Self> {
        Rc::new(Self {
            id: parts.id,
            hub: parts.hub,
            router: parts.router,
            metrics: parts.metrics,
            peers: parts.peers,
            tls: parts.tls,
            handshakes: Semaphore::new(HANDSHAKES),
            deadlines: Deadlines::default(),
            stop: parts.stop,
            heard_out: CancellationToken::new(),
            connections: TaskTracker::new(),
            sessions: RefCell::default(),
            members: RefCell::default(),
            rooms: RefCell::default(),
            last_call: parts.last_call,
            removed: Notify::new(),
            places: RefCell::default(),
            lines: RefCell::default(),
            wires: RefCell::new(Wires::new(parts.settings.io_uring)),
            settings: parts.settings,
            forms: RefCell::default(),
            turn: RefCell::default(),
            dirty: RefCell::default(),
            chunk: Cell::default(),
            detained: Cell::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            spent: Cell::new(0),
            stamp: Cell::new(0),
            next_ack: Cell::new(0),
            load: parts.load,
        })
    }

    /// Serves until the node goes down.
    pub(crate) async fn run(
        self: Rc<Self>,
        mut mail: mpsc::UnboundedReceiver<Mail>,
        mut letters: mpsc::UnboundedReceiver<Letter>,
    ) {
        event::shard_started(self.id, self.wires.borrow().has_ring());
        let clock = tokio::task::spawn_local(Rc::clone(&self).watch_deadlines());
        let watch = tokio::task::spawn_local(Rc::clone(&self).keep_watch());
        let mut batch = Vec::with_capacity(MAIL_BATCH);
        loop {
            tokio::select! {
                count = mail.recv_many(&mut batch, MAIL_BATCH) => {
                    if count == 0 {
                        break;
                    }
                    self.vitals().left_in_mailbox(mail.len());
                    self.handle(&mut batch).await;
                }
                letter = letters.recv() => match letter {
                    Some(letter) => self.open(letter),
                    None => break,
                },
                () = self.stop.cancelled() => break,
            }
        }
        clock.abort();
        watch.abort();
        // What was accepted before the end is still delivered.
        self.hub.close();
        while self.hub.last_mail(&mut mail, &mut batch).await {
            self.handle(&mut batch).await;
        }
        self.close_all();
        let _ = tokio::time::timeout(LAST_CALL, self.hear_out(&mut letters)).await;
        self.heard_out.cancel();
        self.connections.close();
        let _ = tokio::time::timeout(GOODBYE, self.connections.wait()).await;
    }

    /// Has polling clients come once more, by whichever shard, for what is left for them.
    async fn hear_out(self: &Rc<Self>, letters: &mut mpsc::UnboundedReceiver<Letter>) {
        while !self.sessions.borrow().is_empty() {
            tokio::select! {
                Some(letter) = letters.recv() => self.open(letter),
                () = self.removed.notified() => {}
            }
        }
        self.last_call.wait().await;
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
