//! Which users come back: whoever has lost a connection a moment ago and makes a new one has reconnected.
//!
//! No protocol says so, and everybody who left cannot be remembered. So there is a fixed number of places, each for
//! whoever left last of those that share it; what is forgotten is not counted.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use oyez_hub::address::AppId;

/// Places; when ten thousand users go at once, one in seven is forgotten.
const PLACES: usize = 1 << 15;

/// Seconds within which one who left has come back.
const WITHIN: u64 = 60;

/// Bits of a place that hold the second; the others hold a part of the user's hash.
const SECONDS: u32 = 24;

/// Who left a moment ago.
#[derive(Debug)]
pub(super) struct Returns {
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Returns {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), hasher: RandomState::new() }
    }
}

impl Returns {
    /// A user has lost a connection at that second. Nobody in particular (an empty name) cannot come back.
    pub(super) fn left(&self, app: AppId, user: &str, second: u64) {
        if !user.is_empty() {
            let (place, mark) = self.place(app, user);
            place.store(mark | second_of(second), Relaxed);
        }
    }

    /// A user has connected: whether that was a return. Each departure counts once.
    pub(super) fn came(&self, app: AppId, user: &str, second: u64) -> bool {
        if user.is_empty() {
            return false;
        }
        let (place, mark) = self.place(app, user);
        let held = place.load(Relaxed);
        let ago = second_of(second).wrapping_sub(held) & second_of(u64::MAX);
        let known = held != 0 && held & !second_of(u64::MAX) == mark && ago <= WITHIN;
        known && place.compare_exchange(held, 0, Relaxed, Relaxed).is_ok()
    }

    /// A user's place, and what tells the user from others there.
    fn place(&self, app: AppId, user: &str) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one((app, user));
        let index = usize::try_from(hash & (PLACES as u64 - 1)).unwrap_or(0);
        (&self.places[index], hash & !second_of(u64::MAX))
    }
}

fn second_of(second: u64) -> u64 {
    second & ((1 << SECONDS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_back_within_a_minute_has_returned_once() {
        let returns = Returns::default();
        let (app, other) = (AppId(0), AppId(1));
        assert!(!returns.came(app, "ann", 100), "never left");
        returns.left(app, "ann", 100);
        assert!(!returns.came(app, "bob", 101), "somebody else");
        assert!(!returns.came(other, "ann", 101), "another app");
        assert!(returns.came(app, "ann", 160));
        assert!(!returns.came(app, "ann", 160), "counted already");
        returns.left(app, "ann", 200);
        assert!(!returns.came(app, "ann", 261), "too late");
        returns.left(app, "ann", (1 << SECONDS) - 1);
        assert!(returns.came(app, "ann", 1 << SECONDS), "the seconds' bits begin anew");
        returns.left(app, "", 300);
        assert!(!returns.came(app, "", 301), "nobody in particular");
    }
}
