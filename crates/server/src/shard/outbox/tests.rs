//! What waits for a client, and what is given up for it.

use super::*;

fn packet(text: &str) -> Rc<Parcel> {
    Parcel::native(text.to_owned(), false).when_slow(&WhenSlow::DropOldest)
}

/// A packet that later ones of the same first character may replace.
fn state(text: &str) -> Rc<Parcel> {
    Parcel::native(text.to_owned(), false).when_slow(&WhenSlow::Conflate(text[..1].into()))
}

fn answer(text: &str) -> Rc<Parcel> {
    Parcel::native(text.to_owned(), false)
}

fn left(outbox: &Outbox) -> Vec<String> {
    outbox.iter().map(|packet| String::from_utf8_lossy(&packet.frames()[2..]).into_owned()).collect()
}

/// Writes the whole queue; what it counts must then be nothing.
fn write_all(outbox: &mut Outbox) {
    let all: usize = outbox.iter().map(|packet| packet.frames().len()).sum();
    outbox.advance(all - outbox.written(), |packet| packet.frames().len());
    assert!(outbox.is_empty() && outbox.latest.is_none());
    assert_eq!((outbox.bytes, outbox.owed, outbox.written), (0, 0, 0));
}

#[test]
fn answers_are_never_given_up_but_a_client_that_reads_none_is() {
    let mut outbox = Outbox::default();
    let budget = 3 * packet("aaaa").len();
    assert_eq!(outbox.push(answer("large beyond the budget, but alone"), budget), Queued::Kept);
    outbox.take();
    for (parcel, expect) in [
        (packet("1111"), Queued::Kept),
        (answer("aaaa"), Queued::Kept),
        (answer("bbbb"), Queued::Kept),
        (packet("2222"), Queued::DroppedOldest(1)),
        (answer("cccc"), Queued::DroppedOldest(1)),
        (answer("dddd"), Queued::Hopeless),
    ] {
        assert_eq!(outbox.push(parcel, budget), expect);
    }
    assert_eq!(left(&outbox), ["aaaa", "bbbb", "cccc"]);
    write_all(&mut outbox);
}

#[test]
fn a_full_outbox_gives_up_the_oldest_but_never_a_half_written_packet() {
    let mut outbox = Outbox::default();
    let budget = 3 * packet("aaaa").len();
    for text in ["aaaa", "bbbb", "cccc"] {
        assert_eq!(outbox.push(packet(text), budget), Queued::Kept);
    }
    outbox.advance(2, |packet| packet.frames().len());
    assert_eq!(outbox.push(packet("dddd"), budget), Queued::DroppedOldest(1));
    assert_eq!(left(&outbox), ["aaaa", "cccc", "dddd"]);
    write_all(&mut outbox);
}

#[test]
fn what_keeps_the_latest_keeps_all_until_the_client_is_too_slow() {
    let mut outbox = Outbox::default();
    let budget = 4 * packet("a111").len();
    for text in ["a111", "b111", "a222", "b222"] {
        assert_eq!(outbox.push(state(text), budget), Queued::Kept);
    }
    assert_eq!(left(&outbox), ["a111", "b111", "a222", "b222"]);
    assert_eq!(outbox.push(state("a333"), budget), Queued::DroppedOldest(3));
    assert_eq!(left(&outbox), ["a333", "b222"], "the latest, where the first of its key was");
    // From now on a later one takes the place at once.
    assert_eq!(outbox.push(state("b333"), budget), Queued::DroppedOldest(1));
    assert_eq!(outbox.push(state("c111"), budget), Queued::Kept);
    assert_eq!(left(&outbox), ["a333", "b333", "c111"]);
    write_all(&mut outbox);
    // It has caught up: nothing is given up again.
    assert_eq!(outbox.push(state("a444"), budget), Queued::Kept);
    assert_eq!(outbox.push(state("a555"), budget), Queued::Kept);
    assert_eq!(left(&outbox), ["a444", "a555"]);
}

#[test]
fn what_says_how_far_its_client_has_heard_overtakes_nothing() {
    let mut outbox = Outbox::default();
    let placed = |text: &str| state(text).placed(true);
    let budget = 4 * packet("a111").len();
    for text in ["a111", "b111", "a222"] {
        assert_eq!(outbox.push(placed(text), budget), Queued::Kept);
    }
    assert_eq!(outbox.push(answer("yes!"), budget), Queued::Kept);
    assert_eq!(outbox.push(placed("b222"), budget), Queued::DroppedOldest(2));
    assert_eq!(left(&outbox), ["a222", "yes!", "b222"]);
    assert_eq!(outbox.push(placed("a333"), budget), Queued::DroppedOldest(1));
    assert_eq!(left(&outbox), ["yes!", "b222", "a333"]);
    outbox.advance(3, |packet| packet.frames().len());
    assert_eq!(outbox.push(placed("b333"), budget), Queued::DroppedOldest(1));
    assert_eq!(left(&outbox), ["yes!", "a333", "b333"]);
    write_all(&mut outbox);
}

#[test]
fn a_half_written_packet_is_not_replaced() {
    let mut outbox = Outbox::default();
    let budget = 2 * packet("a111").len();
    outbox.push(state("a111"), budget);
    outbox.advance(3, |packet| packet.frames().len());
    outbox.push(state("a222"), budget);
    assert_eq!(outbox.push(state("a333"), budget), Queued::DroppedOldest(1));
    assert_eq!(left(&outbox), ["a111", "a333"]);
    // The one that became the first is half written, too, when its turn has come.
    outbox.advance(6, |packet| packet.frames().len());
    assert_eq!(outbox.written(), 3);
    assert_eq!(outbox.push(state("a444"), budget), Queued::Kept);
    assert_eq!(outbox.push(state("a555"), budget), Queued::DroppedOldest(1));
    assert_eq!(left(&outbox), ["a333", "a555"]);
    write_all(&mut outbox);
}

#[test]
fn too_many_keys_drop_the_oldest() {
    let mut outbox = Outbox::default();
    let budget = 3 * packet("a111").len();
    for text in ["a111", "b111", "c111", "d111", "e111"] {
        outbox.push(state(text), budget);
    }
    assert_eq!(left(&outbox), ["c111", "d111", "e111"]);
    // A key that was dropped comes back at the end.
    assert_eq!(outbox.push(state("a222"), budget), Queued::DroppedOldest(1));
    assert_eq!(outbox.push(state("d222"), budget), Queued::DroppedOldest(1));
    assert_eq!(left(&outbox), ["d222", "e111", "a222"]);
    write_all(&mut outbox);
}

#[test]
fn what_must_not_be_lost_costs_others_their_place_and_then_the_connection() {
    let mut outbox = Outbox::default();
    let alarm = |text: &str| Parcel::native(text.to_owned(), false).when_slow(&WhenSlow::Disconnect);
    let budget = 3 * packet("aaaa").len();
    for (parcel, expect) in [
        (packet("1111"), Queued::Kept),
        (state("a111"), Queued::Kept),
        (alarm("aaaa"), Queued::Kept),
        (alarm("bbbb"), Queued::DroppedOldest(1)),
        (alarm("cccc"), Queued::DroppedOldest(1)),
        (alarm("dddd"), Queued::Hopeless),
    ] {
        assert_eq!(outbox.push(parcel, budget), expect);
    }
    assert_eq!(left(&outbox), ["aaaa", "bbbb", "cccc"]);
    write_all(&mut outbox);
}

#[test]
fn a_poll_takes_some() {
    let mut outbox = Outbox::default();
    let packet = || Parcel::engine(PacketType::Noop, "", Version::V4);
    for _ in 0..3 {
        outbox.push(packet(), usize::MAX);
    }
    assert_eq!(outbox.take_some(2).len(), 2);
    assert_eq!((outbox.bytes, outbox.owed), (packet().len(), packet().len()));
    assert_eq!(outbox.take_some(2).len(), 1);
    assert_eq!((outbox.bytes, outbox.owed), (0, 0));
}
