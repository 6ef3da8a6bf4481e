//! Clocks, read in one place.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> u64 {
    unix_millis() / 1000
}

/// Seconds of the clock that never jumps.
pub(crate) fn steady_seconds() -> u64 {
    steady_nanos() / 1_000_000_000
}

/// Nanoseconds of a clock that never jumps, counted from an instant before the first call.
pub(crate) fn steady_nanos() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}
