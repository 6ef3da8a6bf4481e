//! What is remembered, for whom and for how long; and that a comeback is never half before a publication.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use oyez_protocol::message::Args;

use super::{
    Bounds, Change, Gap, Ghost, Ghosts, History, Log, Lost, Mark, Missed, NotAMark, PidKey, Pids, Wanted, direct, is_in,
};
use crate::address::{Address, AppId};
use crate::command::Select;
use crate::delivery::{Priority, Publication, Target, WhenSlow};
use crate::policy::Identity;
use crate::sync::model::every_order;

const SECOND: Duration = Duration::from_secs(1);
const ALL: History = History { last: 1_000, time: Duration::MAX };

fn publication(text: &str) -> Arc<Publication> {
    Arc::new(Publication {
        app: AppId(0),
        id: text.into(),
        to: Target::Channels([].into_iter().collect()),
        except: [].into_iter().collect(),
        event: "e".into(),
        args: Args::one(&text),
        native: None,
        priority: Priority::Normal,
        volatile: false,
        when_slow: WhenSlow::Disconnect,
        rule: None,
        compress: false,
        stored: None,
        recorded: None,
    })
}

fn log(seconds: u32, bytes: usize) -> Log {
    Log::new(7, Bounds { time: SECOND * seconds, bytes })
}

fn say(log: &Log, now: Instant, text: &str, channels: &[(&str, History)]) -> u64 {
    let channels = channels.iter().map(|(name, history)| (Arc::from(*name), *history));
    log.append(&publication(text), false, || None, channels, now, |position, _| position)
}

/// The same, of what wants an answer.
fn ask(log: &Log, now: Instant, text: &str, channel: &str) -> u64 {
    log.append(&publication(text), true, || None, [(Arc::from(channel), ALL)], now, |position, _| position)
}

fn wanted(channels: &[(&str, u64)]) -> Vec<Wanted> {
    channels.iter().map(|(name, since)| Wanted::after(Arc::from(*name), *since)).collect()
}

/// What was missed, as text, or the channels that have lost something.
fn replay(log: &Log, now: Instant, channels: &[(&str, u64)]) -> Result<String, Vec<Arc<str>>> {
    let words = |missed: Missed, _| {
        let words = missed.iter().map(|(position, publication)| format!("{position}:{}", publication.id));
        words.collect::<Vec<_>>().join(" ")
    };
    log.replay(log.mark(0), &wanted(channels), 10_000, now, words).map_err(|gap| gap.channels)
}

fn lost(names: &[&str]) -> Result<String, Vec<Arc<str>>> {
    Err(names.iter().map(|name| Arc::from(*name)).collect())
}

#[test]
fn a_client_gets_what_was_said_in_its_channels_once_and_in_order() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        say(&log, now, "a", &[("x", ALL)]);
        say(&log, now, "b", &[("y", ALL)]);
        say(&log, now, "c", &[("x", ALL), ("y", ALL)]);
        say(&log, now, "d", &[("z", ALL)]);
        assert_eq!(log.last(), 4);
        let check = |channels: &[(&str, u64)], expect: &str| assert_eq!(replay(&log, now, channels), Ok(expect.into()));
        check(&[("x", 0)], "1:a 3:c");
        check(&[("x", 1)], "3:c");
        check(&[("y", 0), ("x", 0)], "1:a 2:b 3:c");
        check(&[("x", 3), ("y", 1)], "2:b 3:c");
        check(&[("x", 4), ("y", 4), ("unheard of", 0)], "");
    });
}

#[test]
fn what_a_channel_does_not_keep_is_a_gap_for_who_has_not_heard_it() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        let two = History { last: 2, time: SECOND * 10 };
        for text in ["a", "b", "c"] {
            say(&log, now, text, &[("x", two)]);
        }
        assert_eq!(replay(&log, now, &[("x", 0)]), lost(&["x"]));
        assert_eq!(replay(&log, now, &[("x", 1)]), Ok("2:b 3:c".into()));
        assert_eq!(replay(&log, now + SECOND * 11, &[("x", 2)]), lost(&["x"]));
        assert_eq!(replay(&log, now + SECOND * 11, &[("x", 3)]), Ok(String::new()));
    });
}

#[test]
fn a_channel_that_was_forgotten_is_a_gap_for_who_was_away_longer() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        say(&log, now, "a", &[("x", ALL)]);
        say(&log, now + SECOND * 50, "b", &[("y", ALL)]);
        let later = now + SECOND * 61;
        assert_eq!(replay(&log, later, &[("x", 0), ("y", 2)]), lost(&["x"]));
        assert_eq!(replay(&log, later, &[("x", 0), ("y", 1)]), lost(&["x", "y"]), "as it begins anew");
        assert_eq!(replay(&log, later, &[("x", 1), ("y", 1)]), Ok("2:b".into()));
        say(&log, later, "c", &[("x", ALL)]);
        assert_eq!(replay(&log, later, &[("x", 0)]), lost(&["x"]));
        assert_eq!(replay(&log, later, &[("x", 1)]), Ok("3:c".into()));
    });
}

#[test]
fn too_many_bytes_push_the_oldest_out_wherever_they_are() {
    every_order(|| {
        let (log, now) = (log(60, 3 * (10 + 384) + 100), Instant::now());
        for (text, channel) in [("aaaaaaaaaa", "x"), ("bbbbbbbbbb", "y"), ("cccccccccc", "x"), ("dddddddddd", "y")] {
            say(&log, now, text, &[(channel, ALL)]);
        }
        assert_eq!(replay(&log, now, &[("x", 0)]), lost(&["x"]));
        assert_eq!(replay(&log, now, &[("x", 1), ("y", 1)]), Ok("2:bbbbbbbbbb 3:cccccccccc 4:dddddddddd".into()));
    });
}

#[test]
fn who_begins_anew_misses_also_what_is_forgotten_or_was_not_heard_by_then() {
    every_order(|| {
        let (log, now) = (log(60, 4_000), Instant::now());
        let check = |since: &[(&str, u64)], expect: &[&str]| {
            let lost = Lost { channels: vec![Arc::from("room")], wanted: wanted(since) };
            let expect: Vec<Arc<str>> = expect.iter().map(|name| Arc::from(*name)).collect();
            assert_eq!(log.missing(lost, now), expect);
        };
        let first = say(&log, now, "1", &[("big", ALL), ("calm", ALL)]);
        check(&[("big", first), ("calm", first)], &["room"]);
        let mut last = say(&log, now, "2", &[("big", ALL)]);
        check(&[("big", first), ("calm", first)], &["big", "room"]);
        for _ in 0..20 {
            last = say(&log, now, "more", &[("other", ALL)]);
        }
        assert_eq!(replay(&log, now, &[("big", first)]), lost(&["big"]), "nothing of it is there any more");
        check(&[("big", first), ("calm", last)], &["big", "room"]);
        log.miss(None, now, |_| ());
        check(&[("big", last), ("calm", last)], &["big", "calm", "room"]);
    });
}

#[test]
fn a_channel_that_was_not_remembered_for_a_while_is_a_gap_for_who_was_away_then() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        say(&log, now, "a", &[("x", ALL)]);
        say(&log, now, "b", &[("y", ALL)]);
        log.turn_leaf(|channel| channel == "y");
        assert_eq!(replay(&log, now, &[("x", 2)]), lost(&["x"]));
        log.turn_leaf(|_| true);
        let last = say(&log, now, "c", &[("x", ALL), ("y", ALL)]);
        assert_eq!(replay(&log, now, &[("x", 2), ("y", last)]), lost(&["x"]));
        assert_eq!(replay(&log, now, &[("x", last - 1), ("y", 1)]), Ok("2:b 5:c".into()));
    });
}

#[test]
fn what_is_too_much_for_the_wire_is_a_gap() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        for _ in 0..100 {
            say(&log, now, "a", &[("x", ALL), ("y", ALL)]);
        }
        let count = |since, budget| {
            let wanted = wanted(&[("x", since), ("y", since)]);
            log.replay(log.mark(0), &wanted, budget, now, |missed, _| missed.len()).map_err(|gap| gap.channels)
        };
        assert_eq!(
            [count(0, 100 * 68), count(0, 100 * 68 - 1), count(1, 100 * 68 - 1)],
            [Ok(100), Err(vec![]), Ok(99)]
        );
    });
}

#[test]
fn what_wanted_an_answer_is_a_gap_for_who_has_missed_it() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        say(&log, now, "a", &[("x", ALL)]);
        ask(&log, now, "b?", "x");
        say(&log, now, "c", &[("x", ALL), ("y", ALL)]);
        assert_eq!(replay(&log, now, &[("x", 1), ("y", 3)]), lost(&["x"]));
        assert_eq!(replay(&log, now, &[("x", 2), ("y", 0)]), Ok("3:c".into()));
        assert_eq!(log.read("x", Some(log.mark(0)), 10, now).publications.len(), 3, "who only reads is not asked");
    });
}

#[test]
fn another_life_and_the_future_are_gaps() {
    every_order(|| {
        let (log, now) = (log(60, 100_000), Instant::now());
        say(&log, now, "a", &[("x", ALL)]);
        let gap = Err(Gap { channels: Vec::new(), until: Mark { epoch: 7, position: 1 } });
        assert_eq!(log.replay(Mark { epoch: 8, position: 0 }, &wanted(&[("x", 0)]), 10_000, now, |_, _| ()), gap);
        assert_eq!(log.replay(log.mark(0), &wanted(&[("x", 2)]), 10_000, now, |_, _| ()), gap);
    });
}

#[test]
fn a_comeback_is_before_or_after_a_publication_never_half() {
    every_order(|| {
        let log = Arc::new(log(60, 100_000));
        let mailbox = Arc::new(crate::sync::Mutex::new(Vec::new()));
        let now = Instant::now();
        let (speaker, mail) = (Arc::clone(&log), Arc::clone(&mailbox));
        let speaker = shuttle::thread::spawn(move || {
            let channels = [(Arc::from("x"), ALL)];
            speaker.append(&publication("a"), false, || None, channels, now, |_, _| mail.lock().push("a".to_owned()));
        });
        let marker = |missed: Missed, until| mailbox.lock().push(format!("marker after {until} with {}", missed.len()));
        log.replay(log.mark(0), &wanted(&[("x", 0)]), 10_000, now, marker).expect("no gap");
        speaker.join().expect("it ends");
        let mail = mailbox.lock();
        let before = ["a", "marker after 1 with 1"];
        let after = ["marker after 0 with 0", "a"];
        assert!(*mail == before || *mail == after, "{mail:?}");
    });
}

#[test]
fn marks_are_read_as_they_are_written() {
    let mark = Mark { epoch: u32::MAX, position: u64::MAX };
    assert_eq!(mark.to_string().parse(), Ok(mark));
    for wrong in ["", ".", "1", "1.", ".1", "+1.2", "1.-2", "1.2.3", "100000000.1", "1.10000000000000000", "g.1"] {
        assert_eq!(wrong.parse::<Mark>(), Err(NotAMark), "{wrong}");
    }
}

#[test]
fn a_pid_is_the_secret_of_one_session_of_one_life() {
    let address = |slot| Address { node: 1, shard: 2, slot, nonce: 9 };
    let pids = Pids::new(1, PidKey([1; 32]));
    let pid = pids.of(address(3)).expect("its own node");
    assert_eq!(pids.read(&pid), Some(address(3)));
    let later = Pids::new(1, PidKey([2; 32]));
    assert_eq!(later.read(&pid), None);
    let other_node = Pids::new(2, PidKey([3; 32]));
    assert_eq!((other_node.read(&pid), other_node.of(address(3))), (None, None));
    other_node.meet(1, pids.own());
    assert_eq!((other_node.read(&pid), other_node.of(address(3))), (Some(address(3)), Some(pid.clone())));
    let told = Pids::new(3, PidKey([4; 32]));
    for (node, key) in pids.keys_of([1, 9]) {
        told.hear_of(node, key);
    }
    told.hear_of(1, PidKey([5; 32]));
    assert_eq!((told.read(&pid), told.has_met(9)), (Some(address(3)), false), "what came first counts");
    let other = pids.of(address(4)).expect("its own node");
    for wrong in ["", "x", &pid[..35], &format!("{pid}A"), &format!("{}{}", &other[..20], &pid[20..]), &"ä".repeat(18)]
    {
        assert_eq!(pids.read(wrong), None, "{wrong}");
    }
}

#[test]
fn ghosts_are_forgotten_in_time_and_when_there_are_too_many() {
    let address = |slot| Address { node: 0, shard: 0, slot, nonce: 0 };
    let ghost = || Ghost {
        identity: Arc::default(),
        policy: Arc::default(),
        channels: Vec::new(),
        confirmed: 0,
        ..Ghost::default()
    };
    let (ghosts, now) = (Ghosts::new(2, usize::MAX), Instant::now());
    ghosts.keep(address(1), ghost(), SECOND, now);
    ghosts.keep(address(2), ghost(), SECOND * 5, now);
    assert!(ghosts.claim(address(1), now + SECOND).is_none());
    assert!(ghosts.claim(address(2), now + SECOND).is_some());
    assert!(ghosts.claim(address(2), now + SECOND).is_none(), "one at a time");
    ghosts.give_back(address(2), SECOND * 5, now + SECOND);
    assert!(ghosts.claim(address(2), now + SECOND * 5).is_some(), "its time has begun anew");
    assert!(ghosts.settle(address(2)).is_some());
    assert!(ghosts.claim(address(2), now + SECOND).is_none());
    for slot in 0..5 {
        ghosts.keep(address(slot), ghost(), SECOND * (10 - slot), now);
    }
    assert_eq!(ghosts.count(), 2);
    // Cut off again: only the later time is its own.
    let again = Ghosts::new(10, usize::MAX);
    again.keep(address(1), ghost(), SECOND, now);
    assert!(again.claim(address(1), now).is_some());
    assert!(again.settle(address(1)).is_some());
    again.keep(address(1), ghost(), SECOND, now + SECOND / 2);
    assert!(again.claim(address(1), now + SECOND + SECOND / 4).is_some());
    assert!(again.claim(address(1), now + SECOND * 60).is_none());
    assert!(again.settle(address(1)).is_some(), "who is coming back is not forgotten meanwhile");
}

#[test]
fn commands_reach_who_is_away_who_is_coming_back_and_who_is_being_cut_off() {
    #[track_caller]
    fn check(ghosts: &Ghosts, slot: u32, expect: Option<&[&str]>) {
        let left = ghosts.settle(address(slot));
        let names = left.as_ref().map(|ghost| ghost.channels.iter().map(|known| &*known.channel).collect::<Vec<_>>());
        assert_eq!(names.as_deref(), expect, "{slot}");
    }
    const fn address(slot: u32) -> Address {
        Address { node: 0, shard: 0, slot, nonce: 0 }
    }
    let ghost = |user: &str, channels: &[(&str, u64)]| Ghost {
        identity: Arc::new(Identity { user: user.into(), ..Identity::default() }),
        policy: Arc::default(),
        channels: wanted(channels),
        confirmed: 0,
        ..Ghost::default()
    };
    let (ghosts, now) = (Ghosts::new(10, usize::MAX), Instant::now());
    let keep = |slot, user| ghosts.keep(address(slot), ghost(user, &[("a", 0), ("b", 0)]), SECOND, now);
    let leave_a = || Change::Leave(vec!["a".into()], 0);
    (1..=3).for_each(|slot| keep(slot, "ann"));
    keep(4, "bob");
    assert!(ghosts.claim(address(2), now).is_some());
    let order = ghosts.order(Select::User("ann".into()), leave_a());
    keep(5, "ann");
    keep(6, "bob");
    drop(order);
    keep(7, "ann");
    drop(ghosts.order(Select::Socket(address(3)), Change::Forget));
    for (slot, expect) in [(1, Some(&["b"][..])), (2, Some(&["b"])), (3, None), (4, Some(&["a", "b"]))] {
        check(&ghosts, slot, expect);
    }
    for (slot, expect) in [(5, Some(&["b"][..])), (6, Some(&["a", "b"])), (7, Some(&["a", "b"]))] {
        check(&ghosts, slot, expect);
    }
    keep(1, "ann");
    assert!(ghosts.claim(address(1), now).is_some());
    drop(ghosts.order(Select::User("ann".into()), Change::Join(wanted(&[("aa", 3), ("b", 3)]))));
    check(&ghosts, 1, Some(&["a", "aa", "b"]));
    ghosts.keep(address(8), ghost("ann", &[("a", 0)]), SECOND, now);
    ghosts.keep(address(9), ghost("ann", &[("a", 0), ("c", 0)]), SECOND, now);
    let some = Select::Channels { to: vec!["a".into()], except: vec!["c".into()] };
    drop(ghosts.order(some, Change::Forget));
    drop(ghosts.order(Select::Channels { to: vec!["*".into()], except: Vec::new() }, leave_a()));
    check(&ghosts, 8, None);
    check(&ghosts, 9, Some(&["c"]));
    assert_eq!(ghosts.count(), 0);
}

#[test]
fn ghosts_in_many_channels_count_for_more() {
    let address = |slot| Address { node: 0, shard: 0, slot, nonce: 0 };
    let name: Arc<str> = "n".repeat(100).into();
    let channels: Vec<_> = (0..100).map(|_| Wanted::after(Arc::clone(&name), 0)).collect();
    let ghost = || Ghost {
        identity: Arc::default(),
        policy: Arc::default(),
        channels: channels.clone(),
        confirmed: 0,
        ..Ghost::default()
    };
    let (ghosts, now) = (Ghosts::new(1_000, 100_000), Instant::now());
    for slot in 0..50 {
        ghosts.keep(address(slot), ghost(), SECOND, now);
    }
    assert!((2..10).contains(&ghosts.count()), "{}", ghosts.count());
    assert!(ghosts.settle(address(49)).is_some(), "the newest stays");
    ghosts.keep(address(49), ghost(), SECOND, now + SECOND * 2);
    assert_eq!(ghosts.count(), 1, "what is over counts no more");
}

#[test]
fn publications_that_say_nothing_are_not_remembered_for_nothing() {
    every_order(|| {
        let (log, now) = (log(60, 65_536), Instant::now());
        for _ in 0..1_000 {
            say(&log, now, "", &[("x", ALL)]);
        }
        let kept = log.read("x", None, 1_000, now).publications.len();
        assert!((50..200).contains(&kept), "{kept}");
    });
}

#[test]
fn what_a_channel_has_forgotten_leaves_nothing_behind() {
    every_order(|| {
        let (log, now) = (log(3_600, usize::MAX), Instant::now());
        say(&log, now, "kept", &[("y", ALL)]);
        say(&log, now, "short", &[("z", History { last: 5, time: SECOND })]);
        for _ in 0..5_000 {
            say(&log, now + SECOND * 2, "a", &[("x", History { last: 3, time: SECOND * 60 })]);
        }
        assert!(log.places() < 3_000, "{}", log.places());
        assert_eq!(replay(&log, now + SECOND * 2, &[("x", 4_999), ("y", 0)]), Ok("1:kept 5000:a 5001:a 5002:a".into()));
        assert_eq!(replay(&log, now + SECOND * 2, &[("z", 1)]), lost(&["z"]));
        assert_eq!(replay(&log, now + SECOND * 2, &[("unheard of", 0)]), Ok(String::new()));
        // In the end nothing is left.
        say(&log, now + SECOND * 4_000, "b", &[("w", ALL)]);
        assert_eq!((log.places(), replay(&log, now + SECOND * 4_000, &[("z", 2)])), (1, lost(&["z"])));
    });
}

#[test]
fn who_goes_takes_no_other_place_away() {
    every_order(|| {
        let (log, channel) = (log(60, 1 << 20), Arc::from("x"));
        let first = log.next_in(&channel);
        say(&log, Instant::now(), "a", &[("x", ALL)]);
        let second = log.next_in(&channel);
        assert_eq!(first.now_or_never(), Some(()));
        say(&log, Instant::now(), "b", &[("x", ALL)]);
        assert_eq!(second.now_or_never(), Some(()), "it hears of what was said since");
        drop(log.next_in(&channel));
        assert_eq!(log.waited_for(), 0);
    });
}

#[test]
fn what_is_wanted_begins_at_the_latest_of_what_is_known() {
    let ghost = Ghost {
        identity: Arc::default(),
        policy: Arc::default(),
        channels: wanted(&[("a", 0), ("b", 9)]),
        confirmed: 5,
        ..Ghost::default()
    };
    let name = Address { node: 1, shard: 2, slot: 3, nonce: 4 };
    let own = direct(name);
    assert_eq!(ghost.wanted(name, 3), wanted(&[("a", 5), ("b", 9), (&own, 5)]));
    assert_eq!(ghost.wanted(name, 7), wanted(&[("a", 7), ("b", 9), (&own, 7)]));
}

#[test]
fn who_was_taken_out_and_put_in_again_has_been_there_twice() {
    let name = Address { node: 0, shard: 0, slot: 1, nonce: 0 };
    let mut ghost = Ghost { channels: wanted(&[("a", 3), ("b", 3)]), confirmed: 3, ..Ghost::default() };
    ghost.leave(&["a".into(), "b".into()], 5);
    ghost.leave(&["a".into()], 6);
    assert_eq!(ghost.wanted(name, 0), [Wanted::after(direct(name), 3)], "it is in neither");
    ghost.channels = wanted(&[("a", 7)]);
    ghost.leave(&["a".into()], 7);
    ghost.channels = wanted(&[("a", 8)]);
    #[track_caller]
    fn check(stays: &[Wanted], channel: &str, expect: &[u64]) {
        let covered: Vec<u64> = (0..12).filter(|position| is_in(stays, channel, *position)).collect();
        assert_eq!(covered, expect);
    }
    check(&ghost.stays(), "a", &[4, 5, 9, 10, 11]);
    check(&ghost.stays(), "b", &[4, 5]);
    check(&ghost.wanted(name, 0), "a", &[4, 5, 9, 10, 11]);
    check(&ghost.wanted(name, 0), "b", &[]);
    check(&ghost.wanted(name, 4), "a", &[5, 9, 10, 11]);
    check(&ghost.wanted(name, 5), "a", &[9, 10, 11]);
}
