//! One queue of deadlines per shard instead of a timer per session.
//!
//! An entry says "look at this session at that instant". The session knows its own next deadline; an entry that has
//! become too early is simply put back. So a heartbeat that arrives costs nothing here.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use oyez_hub::address::Address;

use crate::observe::event;

/// Sessions looked at before other work of the shard gets a turn.
const CHUNK: usize = 256;

/// What is late by more shows that the thread stood still: the process was stopped, or the machine busy beyond measure.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(1);

/// How long deadlines wait after that, so that what clients said meanwhile is read first.
pub(crate) const CATCHING_UP: Duration = Duration::from_secs(1);

/// Waits for a deadline. If this thread stood still, what has come meanwhile is read first.
pub(crate) async fn too_late(by: Instant) {
    sleep_until(by).await;
    if by.elapsed() > STANDSTILL {
        sleep(CATCHING_UP).await;
    }
}

/// What comes of it, if it does by then.
pub(crate) async fn in_time<T>(by: Instant, it: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::select! {
        biased;
        outcome = it => outcome,
        () = too_late(by) => Err(ErrorKind::TimedOut.into()),
    }
}

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
    /// Until then the thread is known to have stood still.
    caught_up: Cell<Option<Instant>>,
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

    /// Forgets sessions that are gone, by slot and nonce, and the room that they took.
    pub(crate) fn keep(&self, is_there: impl Fn(u32, u64) -> bool) {
        let mut heap = self.heap.borrow_mut();
        heap.retain(|Reverse(entry)| is_there(entry.slot, entry.nonce));
        heap.shrink_to_fit();
    }

    /// Waits a moment if entries have been due for so long that the clients cannot be blamed.
    async fn catch_up(&self) {
        let Some(first) = self.heap.borrow().peek().map(|entry| entry.0.at) else { return };
        let late = first.elapsed();
        if late > STANDSTILL && self.caught_up.get().is_none_or(|until| first > until) {
            event::stood_still(late);
            self.caught_up.set(Some(Instant::now()));
            sleep(CATCHING_UP).await;
        }
    }

    /// Waits until at least one entry is due and takes those that are, at most [`CHUNK`]: slots and nonces of sessions.
    pub(crate) async fn due(&self, out: &mut Vec<(u32, u64)>) {
        loop {
            self.catch_up().await;
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
                        () = sleep_until(at) => {}
                        () = self.earlier.notified() => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_is_gone_is_forgotten_and_the_others_are_looked_at_in_time() {
        let deadlines = Deadlines::default();
        let begun = Instant::now();
        for slot in 0..1_000 {
            let address = Address { node: 0, shard: 0, slot, nonce: 7 };
            deadlines.add(begun + Duration::from_millis(u64::from(1_000 - slot)), address);
        }
        deadlines.keep(|slot, nonce| slot % 500 == 0 && nonce == 7);
        assert!(deadlines.heap.borrow().capacity() < 10);
        let mut due = Vec::new();
        deadlines.due(&mut due).await;
        assert_eq!((&*due, begun.elapsed().as_millis()), (&[(500, 7)][..], 500));
        due.clear();
        deadlines.due(&mut due).await;
        assert_eq!((&*due, begun.elapsed().as_millis()), (&[(0, 7)][..], 1_000));
    }
}
