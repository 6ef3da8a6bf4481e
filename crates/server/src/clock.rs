//! Clocks, as the server's parts ask for them; `oyez_hub::clock` reads them.

use oyez_hub::clock::Span;
pub(crate) use oyez_hub::clock::{span, steady_nanos, unix_millis};
use oyez_hub::policy::Now;

/// Seconds since the Unix epoch, and not too many.
pub(crate) fn unix_seconds() -> u64 {
    span().earliest / 1000
}

/// Seconds by a clock that never jumps.
pub(crate) fn steady_seconds() -> u64 {
    steady_nanos() / 1_000_000_000
}

/// The time at which a token is judged.
pub(crate) fn now() -> Now {
    let Span { earliest, latest } = span();
    Now { earliest: earliest / 1000, latest: latest / 1000, steady: steady_seconds() }
}

/// Milliseconds that a date of a token is still ahead, in seconds since the Unix epoch.
pub(crate) fn millis_until(date: u64) -> u64 {
    date.saturating_mul(1000).saturating_sub(span().latest)
}
