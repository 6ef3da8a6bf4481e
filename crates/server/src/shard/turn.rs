//! What one turn of a shard brings to its idle connections.
//!
//! A turn is a batch of publications. Most sessions get the same ones in the same order, so what waits for a session is
//! not a list of its own but the number of a shared *sequence*: a chain of parcels, each knowing the sequence before
//! it. A delivery replaces one number by another, and what is to be written is gathered once for all sessions that
//! reached the same sequence.

use std::io::IoSlice;
use std::rc::Rc;

use smallvec::SmallVec;

use super::outbox::Parcel;

/// Steps of one publication that are remembered, so that sessions with an equal past share their future. More than that
/// are still right, but shared by fewer.
const RECENT: usize = 4;

/// Steps whose memory stays for the next turn. A turn that brought everybody something else had more, once.
const KEPT: usize = 4_096;

/// Which parcels wait for a connection in this turn; [`Sequence::NONE`] when there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sequence(u32);

impl Sequence {
    /// Nothing waits.
    pub(crate) const NONE: Self = Self(0);

    fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

#[derive(Debug)]
struct Step {
    before: Sequence,
    parcel: Rc<Parcel>,
}

/// The sequences of one turn. Its memory stays for the next, up to a size.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    steps: Vec<Step>,
    recent: [Sequence; RECENT],
    oldest: usize,
}

impl Turn {
    /// The sequence that has `parcel` after `before`.
    pub(crate) fn extend(&mut self, before: Sequence, parcel: &Rc<Parcel>) -> Sequence {
        for known in self.recent {
            if let Some(step) = known.index().map(|index| &self.steps[index])
                && step.before == before
                && Rc::ptr_eq(&step.parcel, parcel)
            {
                return known;
            }
        }
        self.steps.push(Step { before, parcel: Rc::clone(parcel) });
        let new = Sequence(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
        self.recent[self.oldest] = new;
        self.oldest = (self.oldest + 1) % RECENT;
        new
    }

    /// The parcels of a sequence, newest first.
    fn backwards(&self, sequence: Sequence) -> impl Iterator<Item = &Rc<Parcel>> {
        let mut at = sequence;
        std::iter::from_fn(move || {
            let step = &self.steps[at.index()?];
            at = step.before;
            Some(&step.parcel)
        })
    }

    /// The parcels of a sequence, oldest first.
    pub(crate) fn parcels(&self, sequence: Sequence) -> SmallVec<[Rc<Parcel>; 8]> {
        let mut parcels: SmallVec<_> = self.backwards(sequence).cloned().collect();
        parcels.reverse();
        parcels
    }

    /// Appends the frames of a sequence, oldest first.
    pub(crate) fn gather<'a>(&'a self, sequence: Sequence, deflate: bool, out: &mut impl Extend<IoSlice<'a>>) {
        let mut slices: SmallVec<[IoSlice<'a>; 64]> =
            self.backwards(sequence).map(|parcel| IoSlice::new(parcel.bytes(deflate))).collect();
        slices.reverse();
        out.extend(slices);
    }

    /// The turn is over.
    pub(crate) fn clear(&mut self) {
        self.steps.clear();
        self.steps.shrink_to(KEPT);
        self.recent = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parcel(text: &str) -> Rc<Parcel> {
        Parcel::native(text.to_owned(), false)
    }

    fn written(turn: &Turn, sequence: Sequence) -> Vec<String> {
        let mut slices = Vec::new();
        turn.gather(sequence, false, &mut slices);
        slices.iter().map(|frame| String::from_utf8_lossy(&frame[2..]).into_owned()).collect()
    }

    #[test]
    fn an_equal_past_shares_its_future() {
        let mut turn = Turn::default();
        let (a, b) = (parcel("a"), parcel("b"));
        let one = turn.extend(Sequence::NONE, &a);
        assert_eq!(turn.extend(Sequence::NONE, &a), one);
        let both = turn.extend(one, &b);
        let second_only = turn.extend(Sequence::NONE, &b);
        assert_eq!(turn.extend(one, &b), both);
        assert_eq!(written(&turn, both), ["a", "b"]);
        assert_eq!(written(&turn, second_only), ["b"]);
        assert_eq!(turn.steps.len(), 3);
    }

    #[test]
    fn more_histories_than_are_remembered_are_still_right() {
        let mut turn = Turn::default();
        let firsts: Vec<_> = (0..10).map(|index| turn.extend(Sequence::NONE, &parcel(&format!("{index}")))).collect();
        let last = parcel("last");
        for (index, first) in firsts.iter().chain(&firsts).enumerate() {
            let sequence = turn.extend(*first, &last);
            assert_eq!(written(&turn, sequence), [format!("{}", index % 10), "last".to_owned()]);
        }
    }

    #[test]
    fn an_unusual_turn_leaves_no_memory_behind() {
        let mut turn = Turn::default();
        let parcels: Vec<_> = (0..2 * KEPT).map(|index| parcel(&format!("{index}"))).collect();
        for parcel in &parcels {
            turn.extend(Sequence::NONE, parcel);
        }
        assert_eq!(turn.steps.len(), 2 * KEPT);
        turn.clear();
        assert!(turn.steps.capacity() <= KEPT);
    }

    #[test]
    fn nothing_outlives_its_turn() {
        let mut turn = Turn::default();
        let only = parcel("a");
        turn.extend(Sequence::NONE, &only);
        turn.clear();
        assert_eq!(Rc::strong_count(&only), 1);
        assert_eq!(turn.extend(Sequence::NONE, &only), Sequence(1));
    }
}
