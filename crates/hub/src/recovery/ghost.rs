//! What a node remembers of sessions that were cut off, for as long as they may come back.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Mark, Wanted, direct};
use crate::address::Address;
use crate::channel::EVERYONE;
use crate::command::Select;
use crate::policy::{Identity, Policy};

/// A session that was cut off.
#[derive(Debug, Clone, Default)]
pub struct Ghost {
    /// Who it was; whoever comes back in its name must be the same user. With the rights by which its channels were decided.
    pub identity: Arc<Identity>,
    /// The rules by which they were.
    pub policy: Arc<Policy>,
    /// Where it was, by name, and of each channel up to where all that was said has certainly reached it or was not for it.
    pub channels: Vec<Wanted>,
    /// Where it was before, for as long as something of that may have to be said again.
    pub left: Vec<Wanted>,
    /// The same as of its channels, for all of them.
    pub confirmed: u64,
    /// Up to here it was in them.
    pub left_at: u64,
    /// What its client showed when it came from another node: until it has heard something here, it shows that again.
    pub showed: Option<Mark>,
    /// Its client began anew, and was told so there.
    pub anew: Option<Anew>,
}

/// What a client misses that begins anew.
#[derive(Debug, Clone, Default)]
pub struct Lost {
    /// In these channels something is lost; none: maybe in any.
    pub channels: Vec<Arc<str>>,
    /// Where it was. What was said there since then it is not sent, so that is lost, too, until it is told so.
    pub wanted: Vec<Wanted>,
}

/// That a client began anew: it has missed something that is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anew {
    /// The place at which it was told so, and nothing else was said.
    pub position: u64,
    /// The channels in which it missed something; none: maybe in any.
    pub lost: Vec<Arc<str>>,
}

/// Bytes that a ghost costs beside the names of its channels, and each of those, about.
const EACH: usize = 256;
const PER_CHANNEL: usize = 40;

impl Ghost {
    /// Bytes that it costs, about.
    fn cost(&self) -> usize {
        EACH + self.channels.iter().chain(&self.left).map(|known| known.channel.len() + PER_CHANNEL).sum::<usize>()
    }

    /// What it missed in its channels and under its own name, if it says that it has everything up to `heard`. In a channel
    /// that it was taken out of, and put into again, it missed both what was said before and what was afterwards.
    #[must_use]
    pub fn wanted(&self, name: Address, heard: u64) -> Vec<Wanted> {
        self.missed(name, heard, |known| self.is_in(&known.channel))
    }

    /// The same, with what it would miss besides if it were put again where it was before.
    #[must_use]
    pub(crate) fn may_want(&self, name: Address, heard: u64) -> Vec<Wanted> {
        self.missed(name, heard, |_| true)
    }

    fn missed(&self, name: Address, heard: u64, and: impl Fn(&Wanted) -> bool) -> Vec<Wanted> {
        let since = self.confirmed.max(heard);
        let before = self.left.iter().filter(|known| known.until > since && and(known));
        let wanted = |known: &Wanted| Wanted { since: known.since.max(since), ..known.clone() };
        self.channels.iter().chain(before).map(wanted).chain([Wanted::after(direct(name), since)]).collect()
    }

    /// When it was in which channels: that decides of what was said except there.
    #[must_use]
    pub fn stays(&self) -> Vec<Wanted> {
        self.channels.iter().chain(&self.left).cloned().collect()
    }

    /// How far a client has heard that shows this; `own` is the beginning of this node's log. A place in no log that counts
    /// here stays what it is.
    #[must_use]
    pub fn heard(&self, shown: Option<Mark>, own: Mark) -> Mark {
        match shown {
            None => own,
            Some(shown) if self.showed == Some(shown) => own,
            Some(shown) => shown,
        }
    }

    /// What its client missed before it began anew, and since then, if it does not know that it did: it says that it has
    /// everything up to `heard`.
    #[must_use]
    pub fn unheard(&self, name: Address, heard: Mark) -> Option<Lost> {
        let since = self.confirmed.max(heard.position);
        let anew = self.anew.as_ref().filter(|anew| anew.position > since)?;
        Some(Lost { channels: anew.lost.clone(), wanted: self.wanted(name, since) })
    }

    /// Whether it is in a channel.
    #[must_use]
    pub fn is_in(&self, channel: &str) -> bool {
        self.channels.binary_search_by(|known| (*known.channel).cmp(channel)).is_ok()
    }

    /// It is in that channel, too.
    fn join(&mut self, wanted: &Wanted) {
        if let Err(at) = self.channels.binary_search_by(|known| known.channel.cmp(&wanted.channel)) {
            self.channels.insert(at, wanted.clone());
        }
    }

    /// From that position on it is not in these channels.
    pub fn leave(&mut self, channels: &[Arc<str>], until: u64) {
        let gone = self.channels.extract_if(.., |known| channels.contains(&known.channel));
        let gone = gone.filter(|known| known.since < until).map(|known| Wanted { until, ..known });
        self.left.extend(gone);
    }

    /// Whether a command is about it.
    fn is_meant(&self, name: Address, select: &Select) -> bool {
        let within =
            |channels: &[Arc<str>]| channels.iter().any(|channel| **channel == *EVERYONE || self.is_in(channel));
        match select {
            Select::Everyone => true,
            Select::Channels { to, except } => within(to) && !within(except),
            Select::Socket(address) => *address == name,
            Select::User(user) => self.identity.user == *user,
        }
    }
}

/// What a command asks of sessions that are away.
#[derive(Debug, Clone)]
pub enum Change {
    /// They are in these channels, too, and want what is said there from now on.
    Join(Vec<Wanted>),
    /// They are in these channels no more, after that position.
    Leave(Vec<Arc<str>>, u64),
    /// They begin anew.
    Forget,
}

/// All of an app. When there are too many, those that wait longest are forgotten.
#[derive(Debug)]
pub struct Ghosts {
    most: usize,
    most_bytes: usize,
    state: Mutex<State>,
    gone: Notify,
}

#[derive(Debug, Default)]
struct State {
    ghosts: HashMap<Address, Kept>,
    /// By their users.
    users: BTreeSet<(Arc<str>, Address)>,
    /// By when they are forgotten. One that came back and was cut off again is in here twice, and only the later
    /// time is its own.
    ends: VecDeque<(Instant, Address)>,
    bytes: usize,
    /// Commands that have not reached every shard yet, by number.
    orders: Vec<(u64, Select, Change)>,
    next_order: u64,
}

#[derive(Debug)]
struct Kept {
    ghost: Ghost,
    end: Instant,
    /// Somebody is coming back as it, and may still fail to.
    claimed: bool,
}

/// As long as it is there, a command is also about who is being cut off.
#[derive(Debug)]
#[must_use]
pub struct Order<'a> {
    ghosts: &'a Ghosts,
    number: u64,
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        self.ghosts.state.lock().orders.retain(|(number, ..)| *number != self.number);
    }
}

impl Ghosts {
    /// Nobody; at most so many, and of so many bytes, about.
    #[must_use]
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self { most, most_bytes, state: Mutex::default(), gone: Notify::new() }
    }

    /// Remembers a session for a while.
    pub fn keep(&self, name: Address, ghost: Ghost, window: Duration, now: Instant) {
        let mut state = self.state.lock();
        state.forget(now);
        state.remove(name);
        self.enter(&mut state, name, ghost, now + window);
    }

    fn enter(&self, state: &mut State, name: Address, ghost: Ghost, end: Instant) {
        let cost = ghost.cost();
        let is_full = |state: &State| state.ghosts.len() >= self.most || state.bytes + cost > self.most_bytes;
        while is_full(state) && state.forget_oldest() {}
        state.insert(name, ghost, end, false);
        state.ends_at(name, end);
    }

    /// What is remembered of a session, for somebody who comes back as it: nobody else can, until that has succeeded
    /// ([`Ghosts::settle`]) or failed ([`Ghosts::give_back`]).
    #[must_use]
    pub fn claim(&self, name: Address, now: Instant) -> Option<Ghost> {
        let mut state = self.state.lock();
        state.forget(now);
        let kept = state.ghosts.get_mut(&name).filter(|kept| !kept.claimed)?;
        kept.claimed = true;
        Some(kept.ghost.clone())
    }

    /// Who has claimed it is there again; gives what is left of it after what commands have changed meanwhile, or nothing
    /// if one has ended it.
    #[must_use]
    pub fn settle(&self, name: Address) -> Option<Ghost> {
        let ghost = self.state.lock().remove(name);
        self.gone.notify_waiters();
        ghost
    }

    /// Waits until somebody has come back as each of them.
    pub async fn emptied(&self) {
        loop {
            let mut gone = pin!(self.gone.notified());
            gone.as_mut().enable();
            if self.count() == 0 {
                return;
            }
            gone.await;
        }
    }

    /// What is remembered of a session, unless somebody comes back as it.
    #[must_use]
    pub fn look<R>(&self, name: Address, now: Instant, see: impl FnOnce(&Ghost) -> R) -> Option<R> {
        let mut state = self.state.lock();
        state.forget(now);
        state.ghosts.get(&name).filter(|kept| !kept.claimed).map(|kept| see(&kept.ghost))
    }

    /// Has commands reach a session that is about to be taken over from another node; false if it is here already.
    pub(crate) fn expect(&self, name: Address, ghost: Ghost, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.forget(now);
        if state.ghosts.contains_key(&name) {
            return false;
        }
        state.insert(name, ghost, now, true);
        true
    }

    /// The session that was expected is here: `complete` makes it of what commands have left of what was expected. False if
    /// one has ended it.
    pub(crate) fn arrive(
        &self,
        name: Address,
        complete: impl FnOnce(Ghost) -> Ghost,
        window: Duration,
        now: Instant,
    ) -> bool {
        let mut state = self.state.lock();
        let Some(expected) = state.remove(name) else { return false };
        self.enter(&mut state, name, complete(expected), now + window);
        true
    }

    /// Who has claimed it has not come back after all.
    pub fn give_back(&self, name: Address, window: Duration, now: Instant) {
        let mut state = self.state.lock();
        let end = now + window;
        if let Some(kept) = state.ghosts.get_mut(&name) {
            (kept.claimed, kept.end) = (false, end);
            state.ends_at(name, end);
        }
    }

    /// Changes those who are away, and whoever is cut off until the order is dropped: so nobody slips through who goes or
    /// comes back while the command is on its way to the shards.
    pub fn order(&self, select: Select, change: Change) -> Order<'_> {
        let mut state = self.state.lock();
        for name in state.candidates(&select) {
            state.obey(name, &select, &change);
        }
        let number = state.next_order;
        state.next_order += 1;
        state.orders.push((number, select, change));
        Order { ghosts: self, number }
    }

    /// The nodes that gave their names.
    pub(crate) fn named_by(&self) -> HashSet<u16> {
        self.state.lock().ghosts.keys().map(|name| name.node).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.state.lock().ghosts.len()
    }
}

impl State {
    /// Those that a command may be about.
    fn candidates(&self, select: &Select) -> Vec<Address> {
        match select {
            Select::Socket(name) => vec![*name],
            Select::User(user) => {
                let from = (Arc::clone(user), Address { node: 0, shard: 0, slot: 0, nonce: 0 });
                self.users.range(from..).take_while(|(other, _)| other == user).map(|(_, name)| *name).collect()
            }
            Select::Everyone | Select::Channels { .. } => self.ghosts.keys().copied().collect(),
        }
    }

    /// Does what a command asks, if it is about that one.
    fn obey(&mut self, name: Address, select: &Select, change: &Change) {
        let Some(Kept { ghost, .. }) = self.ghosts.get_mut(&name).filter(|kept| kept.ghost.is_meant(name, select))
        else {
            return;
        };
        self.bytes -= ghost.cost();
        match change {
            Change::Join(channels) => channels.iter().for_each(|wanted| ghost.join(wanted)),
            Change::Leave(channels, until) => ghost.leave(channels, *until),
            Change::Forget => {}
        }
        self.bytes += ghost.cost();
        if matches!(change, Change::Forget) {
            self.remove(name);
        }
    }

    /// Notes when its time is over. Apps have different windows over time, so this is not always the end of the line.
    fn ends_at(&mut self, name: Address, end: Instant) {
        let at = self.ends.partition_point(|(other, _)| *other <= end);
        self.ends.insert(at, (end, name));
    }

    /// Enters it; commands that are under way are about it, too.
    fn insert(&mut self, name: Address, ghost: Ghost, end: Instant, claimed: bool) {
        self.bytes += ghost.cost();
        self.users.insert((Arc::clone(&ghost.identity.user), name));
        self.ghosts.insert(name, Kept { ghost, end, claimed });
        let orders = std::mem::take(&mut self.orders);
        orders.iter().for_each(|(_, select, change)| self.obey(name, select, change));
        self.orders = orders;
    }

    fn remove(&mut self, name: Address) -> Option<Ghost> {
        let Kept { ghost, .. } = self.ghosts.remove(&name)?;
        self.bytes -= ghost.cost();
        self.users.remove(&(Arc::clone(&ghost.identity.user), name));
        Some(ghost)
    }

    fn forget(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(end, _)| *end <= now) {
            self.forget_oldest();
        }
    }

    /// Forgets whose time is over first; false when there is nobody. Who is claimed stays until that is decided.
    fn forget_oldest(&mut self) -> bool {
        let Some((end, name)) = self.ends.pop_front() else { return false };
        if self.ghosts.get(&name).is_some_and(|kept| kept.end == end && !kept.claimed) {
            self.remove(name);
        }
        true
    }
}
