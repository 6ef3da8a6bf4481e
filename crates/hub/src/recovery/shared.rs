//! The log of a node among others: what they say enters it as it is heard here, so it knows where it has not heard all, and
//! hands a session's share over to the node to which its client comes back.
//!
//! A node hears what each other one says in the order in which that says it, and numbers tell what is the same. So "all up to
//! these numbers" is what one log had when it handed something over, and whatever has a higher one the other log hears itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::log::{Gap, Log, Mark, Missed, Wanted};
use super::ring::{Entry, History};
use super::{DIRECT, direct};
use crate::address::Address;
use crate::cluster::Peer;
use crate::delivery::Publication;

/// Up to which number a log has what each node has said.
pub type Numbers = Vec<(Peer, u64)>;

/// What a reader has from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Had {
    /// All that nodes have said up to these.
    pub numbers: Numbers,
    /// All up to this place of the history that nodes share.
    pub recorded: Option<Mark>,
}

/// Where a session stands in a log that has taken it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stand {
    /// What it has missed comes after this.
    pub(crate) before: u64,
    /// And goes up to here.
    pub(crate) until: u64,
}

impl Log {
    /// There are others who say things.
    pub(crate) fn share(&self) {
        self.state.lock().is_shared = true;
    }

    /// From now on all that others say in these channels is heard here.
    pub(crate) fn listens(&self, channels: impl IntoIterator<Item = Arc<str>>) {
        let mut state = self.state.lock();
        let began = self.nothing(&state);
        state.ears.extend(channels.into_iter().map(|channel| (channel, began)));
    }

    /// What others say in a channel is not heard here any more.
    pub(crate) fn ignores(&self, channel: &str) {
        self.state.lock().ears.remove(channel);
    }

    /// Whether what others say in a channel is heard here.
    pub(crate) fn is_listening(&self, channel: &str) -> bool {
        self.state.lock().ears.contains_key(channel)
    }

    /// Whether something was said in a channel since then that is not in the history that nodes share.
    /// `None`: ever.
    pub(crate) fn has_unrecorded(&self, channel: &str, since: Option<Instant>) -> bool {
        let state = self.state.lock();
        let lately = state.rings.get(channel).into_iter().flat_map(|ring| ring.entries.iter().rev());
        let mut lately = lately.take_while(|entry| since.is_none_or(|since| entry.at >= since));
        lately.any(|entry| entry.publication.recorded.is_none())
    }

    /// Something that others said in these channels was not heard here; none: in any of them. `push` is called with the place
    /// after which all is heard, while nothing else can be said.
    pub(crate) fn miss(&self, channels: Option<&[Arc<str>]>, now: Instant, push: impl FnOnce(u64)) {
        let mut state = self.state.lock();
        let position = self.nothing(&state);
        match channels {
            None => state.missed = position,
            Some(channels) => channels.iter().for_each(|channel| state.miss(channel, position, now)),
        }
        push(position);
    }

    /// The same as [`Log::replay`], beside what the reader has from elsewhere.
    ///
    /// # Errors
    /// As that.
    pub fn replay_beside<R>(
        &self,
        had: &Had,
        from: Mark,
        wanted: &[Wanted],
        budget: usize,
        now: Instant,
        push: impl FnOnce(Missed, u64) -> R,
    ) -> Result<R, Gap> {
        let mut state = self.state.lock();
        let missed = self.look(&mut state, from, wanted, had, budget, now)?;
        Ok(push(missed, self.last()))
    }

    /// What a reader who goes elsewhere has missed here, and up to which numbers this log has what was said by now. `is_kept`:
    /// channels with a history, so that this node has to have listened to them.
    ///
    /// # Errors
    /// As [`Log::replay`].
    pub(crate) fn hand_over(
        &self,
        from: Mark,
        wanted: &[Wanted],
        budget: usize,
        is_kept: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Result<(Missed, Numbers), Gap> {
        let mut state = self.state.lock();
        let is_deaf =
            |wanted: &&Wanted| wanted.lasts() && is_kept(&wanted.channel) && !state.ears.contains_key(&wanted.channel);
        let deaf = wanted.iter().filter(is_deaf).map(|wanted| Arc::clone(&wanted.channel));
        let doubtful: Vec<_> = deaf.chain(state.blurred(wanted, now)).collect();
        if !doubtful.is_empty() {
            return Err(Gap { channels: state.missing(doubtful, wanted, now), until: self.mark(self.last()) });
        }
        let missed = self.look(&mut state, from, wanted, &Had::default(), budget, now)?;
        Ok((missed, state.numbers.iter().map(|(peer, number)| (*peer, *number)).collect()))
    }

    /// Takes over a session with what it has missed elsewhere: that is remembered as what it was told by its own name,
    /// followed by what was said here since then in the channels that it wants, and is not among it by those numbers.
    /// `addressed` makes it something that the session is told, or nothing.
    ///
    /// # Errors
    /// The channels in which something is missed then, as a server of another make has just said something; none: maybe in any.
    pub(crate) fn take_over(
        &self,
        name: Address,
        missed: Vec<Publication>,
        numbers: &Numbers,
        wanted: &[Wanted],
        addressed: impl Fn(&Publication, u64) -> Option<Publication>,
        now: Instant,
    ) -> Result<Stand, Vec<Arc<str>>> {
        let mut state = self.state.lock();
        let blurred = state.blurred(wanted, now);
        if !blurred.is_empty() {
            return Err(if missed.is_empty() { state.missing(blurred, wanted, now) } else { Vec::new() });
        }
        let before = self.last();
        let mut later: Vec<Entry> = Vec::new();
        let had = Had { numbers: numbers.clone(), recorded: None };
        for wanted in wanted {
            let Some(ring) = state.rings.get(&wanted.channel) else { continue };
            let new = ring.entries.iter().filter(|entry| wanted.covers(entry.position) && entry.is_new(&had));
            later.extend(new.cloned());
        }
        later.sort_unstable_by_key(|entry| entry.position);
        later.dedup_by_key(|entry| entry.position);
        let missed = missed.into_iter().map(|publication| (publication, false, None));
        let later = later.iter().filter_map(|entry| {
            let publication = addressed(&entry.publication, entry.position)?;
            Some((publication, entry.asks, entry.origin))
        });
        let all: Vec<_> = missed.chain(later).collect();
        let history = History { last: DIRECT.last.max(all.len()), ..DIRECT };
        for (publication, asks, origin) in all {
            let position = self.nothing(&state);
            let entry = Entry { position, at: now, publication: Arc::new(publication), asks, origin };
            state.add(direct(name), history, entry);
        }
        state.trim(self.bounds, now);
        Ok(Stand { before, until: self.last.load(Ordering::Acquire) })
    }
}
