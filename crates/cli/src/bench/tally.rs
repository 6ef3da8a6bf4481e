//! Who has heard what: every message that is due is heard once by everybody it is for, or the run fails.

use std::collections::VecDeque;

use super::marker::{Mark, Marker};
use crate::failure::Failure;

/// How far a receiver may be ahead of a message that is late.
const WINDOW: u32 = u128::BITS;
/// The most samples of a round.
const SAMPLES: u64 = 10_000;

/// What one receiver has heard of its stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Everything before this number.
    pub(super) next: u32,
    /// And of those that follow, a bit for each; the lowest stands for `next` and is never set.
    ahead: u128,
}

/// What a message was to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The next one.
    InOrder,
    /// Too early or late.
    OutOfOrder,
    /// It was there before.
    Again,
    /// So far ahead that those between must be lost.
    TooFar,
}

impl Heard {
    /// Takes note of a message.
    pub(super) fn hear(&mut self, number: u32) -> Arrival {
        if number == self.next && self.ahead == 0 {
            self.next += 1;
            return Arrival::InOrder;
        }
        let Some(distance) = number.checked_sub(self.next) else { return Arrival::Again };
        if distance >= WINDOW {
            return Arrival::TooFar;
        }
        if self.ahead & (1 << distance) != 0 {
            return Arrival::Again;
        }
        self.ahead |= 1 << distance;
        let complete = self.ahead.trailing_ones();
        self.next += complete;
        self.ahead = self.ahead.checked_shr(complete).unwrap_or(0);
        Arrival::OutOfOrder
    }
}

/// Latencies in nanoseconds: all of them, or evenly scattered ones where there are too many.
#[derive(Debug, Default)]
struct Samples {
    values: Vec<u64>,
    stride: u64,
    skip: u64,
}

impl Samples {
    fn new(expected: u64) -> Self {
        Self { values: Vec::new(), stride: expected.div_ceil(SAMPLES).max(1), skip: 0 }
    }

    fn add(&mut self, value: u64) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.values.push(value);
        // A random step with this mean, so that nothing periodic is missed or hit.
        self.skip = if self.stride > 1 { rand::random_range(0..=2 * (self.stride - 1)) } else { 0 };
    }
}

/// The deliveries of a round.
#[derive(Debug)]
pub(super) struct Tally {
    /// Marks of this run.
    pub(super) marker: Marker,
    /// Deliveries that were heard in this round.
    pub(super) heard: u64,
    /// Deliveries that are still to come.
    pub(super) due: u64,
    /// Deliveries that came out of order.
    pub(super) disorder: u64,
    /// The first publication of this round.
    first: u32,
    /// Of each publication of this round when it was sent and how many have not heard it yet.
    publications: VecDeque<(u64, u32)>,
    samples: Samples,
    /// Each delivery is one, not a publication's last one alone.
    each: bool,
    trouble: Option<Failure>,
}

impl Tally {
    /// Nothing is due.
    pub(super) fn new(marker: Marker) -> Self {
        Self {
            marker,
            heard: 0,
            due: 0,
            disorder: 0,
            first: 0,
            publications: VecDeque::new(),
            samples: Samples::new(0),
            each: false,
            trouble: None,
        }
    }

    /// A new round with this many samples of latency: of `each` delivery or of a publication's last one, or of an answer.
    pub(super) fn begin(&mut self, samples: u64, each: bool) {
        self.each = each;
        self.first += u32::try_from(self.publications.len()).unwrap_or(u32::MAX);
        self.publications.clear();
        (self.heard, self.disorder) = (0, 0);
        self.samples = Samples::new(samples);
    }

    /// A publication that was sent at a time and that so many will hear; its number.
    pub(super) fn publish(&mut self, at: u64, receivers: usize) -> u32 {
        self.publications.push_back((at, u32::try_from(receivers).unwrap_or(u32::MAX)));
        self.due += receivers as u64;
        self.first + u32::try_from(self.publications.len() - 1).unwrap_or(u32::MAX)
    }

    /// A message that a receiver heard; whether it holds a delivery.
    pub(super) fn hear(&mut self, receiver: usize, heard: &mut Heard, text: &[u8], now: u64) -> bool {
        let Some((mark, mut rest)) = self.marker.find(text) else { return false };
        self.deliver(receiver, heard, mark, now);
        while let Some((mark, more)) = self.marker.find_more(rest) {
            self.deliver(receiver, heard, mark, now);
            rest = more;
        }
        true
    }

    fn deliver(&mut self, receiver: usize, heard: &mut Heard, mark: Mark, now: u64) {
        match heard.hear(mark.number) {
            Arrival::InOrder => {}
            Arrival::OutOfOrder => self.disorder += 1,
            Arrival::Again => return self.fail(receiver, &format!("has heard message {} twice", mark.number)),
            Arrival::TooFar => {
                return self.fail(receiver, &format!("has heard message {} but not {}", mark.number, heard.next));
            }
        }
        let index = mark.publication.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some((sent, missing)) = index.and_then(|index| self.publications.get_mut(index)) else {
            return self.fail(receiver, &format!("has heard message {} after its round", mark.number));
        };
        let Some(left) = missing.checked_sub(1) else {
            return self.fail(receiver, &format!("has heard message {}, which was not for it", mark.number));
        };
        *missing = left;
        self.heard += 1;
        self.due -= 1;
        if left == 0 || self.each {
            self.samples.add(now.saturating_sub(*sent));
        }
    }

    fn fail(&mut self, receiver: usize, what: &str) {
        self.trouble.get_or_insert_with(|| Failure::new(format!("connection {receiver} {what}")));
    }

    /// A latency that is no delivery's, such as that of an answer.
    pub(super) fn sample(&mut self, latency: u64) {
        self.samples.add(latency);
    }

    /// The first thing that should not have happened.
    pub(super) fn verdict(&mut self) -> Result<(), Failure> {
        self.trouble.take().map_or(Ok(()), Err)
    }

    /// Takes the latencies of the round.
    pub(super) fn latencies(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.samples.values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_is_heard_once() {
        let mut heard = Heard::default();
        assert_eq!(heard.hear(0), Arrival::InOrder);
        assert_eq!(heard.hear(0), Arrival::Again);
        assert_eq!(heard.hear(3), Arrival::OutOfOrder);
        assert_eq!(heard.hear(3), Arrival::Again);
        assert_eq!(heard.hear(2), Arrival::OutOfOrder);
        assert_eq!(heard.next, 1);
        assert_eq!(heard.hear(1), Arrival::OutOfOrder);
        assert_eq!(heard, Heard { next: 4, ahead: 0 });
        assert_eq!(heard.hear(4), Arrival::InOrder);
        assert_eq!(heard.hear(5 + WINDOW), Arrival::TooFar);
    }

    proptest! {
        #[test]
        fn in_any_order_everything_is_heard_once(numbers in Just((0..WINDOW).collect::<Vec<_>>()).prop_shuffle()) {
            let mut heard = Heard::default();
            for number in &numbers {
                prop_assert!(!matches!(heard.hear(*number), Arrival::Again | Arrival::TooFar));
            }
            prop_assert_eq!(heard, Heard { next: WINDOW, ahead: 0 });
            prop_assert!(numbers.iter().all(|number| heard.hear(*number) == Arrival::Again));
        }
    }

    /// A tally, and the text that a publication to `receivers` arrives as.
    fn publish(tally: &mut Tally, number: u32, receivers: usize) -> Vec<u8> {
        let mark = Mark { number, publication: tally.publish(1_000, receivers) };
        let mut text = Vec::new();
        tally.marker.write(&mut text, mark);
        text
    }

    #[test]
    fn a_round_counts_what_is_heard_and_when_the_last_heard_it() {
        let mut tally = Tally::new(Marker::new(1, 100));
        let mut heard = [Heard::default(); 2];
        for round in 0..3 {
            tally.begin(1, false);
            let text = publish(&mut tally, round, 2);
            assert!(tally.hear(0, &mut heard[0], &text, 1_500));
            assert!(!tally.hear(0, &mut heard[0], b"2", 1_600));
            assert_eq!((tally.heard, tally.due), (1, 1));
            assert!(tally.hear(1, &mut heard[1], &text, 1_700));
            assert_eq!((tally.heard, tally.due, tally.latencies()), (2, 0, vec![700]));
            assert_eq!(tally.verdict(), Ok(()));
        }
    }

    #[test]
    fn each_delivery_counts_where_that_is_asked() {
        let mut tally = Tally::new(Marker::new(1, 100));
        tally.begin(2, true);
        let text = publish(&mut tally, 0, 2);
        for now in [1_500, 1_700] {
            assert!(tally.hear(0, &mut Heard::default(), &text, now));
        }
        assert_eq!(tally.latencies(), vec![500, 700]);
    }

    #[test]
    fn what_is_doubled_late_or_misdirected_is_told() {
        for (receivers, texts, expect) in [
            (2, [0, 0], "connection 5 has heard message 0 twice"),
            (2, [0, 1 + WINDOW], "connection 5 has heard message 129 but not 1"),
            (1, [0, 1], "connection 5 has heard message 1, which was not for it"),
        ] {
            let mut tally = Tally::new(Marker::new(1, 100));
            tally.begin(1, false);
            let publication = tally.publish(0, receivers);
            let mut heard = Heard::default();
            for number in texts {
                let mut text = Vec::new();
                tally.marker.write(&mut text, Mark { number, publication });
                tally.hear(5, &mut heard, &text, 0);
            }
            assert_eq!(tally.verdict().expect_err("trouble").to_string(), expect);
        }
        let mut tally = Tally::new(Marker::new(1, 100));
        let text = publish(&mut tally, 0, 1);
        tally.begin(1, false);
        tally.hear(5, &mut Heard::default(), &text, 0);
        assert_eq!(tally.verdict().expect_err("late").to_string(), "connection 5 has heard message 0 after its round");
    }

    #[test]
    fn samples_are_bounded_and_from_everywhere() {
        let mut samples = Samples::new(1_000_000);
        (0..1_000_000).for_each(|value| samples.add(value));
        assert!((9_000..11_000).contains(&samples.values.len()), "{}", samples.values.len());
        assert!(samples.values.last().is_some_and(|last| *last > 990_000));
        let mut samples = Samples::new(SAMPLES);
        (0..SAMPLES).for_each(|value| samples.add(value));
        assert_eq!(samples.values.len() as u64, SAMPLES);
    }
}
