//! The door: how many publications may be on their way at once.
//!
//! A publication takes a permit before its order is fixed and gives it back when the last shard has flushed it. So
//! the mailboxes between threads are bounded by the permits, a push between threads never waits, and a publisher
//! that is faster than the machine is slowed down at the door instead of filling memory.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::Mutex;

#[cfg(test)]
mod tests;

/// Publications on their way at once; measured as the best trade of throughput against latency.
pub const PERMITS: usize = 64;

/// Bytes of all publications on their way; one that is larger than that goes alone.
pub const BYTES: usize = 32 * 1024 * 1024;

/// The two budgets of a node, and the line before them.
///
/// Only the first in the line may enter, and does so itself when it is polled; whoever comes meanwhile goes to the
/// end. So what one task asks for in some order enters in that order, whichever wake-up reaches it first.
#[derive(Debug, Clone)]
pub struct Door {
    state: Arc<Mutex<State>>,
}

/// What goes through the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Publications that were ever let in.
    pub entered: u64,
    /// Publications that are on their way.
    pub inside: usize,
    /// Publications in the line.
    pub waiting: usize,
}

#[derive(Debug)]
struct State {
    /// Most permits that may be out, and most of their bytes.
    limits: (usize, usize),
    /// Permits that are out, and their bytes.
    inside: usize,
    bytes: usize,
    /// Everybody who was ever let in.
    entered: u64,
    /// Nobody is let in any more.
    closed: bool,
    line: VecDeque<Waiter>,
    next_ticket: u64,
    /// Woken when nobody is inside any more and nobody will be.
    watchers: Vec<Waker>,
}

/// A place in the line, in which tickets ascend.
#[derive(Debug)]
struct Waiter {
    ticket: u64,
    bytes: usize,
    /// `None`: woken, but it has not looked yet.
    waker: Option<Waker>,
}

/// One publication's share; dropping the last clone of its delivery returns it.
#[derive(Debug)]
pub struct Permit {
    state: Arc<Mutex<State>>,
    bytes: usize,
}

/// Somebody at the door; in the line from the first look in vain until let in or dropped.
struct Entry<'a> {
    state: &'a Arc<Mutex<State>>,
    bytes: usize,
    ticket: Option<u64>,
}

impl Default for Door {
    fn default() -> Self {
        Self::new(PERMITS, BYTES)
    }
}

impl Door {
    pub(crate) fn new(permits: usize, bytes: usize) -> Self {
        let state = State {
            limits: (permits, bytes),
            inside: 0,
            bytes: 0,
            entered: 0,
            closed: false,
            line: VecDeque::new(),
            next_ticket: 0,
            watchers: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a place and for `size` bytes. Cancel-safe: a dropped wait gives its place in the line back.
    /// `None` only while the node shuts down.
    pub async fn enter(&self, size: usize) -> Option<Permit> {
        Entry { state: &self.state, bytes: size, ticket: None }.await
    }

    /// What goes through it.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let state = self.state.lock();
        Traffic { entered: state.entered, inside: state.inside, waiting: state.line.len() }
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        change(&self.state, |state| state.closed = true);
    }

    /// Whether nobody is let in any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state.lock().closed
    }

    /// Waits until the door is closed and every permit has returned: then nothing is on its way, and nothing will be.
    pub async fn emptied(&self) {
        poll_fn(|cx| {
            let mut state = self.state.lock();
            if state.is_empty_for_good() {
                return Poll::Ready(());
            }
            if !state.watchers.iter().any(|watcher| watcher.will_wake(cx.waker())) {
                state.watchers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

/// Changes the state, then wakes whoever has something to look at now.
fn change<T>(state: &Mutex<State>, make: impl FnOnce(&mut State) -> T) -> T {
    let (made, first, others) = {
        let mut state = state.lock();
        let made = make(&mut state);
        (made, state.first_due(), state.others_due())
    };
    // Outside of the lock: whoever is woken wants it.
    first.into_iter().chain(others).for_each(Waker::wake);
    made
}

impl State {
    fn is_room(&self, bytes: usize) -> bool {
        let (most, most_bytes) = self.limits;
        self.inside == 0 || (self.inside < most && self.bytes + bytes <= most_bytes)
    }

    fn is_empty_for_good(&self) -> bool {
        self.closed && self.inside == 0
    }

    fn place(&self, ticket: u64) -> usize {
        self.line.partition_point(|waiter| waiter.ticket < ticket)
    }

    /// Lets an entry in when it is its turn and there is room; else it keeps its place in the line, or gets one.
    fn admit(&mut self, bytes: usize, ticket: &mut Option<u64>, waker: &Waker) -> Poll<bool> {
        if self.closed {
            return Poll::Ready(false);
        }
        let place = ticket.map_or(self.line.len(), |ticket| self.place(ticket));
        if place == 0 && self.is_room(bytes) {
            self.inside += 1;
            self.bytes += bytes;
            self.entered += 1;
            if ticket.take().is_some() {
                self.line.pop_front();
            }
            return Poll::Ready(true);
        }
        let waker = Some(waker.clone());
        match self.line.get_mut(place) {
            Some(waiter) => waiter.waker = waker,
            None => {
                self.line.push_back(Waiter { ticket: self.next_ticket, bytes, waker });
                *ticket = Some(self.next_ticket);
                self.next_ticket += 1;
            }
        }
        Poll::Pending
    }

    /// The first in the line, if there is room for it.
    fn first_due(&mut self) -> Option<Waker> {
        let bytes = self.line.front()?.bytes;
        if self.is_room(bytes) { self.line.front_mut()?.waker.take() } else { None }
    }

    /// Everybody who waits for what will not be, or for what has come to pass. Nearly always nobody.
    fn others_due(&mut self) -> Vec<Waker> {
        let mut due = Vec::new();
        if self.closed {
            due.extend(self.line.iter_mut().filter_map(|waiter| waiter.waker.take()));
        }
        if self.is_empty_for_good() {
            due.append(&mut self.watchers);
        }
        due
    }
}

impl Future for Entry<'_> {
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, bytes, ticket } = &mut *self;
        let admitted = change(state, |state| state.admit(*bytes, ticket, cx.waker()));
        admitted.map(|admitted| admitted.then(|| Permit { state: Arc::clone(state), bytes: *bytes }))
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            change(self.state, |state| {
                let place = state.place(ticket);
                state.line.remove(place);
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        change(&self.state, |state| {
            state.inside -= 1;
            state.bytes -= self.bytes;
        });
    }
}
