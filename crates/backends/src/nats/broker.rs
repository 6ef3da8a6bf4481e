//! NATS as broker: topics are subjects. One connection says and hears, so that an answer on it proves both.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use oyez_hub::broker::{Broker, Inlet, Said, Tidings, Unreached};
use oyez_hub::source::Trouble;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tracing::{info, warn};

use super::fault::{Remedies, Wrong, fault};
use super::line::{Lane, Line, PATIENCE};
use super::servers::Servers;
use super::wire;
use crate::supervise::{Backoff, Fault, Repeated};

/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(1);

/// The longest wait before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What was heard and is not yet taken: letters, and their bytes. A node that is further behind begins anew, and knows that
/// it has missed something.
const BEHIND: (usize, usize) = (65_536, 256 << 20);

/// The longest subject: a server takes lines of 4 KiB.
const SUBJECT_MAX: usize = 4_000;

/// A connection to a NATS that is made again whenever it is lost.
pub struct NatsBroker {
    servers: Servers,
    prefix: String,
    /// The subscription of each topic that is listened to; held while that is changed, so that a new connection begins with
    /// all of it.
    wanted: Mutex<HashMap<Arc<str>, u64>>,
    /// The topics of those.
    topics: parking_lot::Mutex<HashMap<u64, Arc<str>>>,
    subscriptions: AtomicU64,
    /// The connection, while there is one.
    lane: parking_lot::Mutex<Option<Lane>>,
    /// What was too large to be said.
    refused: AtomicU64,
}

impl fmt::Debug for NatsBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsBroker").field("place", &self.place()).finish_non_exhaustive()
    }
}

impl Remedies for NatsBroker {
    fn place(&self) -> String {
        self.servers.to_string()
    }

    fn rights(&self) -> String {
        format!("let the user publish and subscribe to \"{}.>\"", self.prefix)
    }

    fn lost(&self) -> &'static str {
        "what other nodes said meanwhile is missed, and clients of channels that remember are told of a gap"
    }
}

/// What was heard on one connection and waits to be taken.
struct Ear {
    heard: mpsc::UnboundedSender<Said>,
    letters: AtomicUsize,
    bytes: AtomicUsize,
}

impl Ear {
    /// Whether there was room for it.
    fn hear(&self, said: Said) -> bool {
        let letters = self.letters.fetch_add(1, Relaxed) + 1;
        let bytes = self.bytes.fetch_add(said.payload.len(), Relaxed) + said.payload.len();
        letters <= BEHIND.0 && bytes <= BEHIND.1 && self.heard.send(said).is_ok()
    }

    fn taken(&self, said: &Said) {
        self.letters.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(said.payload.len(), Relaxed);
    }
}

impl NatsBroker {
    /// Connects in the background, for as long as somebody has the broker; `prefix` begins the names of all subjects.
    #[must_use]
    pub fn connect(servers: Servers, prefix: &str, runtime: &Handle) -> (Arc<Self>, Inlet) {
        // Few: what waits, waits in the ear, where its bytes are counted.
        let (inlet, tidings) = mpsc::channel(64);
        let (wanted, topics, subscriptions, lane, refused) = Default::default();
        let prefix = prefix.to_owned();
        let broker = Arc::new(Self { servers, prefix, wanted, topics, subscriptions, lane, refused });
        runtime.spawn(keep(Arc::downgrade(&broker), inlet));
        (broker, tidings)
    }

    fn lane(&self) -> Option<Lane> {
        self.lane.lock().clone()
    }

    /// The subject of a topic: the topic is one word of it, whatever its characters.
    fn subject(&self, topic: &str) -> String {
        let mut subject = format!("{}.", self.prefix);
        for char in topic.chars() {
            match char {
                '.' | '*' | '>' | '%' | ' ' | '\0'..='\u{1f}' | '\u{7f}' => {
                    let _ = write!(subject, "%{:02x}", u32::from(char));
                }
                char => subject.push(char),
            }
        }
        subject
    }

    /// Listens on a new connection to all that is wanted, and says on it from now on.
    async fn take_up(&self, lane: &Lane) -> Result<(), Wrong> {
        let wanted = self.wanted.lock().await;
        let mut bytes = Vec::new();
        wanted.iter().for_each(|(topic, id)| wire::subscribe(&mut bytes, &self.subject(topic), None, *id));
        lane.tell(bytes).await?;
        *self.lane.lock() = Some(lane.clone());
        Ok(())
    }

    /// One connection, until it is lost.
    async fn session(&self, inlet: &mpsc::Sender<Tidings>) -> Fault {
        let line = match Line::open(&self.servers, "oyez", PING).await {
            Ok(line) => line,
            Err(wrong) => return fault(&wrong, self, Trouble::Unreachable),
        };
        let lane = line.lane.clone();
        let (heard, said) = mpsc::unbounded_channel();
        let (letters, bytes) = Default::default();
        let ear = Ear { heard, letters, bytes };
        let mut hears = pin!(self.hear(line, &ear));
        let opening = async {
            self.take_up(&lane).await?;
            lane.confirm(Vec::new()).await
        };
        let opened = tokio::select! {
            fault = &mut hears => Err(fault),
            opened = opening => opened.map_err(|wrong| fault(&wrong, self, Trouble::Lost)),
        };
        let fault = match opened {
            Err(fault) => fault,
            Ok(()) => {
                info!(event = "broker_connected", place = self.place());
                let _ = inlet.send(Tidings::Up).await;
                let fault = tokio::select! {
                    fault = hears => fault,
                    () = inlet.closed() => self.lost(),
                    () = pass_on(said, &ear, inlet) => self.lost(),
                };
                *self.lane.lock() = None;
                let _ = inlet.send(Tidings::Down).await;
                fault
            }
        };
        *self.lane.lock() = None;
        fault
    }

    fn lost(&self) -> Fault {
        fault(&Wrong::Ended, self, Trouble::Lost)
    }

    /// Hears what others say, until the connection is lost.
    async fn hear(&self, mut line: Line, ear: &Ear) -> Fault {
        loop {
            let message = match line.next().await {
                Ok(message) => message,
                Err(wrong) => return fault(&wrong, self, Trouble::Lost),
            };
            // Who has just stopped listening to a topic may still be told.
            let Some(topic) = self.topics.lock().get(&message.id).cloned() else { continue };
            if !ear.hear(Said { topic, payload: message.payload }) {
                return Fault { said: "this node is too far behind".to_owned(), ..self.lost() };
            }
        }
    }

    /// Whether the server would take this. It would end the connection if it did not.
    fn takes(&self, lane: &Lane, subject: &str, said: &Said) -> bool {
        let takes = said.payload.len() <= lane.info.max_payload && subject.len() <= SUBJECT_MAX;
        // The first, and then ever fewer.
        if !takes && self.refused.fetch_add(1, Relaxed).wrapping_add(1).is_power_of_two() {
            let (topic, bytes, most) = (&*said.topic, said.payload.len(), lane.info.max_payload);
            let help = "set max_payload of nats-server to more than the largest publication";
            warn!(event = "broker_refused", topic, bytes, most, help, "other nodes are not told of what is too large");
        }
        takes
    }
}

/// Gives on what was heard, as it is taken.
async fn pass_on(mut said: mpsc::UnboundedReceiver<Said>, ear: &Ear, inlet: &mpsc::Sender<Tidings>) {
    while let Some(said) = said.recv().await {
        ear.taken(&said);
        if inlet.send(Tidings::Said(said)).await.is_err() {
            return;
        }
    }
}

/// Connects again and again, as long as somebody has the broker and hears what it brings.
async fn keep(broker: Weak<NatsBroker>, inlet: mpsc::Sender<Tidings>) {
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
impl Broker for NatsBroker {
    async fn say(&self, words: &[Said]) -> Result<(), Unreached> {
        let Some(lane) = self.lane() else { return Err(Unreached(self.place())) };
        let mut bytes = Vec::with_capacity(words.iter().map(|said| said.payload.len() + said.topic.len() + 32).sum());
        let mut all = true;
        for said in words {
            let subject = self.subject(&said.topic);
            if self.takes(&lane, &subject, said) {
                wire::publish(&mut bytes, &subject, None, &said.payload);
            } else {
                all = false;
            }
        }
        lane.confirm(bytes).await.map_err(|wrong| Unreached(wrong.to_string()))?;
        if all { Ok(()) } else { Err(Unreached("it is too large for the server".to_owned())) }
    }

    async fn listen(&self, topics: &[Arc<str>]) {
        let mut wanted = self.wanted.lock().await;
        let mut bytes = Vec::new();
        for topic in topics {
            if wanted.contains_key(topic) {
                continue;
            }
            let id = self.subscriptions.fetch_add(1, Relaxed);
            wanted.insert(Arc::clone(topic), id);
            self.topics.lock().insert(id, Arc::clone(topic));
            wire::subscribe(&mut bytes, &self.subject(topic), None, id);
        }
        // Where that fails it is noticed by who reads; the next connection listens to them.
        if let Some(lane) = self.lane() {
            let _ = lane.confirm(bytes).await;
        }
    }

    async fn ignore(&self, topics: &[Arc<str>]) {
        let mut wanted = self.wanted.lock().await;
        let mut bytes = Vec::new();
        for id in topics.iter().filter_map(|topic| wanted.remove(topic)) {
            self.topics.lock().remove(&id);
            wire::unsubscribe(&mut bytes, id);
        }
        if let Some(lane) = self.lane() {
            let _ = lane.confirm(bytes).await;
        }
    }
}

#[cfg(test)]
mod tests;
