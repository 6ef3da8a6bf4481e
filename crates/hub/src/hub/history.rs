//! The history of channels where nodes share it: their store keeps what is said before anybody hears it, so that each node can
//! say what all have said, and a node that goes takes nothing along.
//!
//! When the store cannot be reached, what is said is delivered all the same; as soon as it can, it is told of the channels of
//! which something is missing.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::publish::Histories;
use super::{Hub, Whence};
use crate::address::Address;
use crate::app::App;
use crate::channel::is_own;
use crate::clock::unix_millis;
use crate::cluster::{Brought, keep, kept, share};
use crate::command::CommandError;
use crate::delivery::{AckRequest, Publication, Target};
use crate::policy::Rights;
use crate::recovery::{Had, History, Joined, Mark, Past, Recovery, Unrecorded, Wanted, is_direct};
use crate::store::{Chronicle, Recalled, Saying, Store, StoreError};

/// The clocks of nodes differ by less.
const SKEW: Duration = Duration::from_secs(5);

/// As many of them are told of at once, and as many publications read.
const PAGE: usize = 1_000;

/// A publication that is to be kept first.
pub(super) struct Recording {
    pub(super) publication: Publication,
    pub(super) ack: Option<AckRequest>,
    pub(super) asked: Instant,
    pub(super) channels: Histories,
    pub(super) whence: Whence,
}

impl Hub {
    /// The history that nodes share; `None`: each has its own.
    fn chronicle(&self) -> Option<&dyn Chronicle> {
        self.inboxes()?.store().chronicle()
    }

    /// Whether this node is to keep what is said there.
    pub(super) fn records(&self, channels: &Histories, whence: Whence) -> bool {
        let is_ours = || match whence {
            Whence::Here => true,
            Whence::Node(_) => false,
            // All nodes hear it.
            Whence::EachNode => self.cluster().is_none_or(|cluster| cluster.is_eldest()),
        };
        self.chronicle().is_some() && channels.iter().any(|(channel, _)| is_shared(channel)) && is_ours()
    }

    /// Keeps a publication, and hands it to the shards; also when nobody waits for that any more: what is kept is said.
    pub(super) async fn enter_recorded(&self, app: &App, mut recording: Recording) -> Result<usize, CommandError> {
        let (hub, app, (sender, done)) = (self.clone(), self.app(app.id), oneshot::channel());
        self.spawn(async move {
            let Some(recovery) = app.recovery.as_deref() else { return };
            let recorded = hub.keep_past(&app, recovery, &recording).await;
            recording.publication.recorded = recorded;
            let Recording { publication, ack, asked, channels, whence } = recording;
            let placed = hub.take_place(&app, publication, ack, asked, Some((recovery, channels)), whence).await;
            let _ = sender.send(placed);
        });
        done.await.unwrap_or(Err(CommandError::ShuttingDown))
    }

    async fn keep_past(&self, app: &App, recovery: &Recovery, recording: &Recording) -> Option<Mark> {
        let inboxes = self.inboxes().filter(|_| !self.inner.door.is_closed())?;
        let chronicle = inboxes.store().chronicle()?;
        let said = sayings(app, recovery, recording);
        let kept = chronicle.remember(&app.name, &said, unix_millis()).await;
        inboxes.note(&kept);
        match kept {
            Ok(place) => {
                // Whatever was in the way of others may be so no more; one at a time looks.
                if recovery.mending.try_lock().is_ok() {
                    drop(self.mend(app));
                }
                Some(place)
            }
            Err(_) => {
                let channels: Vec<Arc<str>> = said.into_iter().map(|said| said.channel).collect();
                recovery.unrecorded.lock().note(channels.iter().cloned());
                if let Some(cluster) = self.cluster() {
                    // Who can, tells it.
                    cluster.tell_unrecorded(app, channels);
                }
                None
            }
        }
    }

    /// Has the history that nodes share know where it knows nothing; the future waits for that.
    fn mend(&self, app: &App) -> impl Future<Output = ()> + use<> {
        let (sender, mended) = oneshot::channel::<()>();
        let is_whole = app
            .recovery
            .as_ref()
            .is_none_or(|recovery| recovery.unrecorded.lock().is_empty() && recovery.mending.try_lock().is_ok());
        if !is_whole {
            let (hub, app) = (self.clone(), self.app(app.id));
            self.spawn(async move {
                if let (Some(inboxes), Some(recovery)) = (hub.inboxes(), &app.recovery) {
                    let _turn = recovery.mending.lock().await;
                    tell_unrecorded(&app, recovery, &**inboxes.store()).await;
                }
                drop(sender);
            });
        }
        async move {
            if !is_whole {
                // It ends when the sender is dropped.
                let _ = mended.await;
            }
        }
    }

    /// Another node could not keep what was said in these channels.
    pub(crate) fn hears_unrecorded(&self, app: &App, channels: Vec<Arc<str>>) {
        if let Some(recovery) = app.recovery.as_ref().filter(|_| self.chronicle().is_some()) {
            recovery.unrecorded.lock().note(channels);
            drop(self.mend(app));
        }
    }

    /// The same for all apps, when the store can be reached again.
    pub(crate) fn mend_history(&self) {
        for app in self.apps() {
            drop(self.mend(&app));
        }
    }

    /// What a channel remembers: the newest, or what was said after a place; at most `limit`, which is not 0. With a store that
    /// nodes share all of them answer the same, but for a place of this node's own log.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn past(
        &self,
        app: &App,
        recovery: &Recovery,
        channel: &Arc<str>,
        since: Option<Mark>,
        limit: usize,
    ) -> Result<Past, StoreError> {
        let is_own = since.is_some_and(|since| since.epoch == recovery.log.mark(0).epoch);
        let shared = self.chronicle().filter(|_| !is_own).zip(app.policy.history(channel));
        let Some((chronicle, history)) = shared else {
            return Ok(recovery.log.read(channel, since, limit, Instant::now()));
        };
        self.mend(app).await;
        if recovery.unrecorded.lock().has(channel) {
            return Err(StoreError::Unmended);
        }
        let history = bounded(recovery, history);
        let recalled = chronicle.recall(&app.name, (channel, history), since, limit, unix_millis()).await?;
        let (past, _) = read(app, recalled);
        // What cannot be read is missed by those alone who go on from somewhere.
        Ok(Past { gap: past.gap && since.is_some(), ..past })
    }

    /// Brings what was said in a channel after a place of the history that nodes share, for a member of these rights who is about
    /// to join it, and to whom this node listens already. `None`: it is no such place, or something of it is lost or wanted an
    /// answer, or it is more than `budget` bytes.
    pub async fn bring_recorded(
        &self,
        app: &App,
        channel: &Arc<str>,
        since: Mark,
        budget: usize,
        (name, rights): (Address, &Arc<Rights>),
    ) -> Option<Brought> {
        let (chronicle, recovery) = (self.chronicle()?, app.recovery.as_ref()?);
        let history = bounded(recovery, app.policy.history(channel)?);
        self.mend(app).await;
        if recovery.unrecorded.lock().has(channel) {
            return None;
        }
        let hears = |own: &Publication| match &own.to {
            Target::Channels(heard) => heard.iter().all(|heard| heard.is_for(rights)),
            Target::Socket(_) => false,
        };
        let from = recovery.log.last();
        let (mut until, mut left, mut all) = (since, budget, Vec::new());
        loop {
            let recalled =
                chronicle.recall(&app.name, (channel, history), Some(until), PAGE, unix_millis()).await.ok()?;
            let (page, asks) = read(app, recalled);
            if page.gap || asks {
                return None;
            }
            let wanted = [Wanted::after(Arc::clone(channel), until.position)];
            for (position, publication) in page.publications {
                left = left.checked_sub(publication.on_wire())?;
                let own = share(&publication, name, &wanted, &wanted, position).filter(hears);
                all.extend(own.map(|own| (position, own)));
            }
            until = page.until;
            if !page.more {
                break;
            }
        }
        // Others may have said something that they could not keep, and not told yet; and what servers of another make say is kept by
        // one node alone.
        let ago = Duration::from_millis(unix_millis().saturating_sub(chronicle.time_of(since))) + SKEW;
        if recovery.log.has_unrecorded(channel, Instant::now().checked_sub(ago)) {
            return None;
        }
        let joined = Joined { name, since, brought: all.iter().map(|(position, _)| *position).collect() };
        recovery.late.expect_recorded(channel, joined, Instant::now());
        let publications = all.into_iter().map(|(_, publication)| publication).collect();
        Some(Brought { publications, had: Had { recorded: Some(until), ..Had::default() }, since: from })
    }
}

/// For no longer than anybody may be away.
fn bounded(recovery: &Recovery, history: History) -> History {
    History { time: history.time.min(recovery.log.longest()), ..history }
}

/// As the hub's own log would say it, and whether an answer was wanted to anything there. What cannot be read was written by
/// another version, and is missing.
fn read(app: &App, recalled: Recalled) -> (Past, bool) {
    let Recalled { said, until, last, mut gap, more } = recalled;
    let (mut publications, mut asks) = (Vec::with_capacity(said.len()), false);
    for (position, said) in said {
        match kept(app, &said, Mark { position, ..until }) {
            Some((publication, asked)) => {
                asks |= asked;
                publications.push((position, Arc::new(publication)));
            }
            None => gap = true,
        }
    }
    (Past { publications, until, last, gap, more }, asks)
}

/// Whether nodes share its history: clients and backends can ask for it by its name.
fn is_shared(channel: &str) -> bool {
    !is_direct(channel) && !is_own(channel)
}

/// What is said, channel by channel: each keeps no more of it than who was there would have heard.
fn sayings(app: &App, recovery: &Recovery, recording: &Recording) -> Vec<Saying> {
    let Recording { publication, ack, channels, .. } = recording;
    let Target::Channels(heard) = &publication.to else { return Vec::new() };
    let mut names = HashSet::new();
    let channels = channels.iter().filter(|(channel, _)| is_shared(channel) && names.insert(channel));
    let saying = |(channel, history): &(Arc<str>, History)| {
        let own = heard.iter().filter(|heard| heard.channel == *channel).take(1).cloned().collect();
        let own = Publication { to: Target::Channels(own), ..publication.clone() };
        let said = Some(keep(app, &own, ack.is_some()));
        Saying { channel: Arc::clone(channel), history: bounded(recovery, *history), said }
    };
    channels.map(saying).collect()
}

async fn tell_unrecorded(app: &App, recovery: &Recovery, store: &dyn Store) {
    let Some(chronicle) = store.chronicle() else { return };
    let is_down = || store.health().is_some_and(|health| health.borrow().is_some());
    let Unrecorded { channels, is_all } = std::mem::take(&mut *recovery.unrecorded.lock());
    if is_all && chronicle.remember(&app.name, &[], unix_millis()).await.is_err() {
        recovery.unrecorded.lock().is_all = true;
    }
    let saying = |channel: Arc<str>| {
        let history = bounded(recovery, app.policy.history(&channel)?);
        Some(Saying { channel, history, said: None })
    };
    let all: Vec<Saying> = channels.into_iter().filter_map(saying).collect();
    for some in all.chunks(PAGE) {
        if !is_down() && chronicle.remember(&app.name, some, unix_millis()).await.is_ok() {
            continue;
        }
        // One of them may be in the way of the others.
        for one in some {
            if is_down() || chronicle.remember(&app.name, std::slice::from_ref(one), unix_millis()).await.is_err() {
                recovery.unrecorded.lock().note([Arc::clone(&one.channel)]);
            }
        }
    }
}
