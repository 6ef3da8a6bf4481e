//! The time of day, as publications, stores and tokens say it.
//!
//! The system's wall clock may jump: somebody sets it, or the machine was asleep. Deadlines never depend on it. Dates
//! must, since they are written in it, so it is counted on beside the system: as long as the two disagree the time may be
//! either, and a jump that has lasted for a minute is believed.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use tracing::warn;

/// How far the system's clock may run off what is counted, in milliseconds, and be followed at once.
const TOLERANCE: i64 = 2_000;

/// How long a jump must have lasted to be believed, in milliseconds.
const BELIEVED_AFTER: u64 = 60_000;

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Nanoseconds of a clock that never jumps, counted from an instant before the first call.
#[must_use]
pub fn steady_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What the time may be, in milliseconds since the Unix epoch: what is over is so by the earliest, what is still ahead
/// is so by the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// By the clock that is behind.
    pub earliest: u64,
    /// By the clock that is ahead.
    pub latest: u64,
}

/// What the time may be now.
#[must_use]
pub fn span() -> Span {
    static WALL: Mutex<Option<Wall>> = Mutex::new(None);
    let (system, steady) = (unix_millis(), steady_nanos() / 1_000_000);
    let mut wall = WALL.lock();
    wall.get_or_insert_with(|| Wall { counted_from: ahead(system, steady), doubted: None }).read(system, steady)
}

/// The wall clock counted on.
#[derive(Debug)]
struct Wall {
    /// What it was when the steady clock began.
    counted_from: i64,
    /// Since when the system has disagreed, by the steady clock.
    doubted: Option<u64>,
}

impl Wall {
    fn read(&mut self, system: u64, steady: u64) -> Span {
        let jump = ahead(system, steady).saturating_sub(self.counted_from);
        let lasted = self.doubted.map(|since| steady.saturating_sub(since));
        if jump.abs() <= TOLERANCE || lasted.is_some_and(|lasted| lasted >= BELIEVED_AFTER) {
            self.counted_from += jump;
            self.doubted = None;
            return Span { earliest: system, latest: system };
        }
        if self.doubted.is_none() {
            self.doubted = Some(steady);
            // Open sessions stay; for a minute the old time counts, too.
            warn!(event = "clock_jumped", seconds = jump / 1000);
        }
        let counted = self.counted_from.saturating_add_unsigned(steady).try_into().unwrap_or(0);
        Span { earliest: system.min(counted), latest: system.max(counted) }
    }
}

fn ahead(system: u64, steady: u64) -> i64 {
    let millis = |millis| i64::try_from(millis).unwrap_or(i64::MAX);
    millis(system).saturating_sub(millis(steady))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_800_000_000_000;
    const HOUR: u64 = 3_600_000;

    type Pair = (u64, u64);

    /// `(system, steady)` in milliseconds after noon and after the start: what is believed, as `(earliest, latest)`.
    fn check(readings: &[(Pair, Pair)]) {
        let mut wall = Wall { counted_from: ahead(NOON, 0), doubted: None };
        for ((system, steady), (earliest, latest)) in readings {
            let expect = Span { earliest: NOON + earliest, latest: NOON + latest };
            assert_eq!(wall.read(NOON + system, *steady), expect, "{system} after {steady}");
        }
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        check(&[((0, 0), (0, 0)), ((11_500, 10_000), (11_500, 11_500)), ((23_000, 20_000), (23_000, 23_000))]);
    }

    #[test]
    fn a_jump_is_doubted_for_a_minute() {
        let jumped = |steady: u64| (HOUR + steady, steady);
        check(&[
            (jumped(1_000), (1_000, HOUR + 1_000)),
            (jumped(60_000), (60_000, HOUR + 60_000)),
            (jumped(61_000), (HOUR + 61_000, HOUR + 61_000)),
        ]);
    }

    #[test]
    fn a_jump_backwards_widens_nothing() {
        let mut wall = Wall { counted_from: ahead(NOON, 0), doubted: None };
        assert_eq!(wall.read(NOON - HOUR, 0), Span { earliest: NOON - HOUR, latest: NOON });
        assert_eq!(wall.read(0, 0), Span { earliest: 0, latest: NOON });
    }

    #[test]
    fn a_jump_that_is_taken_back_is_forgotten() {
        check(&[
            ((HOUR, 0), (0, HOUR)),
            ((30_000, 30_000), (30_000, 30_000)),
            ((HOUR + 70_000, 70_000), (70_000, HOUR + 70_000)),
        ]);
    }
}
