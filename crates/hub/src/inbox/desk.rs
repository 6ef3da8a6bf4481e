//! What users and backends do with what lies in inboxes, and what a user's devices hear of it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use oyez_protocol::message::Args;
use serde_json::json;
use uuid::Uuid;

use super::Inboxes;
use super::intake::heard_in;
use super::receipts::Receipt;
use crate::Hub;
use crate::address::{Address, AppId};
use crate::app::App;
use crate::channel::{devices_of, roster_of};
use crate::clock::{span, unix_millis};
use crate::command::{CommandError, Marking, Publish, Select};
use crate::delivery::{Heard, Target as Audience};
use crate::dialect::{Message, Push};
use crate::hub::{Rules, Saying, names};
use crate::store::{Change, Deleted, Marked, State, StoreError, Target};

/// From one count of what is unread to the next.
const COUNTED_EVERY: Duration = Duration::from_millis(250);

/// Ids in one notice to a user's devices.
const IDS_PER_NOTICE: usize = 500;

/// Which devices of a user hear something.
#[derive(Debug, Clone, Copy)]
enum Devices {
    /// All of them, on whichever nodes; but one.
    All { but: Option<Address> },
    /// Those on this node.
    Here,
}

impl Hub {
    /// Brings messages of a user forward, and tells the user's other devices and the publishers who asked.
    pub(crate) async fn mark(&self, app: &App, marking: Marking) -> Result<Marked, CommandError> {
        let inboxes = self.inboxes_of(app)?;
        let Marking { user, which, to, by } = marking;
        let (of, mut marked) = (app.owner(&user), Marked::default());
        loop {
            let part = inboxes.store.mark(&of, which.clone(), to, span().earliest).await;
            inboxes.note(&part);
            let part = part?;
            inboxes.figures.marked.fetch_add(part.changed.len() as u64, Relaxed);
            self.tell_marked(app, &user, &part.changed, to, by).await;
            marked.changed.extend(part.changed);
            marked.unknown = part.unknown;
            if !part.more {
                return Ok(marked);
            }
        }
    }

    async fn tell_marked(&self, app: &App, user: &Arc<str>, changed: &[Change], to: State, by: Option<Address>) {
        let Some(rules) = app.inbox.as_deref().filter(|_| !changed.is_empty()) else { return };
        for change in changed {
            if let Some(wanted) = &change.receipt {
                self.receipt(Receipt {
                    app: app.id,
                    to: wanted.clone(),
                    id: Arc::clone(&change.id),
                    user: Arc::clone(user),
                    state: change.to,
                    at: unix_millis(),
                });
            }
        }
        if to > State::Delivered || rules.first_cancels {
            let mut ids: Vec<_> = changed.iter().map(|change| Arc::clone(&change.id)).collect();
            ids.dedup();
            let others = Devices::All { but: by };
            for ids in ids.chunks(IDS_PER_NOTICE) {
                self.tell_devices(app, user, rules.words.state.as_ref(), json!({ "ids": ids, "state": to }), others)
                    .await;
            }
        }
        if changed.iter().any(|change| change.from < State::Read && change.to >= State::Read) {
            self.unread_changed_everywhere(app, &Target::User(Arc::clone(user)));
        }
    }

    /// Takes messages from a user.
    pub(crate) async fn delete(&self, app: &App, user: &Arc<str>, ids: Vec<Arc<str>>) -> Result<Deleted, CommandError> {
        let inboxes = self.inboxes_of(app)?;
        let deleted = inboxes.store.delete(&app.owner(user), ids, span().earliest).await;
        inboxes.note(&deleted);
        let deleted = deleted?;
        if let Some(rules) = app.inbox.as_deref().filter(|_| !deleted.removed.is_empty()) {
            let words = json!({ "ids": deleted.removed, "state": "deleted" });
            self.tell_devices(app, user, rules.words.state.as_ref(), words, Devices::All { but: None }).await;
            self.unread_changed_everywhere(app, &Target::User(Arc::clone(user)));
        }
        Ok(deleted)
    }

    /// Gives a user a message again; false: they have it not.
    pub(crate) async fn resend(&self, app: &App, user: &Arc<str>, id: &str) -> Result<bool, CommandError> {
        let inboxes = self.inboxes_of(app)?;
        let again = inboxes.store.resend(&app.owner(user), id, span().earliest).await;
        inboxes.note(&again);
        let Some(item) = again? else { return Ok(false) };
        let places = [(Target::User(Arc::clone(user)), item.seq)];
        self.hand_over(app, &item.message, &places, true, Instant::now()).await;
        Ok(true)
    }

    /// Puts users on a channel's roster; their devices hear it from now on.
    pub(crate) async fn enroll(&self, app: &App, channel: &str, users: Vec<Arc<str>>) -> Result<usize, CommandError> {
        Ok(self.roster_in(app, channel)?.change_roster(app.id, channel, users, true).await?)
    }

    /// Takes users off a channel's roster.
    pub(crate) async fn dismiss(&self, app: &App, channel: &str, users: Vec<Arc<str>>) -> Result<usize, CommandError> {
        Ok(self.roster_in(app, channel)?.change_roster(app.id, channel, users, false).await?)
    }

    fn roster_in(&self, app: &App, channel: &str) -> Result<&Inboxes, CommandError> {
        names(app, &[channel.to_owned()])?;
        if app.policy.roster(channel).is_none() {
            return Err(CommandError::NoRoster(channel.to_owned()));
        }
        self.inboxes_of(app)
    }

    /// Notes that the number of unread messages may have changed of a user, or of all on a roster; their devices on this
    /// node hear what it is then. Each node counts for its own, so that none hears an older number last.
    pub fn unread_changed(&self, app: &App, whose: &Target) {
        self.count_unread(app, whose, false);
    }

    /// The same by what was done here and is not delivered, of which no other node hears otherwise.
    pub(crate) fn unread_changed_everywhere(&self, app: &App, whose: &Target) {
        self.count_unread(app, whose, self.cluster().is_some());
    }

    fn count_unread(&self, app: &App, whose: &Target, tell_others: bool) {
        let Some(inboxes) = self.inboxes() else { return };
        let told = app.inbox.as_ref().is_some_and(|rules| rules.words.unread.is_some());
        if !told || (!tell_others && self.channels().members(app.id, &heard_in(whose)) == 0) {
            return;
        }
        let mut uncounted = inboxes.uncounted.lock();
        *uncounted.places.entry((app.id, whose.clone())).or_default() |= tell_others;
        if !std::mem::replace(&mut uncounted.told, true) {
            let hub = self.clone();
            self.spawn(async move { hub.tell_unread().await });
        }
    }

    /// Counts for one user after the other, at once for the first change and then in rounds: what changes between two of
    /// them, a hundred messages of one user maybe, is counted once.
    async fn tell_unread(&self) {
        let Some(inboxes) = self.inboxes() else { return };
        loop {
            let places = {
                let mut uncounted = inboxes.uncounted.lock();
                uncounted.told = !uncounted.places.is_empty();
                std::mem::take(&mut uncounted.places)
            };
            if places.is_empty() {
                return;
            }
            for ((app, whose), _) in places.iter().filter(|(_, tell_others)| **tell_others) {
                if let Some(others) = self.cluster() {
                    others.tell_recount(&self.app(*app), whose);
                }
            }
            for (app, user) in self.users_at(places.into_keys()).await {
                self.tell_unread_of(&self.app(app), inboxes, &user).await;
            }
            tokio::time::sleep(COUNTED_EVERY).await;
        }
    }

    /// The users whose inboxes these are, and those on these rosters, who are here; each once.
    async fn users_at(&self, places: impl Iterator<Item = (AppId, Target)>) -> HashSet<(AppId, Arc<str>)> {
        let mut users = HashSet::new();
        for (app, whose) in places.filter(|(app, whose)| self.channels().members(*app, &heard_in(whose)) > 0) {
            match whose {
                Target::User(user) => drop(users.insert((app, user))),
                Target::Channel(channel) => {
                    let select = Select::Channels { to: vec![roster_of(&channel)], except: Vec::new() };
                    users.extend(self.describe(app, &select).await.into_iter().map(|one| (app, one.user)));
                }
            }
        }
        users
    }

    async fn tell_unread_of(&self, app: &App, inboxes: &Inboxes, user: &Arc<str>) {
        let Some(event) = app.inbox.as_ref().and_then(|rules| rules.words.unread.as_ref()) else { return };
        match inboxes.store.unread(&app.owner(user), span().earliest).await {
            Ok(count) => self.tell_devices(app, user, Some(event), json!({ "count": count }), Devices::Here).await,
            Err(StoreError::Closed | StoreError::Damaged { .. }) => {}
            // Until the store can say it.
            Err(_) => self.unread_changed(app, &Target::User(Arc::clone(user))),
        }
    }

    /// Tells devices of a user something that nobody keeps, if the app has a word for it.
    async fn tell_devices(
        &self,
        app: &App,
        user: &str,
        event: Option<&Arc<str>>,
        words: serde_json::Value,
        devices: Devices,
    ) {
        let Some(event) = event.map(|event| &**event) else { return };
        let args = Args::one(&words);
        let id: Arc<str> = Uuid::now_v7().to_string().into();
        let publish = Publish::new(Vec::new(), event, args.clone());
        let now = unix_millis();
        let message = match &app.dialect {
            Some(dialect) => dialect.shape(&Push { event, args: &args, id: &id, now }),
            None => Message { event: event.to_owned(), args, whole: false },
        };
        let native = app.dialect.as_ref().filter(|_| app.native).map(|dialect| dialect.native(&message, &id, now));
        let to = Audience::Channels([Heard { channel: devices_of(user), audience: None }].into_iter().collect());
        let but = if let Devices::All { but } = devices { but } else { None };
        let except = but.iter().map(|address| Arc::from(address.encode())).collect();
        let saying = Saying {
            publish: &publish,
            id,
            fresh: true,
            written: (message, native),
            to,
            rules: Rules::new(),
            except,
            asked: Instant::now(),
        };
        // A node that goes down tells nothing any more.
        let _ = match devices {
            Devices::All { .. } => self.say(app, saying, None).await,
            Devices::Here => self.say_to_ours(app, saying).await,
        };
    }
}
