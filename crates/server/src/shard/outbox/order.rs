//! In which order an outbox is emptied.
//!
//! One sentence each:
//! - While a barrier waits, everything leaves in the order in which it came.
//! - Else a sign of life leaves first.
//! - Then the most urgent lane leaves, each in the order in which its packets came; between equals the older leaves.
//! - After [`MOST_AHEAD`] that overtook it, the oldest of all leaves.
//! - Packets that say how far their client has heard keep their order among each other: one of them is as urgent as the
//!   most urgent behind it.
//! - An answer leaves when it is the oldest of all.

use std::collections::VecDeque;
use std::rc::Rc;

use oyez_hub::delivery::Priority;

use super::{Outbox, Parcel, Standing};

/// So many may overtake the oldest one after the other.
pub(super) const MOST_AHEAD: u8 = 7;

/// How urgent something is that waits; less is more urgent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank(u8);

impl Rank {
    const VITAL: Self = Self(0);

    fn of(standing: Standing) -> Self {
        match standing {
            Standing::Vital => Self::VITAL,
            _ => Self(1 + standing.lane() as u8),
        }
    }
}

/// One that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its number; they rise.
    pub ticket: u64,
    rank: Rank,
    /// It leaves only when it is the oldest of all.
    patient: bool,
    pub parcel: Rc<Parcel>,
}

/// The queues of an outbox, each in the order in which its packets came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// Whatever is not urgent and not low, and the answers.
    Main,
    Vital,
    Urgent,
    High,
    Low,
    /// Publications that say how far their client has heard.
    Placed,
}

/// The first in a queue.
type Head<'a> = (Queue, &'a Waiting);

/// Queues beside the main one; they take memory only where they are needed.
pub(super) type Others = [VecDeque<Waiting>; Queue::ALL.len() - 1];

impl Queue {
    pub(super) const ALL: [Self; 6] = [Self::Main, Self::Vital, Self::Urgent, Self::High, Self::Low, Self::Placed];

    /// In this order packets are given up.
    pub(super) const EXPENDABLE: [Self; 5] = [Self::Low, Self::Placed, Self::Main, Self::High, Self::Urgent];
}

/// Where a walk through the queues is.
#[derive(Debug, Clone, Copy, Default)]
struct Walk {
    /// So many of each queue are behind it.
    at: [usize; Queue::ALL.len()],
    /// So many have overtaken the oldest, one after the other.
    ahead: u8,
}

impl Outbox {
    /// The queue for a packet. A sign of life that overtakes nothing needs none of its own.
    pub(super) fn queue_for(&self, standing: Standing) -> Queue {
        match standing {
            Standing::Vital if self.is_empty() => Queue::Main,
            Standing::Vital => Queue::Vital,
            Standing::Answer | Standing::Barrier | Standing::Lane(Priority::Normal) => Queue::Main,
            Standing::Lane(Priority::Urgent) => Queue::Urgent,
            Standing::Lane(Priority::High) => Queue::High,
            Standing::Lane(Priority::Low) => Queue::Low,
            Standing::Placed(_) => Queue::Placed,
        }
    }

    /// Lets a packet wait at the end of a queue.
    pub(super) fn append(&mut self, queue: Queue, parcel: Rc<Parcel>) {
        let standing = parcel.standing();
        let (ticket, rank) = (self.next_ticket, Rank::of(standing));
        self.next_ticket += 1;
        if standing == Standing::Barrier {
            self.barrier = self.next_ticket;
        }
        let patient = matches!(standing, Standing::Answer | Standing::Barrier);
        let line = self.queue_mut(queue);
        if queue == Queue::Placed {
            // From front to back they are ever less urgent, so this ends soon.
            line.iter_mut().rev().take_while(|before| before.rank > rank).for_each(|before| before.rank = rank);
        }
        line.push_back(Waiting { ticket, rank, patient, parcel });
    }

    pub(super) fn queue(&self, queue: Queue) -> Option<&VecDeque<Waiting>> {
        match queue {
            Queue::Main => Some(&self.main),
            other => self.side.as_ref().map(|side| &side.others[other as usize - 1]),
        }
    }

    pub(super) fn queue_mut(&mut self, queue: Queue) -> &mut VecDeque<Waiting> {
        match queue {
            Queue::Main => &mut self.main,
            other => &mut self.side.get_or_insert_default().others[other as usize - 1],
        }
    }

    /// Goes on to the packet that leaves next.
    fn step(&self, walk: &mut Walk) -> Option<(Queue, &Waiting)> {
        let first = |queue: Queue| Some((queue, self.queue(queue)?.get(walk.at[queue as usize])?));
        let (queue, waiting) = match &self.side {
            None => first(Queue::Main)?,
            Some(_) => self.choose(Queue::ALL.map(first), &mut walk.ahead)?,
        };
        walk.at[queue as usize] += 1;
        Some((queue, waiting))
    }

    /// Which of the first of all queues leaves next; `ahead` have overtaken the oldest.
    fn choose<'a>(&self, heads: [Option<Head<'a>>; Queue::ALL.len()], ahead: &mut u8) -> Option<Head<'a>> {
        let heads = || heads.iter().flatten().copied();
        let oldest = heads().min_by_key(|(_, waiting)| waiting.ticket)?;
        let is_oldest = |head: &Head| head.1.ticket == oldest.1.ticket;
        let behind_barrier = oldest.1.ticket < self.barrier;
        if !behind_barrier && let Some(vital) = heads().find(|(_, waiting)| waiting.rank == Rank::VITAL) {
            return Some(vital);
        }
        let in_order = behind_barrier || *ahead >= MOST_AHEAD;
        let may_leave = |head: &Head| is_oldest(head) || !(in_order || head.1.patient);
        let chosen = heads().filter(may_leave).min_by_key(|(_, waiting)| (waiting.rank, waiting.ticket))?;
        *ahead = if is_oldest(&chosen) { 0 } else { *ahead + 1 };
        Some(chosen)
    }

    fn walk(&self) -> Walk {
        Walk { ahead: self.side.as_ref().map_or(0, |side| side.ahead), ..Walk::default() }
    }

    /// What waits and is not begun, in the order in which it leaves.
    pub(super) fn in_order(&self) -> impl Iterator<Item = &Rc<Parcel>> {
        let mut walk = self.walk();
        std::iter::from_fn(move || self.step(&mut walk).map(|(_, waiting)| &waiting.parcel))
    }

    /// Takes the packet that leaves next out of its queue.
    pub(super) fn leave(&mut self) -> Option<Waiting> {
        let mut walk = self.walk();
        let (queue, _) = self.step(&mut walk)?;
        if let Some(side) = &mut self.side {
            side.ahead = walk.ahead;
        }
        self.queue_mut(queue).pop_front()
    }
}

/// Where the one with this ticket waits.
pub(super) fn position(queue: &VecDeque<Waiting>, ticket: u64) -> Option<usize> {
    queue.binary_search_by_key(&ticket, |waiting| waiting.ticket).ok()
}
