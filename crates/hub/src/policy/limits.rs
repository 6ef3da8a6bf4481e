//! How much one client may ask for: rates, and connections of one address.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

/// Addresses that are remembered; when there are more, those without connections are forgotten first, and then new
/// ones are not counted rather than refused: a flood must not lock everybody out.
const ADDRESSES_MAX: usize = 100_000;

/// A rate with a burst (GCRA): sixteen bytes, no timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds that one event costs.
    cost: u64,
    /// Nanoseconds that may be owed.
    credit: u64,
}

impl Rate {
    /// `per_second` in the long run and `burst` at once, both at least one.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        let cost = 1_000_000_000 / per_second.max(1);
        Self { cost, credit: cost.saturating_mul(burst.max(1)) }
    }

    /// Whether one more event may happen at `now`, in nanoseconds of any steady clock; `until` is the caller's memory
    /// and starts at zero.
    #[must_use]
    pub fn allows(&self, until: &Cell<u64>, now: u64) -> bool {
        let next = until.get().max(now) + self.cost;
        if next - now > self.credit {
            return false;
        }
        until.set(next);
        true
    }
}

#[derive(Debug, Default)]
struct Entry {
    open: usize,
    until: Cell<u64>,
}

/// Connections of an app by the address that they come from.
#[derive(Debug, Default)]
pub struct Addresses {
    entries: Mutex<HashMap<IpAddr, Entry>>,
}

impl Addresses {
    /// Counts one more connection, unless it would be one too many or come too soon. `now` as for [`Rate::allows`].
    #[must_use]
    pub fn enter(&self, address: IpAddr, most: Option<usize>, rate: Option<Rate>, now: u64) -> bool {
        if most.is_none() && rate.is_none() {
            return true;
        }
        let mut entries = self.entries.lock();
        if entries.len() >= ADDRESSES_MAX {
            entries.retain(|_, entry| entry.open > 0);
            if entries.len() >= ADDRESSES_MAX {
                return true;
            }
        }
        let entry = entries.entry(address).or_default();
        let room = most.is_none_or(|most| entry.open < most);
        let allowed = room && rate.is_none_or(|rate| rate.allows(&entry.until, now));
        entry.open += usize::from(allowed);
        allowed
    }

    /// Counts one connection less.
    pub fn leave(&self, address: IpAddr) {
        if let Some(entry) = self.entries.lock().get_mut(&address) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let (rate, until) = (Rate::new(10, 5), Cell::new(0));
        let at = |now: u64| rate.allows(&until, now);
        assert_eq!((0..7).filter(|_| at(SECOND)).count(), 5);
        assert!(at(SECOND + SECOND / 10));
        assert!(!at(SECOND + SECOND / 10));
        assert_eq!((0..9).filter(|_| at(5 * SECOND)).count(), 5);
    }

    #[test]
    fn an_address_may_have_so_many_connections() {
        let addresses = Addresses::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        let enter = || addresses.enter(here, Some(2), None, 0);
        assert!(enter() && enter() && !enter());
        addresses.leave(here);
        assert!(enter());
        assert!(addresses.enter(IpAddr::from([127, 0, 0, 2]), Some(2), None, 0));
    }
}
