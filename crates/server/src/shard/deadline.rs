//! One queue of deadlines per shard instead of a timer per session.
//!
//! An entry says "look at this session at that instant". The session knows its own next deadline; an entry that has
//! become too early is simply put back. So a heartbeat that arrives costs nothing here.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use tokio::sync::Notify;
use tokio::time::Instant;

use oyez_hub::address::Address;

/// Sessions looked at before other work of the shard gets a turn.
const CHUNK: usize = 256;

/// Which session to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    at: Instant,
    slot: u32,
    nonce: u64,
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.slot, self.nonce).cmp(&(other.at, other.slot, other.nonce))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The deadlines of a shard.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: RefCell<BinaryHeap<Reverse<Entry>>>,
    /// When the waiting task will look next.
    sleeping_until: Cell<Option<Instant>>,
    earlier: Notify,
}

impl Deadlines {
    /// Looks at the session not later than `at`.
    pub(crate) fn add(&self, at: Instant, session: Address) {
        self.heap.borrow_mut().push(Reverse(Entry { at, slot: session.slot, nonce: session.nonce }));
        if self.sleeping_until.get().is_none_or(|until| at < until) {
            self.earlier.notify_one();
        }
    }

    /// Waits until at least one entry is due and takes those that are, at most [`CHUNK`]: slots and nonces of sessions.
    pub(crate) async fn due(&self, out: &mut Vec<(u32, u64)>) {
        loop {
            let now = Instant::now();
            let next = {
                let mut heap = self.heap.borrow_mut();
                while out.len() < CHUNK
                    && let Some(Reverse(entry)) = heap.peek()
                    && entry.at <= now
                {
                    out.push((entry.slot, entry.nonce));
                    heap.pop();
                }
                heap.peek().map(|entry| entry.0.at)
            };
            if !out.is_empty() {
                return;
            }
            self.sleeping_until.set(next);
            match next {
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at) => {}
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }
}
