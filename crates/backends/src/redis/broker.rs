//! Redis as broker: topics are channels of its pub/sub. One connection (RESP3) says and hears, so that a ping on it proves
//! both.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use oyez_hub::broker::{Broker, Inlet, Said, Tidings, Unreached};
use oyez_hub::source::Trouble;
use redis::aio::{AsyncPushSender, MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{info, warn};

use super::fault::{Remedies, fault, lost, silence};
use super::server::Server;
use crate::supervise::{Backoff, Fault};

/// How long the server may take to let us in, or to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often it is asked whether it is there.
const PING: Duration = Duration::from_secs(1);

/// The longest wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Topics in one command.
const TOGETHER: usize = 1_000;

/// What was heard and is not yet taken: letters, and their bytes. A node that is further behind begins anew, and knows that
/// it has missed something.
const BEHIND: (usize, usize) = (65_536, 256 << 20);

/// A connection to a Redis that is made again whenever it is lost.
pub struct RedisBroker {
    client: Client,
    prefix: String,
    /// What is listened to; held while that is changed, so that a new connection begins with all of it.
    wanted: Mutex<HashSet<Arc<str>>>,
    /// The connection, while there is one.
    lane: parking_lot::Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for RedisBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBroker").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Remedies for RedisBroker {
    fn place(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    fn rights(&self) -> String {
        format!("let the user speak: ACL SETUSER … &{}* +subscribe +unsubscribe +publish +ping", self.prefix)
    }

    fn lost(&self) -> &'static str {
        "what other nodes said meanwhile is missed, and clients of channels that remember are told of a gap"
    }
}

/// What was heard on one connection and waits to be taken.
#[derive(Debug)]
struct Ear {
    prefix: usize,
    heard: mpsc::UnboundedSender<Said>,
    letters: AtomicUsize,
    bytes: AtomicUsize,
    /// The connection is over, or the node too far behind.
    over: Notify,
}

impl Ear {
    /// A letter was taken.
    fn taken(&self, said: &Said) {
        self.letters.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(said.payload.len(), Relaxed);
    }
}

/// The ear as the driver of the connection has it.
struct Tap(Arc<Ear>);

impl AsyncPushSender for Tap {
    fn send(&self, info: PushInfo) -> Result<(), SendError> {
        let Self(ear) = self;
        match (info.kind, <[Value; 2]>::try_from(info.data)) {
            (PushKind::Disconnection, _) => ear.over.notify_one(),
            (PushKind::Message, Ok([Value::BulkString(channel), Value::BulkString(payload)])) => {
                let Some(topic) = channel.get(ear.prefix..).and_then(|topic| std::str::from_utf8(topic).ok()) else {
                    return Ok(());
                };
                let letters = ear.letters.fetch_add(1, Relaxed) + 1;
                let bytes = ear.bytes.fetch_add(payload.len(), Relaxed) + payload.len();
                if letters > BEHIND.0 || bytes > BEHIND.1 {
                    ear.over.notify_one();
                    return Err(SendError);
                }
                return ear.heard.send(Said { topic: topic.into(), payload: payload.into() }).map_err(|_| SendError);
            }
            _ => {}
        }
        Ok(())
    }
}

impl RedisBroker {
    /// Connects in the background, for as long as somebody has the broker; `prefix` begins the names of all channels.
    #[must_use]
    pub fn connect(Server(client): Server, prefix: &str, runtime: &Handle) -> (Arc<Self>, Inlet) {
        // Few: what waits, waits in the ear, where its bytes are counted.
        let (inlet, tidings) = mpsc::channel(64);
        let info = client.get_connection_info().clone();
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(redis)).unwrap_or(client);
        let (wanted, lane) = Default::default();
        let broker = Arc::new(Self { client, prefix: format!("{prefix}#"), wanted, lane });
        runtime.spawn(keep(Arc::downgrade(&broker), inlet));
        (broker, tidings)
    }

    fn channel(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    fn lane(&self) -> Option<MultiplexedConnection> {
        self.lane.lock().clone()
    }

    /// A connection that listens to all that is wanted.
    async fn open(&self) -> Result<(MultiplexedConnection, Arc<Ear>, mpsc::UnboundedReceiver<Said>), RedisError> {
        let (heard, said) = mpsc::unbounded_channel();
        let (letters, bytes, over) = Default::default();
        let ear = Arc::new(Ear { prefix: self.prefix.len(), heard, letters, bytes, over });
        let config = AsyncConnectionConfig::new()
            .set_push_sender(Tap(Arc::clone(&ear)))
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut lane = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let wanted = self.wanted.lock().await;
        let channels: Vec<String> = wanted.iter().map(|topic| self.channel(topic)).collect();
        for some in channels.chunks(TOGETHER) {
            lane.subscribe(some).await?;
        }
        *self.lane.lock() = Some(lane.clone());
        Ok((lane, ear, said))
    }

    /// One connection, until it is lost.
    async fn session(&self, inlet: &mpsc::Sender<Tidings>) -> Fault {
        let (mut lane, ear, mut said) = match self.open().await {
            Ok(open) => open,
            Err(error) => return fault(&error, self, Trouble::Unreachable),
        };
        info!(event = "broker_connected", place = self.place());
        let _ = inlet.send(Tidings::Up).await;
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = async {
            loop {
                tokio::select! {
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
        *self.lane.lock() = None;
        let _ = inlet.send(Tidings::Down).await;
        fault
    }
}

/// Connects again and again, as long as somebody has the broker and hears what it brings.
async fn keep(broker: std::sync::Weak<RedisBroker>, inlet: mpsc::Sender<Tidings>) {
    let mut backoff = Backoff::up_to(AGAIN);
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
        warn!(event = "broker_failed", place, reason = trouble.word(), said, help, again_in = ?wait);
        tokio::select! {
            () = inlet.closed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn say(&self, words: &[Said]) -> Result<(), Unreached> {
        let Some(mut lane) = self.lane() else { return Err(Unreached(self.place())) };
        let mut pipeline = redis::pipe();
        for Said { topic, payload } in words {
            pipeline.cmd("PUBLISH").arg(self.channel(topic)).arg(&payload[..]).ignore();
        }
        pipeline.exec_async(&mut lane).await.map_err(|error| Unreached(error.to_string()))
    }

    async fn listen(&self, topics: &[Arc<str>]) {
        let mut wanted = self.wanted.lock().await;
        wanted.extend(topics.iter().cloned());
        let Some(mut lane) = self.lane() else { return };
        for some in topics.chunks(TOGETHER) {
            let channels: Vec<String> = some.iter().map(|topic| self.channel(topic)).collect();
            if lane.subscribe(channels).await.is_err() {
                // It is noticed where the connection is watched; the next one listens to them.
                return;
            }
        }
    }

    async fn ignore(&self, topics: &[Arc<str>]) {
        let mut wanted = self.wanted.lock().await;
        topics.iter().for_each(|topic| drop(wanted.take(topic)));
        let Some(mut lane) = self.lane() else { return };
        for some in topics.chunks(TOGETHER) {
            let channels: Vec<String> = some.iter().map(|topic| self.channel(topic)).collect();
            if lane.unsubscribe(channels).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
