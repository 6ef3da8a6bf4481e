//! The door: how many publications may be on their way at once.
//!
//! A publication takes a permit before its order is fixed and gives it back when the last shard has flushed it. So
//! the mailboxes between threads are bounded by the permits, a push between threads never waits, and a publisher
//! that is faster than the machine is slowed down at the door instead of filling memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

/// Publications on their way at once; measured as the best trade of throughput against latency.
pub const PERMITS: usize = 64;

/// Bytes of all publications on their way; one that is larger than all of it takes all of it.
pub const BYTES: usize = 32 * 1024 * 1024;

/// The two budgets of a node, and the line before them. Whoever comes while somebody waits goes to the end of the
/// line, so what one task asks for in some order enters in that order. (A semaphore alone lets a newcomer take what is
/// left over while the one who was first is still being woken.)
#[derive(Debug, Clone)]
pub struct Door {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    line: Arc<Mutex<()>>,
    waiting: Arc<AtomicUsize>,
}

/// Somebody in the line; counted out however the wait ends.
struct InLine<'a>(&'a AtomicUsize);

impl<'a> InLine<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::AcqRel);
        Self(waiting)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// One publication's share; dropping the last clone of its delivery returns it.
#[derive(Debug)]
pub struct Permit {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PERMITS)),
            bytes: Arc::new(Semaphore::new(BYTES)),
            line: Arc::default(),
            waiting: Arc::default(),
        }
    }
}

impl Door {
    /// Waits for a place and for `size` bytes. Cancel-safe: a dropped wait gives its place in the queue back.
    /// `None` only while the node shuts down.
    pub async fn enter(&self, size: usize) -> Option<Permit> {
        let bytes = u32::try_from(size.clamp(1, BYTES)).ok()?;
        if self.waiting.load(Ordering::Acquire) == 0
            && let Ok(place) = Arc::clone(&self.places).try_acquire_owned()
            && let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(bytes)
        {
            return Some(Permit { _place: place, _bytes: bytes });
        }
        let _counted = InLine::new(&self.waiting);
        let _turn = self.line.lock().await;
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(bytes).await.ok()?;
        Some(Permit { _place: place, _bytes: bytes })
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.places.close();
        self.bytes.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_door_is_full_until_a_permit_returns() {
        let door = Door::default();
        let mut inside = Vec::new();
        for _ in 0..PERMITS {
            inside.push(door.enter(10).await);
        }
        let waiting = tokio::spawn({
            let door = door.clone();
            async move { door.enter(10).await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        inside.pop();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn nobody_overtakes_who_waits() {
        let door = Door::default();
        let mut inside = Vec::new();
        for _ in 0..PERMITS {
            inside.push(door.enter(1).await);
        }
        let mut first = Box::pin(door.enter(1));
        assert!(futures_util::poll!(&mut first).is_pending());
        inside.clear();
        // Places are free now, but the first in line has not been woken yet.
        let mut second = Box::pin(door.enter(1));
        assert!(futures_util::poll!(&mut second).is_pending());
        assert!(first.await.is_some());
        assert!(second.await.is_some());
    }
}
