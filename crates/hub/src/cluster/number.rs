//! The number of this node in session ids. It is claimed before anybody connects, so that no two living nodes have the same.
//! Of two that find each other later (they began without the broker, or one stood still) the younger takes another one: its
//! sessions keep the names that they have and stay, new ones get the new number.

use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tracing::{info, warn};

use super::members::Peer;
use super::words::{Letter, Words};
use super::{ALL, Cluster, of_node};
use crate::Hub;
use crate::broker::Said;
use crate::clock::unix_millis;
use crate::hub::Inner;

/// How long others may take to say that a number is theirs.
const OBJECTION: Duration = Duration::from_millis(250);

/// How long the start waits until the number is claimed: a broker that cannot be had does not stop it.
const START: Duration = Duration::from_secs(1);

/// Numbers of which a node remembers that it shares them: sessions of older ones are not found any more, and begin anew.
const SHARED: usize = 100;

/// Bits of a life that are drawn; those above are the time at which it began.
const DRAWN: u32 = 20;

/// Which life of a node it is: of two, the younger one has the greater.
pub(super) fn new_life() -> u64 {
    unix_millis() << DRAWN | u64::from(rand::random::<u32>() >> (u32::BITS - DRAWN))
}

/// The number that a node has, and those that its sessions and another node's may have.
#[derive(Debug)]
pub(crate) struct Numbers {
    current: AtomicU16,
    shared: RwLock<Vec<u16>>,
}

impl Numbers {
    pub(crate) fn draw() -> Self {
        Self { current: rand::random::<u16>().into(), shared: RwLock::default() }
    }

    /// The number of sessions that begin.
    pub(crate) fn current(&self) -> u16 {
        self.current.load(Relaxed)
    }

    /// Whether sessions of this node may have that number.
    pub(crate) fn has(&self, number: u16) -> bool {
        number == self.current() || self.shared.read().contains(&number)
    }

    /// Whether all sessions that have that number are of this node.
    pub(crate) fn has_alone(&self, number: u16) -> bool {
        number == self.current() && !self.shared.read().contains(&number)
    }

    /// Sessions of another node may have that number, too.
    fn share(&self, number: u16) {
        let mut shared = self.shared.write();
        if !shared.contains(&number) {
            shared.push(number);
        }
        let over = shared.len().saturating_sub(SHARED);
        shared.drain(..over);
    }

    /// Draws another one that is not `taken`.
    fn draw_again(&self, taken: impl Fn(u16) -> bool) {
        let mut new = rand::random();
        // All numbers but a few are free.
        while self.has(new) || taken(new) {
            new = rand::random();
        }
        self.current.store(new, Relaxed);
    }
}

/// What concerns the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The broker is reached.
    Up,
    /// Somebody else has that number, and keeps it.
    Taken(u16),
}

/// Claims a number and tells the others of this node, whenever the broker is reached or the number turns out to be somebody
/// else's; as long as there is a cluster.
pub(super) async fn hold(hub: Weak<Inner>, cluster: Weak<Cluster>, mut news: UnboundedReceiver<News>) {
    while let Some(first) = news.recv().await {
        let Some((cluster, hub)) = cluster.upgrade().zip(Hub::upgrade(&hub)) else { return };
        match first {
            News::Taken(number) if number == cluster.numbers.current() => {
                cluster.held.send_replace(false);
                cluster.renumber(&hub).await;
            }
            News::Taken(_) => continue,
            News::Up => {}
        }
        if cluster.is_held() || cluster.claim(&hub, &mut news).await {
            cluster.held.send_replace(true);
            cluster.announce(&hub);
        }
    }
}

impl Cluster {
    /// Waits until no other node has the number of this one, or for a moment, if the broker is not reached. Once, before
    /// anybody connects.
    pub async fn settle(&self) {
        let _ = timeout(START, self.held.subscribe().wait_for(|held| *held)).await;
        self.opened.store(true, Relaxed);
        // As other nodes name it in their logs.
        let door = self.door.map(|door| tracing::field::display(door.address));
        info!(event = "node", node = self.numbers.current(), door);
    }

    /// Whether the others may know of this node: its number is its own, as far as they say.
    pub(super) fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Somebody else who has the number of this node has said something.
    pub(super) fn meets_double(&self, other: Peer, words: &Words) {
        let claims = matches!(words, Words::Claim(_));
        let (me, number) = (self.life, self.numbers.current());
        if matches!(words, Words::Leave) {
            // It gives way.
            self.numbers.share(number);
            return;
        }
        // Who claims gives way to whoever has it already; among equals the older one keeps it.
        let mine = if self.is_held() { claims || me < other.life } else { claims && me < other.life };
        if mine {
            if !matches!(words, Words::Claim(false)) {
                self.numbers.share(number);
            }
            self.tell(of_node(number), Words::Taken);
        } else {
            let _ = self.news.send(News::Taken(number));
        }
    }

    /// Asks who has this node's number, and takes another one, until nobody has. False: the broker was lost meanwhile.
    async fn claim(&self, hub: &Hub, news: &mut UnboundedReceiver<News>) -> bool {
        loop {
            let number = self.numbers.current();
            self.broker.listen(&[of_node(number)]).await;
            let said =
                Said { topic: of_node(number), payload: self.letter(Words::Claim(self.opened.load(Relaxed))).write() };
            if self.broker.say(&[said]).await.is_err() {
                return false;
            }
            let objected = async {
                while news.recv().await? != News::Taken(number) {}
                Some(())
            };
            if timeout(OBJECTION, objected).await.is_err() {
                return true;
            }
            self.renumber(hub).await;
        }
    }

    /// Takes another number. Who has sessions of the old one still hears what is said to them.
    async fn renumber(&self, hub: &Hub) {
        let old = self.me();
        let kept = self.opened.load(Relaxed);
        if kept {
            self.numbers.share(old.node);
        }
        self.numbers.draw_again(|number| self.knows(number));
        hub.pids().meet(self.numbers.current(), self.pid_key);
        warn!(event = "node_renumbered", node = old.node, now = self.numbers.current(), "another node has this number");
        if kept {
            let goodbye = Letter { from: old, words: Words::Leave };
            // What was said of this node under the old number counts no more. Who does not hear it forgets it a moment later.
            let _ = self.broker.say(&[Said { topic: ALL.into(), payload: goodbye.write() }]).await;
        } else {
            self.broker.ignore(&[of_node(old.node)]).await;
        }
    }

    /// Tells the others of this node, and asks them for what they know.
    fn announce(&self, hub: &Hub) {
        let all: Arc<str> = ALL.into();
        self.tell(Arc::clone(&all), self.beat());
        self.tell(Arc::clone(&all), Words::Hello);
        self.tell_rows(&all, super::all_rows(hub));
        self.tell_revoked(hub, &all);
    }
}
