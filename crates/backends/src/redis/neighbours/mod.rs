//! Servers of Node's Socket.IO, and their emitters, on the same Redis: this node is a member of their cluster.
//!
//! `format` is how they speak, `wording` their words in those of the hub, `outbound` tells them what the hub says, `inbound`
//! does what they say, `awaited` are their answers, `entries` those of a stream. Each namespace has one connection (RESP3), on which it hears and speaks:
//! as many servers are expected to answer as are subscribed.
//!
//! Nodes of this make hear each other here, too, and know each other by their ids: what they say to each other, they say on
//! channels of their own.

mod awaited;
mod entries;
mod format;
mod inbound;
mod outbound;
mod wording;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::broker::Said;
use oyez_hub::cluster::{Line, Standing, Told, Wanted, WeakHub};
use oyez_hub::source::Trouble;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

pub use format::Adapter;

use super::ear::{Ear, Tap};
use super::fault::{Remedies, fault, lost, nowhere};
use super::place::Nowhere;
use super::server::resp3;
use crate::supervise::{Backoff, Fault, Repeated};
use awaited::{Awaited, Silence};
use entries::Heard;
use format::Format;

/// How long the server may take to let us in, or to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is asked who is there.
const COUNT: Duration = Duration::from_millis(500);

/// The longest wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Broadcasts of neighbours whose acknowledgements are gathered at once; of one more, nobody is reached.
const GATHERINGS: usize = 4_096;

/// Questions of neighbours that are answered at once; others wait.
const ANSWERS: usize = 64;

/// What the ids of all nodes of this make begin with: no server of Node's has one so long.
const OWN: &str = "oyez-";

/// Characters of ids, after [`OWN`], and of requests.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Becomes a member of the cluster of Socket.IO servers on this Redis, in all namespaces of the hub's apps; once, before
/// anybody connects.
pub fn join(at: &super::Place, adapter: Adapter, hub: &Hub, runtime: &Handle) {
    let mut namespaces: Vec<(AppId, String)> = Vec::new();
    for app in hub.apps() {
        for nsp in &app.namespaces {
            if namespaces.iter().any(|(_, taken)| taken == nsp) {
                let app = &app.name;
                warn!(event = "neighbours_shared", nsp, app, "another app has this namespace among other servers");
            } else {
                namespaces.push((app.id, nsp.clone()));
            }
        }
    }
    let apps: Vec<AppId> = namespaces.iter().map(|(app, _)| *app).collect();
    for (line, (_, nsp)) in hub.open_lines(&apps, Format::is_by_room(adapter)).into_iter().zip(namespaces) {
        let Line { app, standing, queue, hub, interest } = line;
        let place = Arc::new(Place {
            app,
            hub,
            standing,
            at: at.clone(),
            format: Format::new(adapter, &nsp),
            nsp,
            uid: format!("{OWN}{}", letters::<6>()),
            awaited: Awaited::default(),
            gatherings: Arc::new(Semaphore::new(GATHERINGS)),
            answers: Arc::new(Semaphore::new(ANSWERS)),
            lane: parking_lot::Mutex::default(),
            elsewhere: parking_lot::Mutex::default(),
            rooms: Mutex::default(),
            last: parking_lot::Mutex::default(),
        });
        if let Some(interest) = interest {
            runtime.spawn(follow(Arc::clone(&place), interest));
        }
        runtime.spawn(keep(place, queue));
    }
}

/// So many letters, drawn by chance.
fn letters<const N: usize>() -> String {
    rand::random::<[u8; N]>().iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()
}

/// A node's place in one namespace of the cluster.
#[derive(Debug)]
struct Place {
    app: AppId,
    nsp: String,
    /// Its id there.
    uid: String,
    format: Format,
    /// Where the others are reached, too.
    at: super::Place,
    hub: WeakHub,
    standing: Arc<Standing>,
    awaited: Awaited,
    gatherings: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// The connection, while there is one.
    lane: parking_lot::Mutex<Option<MultiplexedConnection>>,
    /// How many servers there are at other nodes of a cluster of Redis, and how many of this make.
    elsewhere: parking_lot::Mutex<(usize, usize)>,
    /// What is listened to; held while that is changed, so that a new connection begins with all of it.
    rooms: Mutex<HashSet<Arc<str>>>,
    /// The last entry of a stream that was done: a new connection reads on behind it.
    last: parking_lot::Mutex<Option<String>>,
}

impl Remedies for Place {
    fn place(&self) -> String {
        self.at.name()
    }

    fn rights(&self) -> String {
        let channels = format!("&socket.io#{}#* &socket.io* &oyez#*", self.nsp);
        let commands = "~socket.io +@pubsub +xadd +xread +xrange +xrevrange";
        format!("let the user speak: ACL SETUSER … {channels} {commands}; without servers of Node, say --cluster none")
    }

    fn lost(&self) -> &'static str {
        "what other Socket.IO servers said meanwhile is missed, and clients of channels that remember are told of a gap"
    }
}

/// Connects again and again, as long as there is a hub.
async fn keep(place: Arc<Place>, mut queue: mpsc::UnboundedReceiver<Told>) {
    let (mut backoff, mut repeated) = (Backoff::up_to(AGAIN), Repeated::default());
    while !queue.is_closed() {
        let begun = tokio::time::Instant::now();
        let Fault { trouble, said, help } = place.session(&mut queue).await;
        *place.lane.lock() = None;
        place.standing.lose();
        place.give_up(None).await;
        if begun.elapsed() > PATIENCE {
            backoff = Backoff::up_to(AGAIN);
        }
        let wait = backoff.wait();
        let (nsp, at) = (&place.nsp, Remedies::place(&*place));
        if repeated.is_news(&said) {
            warn!(event = "neighbours_failed", nsp, place = at, reason = trouble.word(), said, help, again_in = ?wait);
        }
        let refuse = async {
            while let Some(told) = queue.recv().await {
                place.refuse(told);
            }
        };
        let _ = tokio::time::timeout(wait, refuse).await;
    }
}

impl Place {
    /// A connection that hears all that a server hears.
    async fn open(&self) -> Result<(MultiplexedConnection, Arc<Ear>, mpsc::UnboundedReceiver<Said>), Fault> {
        let client = self.at.client(self.format.key()).await.map_err(|why| nowhere(why, self))?;
        let because = |error: RedisError| fault(&error, self, Trouble::Unreachable);
        let (ear, said) = Ear::new(0);
        let config = AsyncConnectionConfig::new()
            .set_push_sender(Tap(Arc::clone(&ear)))
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let lane = resp3(client).get_multiplexed_async_connection_with_config(&config).await;
        let mut lane = lane.map_err(because)?;
        let rooms = self.rooms.lock().await;
        self.format.listen(&mut lane, &self.uid, rooms.iter()).await.map_err(because)?;
        *self.lane.lock() = Some(lane.clone());
        drop(rooms);
        Ok((lane, ear, said))
    }

    /// One connection, until it is lost.
    async fn session(self: &Arc<Self>, queue: &mut mpsc::UnboundedReceiver<Told>) -> Fault {
        let (lane, ear, said) = match self.open().await {
            Ok(open) => open,
            Err(fault) => return fault,
        };
        let elsewhere = match Elsewhere::of(&self.at, &lane).await {
            Ok(elsewhere) => elsewhere,
            Err(why) => return nowhere(why, &**self),
        };
        self.standing.reached.store(true, Relaxed);
        info!(event = "neighbours_connected", nsp = self.nsp, place = Remedies::place(&**self), uid = self.uid);
        if self.standing.figures.lost.load(Relaxed) > 0
            && let Some(hub) = self.hub.upgrade()
        {
            hub.has_missed_neighbours(self.app);
        }
        // Few: what waits, waits in the ear, where its bytes are counted, or in the stream.
        let (heard, hearing) = mpsc::channel(64);
        let lost = || lost(&**self);
        let because = |error: RedisError| fault(&error, &**self, Trouble::Lost);
        tokio::select! {
            () = ear.over.notified() => lost(),
            error = self.watch(lane.clone(), elsewhere) => because(error),
            error = self.carry(lane.clone(), queue) => error.map_or_else(lost, because),
            fault = self.read(heard.clone()) => fault.unwrap_or_else(lost),
            () = pass_on(&ear, said, heard) => lost(),
            () = self.hear(lane, hearing) => lost(),
        }
    }

    /// Asks again and again who is there, which shows, too, that the server is.
    async fn watch(&self, mut lane: MultiplexedConnection, mut elsewhere: Elsewhere) -> RedisError {
        let mut ticks = interval(COUNT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match elsewhere.count(&self.format).await {
                Ok(counts) => *self.elsewhere.lock() = counts,
                Err(error) => return error,
            }
            match self.format.count().query_async(&mut lane).await {
                Ok(counts) => drop(self.note(&counts)),
                Err(error) => return error,
            }
            self.give_up(Some(&mut lane)).await;
        }
    }

    /// Notes how many neighbours there are: all servers without those of this make.
    fn note(&self, (_, all, _, own): &Counts) -> usize {
        let elsewhere = *self.elsewhere.lock();
        let present = (all + elsewhere.0).saturating_sub(own + elsewhere.1);
        let before = self.standing.count(present);
        if before != present {
            info!(event = "neighbours", nsp = self.nsp, present, before);
        }
        present
    }

    /// Does without the answers that have not come in time; where there is no connection any more, without all.
    async fn give_up(&self, mut lane: Option<&mut MultiplexedConnection>) {
        for Silence { answered, expected, known } in self.awaited.sweep(lane.is_none()) {
            self.standing.figures.unanswered.fetch_add(1, Relaxed);
            // Of the classic format answers do not say whose they are: it is one of these.
            let mut among = match &mut lane {
                Some(lane) => self.format.servers(lane).await.unwrap_or_default(),
                None => Vec::new(),
            };
            among.retain(|uid| !uid.starts_with(OWN) && !known.contains(uid));
            let (nsp, of, among) = (&self.nsp, expected.unwrap_or(0), among.join(" "));
            warn!(
                event = "neighbours_silent",
                nsp, answered, of, among, "Socket.IO servers have not answered in time; the answer is without them"
            );
        }
    }
}

/// Listens to the rooms that have members here, as long as there is a hub.
async fn follow(place: Arc<Place>, mut interest: Wanted) {
    while let Some(changed) = interest.next().await {
        let mut rooms = place.rooms.lock().await;
        let (more, less): (Vec<_>, Vec<_>) = changed.channels.iter().partition(|(_, wanted)| **wanted);
        let more: Vec<_> =
            more.into_iter().map(|(room, _)| room).filter(|room| rooms.insert(Arc::clone(room))).collect();
        let less: Vec<_> = less.into_iter().map(|(room, _)| room).filter(|room| rooms.remove(*room)).collect();
        let lane = place.lane.lock().clone();
        if let Some(mut lane) = lane {
            // What does not become so is noticed where the connection is watched; the next one listens to all.
            let _ = place.format.listen_to(&mut lane, more.into_iter()).await;
            let _ = place.format.ignore(&mut lane, less.into_iter()).await;
        }
    }
}

async fn pass_on(ear: &Ear, mut said: mpsc::UnboundedReceiver<Said>, heard: mpsc::Sender<Heard>) {
    while let Some(said) = said.recv().await {
        ear.taken(&said);
        if heard.send(Heard::Said(said)).await.is_err() {
            return;
        }
    }
}

/// A channel's name and its subscribers, twice.
type Counts = (String, usize, String, usize);

/// The other nodes of a cluster of Redis, each of which knows its own subscribers only.
struct Elsewhere(Vec<MultiplexedConnection>);

impl Elsewhere {
    async fn of(at: &super::Place, lane: &MultiplexedConnection) -> Result<Self, Nowhere> {
        let (nodes, mut others) = (at.nodes().await?, Vec::new());
        if nodes.is_empty() {
            return Ok(Self(others));
        }
        let here = node_of(&mut lane.clone()).await;
        for client in nodes {
            let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
            // Who is not reached has no subscribers that are.
            let Ok(mut other) = client.get_multiplexed_async_connection_with_config(&config).await else { continue };
            if node_of(&mut other).await != here {
                others.push(other);
            }
        }
        Ok(Self(others))
    }

    /// All servers there, and those of this make.
    async fn count(&mut self, format: &Format) -> Result<(usize, usize), RedisError> {
        let (mut all, mut own) = (0, 0);
        for lane in &mut self.0 {
            let (_, servers, _, nodes): Counts = format.count().query_async(lane).await?;
            (all, own) = (all + servers, own + nodes);
        }
        Ok((all, own))
    }
}

/// Which node of a cluster this is.
async fn node_of(lane: &mut MultiplexedConnection) -> Option<String> {
    redis::cmd("CLUSTER").arg("MYID").query_async(lane).await.ok()
}
