//! The line of figures in the log: from time to time, how the node is and what it has done since the last one.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::event;
use super::histogram::Counts;
use super::metrics::{Metrics, Totals};
use super::process::Process;

/// What the line says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figures {
    /// Connections now.
    pub connections: i64,
    /// Publications admitted per second.
    pub publishes: f64,
    /// Messages sent to clients per second.
    pub deliveries: f64,
    /// The latency of half of the deliveries, and of all but one in a hundred; none where there were none.
    pub latency: [Option<Duration>; 2],
    /// Messages given up.
    pub dropped: u64,
    /// Denials.
    pub denied: u64,
    /// Turns that came too late.
    pub stalls: u64,
    /// Bytes that wait for clients.
    pub waiting_bytes: i64,
    /// Memory and descriptors.
    pub process: Process,
}

/// What the node had done at some moment.
struct Moment {
    totals: Totals,
    latency: Counts,
}

/// Writes the line every so often; the first after that time.
pub(crate) async fn report(metrics: Arc<Metrics>, every: Duration) {
    // More often than that, it would say nothing.
    let mut ticks = interval(every.max(Duration::from_millis(100)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = ticks.tick().await;
    let mut before = moment(&metrics);
    loop {
        ticks.tick().await;
        let (now, after) = (Instant::now(), moment(&metrics));
        event::performance(&figures(&metrics, &before, &after, now - last));
        (last, before) = (now, after);
    }
}

fn moment(metrics: &Metrics) -> Moment {
    Moment { totals: metrics.totals(), latency: metrics.latency.counts() }
}

/// What happened between two moments that are so far apart.
fn figures(metrics: &Metrics, before: &Moment, after: &Moment, apart: Duration) -> Figures {
    let (old, new) = (&before.totals, &after.totals);
    let quantile = |share| metrics.latency.quantile(share, &before.latency, &after.latency);
    Figures {
        connections: new.connections,
        publishes: rate(new.published - old.published, apart),
        deliveries: rate(new.sent - old.sent, apart),
        latency: [quantile(0.5), quantile(0.99)],
        dropped: new.dropped - old.dropped,
        denied: new.denied - old.denied,
        stalls: new.stalls - old.stalls,
        waiting_bytes: new.waiting_bytes,
        process: new.process,
    }
}

/// So many per second, to one digit behind the point.
fn rate(count: u64, apart: Duration) -> f64 {
    (count as f64 / apart.as_secs_f64().max(f64::EPSILON) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use oyez_hub::address::AppId;
    use oyez_hub::admission::Traffic;

    use super::*;

    #[test]
    fn a_line_is_of_what_came_since_the_last() {
        let entered = Arc::new(AtomicU64::new(5));
        let counted = Arc::clone(&entered);
        let traffic = move || Traffic { entered: counted.load(Relaxed), ..Traffic::default() };
        let metrics = Metrics::new(["desk"], 1, traffic);
        let node = AppId(0);
        metrics.sent(node, 1_000);
        metrics.latency().observe(Duration::from_secs(9));
        let before = moment(&metrics);
        entered.fetch_add(30, Relaxed);
        metrics.connected(node, "ann");
        metrics.sent(node, 605);
        metrics.denied(node, 403);
        metrics.shard(0).beat(Duration::from_secs(1), 1);
        (0..100).for_each(|_| metrics.latency().observe(Duration::from_millis(1)));
        let said = figures(&metrics, &before, &moment(&metrics), Duration::from_secs(60));
        assert_eq!((said.connections, said.publishes, said.deliveries), (1, 0.5, 10.1));
        assert_eq!((said.dropped, said.denied, said.stalls), (0, 1, 1));
        assert_eq!(said.latency[0], Some(Duration::from_micros(750)), "half of the bucket from 0.5 to 1 ms");
        assert!(said.latency[1] < Some(Duration::from_millis(1)) && said.latency[1] > said.latency[0]);
    }
}
