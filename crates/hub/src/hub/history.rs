//! The history of channels where nodes share it: their store keeps what is said before anybody hears it, so that each node can
//! say what all have said, and a node that goes takes nothing along.
//!
//! When the store cannot be reached, what is said is delivered all the same; as soon as it can, it is told of the channels of
//! which something is missing.

use std::sync::Arc;
use std::time::Instant;

use super::publish::Histories;
use super::{Hub, Whence};
use crate::address::Address;
use crate::app::App;
use crate::clock::unix_millis;
use crate::cluster::{Brought, keep, kept};
use crate::delivery::Publication;
use crate::recovery::{Had, History, Mark, Past, Recovery, Unrecorded, is_direct};
use crate::store::{Chronicle, Recalled, StoreError};

/// Channels that something is missing of, while the store cannot be reached; where there are more, all are told of a gap.
const UNRECORDED: usize = 100_000;

/// As many of them are told of at once, and as many publications read.
const PAGE: usize = 1_000;

impl Hub {
    /// The history that nodes share; `None`: each has its own.
    fn chronicle(&self) -> Option<&dyn Chronicle> {
        self.inboxes()?.store().chronicle()
    }

    /// Keeps what is about to be said, if this node is to do that.
    pub(super) async fn record(
        &self,
        app: &App,
        recovery: &Recovery,
        publication: &mut Publication,
        channels: &Histories,
        whence: Whence,
    ) {
        let is_ours = match whence {
            Whence::Here => true,
            Whence::Node(_) => false,
            // All nodes hear it.
            Whence::Neighbour => self.cluster().is_none_or(|cluster| cluster.is_eldest()),
        };
        if is_ours && let Some(chronicle) = self.chronicle() {
            publication.recorded = Box::pin(self.keep_past(app, recovery, chronicle, publication, channels)).await;
        }
    }

    async fn keep_past(
        &self,
        app: &App,
        recovery: &Recovery,
        chronicle: &dyn Chronicle,
        publication: &Publication,
        channels: &Histories,
    ) -> Option<Mark> {
        let bounded = |(channel, history): &(Arc<str>, History)| (Arc::clone(channel), bounded(recovery, *history));
        let channels: Vec<_> = channels.iter().filter(|(channel, _)| !is_direct(channel)).map(bounded).collect();
        if channels.is_empty() {
            return None;
        }
        let kept = async {
            tell_unrecorded(app, recovery, chronicle).await?;
            chronicle.remember(&app.name, &channels, Some(keep(app, publication)), unix_millis()).await
        };
        let kept = kept.await;
        if let Some(inboxes) = self.inboxes() {
            inboxes.note(&kept);
        }
        kept.inspect_err(|_| note_unrecorded(recovery, channels)).ok()
    }

    /// Has the history that nodes share know where it knows nothing.
    pub(crate) async fn mend_history(&self) {
        let Some(chronicle) = self.chronicle() else { return };
        for app in self.apps() {
            if let Some(recovery) = &app.recovery {
                // It is tried again with the next publication.
                let _ = tell_unrecorded(&app, recovery, chronicle).await;
            }
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
        tell_unrecorded(app, recovery, chronicle).await?;
        let history = bounded(recovery, history);
        let recalled = chronicle.recall(&app.name, (channel, history), since, limit, unix_millis()).await?;
        Ok(read(app, recalled))
    }

    /// Brings what was said in a channel after a place of the history that nodes share, for a member who is about to join it,
    /// and to whom this node listens already. `None`: it is no such place, or something of it is lost, or it is more than
    /// `budget` bytes.
    pub async fn bring_recorded(
        &self,
        app: &App,
        channel: &Arc<str>,
        mut since: Mark,
        budget: usize,
        name: Address,
    ) -> Option<Brought> {
        let (chronicle, recovery) = (self.chronicle()?, app.recovery.as_ref()?);
        let history = bounded(recovery, app.policy.history(channel)?);
        // What servers of another make say, one node keeps and all hear.
        if recovery.log.is_blurred(channel, Instant::now()) {
            return None;
        }
        let (from, mut left, mut publications) = (recovery.log.last(), budget, Vec::new());
        loop {
            let recalled =
                chronicle.recall(&app.name, (channel, history), Some(since), PAGE, unix_millis()).await.ok()?;
            let page = read(app, recalled);
            if page.gap {
                return None;
            }
            for (_, publication) in page.publications {
                left = left.checked_sub(publication.on_wire())?;
                publications.push(Arc::unwrap_or_clone(publication));
            }
            since = page.until;
            if !page.more {
                break;
            }
        }
        recovery.late.expect_recorded(name, since, Instant::now());
        Some(Brought { publications, had: Had { recorded: Some(since), ..Had::default() }, since: from })
    }
}

/// For no longer than anybody may be away.
fn bounded(recovery: &Recovery, history: History) -> History {
    History { time: history.time.min(recovery.log.longest()), ..history }
}

/// As the hub's own log would say it. What cannot be read was written by another version, and is missing.
fn read(app: &App, recalled: Recalled) -> Past {
    let Recalled { said, until, last, gap, more } = recalled;
    let count = said.len();
    let publication = |(position, said): (u64, bytes::Bytes)| {
        Some((position, Arc::new(kept(app, &said, Mark { position, ..until })?)))
    };
    let publications: Vec<_> = said.into_iter().filter_map(publication).collect();
    let gap = gap || publications.len() < count;
    Past { publications, until, last, gap, more }
}

fn note_unrecorded(recovery: &Recovery, channels: impl IntoIterator<Item = (Arc<str>, History)>) {
    let mut unrecorded = recovery.unrecorded.lock();
    unrecorded.channels.extend(channels);
    if unrecorded.channels.len() > UNRECORDED {
        *unrecorded = Unrecorded { is_all: true, ..Unrecorded::default() };
    }
}

async fn tell_unrecorded(app: &App, recovery: &Recovery, chronicle: &dyn Chronicle) -> Result<(), StoreError> {
    let Unrecorded { channels, is_all } = std::mem::take(&mut *recovery.unrecorded.lock());
    if is_all && let Err(error) = chronicle.remember(&app.name, &[], None, unix_millis()).await {
        recovery.unrecorded.lock().is_all = true;
        return Err(error);
    }
    let mut channels: Vec<_> = channels.into_iter().collect();
    while !channels.is_empty() {
        let some = channels.split_off(channels.len().saturating_sub(PAGE));
        if let Err(error) = chronicle.remember(&app.name, &some, None, unix_millis()).await {
            note_unrecorded(recovery, channels.into_iter().chain(some));
            return Err(error);
        }
    }
    Ok(())
}
