//! A publication takes its place in the order: among what is remembered, in its channels, and in the queue to other nodes.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Instant;

use super::Hub;
use super::history::Recording;
use super::publish::Histories;
use crate::app::App;
use crate::cluster::Origin;
use crate::command::{CommandError, Mail};
use crate::delivery::{AckRequest, Delivery, Publication, Target};
use crate::recovery::{DIRECT, Recovery, is_direct};

/// Where a publication was said first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whence {
    /// On this node.
    Here,
    /// On another one.
    Node(Origin),
    /// By every node to its own clients; or by a server of another make, which every node hears by itself.
    EachNode,
}

impl Hub {
    /// Takes a publication in when there is room for it, and hands it to the shards.
    pub(crate) async fn admit(
        &self,
        app: &App,
        publication: Publication,
        ack: Option<AckRequest>,
        asked: Instant,
        remembered: Option<(&Recovery, Histories)>,
    ) -> Result<usize, CommandError> {
        self.enter(app, publication, ack, asked, remembered, Whence::Here).await
    }

    /// What another node says, for the sessions of this one; returns how many shards. `remembered`: the channels that keep
    /// it.
    pub(crate) async fn deliver_here(
        &self,
        app: &App,
        publication: Publication,
        origin: Origin,
        ack: Option<AckRequest>,
        remembered: &[Arc<str>],
        asked: Instant,
    ) -> usize {
        let history = |channel: &str| if is_direct(channel) { Some(DIRECT) } else { app.policy.history(channel) };
        let kept = |channel: &Arc<str>| Some((Arc::clone(channel), history(channel)?));
        let channels: Histories = remembered.iter().filter_map(kept).collect();
        let remembered = app.recovery.as_deref().filter(|_| !channels.is_empty()).map(|recovery| (recovery, channels));
        // Nothing is delivered any more when the node goes down.
        self.enter(app, publication, ack, asked, remembered, Whence::Node(origin)).await.unwrap_or(0)
    }

    pub(crate) async fn enter(
        &self,
        app: &App,
        publication: Publication,
        ack: Option<AckRequest>,
        asked: Instant,
        remembered: Option<(&Recovery, Histories)>,
        whence: Whence,
    ) -> Result<usize, CommandError> {
        if let Some((_, channels)) = &remembered
            && self.records(channels, whence)
        {
            let publication = Recording { publication, ack, asked, channels: channels.clone(), whence };
            return Box::pin(self.enter_recorded(app, publication)).await;
        }
        self.take_place(app, publication, ack, asked, remembered, whence).await
    }

    /// Waits for room, and gives a publication its place.
    pub(super) async fn take_place(
        &self,
        app: &App,
        mut publication: Publication,
        ack: Option<AckRequest>,
        asked: Instant,
        remembered: Option<(&Recovery, Histories)>,
        whence: Whence,
    ) -> Result<usize, CommandError> {
        let permit = self.inner.door.enter(publication.size()).await;
        // Until it has taken its place.
        let late = remembered.as_ref().zip(publication.recorded);
        let late = late.map(|((recovery, channels), place)| {
            let late = recovery.late.recorded(asked);
            publication.except.extend(channels.iter().flat_map(|(channel, _)| late.had(channel, place)));
            late
        });
        let publication = Arc::new(publication);
        // What is recorded, or stored, is said to others even then.
        let is_kept = publication.recorded.is_some() || publication.stored.is_some();
        if permit.is_none() && (whence != Whence::Here || !is_kept) {
            // Nobody is left here who could hear it; but somebody may come back elsewhere who has missed it.
            let (Whence::Node(origin), Some((recovery, channels))) = (whence, remembered) else {
                return Err(CommandError::ShuttingDown);
            };
            recovery.log.append(&publication, ack.is_some(), || Some(origin), channels, asked, |_, _| ());
            return Ok(0);
        }
        let told = Arc::clone(&publication);
        let asks = ack.is_some();
        let others = self.cluster().filter(|_| whence == Whence::Here);
        let origin = || match whence {
            Whence::Node(origin) => Some(origin),
            Whence::Here => others.map(|others| others.next_origin()),
            Whence::EachNode => None,
        };
        let kept = match (&remembered, others) {
            (Some((_, channels)), Some(_)) => channels.iter().map(|(channel, _)| Arc::clone(channel)).collect(),
            _ => Vec::new(),
        };
        let push = |position, origin: Option<Origin>| {
            let delivery = Delivery { publication: told, position, ack, asked, permit };
            self.push(app, delivery, |delivery| {
                let theirs = if whence == Whence::Here { self.tell_neighbours(delivery) } else { 0 };
                let others = others.filter(|_| self.may_be_elsewhere(app, &delivery.to));
                let relay = || Some(others?.relay(app, delivery, kept, origin?.number));
                theirs + relay().unwrap_or_default()
            })
        };
        let shards = match remembered {
            Some((recovery, channels)) => {
                let push = |at, origin| push(NonZeroU64::new(at), origin);
                recovery.log.append(&publication, asks, origin, channels, asked, push)
            }
            None => push(None, origin()),
        };
        drop(late);
        Ok(shards)
    }

    /// Hands a delivery to the shards that it concerns, and to `relay` what others may have to hear; returns from how many
    /// of both a report comes.
    fn push(&self, app: &App, delivery: Delivery, relay: impl FnOnce(&Arc<Delivery>) -> usize) -> usize {
        let delivery = Arc::new(delivery);
        let (mut pushed, mut told) = (0, 0);
        let mut push = |shard: u8| {
            if let Some(mailbox) = self.inner.mailboxes.get(usize::from(shard)) {
                pushed += usize::from(mailbox.send(Mail::Deliver(Arc::clone(&delivery))).is_ok());
            }
        };
        match &delivery.to {
            Target::Socket(address) => {
                let home = app.home_of(*address);
                if self.is_home(home.node) {
                    push(home.shard);
                }
                // Ids of others are drawn without regard to ours: one of theirs may look like one of this node.
                told = relay(&delivery);
            }
            Target::Channels(heard) => {
                let channels = heard.iter().map(|heard| &heard.channel);
                self.inner.channels.publish(delivery.app, channels, push, || told = relay(&delivery));
            }
        }
        pushed + told
    }

    /// Whether other nodes may have somebody for it. (A session that came back elsewhere lives there, under the name that it had
    /// here.)
    fn may_be_elsewhere(&self, app: &App, to: &Target) -> bool {
        let Target::Socket(address) = to else { return true };
        let home = app.home_of(*address);
        !self.inner.numbers.has_alone(home.node) || (app.recovery.is_some() && home == *address)
    }
}
