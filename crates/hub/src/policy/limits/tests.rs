//! Rates, and connections by where they come from.

use super::*;

const SECOND: u64 = 1_000_000_000;

fn v4(number: u32) -> IpAddr {
    std::net::Ipv4Addr::from_bits(number).into()
}

#[test]
fn limits_have_names_and_texts_of_their_own() {
    for (at, limit) in Limit::ALL.iter().enumerate() {
        assert_eq!(*limit as usize, at);
        for other in &Limit::ALL[..at] {
            assert_ne!(limit.name(), other.name());
            assert_ne!(limit.code().message(), other.code().message());
        }
    }
    assert_eq!(Limit::behind(Code::SlowConsumer), Some(Limit::Outbox));
    assert_eq!(Limit::behind(Code::Normal), None);
}

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
fn threads_share_a_rate() {
    let (rate, until) = (Rate::new(10, 50), AtomicU64::new(0));
    let allowed = || (0..40).filter(|_| rate.allows_shared(&until, SECOND)).count();
    let counts = std::thread::scope(|scope| {
        let threads = [scope.spawn(allowed), scope.spawn(allowed)];
        threads.map(|thread| thread.join().expect("counted"))
    });
    assert_eq!(counts[0] + counts[1], 50);
}

#[test]
fn an_address_may_have_so_many_connections() {
    let usage = Usage::default();
    let enter = |address| usage.enter(Some(v4(address)), None, Some(2), 0);
    assert_eq!([enter(1), enter(1), enter(1)], [Ok(()), Ok(()), Err(Limit::AddressConnections)]);
    assert_eq!(enter(2), Ok(()));
    usage.leave(Some(v4(1)), 0);
    assert_eq!(enter(1), Ok(()));
}

#[test]
fn an_app_may_have_so_many_connections() {
    let usage = Usage::default();
    let enter = |address| usage.enter(address, Some(2), Some(1), 0);
    assert_eq!(enter(None), Ok(()));
    assert_eq!(enter(Some(v4(1))), Ok(()));
    assert_eq!(enter(None), Err(Limit::AppConnections));
    usage.leave(None, 0);
    // One that is refused for its address takes no room.
    assert_eq!(enter(Some(v4(1))), Err(Limit::AddressConnections));
    assert_eq!(enter(None), Ok(()));
}

#[test]
fn a_network_of_ipv6_is_one_address() {
    let usage = Usage::default();
    let enter = |text: &str| usage.enter(Some(text.parse().expect("an address")), None, Some(1), 0);
    assert_eq!(enter("2001:db8:0:1::1"), Ok(()));
    assert_eq!(enter("2001:db8:0:1:ffff::2"), Err(Limit::AddressConnections));
    assert_eq!(enter("2001:db8:0:2::1"), Ok(()));
    assert_eq!(enter("::ffff:10.0.0.1"), Ok(()));
    assert_eq!(enter("10.0.0.1"), Err(Limit::AddressConnections));
}

#[test]
fn attempts_have_a_rate_and_are_forgotten_when_they_owe_nothing() {
    let (usage, rate) = (Usage::default(), Rate::new(1, 1));
    assert!(usage.may_try(v4(1), rate, SECOND));
    assert!(!usage.may_try(v4(1), rate, SECOND));
    assert!(usage.may_try(v4(2), rate, SECOND));
    assert_eq!(usage.enter(Some(v4(1)), None, None, SECOND), Ok(()));
    usage.leave(Some(v4(1)), SECOND);
    assert_eq!(usage.addresses.lock().entries.len(), 2, "it still owes");
    assert_eq!(usage.enter(Some(v4(1)), None, None, 3 * SECOND), Ok(()));
    usage.leave(Some(v4(1)), 3 * SECOND);
    assert_eq!(usage.addresses.lock().entries.len(), 1);
    assert_eq!(usage.enter(Some(v4(3)), None, Some(1), 3 * SECOND), Ok(()));
    usage.shrink(3 * SECOND);
    assert_eq!(usage.addresses.lock().entries.len(), 1, "who is connected still counts");
    assert_eq!(usage.enter(Some(v4(3)), None, Some(1), 3 * SECOND), Err(Limit::AddressConnections));
}

#[test]
fn a_flood_of_addresses_is_bounded_and_locks_nobody_out() {
    let (usage, rate) = (Usage::default(), Rate::new(1, 1));
    let flood = u32::try_from(ADDRESSES_MAX).expect("it fits");
    for number in 0..flood + 10 {
        assert!(usage.may_try(v4(number), rate, SECOND));
    }
    let known = || usage.addresses.lock().entries.len();
    assert_eq!(known(), ADDRESSES_MAX);
    assert!(!usage.may_try(v4(0), rate, SECOND), "who is known is still counted");
    // Somebody else comes and goes meanwhile, uncounted.
    assert_eq!(usage.enter(Some(v4(flood)), None, Some(1), SECOND), Ok(()));
    usage.leave(Some(v4(flood)), SECOND);
    // The flood is over: there is room again.
    assert!(usage.may_try(v4(flood), rate, 3 * SECOND));
    assert!(!usage.may_try(v4(flood), rate, 3 * SECOND));
    assert_eq!(known(), 1);
}
