//! How many sessions a node has room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The node's seats; all of its shards share them.
#[derive(Debug, Clone)]
pub(crate) struct Seats {
    most: Option<usize>,
    taken: Arc<AtomicUsize>,
}

/// One seat, free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<AtomicUsize>);

impl Seats {
    /// So many; `None`: any number.
    pub(crate) fn new(most: Option<usize>) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// A seat, if one is free.
    pub(crate) fn take(&self) -> Option<Seat> {
        let more = |taken| self.most.is_none_or(|most| taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Seat(Arc::clone(&self.taken)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_makes_room() {
        let seats = Seats::new(Some(2));
        let first = seats.take();
        let elsewhere = seats.clone();
        let second = elsewhere.take();
        assert!(first.is_some() && second.is_some() && elsewhere.take().is_none());
        drop(first);
        let third = seats.take();
        assert!(third.is_some() && seats.take().is_none());
        let any = Seats::new(None);
        assert!((0..100).map(|_| any.take()).all(|seat| seat.is_some()));
    }
}
