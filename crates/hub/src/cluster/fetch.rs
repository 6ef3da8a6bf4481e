//! A session whose client has come back to another node than the one that it left: this node takes it over.
//!
//! Three steps. It asks all nodes who remembers the session (and ends its connection, where that is still there). It listens to
//! the session's channels. Only then it asks that node to hand the session over, so that whatever is said is among what the
//! session has missed there, or heard here, or both; numbers tell what is the same (`recovery/shared.rs`). After that the session is
//! one of this node, that was cut off a moment ago. (It relies on the broker for one thing: what others said before this node
//! listened reaches the other node before what this one says afterwards.) Should the other node have died, or not answer, its client hears of a gap.
//!
//! A session keeps its name, so others look for it on the node of that name; it is reached by a channel of its own beside that
//! (`channel::abroad_of`).

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::words::{Answer, Fetch, Fetched, Question, Relay};
use crate::Hub;
use crate::address::Address;
use crate::app::App;
use crate::channel::{EVERYONE, abroad_of, is_own};
use crate::command::Control;
use crate::delivery::{Heard, Publication, Target};
use crate::policy::{Identity, Verdict};
use crate::recovery::{Gap, Ghost, Had, Mark, Recovery, Wanted, direct, is_in, leaves_out};

/// How long a node that goes waits for others to take its sessions over: stock clients come back after 1.5 s at most.
pub const HAND_OVER: Duration = Duration::from_secs(3);

/// A session that another node remembers.
#[derive(Debug)]
pub struct Afar {
    name: Address,
    node: u16,
    /// Where it was; into those of which that is true it could not get by itself.
    pub channels: Vec<(Arc<str>, bool)>,
    /// Where it was, too, and may not be any more.
    pub without: Vec<Arc<str>>,
}

/// What was said in a channel after a place of another node's log.
#[derive(Debug, Default)]
pub struct Brought {
    /// In order.
    pub publications: Vec<Publication>,
    /// What is not said again.
    pub had: Had,
    /// Everything else comes after this place of this node's log.
    pub since: u64,
}

/// Channels of which something is lost; none: that cannot be told.
type Lost = Vec<Arc<str>>;

impl Hub {
    /// Waits until other nodes have taken over all sessions of this one, which has no clients any more, for [`HAND_OVER`] at
    /// most.
    pub async fn await_takeovers(&self) {
        if self.is_alone() {
            return;
        }
        let taken_over = async {
            for recovery in self.apps().filter_map(|app| app.recovery.clone()) {
                recovery.ghosts.emptied().await;
            }
        };
        let _ = timeout(HAND_OVER, taken_over).await;
    }

    /// Ends a session of that user that is still connected to this node, and waits until it has.
    pub async fn surrender(&self, app: &App, name: Address, user: &Arc<str>) {
        let home = app.home_of(name);
        if !self.is_home(home.node) {
            return;
        }
        let (sender, done) = oneshot::channel();
        self.control(home.shard, Control::Surrender(home, Arc::clone(user), sender));
        // Nothing comes from a shard that has gone.
        let _ = done.await;
    }

    /// Looks for a session of that user on the other nodes.
    pub async fn seek(&self, app: &App, name: Address, user: &Arc<str>) -> Option<Afar> {
        let is_it = |answer: &Answer| matches!(answer, Answer::Remembered(_));
        match self.cluster()?.find(app, Question::Seek(name, Arc::clone(user)), is_it).await? {
            (node, Answer::Remembered(channels)) => Some(Afar { name, node, channels, without: Vec::new() }),
            _ => None,
        }
    }

    /// Takes a session over, for a client of this identity which has shown that place: then this node remembers it. It
    /// is taken over even if nobody waits for that any more.
    ///
    /// # Errors
    /// The channels of which something is lost; it then begins anew.
    pub async fn fetch(
        &self,
        app: &Arc<App>,
        mut afar: Afar,
        identity: &Arc<Identity>,
        shown: Option<Mark>,
        budget: usize,
    ) -> Result<(), Lost> {
        let (hub, app, identity) = (self.clone(), Arc::clone(app), Arc::clone(identity));
        let (sender, done) = oneshot::channel();
        self.spawn(async move {
            let without = std::mem::take(&mut afar.without);
            let fetch = Fetch { node: afar.node, name: afar.name, shown, budget, without };
            let _ = sender.send(hub.take_session_over(&app, afar, identity, fetch).await);
        });
        done.await.unwrap_or_else(|_| Err(Lost::new()))
    }

    async fn take_session_over(
        &self,
        app: &App,
        afar: Afar,
        identity: Arc<Identity>,
        fetch: Fetch,
    ) -> Result<(), Lost> {
        let (Some(recovery), Some(cluster)) = (&app.recovery, self.cluster()) else { return Err(Lost::new()) };
        let (name, showed) = (afar.name, fetch.shown);
        let channels: Vec<Arc<str>> = afar.channels.into_iter().map(|(channel, _)| channel).collect();
        let all: BTreeSet<Arc<str>> = channels.iter().cloned().chain([EVERYONE.into()]).collect();
        let all: Vec<Arc<str>> = all.into_iter().collect();
        let policy = Arc::clone(&app.policy);
        let expected = Ghost { identity, policy, channels: wanted(&all, 0), showed, ..Ghost::default() };
        // From here on commands that are given here are about it, too.
        if !recovery.ghosts.expect(name, expected, Instant::now()) {
            return Err(Lost::new());
        }
        let arrived = async {
            let _listening = self.listen(app.id, channels.iter().cloned().chain([abroad_of(name)])).await;
            let since = recovery.log.last();
            let is_it = |answer: &Answer| matches!(answer, Answer::Fetched(_) | Answer::Lost(_));
            match cluster.find(app, Question::Fetch(fetch), is_it).await {
                Some((_, Answer::Fetched(fetched))) => settle(app, recovery, *fetched, &all, since),
                Some((_, Answer::Lost(channels))) => Err(channels),
                _ => Err(Lost::new()),
            }
        };
        arrived.await.inspect_err(|_| drop(recovery.ghosts.settle(name)))
    }

    /// Brings what was said in a channel after a place of another node's log, for a member of this one who is about to join
    /// it, and to whom this node listens already. `None`: something of it is lost.
    pub async fn bring(
        &self,
        app: &App,
        channel: &Arc<str>,
        since: Mark,
        budget: usize,
        name: Address,
    ) -> Option<Brought> {
        let (recovery, cluster) = (app.recovery.as_ref()?, self.cluster()?);
        let from = recovery.log.last();
        let question = Question::Since(Arc::clone(channel), since, budget, name);
        let is_it = |answer: &Answer| matches!(answer, Answer::Said(_) | Answer::Lost(_));
        let (_, Answer::Said(fetched)) = cluster.find(app, question, is_it).await? else { return None };
        let publications = fetched.missed.into_iter().filter_map(|relay| relay.publication(app)).collect();
        let had = Had { numbers: fetched.numbers, recorded: None };
        Some(Brought { publications, had, since: from })
    }

    /// What another node hears that looks for a session.
    pub(super) async fn remembered(&self, app: &App, name: Address, user: &Arc<str>) -> Answer {
        let Some(recovery) = &app.recovery else { return Answer::Done };
        let see = |ghost: &Ghost| {
            let own = ghost.channels.iter().filter(|wanted| !is_own(&wanted.channel));
            let put = |channel: &str| matches!(ghost.policy.subscribe(&ghost.identity, channel), Verdict::Deny { .. });
            let channels = own.map(|wanted| (Arc::clone(&wanted.channel), put(&wanted.channel))).collect();
            (ghost.identity.user == *user).then_some(Answer::Remembered(channels))
        };
        let seen = match recovery.ghosts.look(name, Instant::now(), see) {
            Some(seen) => seen,
            None => {
                self.surrender(app, name, user).await;
                recovery.ghosts.look(name, Instant::now(), see).flatten()
            }
        };
        seen.unwrap_or(Answer::Done)
    }

    /// Gives a session to the node that has asked for it; this one forgets it.
    pub(super) fn hand_session_over(&self, app: &App, fetch: &Fetch) -> Answer {
        let (Some(recovery), name, now) = (&app.recovery, fetch.name, Instant::now()) else { return Answer::Done };
        if recovery.ghosts.claim(name, now).is_none() {
            return Answer::Done;
        }
        let Some(mut ghost) = recovery.ghosts.settle(name) else { return Answer::Done };
        ghost.leave(&fetch.without, recovery.log.last());
        let heard = ghost.heard(fetch.shown, recovery.log.mark(0));
        if let Some(lost) = ghost.unheard(name, heard) {
            return Answer::Lost(recovery.log.missing(lost, now));
        }
        let from = Mark { position: ghost.left_at, ..heard };
        let look = |wanted: Vec<Wanted>| {
            let handed = recovery.log.hand_over(from, &wanted, fetch.budget, is_kept(app), now)?;
            Ok::<_, Gap>((handed, wanted))
        };
        // What is lost of where it was before is no reason to begin anew.
        let looked = look(ghost.may_want(name, heard.position)).or_else(|_| look(ghost.wanted(name, heard.position)));
        let ((missed, numbers), wanted) = match looked {
            Ok(found) => found,
            Err(Gap { channels, .. }) => return Answer::Lost(channels),
        };
        let stays = ghost.stays();
        let own = |publication: &Publication, position| share(publication, name, &wanted, &stays, position);
        let missed = missed.iter().filter_map(|(position, publication)| own(publication, *position));
        let missed = missed.map(|publication| Relay::of(app, &publication)).collect();
        let channels = ghost.channels.into_iter().map(|known| known.channel).filter(|channel| !is_own(channel));
        Answer::Fetched(Box::new(Fetched {
            app: app.name.clone(),
            name,
            channels: channels.collect(),
            missed,
            numbers,
        }))
    }
}

/// What another node hears that asks for what was said in a channel after a place: nothing, if that is no place here.
pub(super) fn said_since(app: &App, channel: Arc<str>, since: Mark, budget: usize, name: Address) -> Answer {
    let Some(recovery) = app.recovery.as_ref().filter(|recovery| recovery.log.mark(0).epoch == since.epoch) else {
        return Answer::Done;
    };
    let wanted = [Wanted::after(Arc::clone(&channel), since.position)];
    match recovery.log.hand_over(since, &wanted, budget, is_kept(app), Instant::now()) {
        Err(gap) => Answer::Lost(gap.channels),
        Ok((missed, numbers)) => {
            let own = missed.iter().filter_map(|(position, said)| share(said, name, &wanted, &wanted, *position));
            let missed = own.map(|publication| Relay::of(app, &publication)).collect();
            let app = app.name.clone();
            Answer::Said(Box::new(Fetched { app, name, channels: vec![channel], missed, numbers }))
        }
    }
}

/// Whether a channel has a history, and is listened to only where somebody is in it.
fn is_kept(app: &App) -> impl Fn(&str) -> bool {
    |channel| !is_own(channel) && app.policy.history(channel).is_some()
}

fn wanted(channels: &[Arc<str>], since: u64) -> Vec<Wanted> {
    channels.iter().map(|channel| Wanted::after(Arc::clone(channel), since)).collect()
}

/// Makes a session that was handed over one of this node. `listened`: its channels, as far as it may hear them; what was said
/// in them on this node after `since` may not be among what it has missed. What it has missed keeps its channels: whether it
/// may hear that is decided when its client is there.
fn settle(app: &App, recovery: &Recovery, fetched: Fetched, listened: &[Arc<str>], since: u64) -> Result<(), Lost> {
    let Fetched { name, channels, missed, numbers, .. } = fetched;
    let now = Instant::now();
    let left: HashSet<Arc<str>> = channels.into_iter().chain([EVERYONE.into()]).collect();
    let stays: Vec<Arc<str>> = listened.iter().filter(|channel| left.contains(*channel)).cloned().collect();
    let missed: Vec<Publication> = missed.into_iter().filter_map(|relay| relay.publication(app)).collect();
    let mut told: BTreeSet<Arc<str>> = stays.iter().cloned().collect();
    told.extend(missed.iter().flat_map(|publication| publication.to.channels()).cloned());
    let mut wanted = wanted(&stays, since);
    wanted.push(Wanted::after(direct(name), since));
    let later = |publication: &Publication, position| share(publication, name, &wanted, &wanted, position);
    let stand = recovery.log.take_over(name, missed, &numbers, &wanted, later, now)?;
    let complete = |expected: Ghost| {
        let stays = |known: &Wanted| !listened.contains(&known.channel) || left.contains(&known.channel);
        // As if it had been in them here while that was said.
        let at = |known: Wanted| {
            if listened.contains(&known.channel) { Wanted { since: stand.before, ..known } } else { known }
        };
        let channels: Vec<_> = expected.channels.iter().filter(|known| stays(known)).cloned().map(at).collect();
        let is_in = |channel: &Arc<str>| channels.iter().any(|known| known.channel == *channel);
        let before = told.into_iter().filter(|channel| !is_in(channel));
        let before = before.map(|channel| Wanted { channel, since: stand.before, until: stand.until });
        let left = expected.left.iter().cloned().chain(before).collect();
        Ghost { channels, left, confirmed: stand.before, left_at: stand.until, ..expected }
    };
    let arrived = recovery.ghosts.arrive(name, complete, recovery.window, now);
    if arrived { Ok(()) } else { Err(Lost::new()) }
}

/// A publication with those of its channels only in which a session has missed it; `None`: it was not for it. `stays`: when
/// it was where.
pub(crate) fn share(
    publication: &Publication,
    name: Address,
    wanted: &[Wanted],
    stays: &[Wanted],
    position: u64,
) -> Option<Publication> {
    if leaves_out(publication, name, stays, position) {
        return None;
    }
    let to = match &publication.to {
        Target::Socket(whose) => (*whose == name).then_some(Target::Socket(name))?,
        Target::Channels(heard) => {
            let missed = |heard: &&Heard| is_in(wanted, &heard.channel, position);
            let heard: SmallVec<_> = heard.iter().filter(missed).cloned().collect();
            (!heard.is_empty()).then_some(Target::Channels(heard))?
        }
    };
    Some(Publication { to, except: SmallVec::new(), ..publication.clone() })
}
