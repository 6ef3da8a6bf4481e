//! How a shard is, as the shard itself notes it many times a second; others only read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::histogram::Histogram;

/// A turn that comes later than this is a stall.
pub(crate) const STALL: Duration = Duration::from_millis(100);

/// Figures of one shard; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Vitals {
    pub(super) websockets: Gauge,
    pub(super) polling: Gauge,
    pub(super) slow: Gauge,
    pub(super) outbox: Gauge,
    pub(super) mailbox: Gauge,
    pub(super) tasks: Gauge,
    pub(super) stalls: Counter,
    pub(super) lateness: Histogram,
    /// The last look, by [`crate::clock::steady_nanos`]; 0 before the first.
    pub(super) beat: Arc<AtomicU64>,
}

/// What a shard counts when it looks at all of its sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stock {
    /// Sessions on a websocket.
    pub websockets: usize,
    /// Sessions on polling.
    pub polling: usize,
    /// Websockets that have not taken everything yet.
    pub slow: usize,
    /// Bytes that wait for clients.
    pub outbox: usize,
    /// Tasks of the shard's event loop.
    pub tasks: usize,
}

impl Vitals {
    /// The shard has a turn `now` (in [`crate::clock::steady_nanos`]), so much later than it was due; whether that is a
    /// stall.
    pub(crate) fn beat(&self, late: Duration, now: u64) -> bool {
        self.beat.store(now.max(1), Relaxed);
        self.lateness.observe(late);
        let stalled = late > STALL;
        if stalled {
            self.stalls.inc();
        }
        stalled
    }

    /// How many letters are left in the mailbox after a batch was taken.
    pub(crate) fn left_in_mailbox(&self, count: usize) {
        set(&self.mailbox, count);
    }

    /// Shows what was counted.
    pub(crate) fn note(&self, stock: Stock) {
        set(&self.websockets, stock.websockets);
        set(&self.polling, stock.polling);
        set(&self.slow, stock.slow);
        set(&self.outbox, stock.outbox);
        set(&self.tasks, stock.tasks);
    }
}

fn set(gauge: &Gauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}
