//! How long to wait before somebody is asked again who did not answer.

use std::time::Duration;

/// The first wait; it doubles.
const FIRST: Duration = Duration::from_millis(250);

/// The longest one.
const LONGEST: Duration = Duration::from_secs(30);

/// Waits that grow, each shortened by chance, so that not all come back at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    /// From the beginning.
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The wait that is due now: half of it at least.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next.mul_f64(rand::random_range(0.5..=1.0));
        self.next = (self.next * 2).min(LONGEST);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound() {
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..12).map(|_| backoff.wait()).collect();
        assert!((FIRST / 2..=FIRST).contains(&waits[0]), "{waits:?}");
        assert!((LONGEST / 2..=LONGEST).contains(&waits[11]), "{waits:?}");
    }
}
