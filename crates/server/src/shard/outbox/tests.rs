//! What waits for a client, in which order it leaves, and what is given up for it.

mod properties;

use oyez_hub::address::AppId;
use oyez_hub::delivery::{Priority, Publication, Target, WhenSlow};
use oyez_protocol::engineio::packet::{PacketType, Version};
use oyez_protocol::message::Args;

use super::*;

/// A publication of that lane, as a raw message.
fn published(text: &str, lane: Priority, placed: bool, when_slow: WhenSlow) -> Rc<Parcel> {
    let publication = Publication {
        app: AppId(0),
        id: text.into(),
        to: Target::Channels([].into_iter().collect()),
        except: [].into_iter().collect(),
        event: "e".into(),
        args: Args::none(),
        native: None,
        priority: lane,
        volatile: false,
        when_slow,
        rule: Some("room:{id}".into()),
        compress: false,
        stored: None,
        recorded: None,
    };
    Parcel::native(text.to_owned(), false).publishing(&publication, placed)
}

fn in_lane(text: &str, lane: Priority) -> Rc<Parcel> {
    published(text, lane, false, WhenSlow::DropOldest)
}

fn packet(text: &str) -> Rc<Parcel> {
    in_lane(text, Priority::Normal)
}

/// One that is remembered: it says a position and is not dropped.
fn remembered(text: &str, lane: Priority) -> Rc<Parcel> {
    published(text, lane, true, WhenSlow::Disconnect)
}

/// A packet that later ones of the same first character may replace.
fn state(text: &str) -> Rc<Parcel> {
    published(text, Priority::Normal, false, WhenSlow::Conflate(text[..1].into()))
}

fn answer(text: &str) -> Rc<Parcel> {
    Parcel::native(text.to_owned(), false)
}

fn text(parcel: &Parcel) -> String {
    String::from_utf8_lossy(&parcel.frames()[2..]).into_owned()
}

fn size(parcel: &Parcel) -> usize {
    parcel.frames().len()
}

fn left(outbox: &Outbox) -> Vec<String> {
    outbox.iter().map(|parcel| text(parcel)).collect()
}

/// What became of it, and what was given up for it.
fn push(outbox: &mut Outbox, parcel: Rc<Parcel>, budget: usize) -> (Queued, Vec<String>) {
    let mut dropped = Vec::new();
    let queued = outbox.push(parcel, budget, &mut |parcel, _| dropped.push(text(parcel)));
    (queued, dropped)
}

/// Nothing is given up for it.
#[track_caller]
fn keep(outbox: &mut Outbox, parcel: Rc<Parcel>, budget: usize) {
    assert_eq!(push(outbox, parcel, budget), (Queued::Kept, Vec::new()));
}

/// These are given up for it.
#[track_caller]
fn crowd_out(outbox: &mut Outbox, parcel: Rc<Parcel>, budget: usize, dropped: &[&str]) {
    assert_eq!(push(outbox, parcel, budget), (Queued::GaveUp, dropped.iter().map(ToString::to_string).collect()));
}

#[track_caller]
fn hopeless(outbox: &mut Outbox, parcel: Rc<Parcel>, budget: usize) {
    assert_eq!(push(outbox, parcel, budget).0, Queued::Hopeless);
}

/// Writes the whole queue; what it counts must then be nothing.
fn write_all(outbox: &mut Outbox) {
    let all: usize = outbox.iter().map(|parcel| size(parcel)).sum();
    outbox.advance(all - outbox.written(), size);
    assert!(outbox.is_empty() && outbox.side.is_none());
    assert_eq!((outbox.bytes, outbox.owed, outbox.written()), (0, 0, 0));
}

#[test]
fn answers_are_never_given_up_but_a_client_that_reads_none_is() {
    let mut outbox = Outbox::default();
    let budget = 3 * packet("aaaa").len();
    keep(&mut outbox, answer("large beyond the budget, but alone"), budget);
    outbox.take();
    keep(&mut outbox, packet("1111"), budget);
    keep(&mut outbox, answer("aaaa"), budget);
    keep(&mut outbox, answer("bbbb"), budget);
    crowd_out(&mut outbox, packet("2222"), budget, &["1111"]);
    crowd_out(&mut outbox, answer("cccc"), budget, &["2222"]);
    hopeless(&mut outbox, answer("dddd"), budget);
    assert_eq!(left(&outbox), ["aaaa", "bbbb", "cccc"]);
    write_all(&mut outbox);
}

#[test]
fn a_full_outbox_gives_up_the_oldest_but_never_a_half_written_packet() {
    let mut outbox = Outbox::default();
    let budget = 3 * packet("aaaa").len();
    for text in ["aaaa", "bbbb", "cccc"] {
        keep(&mut outbox, packet(text), budget);
    }
    outbox.advance(2, size);
    crowd_out(&mut outbox, packet("dddd"), budget, &["bbbb"]);
    assert_eq!(left(&outbox), ["aaaa", "cccc", "dddd"]);
    write_all(&mut outbox);
}

#[test]
fn what_keeps_the_latest_keeps_all_until_the_client_is_too_slow() {
    let mut outbox = Outbox::default();
    let budget = 4 * packet("a111").len();
    for text in ["a111", "b111", "a222", "b222"] {
        keep(&mut outbox, state(text), budget);
    }
    assert_eq!(left(&outbox), ["a111", "b111", "a222", "b222"]);
    crowd_out(&mut outbox, state("a333"), budget, &["a111", "b111", "a222"]);
    assert_eq!(left(&outbox), ["a333", "b222"], "the latest, where the first of its key was");
    // From now on a later one takes the place at once.
    crowd_out(&mut outbox, state("b333"), budget, &["b222"]);
    keep(&mut outbox, state("c111"), budget);
    assert_eq!(left(&outbox), ["a333", "b333", "c111"]);
    write_all(&mut outbox);
    // It has caught up: nothing is given up again.
    keep(&mut outbox, state("a444"), budget);
    keep(&mut outbox, state("a555"), budget);
    assert_eq!(left(&outbox), ["a444", "a555"]);
}

#[test]
fn what_says_how_far_its_client_has_heard_overtakes_nothing() {
    let mut outbox = Outbox::default();
    let placed = |text: &str| published(text, Priority::Normal, true, WhenSlow::Conflate(text[..1].into()));
    let budget = 4 * packet("a111").len();
    for text in ["a111", "b111", "a222"] {
        keep(&mut outbox, placed(text), budget);
    }
    keep(&mut outbox, answer("yes!"), budget);
    crowd_out(&mut outbox, placed("b222"), budget, &["a111", "b111"]);
    assert_eq!(left(&outbox), ["a222", "yes!", "b222"]);
    crowd_out(&mut outbox, placed("a333"), budget, &["a222"]);
    assert_eq!(left(&outbox), ["yes!", "b222", "a333"]);
    outbox.advance(3, size);
    crowd_out(&mut outbox, placed("b333"), budget, &["b222"]);
    assert_eq!(left(&outbox), ["yes!", "a333", "b333"]);
    write_all(&mut outbox);
}

#[test]
fn a_half_written_packet_is_not_replaced() {
    let mut outbox = Outbox::default();
    let budget = 2 * packet("a111").len();
    keep(&mut outbox, state("a111"), budget);
    outbox.advance(3, size);
    keep(&mut outbox, state("a222"), budget);
    crowd_out(&mut outbox, state("a333"), budget, &["a222"]);
    assert_eq!(left(&outbox), ["a111", "a333"]);
    // The one that became the first is half written, too, when its turn has come.
    outbox.advance(6, size);
    assert_eq!(outbox.written(), 3);
    keep(&mut outbox, state("a444"), budget);
    crowd_out(&mut outbox, state("a555"), budget, &["a444"]);
    assert_eq!(left(&outbox), ["a333", "a555"]);
    write_all(&mut outbox);
}

#[test]
fn too_many_keys_drop_the_oldest() {
    let mut outbox = Outbox::default();
    let budget = 3 * packet("a111").len();
    for text in ["a111", "b111", "c111"] {
        keep(&mut outbox, state(text), budget);
    }
    crowd_out(&mut outbox, state("d111"), budget, &["a111"]);
    crowd_out(&mut outbox, state("e111"), budget, &["b111"]);
    assert_eq!(left(&outbox), ["c111", "d111", "e111"]);
    // A key that was dropped comes back at the end.
    crowd_out(&mut outbox, state("a222"), budget, &["c111"]);
    crowd_out(&mut outbox, state("d222"), budget, &["d111"]);
    assert_eq!(left(&outbox), ["d222", "e111", "a222"]);
    write_all(&mut outbox);
}

#[test]
fn too_many_keys_of_what_is_remembered_cost_the_connection() {
    let mut outbox = Outbox::default();
    let kept = |text: &str| published(text, Priority::Normal, true, WhenSlow::ConflateOrDisconnect(text[..1].into()));
    let budget = 3 * packet("a111").len();
    for text in ["a111", "a222", "b111"] {
        keep(&mut outbox, kept(text), budget);
    }
    crowd_out(&mut outbox, kept("c111"), budget, &["a111"]);
    // Each key has a place, so whatever comes for them fits.
    crowd_out(&mut outbox, kept("b222"), budget, &["b111"]);
    crowd_out(&mut outbox, kept("a333"), budget, &["a222"]);
    assert_eq!(left(&outbox), ["c111", "b222", "a333"]);
    hopeless(&mut outbox, kept("d111"), budget);
    assert_eq!(left(&outbox), ["c111", "b222", "a333"], "none of them was dropped");
    write_all(&mut outbox);
}

#[test]
fn what_must_not_be_lost_costs_others_their_place_and_then_the_connection() {
    let mut outbox = Outbox::default();
    let alarm = |text: &str| published(text, Priority::Normal, false, WhenSlow::Disconnect);
    let budget = 3 * packet("aaaa").len();
    keep(&mut outbox, packet("1111"), budget);
    keep(&mut outbox, state("a111"), budget);
    keep(&mut outbox, alarm("aaaa"), budget);
    crowd_out(&mut outbox, alarm("bbbb"), budget, &["1111"]);
    crowd_out(&mut outbox, alarm("cccc"), budget, &["a111"]);
    hopeless(&mut outbox, alarm("dddd"), budget);
    assert_eq!(left(&outbox), ["aaaa", "bbbb", "cccc"]);
    write_all(&mut outbox);
}

#[test]
fn an_idle_outbox_is_small_and_owns_nothing() {
    assert!(size_of::<Outbox>() <= 72);
    let mut outbox = Outbox::default();
    outbox.insist(packet("news"));
    outbox.insist(in_lane("fire", Priority::Urgent));
    write_all(&mut outbox);
    outbox.release();
    assert_eq!(outbox.main.capacity(), 0);
}

#[test]
fn a_poll_takes_some() {
    let mut outbox = Outbox::default();
    let packet = || Parcel::engine(PacketType::Noop, "", Version::V4);
    for _ in 0..3 {
        outbox.insist(packet());
    }
    assert_eq!(outbox.take_some(2).len(), 2);
    assert_eq!((outbox.bytes, outbox.owed), (packet().len(), packet().len()));
    assert_eq!(outbox.take_some(2).len(), 1);
    assert_eq!((outbox.bytes, outbox.owed), (0, 0));
}

#[test]
fn an_alarm_overtakes_a_thousand_ticks_but_not_the_half_written_one() {
    let mut outbox = Outbox::default();
    for n in 0..1_000 {
        outbox.insist(in_lane(&format!("tick {n}"), Priority::Low));
    }
    outbox.advance(3, size);
    outbox.insist(packet("news"));
    outbox.insist(in_lane("fire", Priority::Urgent));
    outbox.insist(in_lane("smoke", Priority::High));
    outbox.insist(in_lane("flood", Priority::Urgent));
    assert_eq!(left(&outbox)[..7], ["tick 0", "fire", "flood", "smoke", "news", "tick 1", "tick 2"]);
    assert_eq!(left(&outbox).len(), 1_004);
    write_all(&mut outbox);
}

#[test]
fn after_seven_that_overtook_it_the_oldest_leaves() {
    let mut outbox = Outbox::default();
    outbox.insist(in_lane("low 0", Priority::Low));
    outbox.insist(in_lane("low 1", Priority::Low));
    for n in 0..20 {
        outbox.insist(packet(&format!("{n:02}")));
    }
    let order = left(&outbox);
    assert_eq!(order[6..10], ["06", "low 0", "07", "08"]);
    assert_eq!(order[14..18], ["13", "low 1", "14", "15"]);
    // It does not begin to count anew with each write.
    outbox.advance(5 * 4, size);
    outbox.insist(in_lane("fire", Priority::Urgent));
    assert_eq!(left(&outbox)[..4], ["fire", "05", "low 0", "06"]);
    write_all(&mut outbox);
}

#[test]
fn an_answer_leaves_after_what_came_before_it_and_only_what_is_more_urgent_overtakes_it() {
    let mut outbox = Outbox::default();
    for parcel in [in_lane("tick 1", Priority::Low), packet("news 1"), answer("left"), packet("news 2")] {
        outbox.insist(parcel);
    }
    outbox.insist(in_lane("tick 2", Priority::Low));
    outbox.insist(in_lane("fire", Priority::Urgent));
    assert_eq!(left(&outbox), ["fire", "news 1", "tick 1", "left", "news 2", "tick 2"]);
    write_all(&mut outbox);
}

#[test]
fn nothing_overtakes_a_barrier_not_even_a_sign_of_life() {
    let mut outbox = Outbox::default();
    for parcel in [in_lane("tick", Priority::Low), packet("news"), answer("connect").with(Standing::Barrier)] {
        outbox.insist(parcel);
    }
    outbox.insist(packet("later"));
    outbox.insist(in_lane("fire", Priority::Urgent));
    outbox.insist(Parcel::native("ping".to_owned(), false).with(Standing::Vital));
    outbox.insist(Parcel::native("pong".to_owned(), false).with(Standing::Vital));
    assert_eq!(left(&outbox), ["tick", "news", "connect", "ping", "pong", "fire", "later"]);
    write_all(&mut outbox);
}

#[test]
fn what_says_a_position_keeps_its_order_and_is_as_urgent_as_what_waits_behind_it() {
    let mut outbox = Outbox::default();
    outbox.insist(in_lane("tick", Priority::Low));
    outbox.insist(remembered("at 1", Priority::Low));
    outbox.insist(remembered("at 2", Priority::Normal));
    outbox.insist(in_lane("hint", Priority::High));
    assert_eq!(left(&outbox), ["hint", "at 1", "at 2", "tick"]);
    outbox.insist(remembered("fire at 3", Priority::Urgent));
    outbox.insist(remembered("at 4", Priority::Low));
    assert_eq!(left(&outbox), ["at 1", "at 2", "fire at 3", "hint", "tick", "at 4"]);
    assert!(outbox.holds_promises());
    outbox.advance(outbox.iter().take(5).map(|parcel| size(parcel)).sum::<usize>() + 1, size);
    assert!(!outbox.holds_promises(), "what is begun is not overtaken any more");
    write_all(&mut outbox);
}

#[test]
fn the_least_urgent_lane_gives_up_first_and_there_the_oldest() {
    let mut outbox = Outbox::default();
    let budget = 4 * packet("aaaa").len();
    for parcel in [in_lane("fire", Priority::Urgent), packet("news"), in_lane("low1", Priority::Low)] {
        keep(&mut outbox, parcel, budget);
    }
    keep(&mut outbox, in_lane("low2", Priority::Low), budget);
    crowd_out(&mut outbox, in_lane("high", Priority::High), budget, &["low1"]);
    crowd_out(&mut outbox, in_lane("low3", Priority::Low), budget, &["low2"]);
    crowd_out(&mut outbox, packet("more"), budget, &["low3"]);
    // A new one is given up in favour of more urgent ones.
    crowd_out(&mut outbox, in_lane("low4", Priority::Low), budget, &["low4"]);
    crowd_out(&mut outbox, in_lane("gas!", Priority::Urgent), budget, &["news"]);
    assert_eq!(left(&outbox), ["fire", "gas!", "high", "more"]);
    write_all(&mut outbox);
}

#[test]
fn a_key_has_one_place_in_all_lanes() {
    let mut outbox = Outbox::default();
    let state = |text: &str, lane| published(text, lane, false, WhenSlow::Conflate(text[..1].into()));
    let budget = 3 * packet("a111").len();
    keep(&mut outbox, state("a111", Priority::Low), budget);
    keep(&mut outbox, state("a222", Priority::High), budget);
    keep(&mut outbox, state("b111", Priority::Low), budget);
    crowd_out(&mut outbox, state("a333", Priority::Low), budget, &["a222", "a111"]);
    assert_eq!(left(&outbox), ["a333", "b111"]);
    crowd_out(&mut outbox, state("b222", Priority::Urgent), budget, &["b111"]);
    assert_eq!(left(&outbox), ["b222", "a333"]);
    write_all(&mut outbox);
}

#[test]
fn what_a_direct_write_has_begun_goes_on_first() {
    let mut outbox = Outbox::default();
    let parcels = [packet("done"), packet("half"), packet("news"), in_lane("fire", Priority::Urgent)];
    outbox.take_over(parcels, 6 + 2, size);
    assert_eq!((left(&outbox), outbox.written()), (vec!["half".into(), "fire".into(), "news".into()], 2));
    write_all(&mut outbox);
}
