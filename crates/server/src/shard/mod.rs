//! One thread's share of the sessions. Everything here belongs to that thread and takes no lock.

pub(crate) mod control;
pub(crate) mod deadline;
pub(crate) mod fanout;
pub(crate) mod flush;
pub(crate) mod mailbox;
pub(crate) mod outbox;
pub(crate) mod rooms;
pub(crate) mod table;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use oyez_hub::Hub;
use oyez_hub::command::Mail;
use slab::Slab;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::observe::metrics::Metrics;
use crate::session::{Member, Session};
use crate::settings::Settings;
use deadline::Deadlines;
use mailbox::{Letter, Peer};
use rooms::Rooms;

/// Bytes read from a socket at once, shared by all connections of a shard.
const SCRATCH: usize = 64 * 1024;

/// Publications taken from the mailbox before their packets are written.
const MAIL_BATCH: usize = 64;

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
    /// Deadlines of all sessions.
    pub deadlines: Deadlines,
    /// Cancelled when the node goes down.
    pub stop: CancellationToken,
    /// Connections that are still being served.
    pub connections: TaskTracker,
    sessions: RefCell<Slab<Rc<Session>>>,
    members: RefCell<Slab<Rc<Member>>>,
    rooms: RefCell<Rooms>,
    dirty: RefCell<Vec<Rc<Session>>>,
    scratch: RefCell<Box<[u8]>>,
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
            settings: parts.settings,
            router: parts.router,
            metrics: parts.metrics,
            peers: parts.peers,
            deadlines: Deadlines::default(),
            stop: parts.stop,
            connections: TaskTracker::new(),
            sessions: RefCell::default(),
            members: RefCell::default(),
            rooms: RefCell::default(),
            dirty: RefCell::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
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
        let clock = tokio::task::spawn_local(Rc::clone(&self).watch_deadlines());
        let mut batch = Vec::with_capacity(MAIL_BATCH);
        loop {
            tokio::select! {
                count = mail.recv_many(&mut batch, MAIL_BATCH) => {
                    if count == 0 {
                        break;
                    }
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
        // What was accepted before the end is still delivered.
        while let Ok(rest) = mail.try_recv() {
            batch.push(rest);
        }
        self.handle(&mut batch).await;
        self.close_all();
        self.connections.close();
        let _ = tokio::time::timeout(GOODBYE, self.connections.wait()).await;
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
