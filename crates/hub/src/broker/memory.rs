//! A broker without an engine: nodes within one process, for tests and for those who embed several.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Broker, Inlet, Said, Tidings, Unreached};

/// Things that a node has not heard yet; one that is slower misses some, and is told so.
const BEHIND: usize = 65_536;

/// What the nodes of a process share.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    ears: Arc<Mutex<Vec<Weak<Ear>>>>,
}

#[derive(Debug)]
struct Ear {
    topics: Mutex<HashSet<Arc<str>>>,
    /// Cut off: hears and says nothing.
    cut: Mutex<bool>,
    inlet: mpsc::Sender<Tidings>,
}

/// The bus as one node has it.
#[derive(Debug)]
pub struct Seat {
    bus: Bus,
    ear: Arc<Ear>,
}

impl Bus {
    /// Another node, connected.
    #[must_use]
    pub fn join(&self) -> (Arc<Seat>, Inlet) {
        let (inlet, tidings) = mpsc::channel(BEHIND);
        let _ = inlet.try_send(Tidings::Up);
        let ear = Arc::new(Ear { topics: Mutex::default(), cut: Mutex::default(), inlet });
        self.ears.lock().push(Arc::downgrade(&ear));
        (Arc::new(Seat { bus: self.clone(), ear }), tidings)
    }
}

impl Seat {
    /// Loses the connection, or has it again.
    pub fn cut(&self, cut: bool) {
        let was = std::mem::replace(&mut *self.ear.cut.lock(), cut);
        if was != cut {
            let _ = self.ear.inlet.try_send(if cut { Tidings::Down } else { Tidings::Up });
        }
    }
}

#[async_trait]
impl Broker for Seat {
    async fn say(&self, words: &[Said]) -> Result<(), Unreached> {
        if *self.ear.cut.lock() {
            return Err(Unreached("cut off".to_owned()));
        }
        let mut ears = self.bus.ears.lock();
        ears.retain(|ear| ear.strong_count() > 0);
        for said in words {
            for ear in ears.iter().filter_map(Weak::upgrade) {
                if !*ear.cut.lock() && ear.topics.lock().contains(&said.topic) {
                    let _ = ear.inlet.try_send(Tidings::Said(said.clone()));
                }
            }
        }
        Ok(())
    }

    async fn listen(&self, topics: &[Arc<str>]) {
        self.ear.topics.lock().extend(topics.iter().cloned());
    }

    async fn ignore(&self, topics: &[Arc<str>]) {
        let mut known = self.ear.topics.lock();
        topics.iter().for_each(|topic| {
            known.remove(topic);
        });
    }
}
