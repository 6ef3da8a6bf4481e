//! The time at which something is decided. Dates and ages are not compared with the same clock: one of them may jump.

/// One instant, in seconds. When the system's clock has just jumped, nobody knows yet which time is the right one: until
/// then, what a date allows must be allowed by both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// What must have come (`nbf`) has come by this, in seconds since the Unix epoch.
    pub earliest: u64,
    /// What must not have come (`exp`) has not come by this.
    pub latest: u64,
    /// For ages and pauses: seconds since an instant of no meaning, by a clock that never jumps.
    pub steady: u64,
}

impl From<u64> for Now {
    /// A clock that can be relied on, in seconds since the Unix epoch.
    fn from(seconds: u64) -> Self {
        Self { earliest: seconds, latest: seconds, steady: seconds }
    }
}
