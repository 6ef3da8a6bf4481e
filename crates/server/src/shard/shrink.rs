//! Memory that is given back after a mass disconnect. Tables grow as clients come and would stay that large for ever,
//! and the allocator keeps the pages of what was freed. So a shard that is much emptier than it was, and has been for
//! longer than clients take to come back, makes its tables small again, and tells the allocator.

use std::cell::Cell;

use slab::Slab;

use crate::clock;
use crate::observe::event;
use crate::shard::Shard;

/// Looks, one a second, for which a shard stays much emptier before it gives memory back: clients that were cut off
/// try again for some seconds, and would only have it all grow again.
const SETTLED: u32 = 15;

/// Looks until it does so once more: those who left without a word have missed their heartbeats by then.
const TIMED_OUT: u32 = 50;

/// Much emptier: at most one in so many is left.
const PART: usize = 4;

/// A shard that never had so many sessions has nothing worth giving back.
const MANY: usize = 256;

/// How full a shard is and was.
#[derive(Debug, Default)]
pub(super) struct Ebb {
    /// The most sessions since it was last over.
    most: Cell<usize>,
    /// Looks since there were no more than a part of them.
    looks: Cell<u32>,
}

impl Ebb {
    /// Notes how many sessions there are; whether it is time to give memory back.
    fn is_out(&self, sessions: usize) -> bool {
        let most = self.most.get().max(sessions);
        self.most.set(most);
        let empty = most >= MANY && sessions <= most / PART;
        self.looks.set(if empty { self.looks.get() + 1 } else { 0 });
        [SETTLED, TIMED_OUT].contains(&self.looks.get())
    }

    /// Memory was given back; after the second time, it is over.
    fn turn(&self) {
        if self.looks.get() == TIMED_OUT {
            self.most.set(0);
            self.looks.set(0);
        }
    }
}

impl Shard {
    /// Gives memory back if it is time; asked once a second.
    pub(super) fn shrink_if_emptier(&self) {
        // In the middle of a turn the list of those to be flushed holds slots; there is another look in a second.
        if !self.dirty.borrow().is_empty() {
            return;
        }
        let sessions = self.sessions.borrow().len();
        if self.ebb.is_out(sessions) {
            self.shrink();
            self.hub.shrink(clock::steady_nanos());
            (self.release)();
            event::memory_released(self.id, self.ebb.most.get() - sessions);
            self.ebb.turn();
        }
    }

    /// Makes everything as small as its contents. Slots stay what they are, so one session in a late slot keeps the
    /// slots before it.
    fn shrink(&self) {
        let sessions = fit(&mut self.sessions.borrow_mut());
        self.lines.borrow_mut().truncate(sessions);
        self.lines.borrow_mut().shrink_to_fit();
        self.wires.borrow_mut().truncate(sessions);
        let members = fit(&mut self.members.borrow_mut());
        self.places.borrow_mut().truncate(members);
        self.places.borrow_mut().shrink_to_fit();
        self.rooms.borrow_mut().shrink();
        self.deadlines.keep(|slot, nonce| self.session_at(slot, nonce).is_some());
        self.forget_tickets();
        self.dirty.borrow_mut().shrink_to_fit();
        self.chunk.take();
        self.detained.take();
    }
}

/// Lets go of the free slots at the end; returns how many slots are left.
fn fit<T>(slab: &mut Slab<T>) -> usize {
    slab.shrink_to_fit();
    slab.iter().next_back().map_or(0, |(slot, _)| slot + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At which of these looks, each with so many sessions, memory is given back.
    fn given_back(looks: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let ebb = Ebb::default();
        let out = |(at, sessions)| {
            let out = ebb.is_out(sessions);
            if out {
                ebb.turn();
            }
            out.then_some(at)
        };
        looks.into_iter().enumerate().filter_map(out).collect()
    }

    fn stay(sessions: usize, seconds: usize) -> impl Iterator<Item = usize> {
        std::iter::repeat_n(sessions, seconds)
    }

    #[test]
    fn a_shard_that_stays_nearly_empty_gives_back_twice() {
        assert_eq!(given_back(stay(10_000, 100).chain(stay(2_500, 100))), [114, 149]);
        let further = stay(10_000, 1).chain(stay(2_500, 60)).chain(stay(600, 60));
        assert_eq!(given_back(further), [15, 50, 75, 110]);
    }

    #[test]
    fn clients_that_come_back_find_everything_as_it_was() {
        assert_eq!(given_back(stay(10_000, 5).chain(stay(0, 14)).chain(stay(2_501, 1)).chain(stay(0, 14))), [0; 0]);
        assert_eq!(given_back(stay(10_000, 100).chain(stay(2_501, 100))), [0; 0]);
    }

    #[test]
    fn few_are_not_worth_it() {
        assert_eq!(given_back(stay(MANY - 1, 10).chain(stay(0, 100))), [0; 0]);
        assert_eq!(given_back(stay(MANY, 10).chain(stay(0, 100))), [24, 59]);
    }
}
