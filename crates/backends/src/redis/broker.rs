//! Redis as broker: topics are channels of its pub/sub. One connection (RESP3) says and hears, so that a ping on it proves
//! both.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use oyez_hub::broker::{Broker, Inlet, Said, Tidings, Unreached};
use oyez_hub::source::Trouble;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::ear::{Ear, Tap};
use super::fault::{Remedies, fault, lost, nowhere, silence};
use super::place::Place;
use super::server::resp3;
use crate::supervise::{Backoff, Fault, Repeated};

/// How long the server may take to let us in: where the network swallows what is said, an attempt that began just before it is
/// well again notices late.
const ENTRY: Duration = Duration::from_millis(1_500);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is asked whether it is there.
const PING: Duration = Duration::from_secs(1);

/// The longest wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Topics in one command.
const TOGETHER: usize = 1_000;

/// A connection to a Redis that is made again whenever it is lost.
pub struct RedisBroker {
    place: Place,
    prefix: String,
    /// What is listened to; held while that is changed, so that a new connection begins with all of it.
    wanted: Mutex<HashSet<Arc<str>>>,
    /// The connection, while there is one.
    lane: parking_lot::Mutex<Option<Lane>>,
    /// What the server has refused on it.
    refused: mpsc::Sender<RedisError>,
    refusals: Mutex<mpsc::Receiver<RedisError>>,
}

/// A connection, and when it is given up: nobody waits for its answers any longer then.
#[derive(Clone)]
struct Lane {
    redis: MultiplexedConnection,
    given_up: CancellationToken,
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Remedies for RedisBroker {
    fn place(&self) -> String {
        self.place.name()
    }

    fn rights(&self) -> String {
        format!("let the user speak: ACL SETUSER … &{}* +subscribe +unsubscribe +publish +ping", self.prefix)
    }

    fn lost(&self) -> &'static str {
        "what other nodes said meanwhile is missed, and clients of channels that remember are told of a gap"
    }
}

impl RedisBroker {
    /// Connects in the background, for as long as somebody has the broker; `prefix` begins the names of all channels.
    #[must_use]
    pub fn connect(place: Place, prefix: &str, runtime: &Handle) -> (Arc<Self>, Inlet) {
        // Few: what waits, waits in the ear, where its bytes are counted.
        let (inlet, tidings) = mpsc::channel(64);
        let (wanted, lane) = Default::default();
        let (refused, refusals) = mpsc::channel(1);
        let refusals = Mutex::new(refusals);
        let broker = Arc::new(Self { place, prefix: format!("{prefix}#"), wanted, lane, refused, refusals });
        runtime.spawn(keep(Arc::downgrade(&broker), inlet));
        (broker, tidings)
    }

    fn channel(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// What the server refuses ends the connection, with the reason: it would hear or say half of it.
    fn refuse(&self, error: RedisError) {
        if error.code().is_some() {
            // One is enough.
            let _ = self.refused.try_send(error);
        }
    }

    fn lane(&self) -> Option<Lane> {
        self.lane.lock().clone()
    }

    /// A connection that listens to all that is wanted.
    async fn open(&self) -> Result<(MultiplexedConnection, Arc<Ear>, mpsc::UnboundedReceiver<Said>), Fault> {
        // Of a cluster all nodes come to one, though each of it would bring what is said at any.
        let client = self.place.client(&self.prefix).await.map_err(|why| nowhere(why, self))?;
        let because = |error: RedisError| fault(&error, self, Trouble::Unreachable);
        let (ear, said) = Ear::new(self.prefix.len());
        let config = AsyncConnectionConfig::new()
            .set_push_sender(Tap(Arc::clone(&ear)))
            .set_connection_timeout(Some(ENTRY))
            .set_response_timeout(Some(PATIENCE));
        let lane = resp3(client).get_multiplexed_async_connection_with_config(&config).await;
        let mut lane = lane.map_err(because)?;
        let wanted = self.wanted.lock().await;
        let channels: Vec<String> = wanted.iter().map(|topic| self.channel(topic)).collect();
        for some in channels.chunks(TOGETHER) {
            lane.subscribe(some).await.map_err(because)?;
        }
        // Who may listen may be forbidden to speak, and what is said to a replica nobody else hears.
        redis::cmd("PUBLISH").arg(self.channel("@")).arg("").exec_async(&mut lane).await.map_err(because)?;
        let info: Result<String, _> = redis::cmd("INFO").arg("replication").query_async(&mut lane).await;
        if info.is_ok_and(|info| info.contains("role:slave")) {
            let (said, help) =
                ("it is a replica".to_owned(), "name its master: what is said to a replica only its own clients hear");
            return Err(Fault { trouble: Trouble::Conflict, said, help: help.to_owned() });
        }
        while self.refusals.lock().await.try_recv().is_ok() {}
        *self.lane.lock() = Some(Lane { redis: lane.clone(), given_up: CancellationToken::new() });
        Ok((lane, ear, said))
    }

    /// One connection, until it is lost.
    async fn session(&self, inlet: &mpsc::Sender<Tidings>) -> Fault {
        let (mut lane, ear, mut said) = match self.open().await {
            Ok(open) => open,
            Err(fault) => return fault,
        };
        info!(event = "broker_connected", place = self.place());
        let _ = inlet.send(Tidings::Up).await;
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = async {
            let mut refusals = self.refusals.lock().await;
            loop {
                tokio::select! {
                    Some(error) = refusals.recv() => return fault(&error, self, Trouble::Lost),
                    () = ear.over.notified() => return lost(self),
                    () = inlet.closed() => return lost(self),
                    _ = ping.tick() => match timeout(PATIENCE, lane.send_packed_command(&redis::cmd("PING"))).await {
                        Ok(Ok(_)) => {}
                        Ok(Err(error)) => return fault(&error, self, Trouble::Lost),
                        Err(_) => return silence(self, Trouble::Lost),
                    },
                }
            }
        };
        let pass_on = async {
            while let Some(said) = said.recv().await {
                ear.taken(&said);
                if inlet.send(Tidings::Said(said)).await.is_err() {
                    break;
                }
            }
        };
        let fault = tokio::select! {
            fault = watch => fault,
            () = pass_on => lost(self),
        };
        if let Some(lane) = self.lane.lock().take() {
            lane.given_up.cancel();
        }
        let _ = inlet.send(Tidings::Down).await;
        fault
    }
}

/// Connects again and again, as long as somebody has the broker and hears what it brings.
async fn keep(broker: std::sync::Weak<RedisBroker>, inlet: mpsc::Sender<Tidings>) {
    let (mut backoff, mut repeated) = (Backoff::up_to(AGAIN), Repeated::default());
    while let Some(broker) = broker.upgrade()
        && !inlet.is_closed()
    {
        let begun = tokio::time::Instant::now();
        let Fault { trouble, said, help } = broker.session(&inlet).await;
        if begun.elapsed() > PATIENCE {
            backoff = Backoff::up_to(AGAIN);
        }
        let wait = backoff.wait();
        let place = broker.place();
        drop(broker);
        if repeated.is_news(&said) {
            warn!(event = "broker_failed", place, reason = trouble.word(), said, help, again_in = ?wait);
        }
        tokio::select! {
            () = inlet.closed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn say(&self, words: &[Said]) -> Result<(), Unreached> {
        let Some(Lane { mut redis, given_up }) = self.lane() else { return Err(Unreached(self.place())) };
        let mut pipeline = redis::pipe();
        for Said { topic, payload } in words {
            pipeline.cmd("PUBLISH").arg(self.channel(topic)).arg(&payload[..]).ignore();
        }
        let said = given_up.run_until_cancelled(pipeline.exec_async(&mut redis)).await;
        said.ok_or_else(|| Unreached(self.place()))?.map_err(|error| {
            let why = Unreached(error.to_string());
            self.refuse(error);
            why
        })
    }

    async fn listen(&self, topics: &[Arc<str>]) {
        let mut wanted = self.wanted.lock().await;
        wanted.extend(topics.iter().cloned());
        let Some(Lane { mut redis, given_up }) = self.lane() else { return };
        for some in topics.chunks(TOGETHER) {
            let channels: Vec<String> = some.iter().map(|topic| self.channel(topic)).collect();
            if let Some(Err(error)) = given_up.run_until_cancelled(redis.subscribe(channels)).await {
                // The next connection listens to them.
                self.refuse(error);
                return;
            }
        }
    }

    async fn ignore(&self, topics: &[Arc<str>]) {
        let mut wanted = self.wanted.lock().await;
        topics.iter().for_each(|topic| drop(wanted.take(topic)));
        let Some(Lane { mut redis, given_up }) = self.lane() else { return };
        for some in topics.chunks(TOGETHER) {
            let channels: Vec<String> = some.iter().map(|topic| self.channel(topic)).collect();
            if !matches!(given_up.run_until_cancelled(redis.unsubscribe(channels)).await, Some(Ok(()))) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
