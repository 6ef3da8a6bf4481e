//! What waits to be written to one client: references to packets that were encoded once for all who hear them.

mod order;
mod parcel;

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

pub(crate) use self::parcel::{Journey, Origin, Parcel, Standing};
use crate::observe::drops::Dropped;
use order::{Others, Queue, Waiting, position};

/// The queues of one session: bounded in bytes together.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    main: VecDeque<Waiting>,
    bytes: usize,
    /// Bytes that cannot be given up.
    owed: usize,
    next_ticket: u64,
    /// What has a ticket below this leaves in the order in which it came.
    barrier: u64,
    /// A box, because few sessions ever need it.
    side: Option<Box<Side>>,
}

/// What an outbox needs once something in it is more or less urgent than the rest, or its client too slow.
#[derive(Debug, Default)]
struct Side {
    others: Others,
    /// So many have overtaken the oldest, one after the other.
    ahead: u8,
    /// A packet that is half written, and how much of its frames is.
    begun: Option<(Rc<Parcel>, usize)>,
    /// From the moment when a client is too slow until it has caught up: where the latest of each key waits.
    latest: Option<HashMap<Arc<str>, (Queue, u64)>>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It waits.
    Kept,
    /// Something was given up, because there is no room for all.
    GaveUp,
    /// What must not be given up is more than there is room for: the session is to be closed.
    Hopeless,
}

/// Hears of each packet that is given up.
type Witness<'a> = &'a mut dyn FnMut(&Parcel, Dropped);

impl Outbox {
    /// Whether the budget does not suffice for one more packet.
    pub(crate) fn is_full_with(&self, packet: &Parcel, budget: usize) -> bool {
        self.bytes + packet.len() > budget
    }

    /// Whether what cannot be given up would be more than the budget with one more packet.
    pub(crate) fn owes_more_with(&self, packet: &Parcel, budget: usize) -> bool {
        self.owed > 0 && self.owed + packet.len() > budget
    }

    /// Queues a packet. When the budget is exceeded, others that are not half written are given up, and `witness` hears of
    /// each: those of which a later one has the same key, and if that does not suffice, of the least urgent lane the
    /// oldest. A client that leaves more than the budget of what cannot be given up unread is given up itself.
    pub(crate) fn push(&mut self, packet: Rc<Parcel>, budget: usize, witness: Witness) -> Queued {
        let mut given_up = 0;
        let mut count = |parcel: &Parcel, reason| {
            given_up += 1;
            witness(parcel, reason);
        };
        if !packet.is_expendable() && self.owed > 0 && self.owed + packet.len() > budget {
            self.conflate(&mut count);
            let before = self.predecessor(&packet).map(|(_, _, waiting)| &waiting.parcel);
            let kept = self.owed - before.filter(|before| !before.is_expendable()).map_or(0, |before| before.len());
            // A single one may be as large as it likes.
            if kept > 0 && kept + packet.len() > budget {
                return Queued::Hopeless;
            }
        }
        self.count_in(&packet);
        let ticket = self.place(packet, &mut count);
        if self.bytes > budget {
            self.conflate(&mut count);
            self.drop_least(budget, ticket, &mut count);
        }
        if given_up > 0 { Queued::GaveUp } else { Queued::Kept }
    }

    /// Queues a packet, whatever waits already.
    pub(crate) fn insist(&mut self, packet: Rc<Parcel>) {
        self.push(packet, usize::MAX, &mut |_, _| {});
    }

    /// Takes over what was to be written at once, and of which the kernel took only so many bytes; `size` tells how long a
    /// packet's frames are.
    pub(crate) fn take_over(
        &mut self,
        parcels: impl IntoIterator<Item = Rc<Parcel>>,
        mut written: usize,
        size: impl Fn(&Parcel) -> usize,
    ) {
        for parcel in parcels {
            let all = size(&parcel);
            if written >= all {
                written -= all;
            } else if written > 0 {
                self.count_in(&parcel);
                self.side.get_or_insert_default().begun = Some((parcel, std::mem::take(&mut written)));
            } else {
                self.insist(parcel);
            }
        }
    }

    /// Where a packet waits of which this one can take the place, if this client is too slow for both.
    fn predecessor(&self, packet: &Parcel) -> Option<(Queue, usize, &Waiting)> {
        let (queue, ticket) = *self.side.as_ref()?.latest.as_ref()?.get(packet.key()?)?;
        let line = self.queue(queue)?;
        let at = position(line, ticket)?;
        Some((queue, at, &line[at]))
    }

    /// Puts a packet where one of its key waits, or else at the end of its queue. (One that says how far its client has
    /// heard goes to the end, in the stead of the other.) Returns its ticket.
    fn place(&mut self, packet: Rc<Parcel>, witness: Witness) -> u64 {
        let queue = self.queue_for(packet.standing());
        if let Some((other, at, before)) = self.predecessor(&packet) {
            let ticket = before.ticket;
            if other == queue && queue != Queue::Placed {
                let old = std::mem::replace(&mut self.queue_mut(queue)[at].parcel, packet);
                self.count_out(&old);
                witness(&old, Dropped::Conflated);
                return ticket;
            }
            if let Some(old) = self.queue_mut(other).remove(at) {
                self.count_out(&old.parcel);
                witness(&old.parcel, Dropped::Conflated);
            }
        }
        let ticket = self.next_ticket;
        if let (Some(latest), Some(key)) = (self.latest_mut(), packet.key()) {
            latest.insert(Arc::clone(key), (queue, ticket));
        }
        self.append(queue, packet);
        ticket
    }

    /// The client has become too slow: of each key only the latest stays, where the first of them in its queue was, or, if
    /// it says how far the client has heard, where it is.
    fn conflate(&mut self, witness: Witness) {
        if self.latest_mut().is_some() {
            return;
        }
        let mut newest: HashMap<Arc<str>, (Queue, u64, Rc<Parcel>)> = HashMap::new();
        let mut latest = HashMap::new();
        for queue in Queue::ALL {
            for Waiting { ticket, parcel, .. } in self.queue(queue).into_iter().flatten() {
                if let Some(key) = parcel.key()
                    && newest.get(key).is_none_or(|(_, other, _)| other < ticket)
                {
                    newest.insert(Arc::clone(key), (queue, *ticket, Rc::clone(parcel)));
                }
            }
        }
        for queue in Queue::ALL.into_iter().filter(|_| !newest.is_empty()) {
            let mut line = std::mem::take(self.queue_mut(queue));
            line.retain_mut(|waiting| {
                let Some(key) = waiting.parcel.key().cloned() else { return true };
                let Some((home, last, parcel)) = newest.get(&key) else { return true };
                if waiting.ticket != *last {
                    self.count_out(&waiting.parcel);
                    witness(&waiting.parcel, Dropped::Conflated);
                }
                let is_first = *home == queue && !latest.contains_key(&key);
                let stays = if queue == Queue::Placed { waiting.ticket == *last } else { is_first };
                if stays {
                    latest.insert(key, (queue, waiting.ticket));
                    waiting.parcel = Rc::clone(parcel);
                }
                stays
            });
            *self.queue_mut(queue) = line;
        }
        self.side.get_or_insert_default().latest = Some(latest);
    }

    /// Drops what may be dropped until the rest is within the budget: of the least urgent lane the oldest; the packet that
    /// has just come (`newest`) only in favour of more urgent ones.
    fn drop_least(&mut self, budget: usize, newest: u64, witness: Witness) {
        let mut spared = None;
        for queue in Queue::EXPENDABLE {
            let mut at = 0;
            while self.bytes > budget
                && let Some(waiting) = self.queue(queue).and_then(|line| line.get(at))
            {
                let victim = match waiting {
                    Waiting { parcel, .. } if !parcel.is_expendable() => None,
                    Waiting { ticket, .. } if *ticket == newest => {
                        spared = Some((queue, at));
                        None
                    }
                    _ => Some(spared.take().unwrap_or((queue, at))),
                };
                let Some((queue, place)) = victim else {
                    at += 1;
                    continue;
                };
                if let Some(old) = self.queue_mut(queue).remove(place) {
                    self.forget(&old);
                    self.count_out(&old.parcel);
                    witness(&old.parcel, Dropped::SlowConsumer);
                }
            }
        }
    }

    /// Bytes that wait, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        let idle = |side: &Side| side.begun.is_none() && side.others.iter().all(VecDeque::is_empty);
        self.main.is_empty() && self.side.as_deref().is_none_or(idle)
    }

    /// A publication waits, not yet begun, that must not be lost.
    pub(crate) fn holds_promises(&self) -> bool {
        let mut waiting = Queue::ALL.into_iter().filter_map(|queue| self.queue(queue)).flatten();
        waiting.any(|waiting| waiting.parcel.origin().is_some() && !waiting.parcel.is_expendable())
    }

    /// Packets that wait, in the order in which they leave.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Parcel>> {
        self.begun().map(|(parcel, _)| parcel).into_iter().chain(self.in_order())
    }

    /// How much of the first packet is written.
    pub(crate) fn written(&self) -> usize {
        self.begun().map_or(0, |(_, written)| *written)
    }

    fn begun(&self) -> Option<&(Rc<Parcel>, usize)> {
        self.side.as_ref()?.begun.as_ref()
    }

    /// Notes that `count` bytes of the frames were written; `size` tells how long a packet's frames are.
    pub(crate) fn advance(&mut self, mut count: usize, size: impl Fn(&Parcel) -> usize) {
        while count > 0 {
            let begun = self.side.as_mut().and_then(|side| side.begun.take());
            let Some((parcel, written)) = begun.or_else(|| Some((self.next()?, 0))) else { break };
            let left = size(&parcel) - written;
            if count < left {
                self.side.get_or_insert_default().begun = Some((parcel, written + count));
                return;
            }
            count -= left;
            self.count_out(&parcel);
        }
        if self.is_empty() {
            self.rest();
        }
    }

    /// Takes the next packet out of its queue; its bytes still count.
    fn next(&mut self) -> Option<Rc<Parcel>> {
        let next = self.leave()?;
        self.forget(&next);
        Some(next.parcel)
    }

    /// Takes everything; its memory goes too, so that an idle session owns none.
    pub(crate) fn take(&mut self) -> Vec<Rc<Parcel>> {
        let all = self.iter().cloned().collect();
        *self = Self::default();
        all
    }

    /// Takes parcels of at most `most` packets, but at least one parcel.
    pub(crate) fn take_some(&mut self, most: usize) -> Vec<Rc<Parcel>> {
        let mut packets = 0;
        let fitting = self.iter().take_while(|parcel| {
            packets += parcel.count();
            packets <= most
        });
        let count = fitting.count().max(1);
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count
            && let Some(parcel) = self.next()
        {
            self.count_out(&parcel);
            taken.push(parcel);
        }
        if self.is_empty() {
            *self = Self::default();
        }
        taken
    }

    /// Gives the memory of an empty queue back.
    pub(crate) fn release(&mut self) {
        if self.main.is_empty() && self.main.capacity() > 0 {
            self.main = VecDeque::new();
        }
    }

    /// The client has caught up.
    fn rest(&mut self) {
        (self.next_ticket, self.barrier, self.side) = (0, 0, None);
    }

    fn latest_mut(&mut self) -> Option<&mut HashMap<Arc<str>, (Queue, u64)>> {
        self.side.as_mut()?.latest.as_mut()
    }

    /// A packet will not be replaced any more.
    fn forget(&mut self, Waiting { ticket, parcel, .. }: &Waiting) {
        if let (Some(latest), Some(key)) = (self.latest_mut(), parcel.key())
            && latest.get(key).is_some_and(|(_, known)| known == ticket)
        {
            latest.remove(key);
        }
    }

    fn count_in(&mut self, parcel: &Parcel) {
        self.bytes += parcel.len();
        self.owed += if parcel.is_expendable() { 0 } else { parcel.len() };
    }

    fn count_out(&mut self, parcel: &Parcel) {
        self.bytes -= parcel.len();
        self.owed -= if parcel.is_expendable() { 0 } else { parcel.len() };
    }
}

#[cfg(test)]
mod tests;
