//! Why a node should get no connections at the moment.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::metrics::Metrics;

/// A shard that has had no turn for so long is not served by its thread.
const HUNG: Duration = Duration::from_secs(2);

/// How long a failure to accept counts; the acceptor tries again several times in it.
const REFUSING: Duration = Duration::from_secs(1);

/// One reason, by a name that stays and in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unready {
    /// A stable name for programs.
    pub reason: &'static str,
    /// What it means, for people.
    pub message: String,
}

impl Unready {
    pub(crate) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl Metrics {
    /// What speaks against sending connections here, at that moment of [`crate::clock::steady_nanos`]; nothing, when the
    /// node is ready.
    pub(crate) fn unready(&self, stopping: bool, now: u64) -> Vec<Unready> {
        let ago = |then: u64| Duration::from_nanos(now.saturating_sub(then));
        let mut reasons = Vec::new();
        if stopping {
            reasons.push(Unready::new("shutting_down", "the server is shutting down; use another node"));
        }
        for (id, shard) in self.shards.iter().enumerate() {
            match shard.beat.load(Relaxed) {
                0 => reasons.push(Unready::new("starting", format!("shard {id} has not begun"))),
                beat if ago(beat) > HUNG && !stopping => {
                    let message = format!("shard {id} has had no turn for {} ms", ago(beat).as_millis());
                    reasons.push(Unready::new("stalled", message));
                }
                _ => {}
            }
        }
        let failed = self.accept_failed_at.load(Relaxed);
        if failed > 0 && ago(failed) < REFUSING {
            let message = "connections cannot be accepted: see `accept_failed` in the log, and the limit of open files";
            reasons.push(Unready::new("cannot_accept", message));
        }
        reasons
    }
}

#[cfg(test)]
mod tests {
    use oyez_hub::admission::Traffic;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn every_reason_is_told() {
        let metrics = Metrics::new([], 2, Traffic::default);
        let check = |stopping: bool, second: u64, expect: &[&str]| {
            let unready = metrics.unready(stopping, second * SECOND);
            assert_eq!(unready.iter().map(|unready| unready.reason).collect::<Vec<_>>(), expect);
        };
        check(false, 1, &["starting", "starting"]);
        metrics.shard(0).beat(Duration::ZERO, 10 * SECOND);
        metrics.shard(1).beat(Duration::ZERO, 11 * SECOND);
        check(false, 12, &[]);
        check(false, 13, &["stalled"]);
        check(true, 13, &["shutting_down"]);
        metrics.accept_failed(12 * SECOND);
        check(false, 12, &["cannot_accept"]);
        check(true, 12, &["shutting_down", "cannot_accept"]);
        check(false, 14, &["stalled", "stalled"]);
    }
}
