//! What somebody may hear now of what lies in a user's inbox. The rest is withheld: it waits until they may, and
//! meanwhile they neither count it nor bring it forward unseen.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::Inboxes;
use crate::Hub;
use crate::app::App;
use crate::channel::devices_of;
use crate::clock::span;
use crate::command::{Control, Hearer, Select};
use crate::policy::Rights;
use crate::policy::grants::Audience;
use crate::store::{Found, Item, Owner, Query, Seq, State, StoreError, Target, Which};

/// Messages that are looked at in one go.
const PAGE: usize = 1_000;

/// The most that are counted in one place; see [`crate::store::Store::unread`].
const COUNTED: usize = 10_000;

/// What somebody may hear.
#[derive(Debug, Clone)]
pub struct Hearing {
    /// The channels, of those on whose rosters they are, which they may not subscribe to.
    deaf_to: HashSet<Arc<str>>,
    /// For whom it is in a channel.
    rights: Arc<Rights>,
}

impl Hearing {
    /// Of somebody with these rights who may not subscribe to these of the channels that matter here.
    #[must_use]
    pub fn new(rights: Arc<Rights>, deaf_to: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self { deaf_to: deaf_to.into_iter().collect(), rights }
    }

    /// Whether they hear a message where it lies.
    #[must_use]
    pub fn hears(&self, app: &App, item: &Item) -> bool {
        let admits = |channel: &Arc<str>| app.policy.admits(&Audience::MayHear(channel.to_string()), &self.rights);
        let is_deaf = item.via.channel().is_some_and(|channel| self.deaf_to.contains(channel));
        !is_deaf && item.message.audience.of(&item.via).is_none_or(admits)
    }

    /// Whether nothing that a user has can be withheld from them, so that no message need be looked at.
    pub(super) fn hears_all(&self, app: &App) -> bool {
        self.deaf_to.is_empty() && !app.policy.has_audiences()
    }
}

/// Part of what was asked for: messages that are heard, and the ids of those that are not, or not there.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) ids: Vec<Arc<str>>,
    pub(super) unknown: Vec<Arc<str>>,
    /// Where the next part begins; `None`: that was all.
    pub(super) next: Option<Part>,
}

/// Where a part of what was asked for begins and where all of it ends; by place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    after: Option<Seq>,
    until: Seq,
}

impl Inboxes {
    /// Those of `which` that are less far than `to` and that `hearing` hears, from `part` on.
    pub(super) async fn heard(
        &self,
        app: &App,
        of: &Owner,
        (which, to): (&Which, State),
        hearing: &Hearing,
        part: Option<Part>,
    ) -> Result<Heard, StoreError> {
        let Part { after, until } = match (part, which) {
            (Some(part), _) => part,
            (None, Which::Ids(ids)) => return self.heard_of(app, of, ids, hearing).await,
            (None, Which::All) => Part { after: None, until: Seq::MAX },
            (None, Which::UpTo(id)) => {
                let found = self.store.find(of, vec![Arc::clone(id)], span().earliest).await?.pop().unwrap_or_default();
                match found.last.filter(|_| found.items.is_empty() || found.is_heard(app, hearing)) {
                    Some(until) => Part { after: None, until },
                    None => return Ok(Heard { unknown: vec![Arc::clone(id)], ..Heard::default() }),
                }
            }
        };
        let states = State::ALL.into_iter().filter(|state| *state < to).collect();
        let query = Query { states, newest_first: false, after, limit: PAGE };
        let page = self.store.list(of, query, span().earliest).await?;
        // What comes meanwhile is not meant.
        let until = until.min(page.horizon);
        let heard = page.items.iter().filter(|item| item.seq <= until && hearing.hears(app, item));
        let next = page.next.filter(|next| *next < until).map(|next| Part { after: Some(next), until });
        Ok(Heard { ids: heard.map(|item| Arc::clone(&item.message.id)).collect(), unknown: Vec::new(), next })
    }

    /// Those of `ids` that `hearing` hears: somebody to whom a message is withheld has it not.
    pub(super) async fn heard_of(
        &self,
        app: &App,
        of: &Owner,
        ids: &[Arc<str>],
        hearing: &Hearing,
    ) -> Result<Heard, StoreError> {
        let mut heard = Heard::default();
        let found = self.store.find(of, ids.to_vec(), span().earliest).await?;
        for (id, found) in ids.iter().zip(found) {
            let list = if found.is_heard(app, hearing) { &mut heard.ids } else { &mut heard.unknown };
            list.push(Arc::clone(id));
        }
        Ok(heard)
    }

    /// How much of what a user has is not read, of what any of these hears; none named: of everything.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unread(&self, app: &App, of: &Owner, hearers: &[Hearing]) -> Result<u64, StoreError> {
        if hearers.is_empty() || hearers.iter().any(|hearing| hearing.hears_all(app)) {
            return self.store.unread(of, span().earliest).await;
        }
        let states = vec![State::Pending, State::Delivered, State::Seen];
        let mut query = Query { states, newest_first: true, after: None, limit: PAGE };
        let (mut unread, mut counted) = (HashSet::new(), HashMap::<Target, usize>::new());
        loop {
            let page = self.store.list(of, query.clone(), span().earliest).await?;
            for item in page.items {
                if unread.contains(&item.message.id) || !hearers.iter().any(|hearing| hearing.hears(app, &item)) {
                    continue;
                }
                let there = counted.entry(item.via).or_default();
                *there += 1;
                if *there <= COUNTED {
                    unread.insert(item.message.id);
                }
            }
            query.after = page.next;
            if page.next.is_none() {
                return Ok(unread.len() as u64);
            }
        }
    }
}

impl Found {
    /// Whether it is heard in one of its places.
    fn is_heard(&self, app: &App, hearing: &Hearing) -> bool {
        self.items.iter().any(|item| hearing.hears(app, item))
    }
}

impl Hub {
    /// What the devices of a user on this node hear, none named: everything; `None`: there are none.
    pub(super) async fn hearers(
        &self,
        app: &App,
        inboxes: &Inboxes,
        of: &Owner,
    ) -> Result<Option<Vec<Hearing>>, StoreError> {
        let channels = if app.policy.has_rosters() { inboxes.store.channels(of).await? } else { Vec::new() };
        if channels.is_empty() && !app.policy.has_audiences() {
            return Ok(Some(Vec::new()));
        }
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let devices = Select::Channels { to: vec![devices_of(&of.user)], except: Vec::new() };
        self.control_all(app.id, &devices, |select| Control::Hearers(app.id, select, sender.clone()));
        drop(sender);
        let mut devices: Vec<Hearer> = Vec::new();
        while let Some(some) = receiver.recv().await {
            devices.extend(some);
        }
        if devices.is_empty() {
            return Ok(None);
        }
        let hearing = |device: Hearer| {
            let deaf_to = channels.iter().filter(|channel| !device.rosters.contains(channel));
            Hearing::new(device.rights, deaf_to.cloned())
        };
        Ok(Some(devices.into_iter().map(hearing).collect()))
    }
}
