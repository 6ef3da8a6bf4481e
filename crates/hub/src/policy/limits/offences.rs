//! What is held against addresses: connections that ended by their client's own fault. Whoever comes again and again only
//! to be thrown out is let in slowly.

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::{SWEEP_AGAIN, Table};

/// How long one offence is remembered, in nanoseconds; those of an address one after the other.
const EACH: u64 = 1_000_000_000;

/// How many beyond those that are forgiven are remembered: whoever behaves again has to wait for this many seconds at
/// most.
const BEYOND: u64 = 60;

/// Handshakes of one address that wait at once. More are refused, so that many connections at once get no attacker
/// further than a few; honest clients behind the same address try again.
pub const WAITING_MAX: usize = 16;

/// What a handshake has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Free,
    /// It waits, and [`Offences::waited`] is called when it is over.
    Wait,
    /// It is refused: too many of its address wait.
    Refuse,
}

/// The offences of all addresses, as a node remembers them. Addresses are as many as of an app: when there is no room, new
/// ones are let in uncounted, but keeping an address there takes an offence a second.
#[derive(Debug, Default)]
pub struct Offences {
    /// How many addresses there are, to be seen without a lock.
    known: AtomicUsize,
    addresses: Mutex<Table>,
}

impl Offences {
    /// Notes an offence, where `forgiven` at once are. `now` in nanoseconds of any steady clock.
    pub fn note(&self, address: IpAddr, forgiven: u64, now: u64) {
        let mut table = self.addresses.lock();
        if let Some(entry) = table.entry(address, now) {
            let most = now + (forgiven + BEYOND) * EACH;
            entry.until.set((entry.until.get().max(now) + EACH).min(most));
        }
        self.known.store(table.entries.len(), Ordering::Relaxed);
    }

    /// Whether handshakes from there have to wait: more than `forgiven` offences are remembered.
    #[must_use]
    pub fn is_offender(&self, address: IpAddr, forgiven: u64, now: u64) -> bool {
        if self.known.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut table = self.addresses.lock();
        if now >= table.sweep_at {
            table.sweep_at = now + SWEEP_AGAIN;
            table.entries.retain(|_, entry| !entry.is_idle(now));
            self.known.store(table.entries.len(), Ordering::Relaxed);
        }
        table.known(address).is_some_and(|entry| entry.until.get() > now + forgiven * EACH)
    }

    /// What a handshake from there has to do.
    #[must_use]
    pub fn enter(&self, address: IpAddr, forgiven: u64, now: u64) -> Verdict {
        if !self.is_offender(address, forgiven, now) {
            return Verdict::Free;
        }
        match self.addresses.lock().known(address) {
            None => Verdict::Free,
            Some(entry) if entry.open >= WAITING_MAX => Verdict::Refuse,
            Some(entry) => {
                entry.open += 1;
                Verdict::Wait
            }
        }
    }

    /// A handshake has waited.
    pub fn waited(&self, address: IpAddr) {
        if let Some(entry) = self.addresses.lock().known(address) {
            entry.open = entry.open.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ADDRESSES_MAX;
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const FORGIVEN: u64 = 3;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn offend(offences: &Offences, address: &str, times: u64, now: u64) {
        (0..times).for_each(|_| offences.note(ip(address), FORGIVEN, now));
    }

    /// Seconds for which `address` is an offender, from its last offence on.
    #[track_caller]
    fn check(times: u64, expect: u64) {
        let offences = Offences::default();
        offend(&offences, "10.0.0.1", times, SECOND);
        let until = (0..200).find(|second| !offences.is_offender(ip("10.0.0.1"), FORGIVEN, (1 + second) * SECOND));
        assert_eq!(until, Some(expect), "after {times}");
    }

    #[test]
    fn some_are_forgiven_and_the_others_for_a_minute_at_most() {
        check(0, 0);
        check(FORGIVEN, 0);
        check(FORGIVEN + 1, 1);
        check(FORGIVEN + 30, 30);
        check(100_000, 60);
    }

    #[test]
    fn one_a_second_is_always_forgiven() {
        let offences = Offences::default();
        for second in 1..1000 {
            offend(&offences, "10.0.0.1", 1, second * SECOND);
            assert!(!offences.is_offender(ip("10.0.0.1"), FORGIVEN, second * SECOND));
        }
    }

    #[test]
    fn an_address_is_its_own_and_a_network_of_ipv6_is_one() {
        let offences = Offences::default();
        offend(&offences, "2001:db8::1", 10, SECOND);
        offend(&offences, "10.0.0.1", 10, SECOND);
        for (address, expect) in [
            ("2001:db8::ffff:1", true),
            ("2001:db8:0:1::1", false),
            ("10.0.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("10.0.0.2", false),
        ] {
            assert_eq!(offences.is_offender(ip(address), FORGIVEN, SECOND), expect, "{address}");
        }
    }

    #[test]
    fn so_many_wait_and_the_others_are_refused() {
        let offences = Offences::default();
        let enter = |address, now| offences.enter(ip(address), FORGIVEN, now);
        assert_eq!(enter("10.0.0.1", SECOND), Verdict::Free);
        offend(&offences, "10.0.0.1", 10, SECOND);
        for _ in 0..WAITING_MAX {
            assert_eq!(enter("10.0.0.1", SECOND), Verdict::Wait);
        }
        assert_eq!(enter("10.0.0.1", SECOND), Verdict::Refuse);
        assert_eq!(enter("10.0.0.2", SECOND), Verdict::Free);
        offences.waited(ip("10.0.0.1"));
        assert_eq!(enter("10.0.0.1", SECOND), Verdict::Wait);
        assert_eq!(enter("10.0.0.1", 20 * SECOND), Verdict::Free, "all is forgotten");
    }

    #[test]
    fn addresses_are_forgotten_when_nothing_is_held_against_them() {
        let offences = Offences::default();
        offend(&offences, "10.0.0.1", 5, SECOND);
        assert_eq!(offences.enter(ip("10.0.0.1"), FORGIVEN, SECOND), Verdict::Wait);
        assert!(!offences.is_offender(ip("10.0.0.1"), FORGIVEN, 7 * SECOND));
        assert_eq!(offences.known.load(Ordering::Relaxed), 1, "somebody still waits");
        offences.waited(ip("10.0.0.1"));
        assert!(!offences.is_offender(ip("10.0.0.2"), FORGIVEN, 9 * SECOND));
        assert_eq!(offences.known.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn there_are_only_so_many() {
        let offences = Offences::default();
        for number in 0..u32::try_from(ADDRESSES_MAX).expect("it fits") + 10 {
            offences.note(std::net::Ipv4Addr::from_bits(number).into(), FORGIVEN, SECOND);
        }
        assert_eq!(offences.known.load(Ordering::Relaxed), ADDRESSES_MAX);
    }
}
