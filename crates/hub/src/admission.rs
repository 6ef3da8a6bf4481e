//! The door: how many publications may be on their way at once.
//!
//! A publication takes a permit before its order is fixed and gives it back when the last shard has flushed it. So
//! the mailboxes between threads are bounded by the permits, a push between threads never waits, and a publisher
//! that is faster than the machine is slowed down at the door instead of filling memory.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Publications on their way at once; measured as the best trade of throughput against latency.
pub const PERMITS: usize = 64;

/// Bytes of all publications on their way; one that is larger than all of it takes all of it.
pub const BYTES: usize = 32 * 1024 * 1024;

/// The two budgets of a node.
#[derive(Debug, Clone)]
pub struct Door {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// One publication's share; dropping the last clone of its delivery returns it.
#[derive(Debug)]
pub struct Permit {
    _place: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Default for Door {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PERMITS)), bytes: Arc::new(Semaphore::new(BYTES)) }
    }
}

impl Door {
    /// Waits for a place and for `size` bytes. Cancel-safe: a dropped wait gives its place in the queue back.
    /// `None` only while the node shuts down.
    pub async fn enter(&self, size: usize) -> Option<Permit> {
        let bytes = u32::try_from(size.clamp(1, BYTES)).ok()?;
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
}
