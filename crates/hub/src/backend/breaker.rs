//! A circuit breaker: an endpoint that fails several times in a row is left alone for a while, and then tried once before
//! it gets everything again. Time is the caller's.

use std::time::Duration;

use tokio::time::Instant;

use super::Refused;

/// So many failures in a row are too many.
const FAILURES: u32 = 5;

/// How long it is left alone the first time; twice as long each time that it fails again.
const FIRST: Duration = Duration::from_secs(1);

/// It is never left alone for longer.
const LONGEST: Duration = Duration::from_secs(30);

/// How long others wait while one tries whether it is well again.
const PROBED: Duration = Duration::from_millis(250);

/// What an answer has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    None,
    /// From now on it is left alone, for so long.
    Opened(Duration),
    /// It is well again.
    Closed,
}

/// What is known of an endpoint.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    under_way: usize,
    /// Failures since the last success.
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    until: Instant,
    pause: Duration,
    probed: bool,
}

impl Breaker {
    /// Whether the endpoint may be asked now; gives whether this tries if it is well again.
    pub(super) fn admit(&mut self, now: Instant, most: usize) -> Result<bool, Refused> {
        if let Some(open) = &mut self.open {
            let wait = if open.probed { PROBED } else { open.until.saturating_duration_since(now) };
            if !wait.is_zero() {
                return Err(Refused::Broken { wait });
            }
            open.probed = true;
            self.under_way += 1;
            return Ok(true);
        }
        if self.under_way >= most {
            return Err(Refused::Busy);
        }
        self.under_way += 1;
        Ok(false)
    }

    /// What was admitted has an answer, or failed.
    pub(super) fn note(&mut self, probes: bool, failed: bool, now: Instant) -> Turn {
        self.under_way = self.under_way.saturating_sub(1);
        match (self.open, failed) {
            // What was under way when it opened says no more than was known.
            (Some(_), true) if !probes => Turn::None,
            (Some(open), true) => self.leave_alone((open.pause * 2).min(LONGEST), now),
            (Some(_), false) => {
                *self = Self { under_way: self.under_way, ..Self::default() };
                Turn::Closed
            }
            (None, false) => {
                self.failures = 0;
                Turn::None
            }
            (None, true) => {
                self.failures += 1;
                if self.failures < FAILURES { Turn::None } else { self.leave_alone(FIRST, now) }
            }
        }
    }

    /// Nobody waits for the answer of what was admitted.
    pub(super) fn abandon(&mut self, probes: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(open) = self.open.as_mut().filter(|_| probes) {
            open.probed = false;
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    fn leave_alone(&mut self, pause: Duration, now: Instant) -> Turn {
        // Nodes that share a backend do not all come back to it at once.
        let wait = super::endpoint::jittered(pause);
        self.open = Some(Open { until: now + wait, pause, probed: false });
        Turn::Opened(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &mut Breaker, now: Instant) -> Turn {
        let probes = breaker.admit(now, 9).expect("admitted");
        breaker.note(probes, true, now)
    }

    #[track_caller]
    fn opened(turn: Turn, pause: Duration) {
        let Turn::Opened(wait) = turn else { panic!("{turn:?}") };
        assert!(wait >= pause && wait <= pause.mul_f64(1.25), "{wait:?} is not about {pause:?}");
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_good_probe() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 1..FAILURES {
            assert_eq!(fail(&mut breaker, start), Turn::None);
        }
        assert!(breaker.admit(start, 9).is_ok_and(|probes| !probes));
        assert_eq!(breaker.note(false, false, start), Turn::None, "one success, and it counts from the beginning");
        for _ in 1..FAILURES {
            assert_eq!(fail(&mut breaker, start), Turn::None);
        }
        opened(fail(&mut breaker, start), FIRST);
        assert!(matches!(breaker.admit(start, 9), Err(Refused::Broken { wait }) if wait > FIRST / 2));
        // Half open: one tries, the others wait.
        let later = start + FIRST * 2;
        assert_eq!(breaker.admit(later, 9), Ok(true));
        assert_eq!(breaker.admit(later, 9), Err(Refused::Broken { wait: PROBED }));
        opened(breaker.note(true, true, later), FIRST * 2);
        assert!(breaker.is_open());
        let last = later + FIRST * 3;
        assert_eq!(breaker.admit(last, 9), Ok(true));
        assert_eq!(breaker.note(true, false, last), Turn::Closed);
        assert_eq!(breaker.admit(last, 9), Ok(false));
    }

    #[test]
    fn it_is_never_left_alone_for_longer_than_the_longest_pause() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES + 20 {
            fail(&mut breaker, now);
            now += LONGEST * 2;
        }
        assert_eq!(breaker.open.map(|open| open.pause), Some(LONGEST));
    }

    #[test]
    fn a_probe_whose_caller_goes_away_is_followed_by_another() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES {
            fail(&mut breaker, start);
        }
        let later = start + LONGEST;
        assert_eq!(breaker.admit(later, 9), Ok(true));
        breaker.abandon(true);
        assert_eq!(breaker.admit(later, 9), Ok(true));
        assert_eq!(breaker.under_way, 1);
    }

    #[test]
    fn so_many_are_under_way_and_no_more() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        assert_eq!((breaker.admit(now, 2), breaker.admit(now, 2)), (Ok(false), Ok(false)));
        assert_eq!(breaker.admit(now, 2), Err(Refused::Busy));
        breaker.abandon(false);
        assert_eq!(breaker.admit(now, 2), Ok(false));
    }
}
