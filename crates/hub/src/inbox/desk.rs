//! What users and backends do with what lies in inboxes, and what a user's devices hear of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use oyez_protocol::message::Args;
use serde_json::json;
use uuid::Uuid;

use super::Inboxes;
use super::hearing::{Heard, Hearing};
use super::receipts::Receipt;
use crate::Hub;
use crate::address::Address;
use crate::app::App;
use crate::channel::devices_of;
use crate::clock::{span, unix_millis};
use crate::command::{CommandError, Marking, Publish};
use crate::delivery::{Heard as HeardIn, Target as Audience};
use crate::dialect::{Message, Push};
use crate::hub::{Rules, Saying, names};
use crate::store::{Change, Deleted, Marked, Owner, State, Target, Which};

/// Ids in one notice to a user's devices.
const IDS_PER_NOTICE: usize = 500;

/// Which devices of a user hear something.
#[derive(Debug, Clone, Copy)]
pub(super) enum Devices {
    /// All of them, on whichever nodes; but one.
    All { but: Option<Address> },
    /// Those on this node.
    Here,
}

impl Hub {
    /// Brings messages of a user forward, and tells the user's other devices and the publishers who asked.
    pub(crate) async fn mark(&self, app: &App, marking: Marking) -> Result<Marked, CommandError> {
        let inboxes = self.inboxes_of(app)?;
        let Marking { user, which, to, by, hearing } = marking;
        let of = app.owner(&user);
        let Some(hearing) = &hearing.filter(|hearing| !hearing.hears_all(app)) else {
            return self.mark_wholly(app, inboxes, &of, &which, (to, by)).await;
        };
        let (mut marked, mut part) = (Marked::default(), None);
        loop {
            let heard = inboxes.heard(app, &of, (&which, to), hearing, part).await?;
            marked.unknown.extend(heard.unknown);
            if !heard.ids.is_empty() {
                let some = self.mark_wholly(app, inboxes, &of, &Which::Ids(heard.ids), (to, by)).await?;
                marked.changed.extend(some.changed);
            }
            part = heard.next;
            if part.is_none() {
                return Ok(marked);
            }
        }
    }

    /// The same of all that they have.
    async fn mark_wholly(
        &self,
        app: &App,
        inboxes: &Inboxes,
        of: &Owner,
        which: &Which,
        (to, by): (State, Option<Address>),
    ) -> Result<Marked, CommandError> {
        let mut marked = Marked::default();
        loop {
            let part = inboxes.store.mark(of, which.clone(), to, span().earliest).await;
            inboxes.note(&part);
            let part = part?;
            inboxes.figures.marked.fetch_add(part.changed.len() as u64, Relaxed);
            self.tell_marked(app, &of.user, &part.changed, to, by).await;
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

    /// Takes messages from a user, of those that `hearing` hears; `None`: of all.
    pub(crate) async fn delete(
        &self,
        app: &App,
        user: &Arc<str>,
        ids: Vec<Arc<str>>,
        hearing: Option<Hearing>,
    ) -> Result<Deleted, CommandError> {
        let (inboxes, of) = (self.inboxes_of(app)?, app.owner(user));
        let heard = match hearing.filter(|hearing| !hearing.hears_all(app)) {
            Some(hearing) => inboxes.heard_of(app, &of, &ids, &hearing).await?,
            None => Heard { ids, ..Heard::default() },
        };
        let deleted = inboxes.store.delete(&of, heard.ids, span().earliest).await;
        inboxes.note(&deleted);
        let mut deleted = deleted?;
        deleted.unknown.extend(heard.unknown);
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

    /// Tells devices of a user something that nobody keeps, if the app has a word for it.
    pub(super) async fn tell_devices(
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
        let to = Audience::Channels([HeardIn { channel: devices_of(user), audience: None }].into_iter().collect());
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
