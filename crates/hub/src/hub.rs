//! The one entrance: takes commands from every door and hands the consequences to the shards.

mod census;
mod enter;
mod history;
mod publish;
pub(crate) mod revoked;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Poll;

use parking_lot::RwLock;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::address::Address;
use crate::address::AppId;
use crate::admission::{Door, PERMITS, Traffic};
use crate::app::{App, Credentials};
use crate::channel::{Channels, EVERYONE};
use crate::cluster::{Cluster, Lane, Numbers, Question};
use crate::command::{
    CHANNELS_PER_COMMAND, Command, CommandError, Control, Mail, Outcome, Select, SocketInfo, is_channel_name,
};
use crate::inbox::Inboxes;
use crate::lifecycle::Lifecycle;
use crate::policy::token::Revocation;
use crate::presence::Presence;
use crate::recovery::{PidKey, Pids};
pub(crate) use enter::Whence;
pub(crate) use publish::{ACK_WAIT_MAX, Rules, Saying, composed, priority, rules, written};

/// How much of a name that is too long is shown, in characters.
const SHOWN: usize = 40;

/// A shard's mailbox, seen from outside.
pub type Mailbox = mpsc::UnboundedSender<Mail>;

pub(crate) struct Inner {
    /// By id; a lock each, held only while the reference is taken or replaced.
    apps: Vec<RwLock<Arc<App>>>,
    /// What is durable; from when there is a store.
    pub(crate) inboxes: OnceLock<Inboxes>,
    /// Other nodes; from when it has joined them.
    pub(crate) cluster: OnceLock<Arc<Cluster>>,
    /// Comings and goings of which backends are told; from when they are.
    pub(crate) lifecycle: OnceLock<Arc<Lifecycle>>,
    /// The ways to servers of another make; from when they are opened.
    pub(crate) neighbours: OnceLock<Vec<Lane>>,
    pub(crate) numbers: Arc<Numbers>,
    channels: Channels,
    presence: Presence,
    pids: Pids,
    door: Door,
    mailboxes: Vec<Mailbox>,
    pub(crate) background: Handle,
}

/// The hub of a node; clones share everything.
#[derive(Clone)]
pub struct Hub {
    pub(crate) inner: Arc<Inner>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("node", &self.node()).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub for `apps` whose ids are their indices, with one mailbox per shard; handlers run on `background`.
    #[must_use]
    pub fn new(apps: Vec<App>, mailboxes: Vec<Mailbox>, background: Handle) -> Self {
        let numbers = Arc::new(Numbers::draw());
        Self {
            inner: Arc::new(Inner {
                apps: apps.into_iter().map(|app| RwLock::new(Arc::new(app))).collect(),
                inboxes: OnceLock::new(),
                cluster: OnceLock::new(),
                lifecycle: OnceLock::new(),
                neighbours: OnceLock::new(),
                channels: Channels::default(),
                presence: Presence::default(),
                pids: Pids::new(numbers.current(), PidKey(rand::random())),
                numbers,
                door: Door::default(),
                mailboxes,
                background,
            }),
        }
    }

    /// The hub without a hold on it, for tasks that end with it.
    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.inner)
    }

    /// The hub again, if it is still there.
    pub(crate) fn upgrade(inner: &Weak<Inner>) -> Option<Self> {
        inner.upgrade().map(|inner| Self { inner })
    }

    /// The number of this node in the ids of sessions that begin.
    #[must_use]
    pub fn node(&self) -> u16 {
        self.inner.numbers.current()
    }

    /// Whether a session that has this number in its id may be one of this node.
    #[must_use]
    pub fn is_home(&self, number: u16) -> bool {
        self.inner.numbers.has(number)
    }

    /// One app, as its rules are now. Ids come from this hub, so the index holds.
    #[must_use]
    pub fn app(&self, id: AppId) -> Arc<App> {
        Arc::clone(&self.inner.apps[usize::from(id.0)].read())
    }

    /// All apps, by id.
    pub fn apps(&self) -> impl Iterator<Item = Arc<App>> {
        self.inner.apps.iter().map(|app| Arc::clone(&app.read()))
    }

    /// The app of that name.
    ///
    /// # Errors
    /// [`CommandError::UnknownApp`].
    pub fn find_app(&self, name: &str) -> Result<Arc<App>, CommandError> {
        self.apps().find(|app| app.name == name).ok_or_else(|| CommandError::UnknownApp(name.to_owned()))
    }

    /// What goes through the door.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.inner.door.traffic()
    }

    /// Accepts no publication any more; the node goes down.
    pub fn close(&self) {
        self.inner.door.close();
    }

    /// Waits until no publication is on its way, and none will be.
    pub(crate) async fn emptied(&self) {
        self.inner.door.emptied().await;
    }

    /// Takes what still comes into a shard's mailbox after [`Hub::close`]: who was let in before may not have pushed
    /// yet. False when every publication has been flushed, by every shard. A batch holds its permits until it is
    /// cleared.
    pub async fn last_mail(&self, mail: &mut mpsc::UnboundedReceiver<Mail>, batch: &mut Vec<Mail>) -> bool {
        let mut emptied = pin!(self.inner.door.emptied());
        poll_fn(|cx| match mail.poll_recv_many(cx, batch, PERMITS) {
            Poll::Ready(count) => Poll::Ready(count > 0),
            Poll::Pending => emptied.as_mut().poll(cx).map(|()| false),
        })
        .await
    }

    /// Channels of this node.
    #[must_use]
    pub fn channels(&self) -> &Channels {
        &self.inner.channels
    }

    /// Users of this node.
    #[must_use]
    pub fn presence(&self) -> &Presence {
        &self.inner.presence
    }

    /// The names under which sessions of this node are asked back.
    #[must_use]
    pub fn pids(&self) -> &Pids {
        &self.inner.pids
    }

    /// Gives back the memory of those who are gone: tables grow as clients come. `now` as for
    /// [`Rate::allows`](crate::policy::limits::Rate::allows).
    pub fn shrink(&self, now: u64) {
        self.inner.channels.shrink();
        self.inner.presence.shrink();
        for app in self.apps() {
            app.usage.shrink(now);
            app.credentials.iter().for_each(Credentials::shrink);
        }
    }

    /// Runs `task` beside the shards.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.background.spawn(task);
    }

    /// Executes one command; whoever calls has checked that its author may give it.
    ///
    /// # Errors
    /// [`CommandError`]: nothing was changed.
    pub async fn execute(&self, app: AppId, command: Command) -> Result<Outcome, CommandError> {
        match command {
            Command::Publish(publish) => {
                self.publish(app, publish, None).await.map(|(published, _)| Outcome::Published(published))
            }
            Command::PublishWithAck(publish, wait) => {
                self.publish_with_ack(app, publish, wait).await.map(Outcome::Acked)
            }
            // Boxed, like whatever is rare: a publication's future stays small.
            Command::Join(select, channels) => {
                Box::pin(self.everywhere(app, Question::Join(select, channels))).await.map(|_| Outcome::Done)
            }
            Command::Leave(select, channels) => {
                Box::pin(self.everywhere(app, Question::Leave(select, channels))).await.map(|_| Outcome::Done)
            }
            Command::Disconnect(select, how) => {
                Box::pin(self.everywhere(app, Question::Disconnect(select, how))).await.map(|_| Outcome::Done)
            }
            Command::Describe(select) => {
                Box::pin(self.everywhere(app, Question::Describe(select))).await.map(Outcome::Sockets)
            }
            Command::Mark(marking) => Box::pin(self.mark(&self.app(app), marking)).await.map(Outcome::Marked),
            Command::Delete(user, ids, hearing) => {
                Box::pin(self.delete(&self.app(app), &user, ids, hearing)).await.map(Outcome::Deleted)
            }
            Command::Resend(user, id) => Box::pin(self.resend(&self.app(app), &user, &id)).await.map(Outcome::Resent),
            Command::Enroll(channel, users) => {
                Box::pin(self.enroll(&self.app(app), &channel, users)).await.map(Outcome::Rostered)
            }
            Command::Dismiss(channel, users) => {
                Box::pin(self.dismiss(&self.app(app), &channel, users)).await.map(Outcome::Rostered)
            }
            Command::Recheck => {
                self.control_all(app, &Select::Everyone, |_| Control::Recheck(app));
                Ok(Outcome::Done)
            }
            Command::Revoke(what, until) => Box::pin(self.revoke(app, what, until)).await.map(|()| Outcome::Done),
            Command::Reform(rules) => {
                let old = self.reform(app, *rules);
                self.control_all(app, &Select::Everyone, |_| Control::Reform(Arc::clone(&old)));
                Ok(Outcome::Done)
            }
        }
    }

    async fn revoke(&self, app: AppId, what: Revocation, until: u64) -> Result<(), CommandError> {
        self.everywhere(app, Question::Revoke(vec![(what.clone(), until)])).await?;
        self.keep_revoked(app, &what, until).await;
        Ok(())
    }

    /// Puts other rules in the place of an app's; returns the app as it was.
    fn reform(&self, id: AppId, rules: App) -> Arc<App> {
        let mut current = self.inner.apps[usize::from(id.0)].write();
        let new = Arc::new(rules.succeed(&current));
        std::mem::replace(&mut *current, new)
    }

    /// Hands `control` to one shard; a shard that is gone does not miss it.
    pub fn control(&self, shard: u8, control: Control) {
        if let Some(mailbox) = self.inner.mailboxes.get(usize::from(shard)) {
            let _ = mailbox.send(Mail::Control(control));
        }
    }

    /// Hands a control to every shard that `select` can concern.
    pub(crate) fn control_all(&self, app: AppId, select: &Select, make: impl Fn(Select) -> Control) {
        if let Select::Socket(address) = select {
            let home = self.app(app).home_of(*address);
            if self.is_home(home.node) {
                self.control(home.shard, make(select.clone()));
            }
            return;
        }
        for shard in 0..self.inner.mailboxes.len() {
            self.control(u8::try_from(shard).unwrap_or(u8::MAX), make(select.clone()));
        }
    }

    /// Waits until the shards that `select` concerns have done all that they were asked before: a publication that
    /// follows a join reaches who joined. (A shard asked to describe nobody answers when its turn comes.)
    pub(crate) async fn settled(&self, app: AppId, select: &Select) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.control_all(app, select, |_| Control::Describe(app, nobody(), sender.clone()));
        drop(sender);
        while receiver.recv().await.is_some() {}
    }

    /// The same for one shard.
    pub async fn settled_on(&self, app: AppId, shard: u8) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.control(shard, Control::Describe(app, nobody(), sender));
        while receiver.recv().await.is_some() {}
    }

    pub(crate) async fn describe(&self, app: AppId, select: &Select) -> Vec<SocketInfo> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.control_all(app, select, |select| Control::Describe(app, select, sender.clone()));
        drop(sender);
        let mut found = Vec::new();
        while let Some(some) = receiver.recv().await {
            found.extend(some);
        }
        found
    }
}

/// Checks names and makes them shareable.
pub(crate) fn names(app: &App, names: &[String]) -> Result<Vec<Arc<str>>, CommandError> {
    if names.len() > CHANNELS_PER_COMMAND {
        return Err(CommandError::TooManyChannels);
    }
    let check = |name: &String| {
        if name == EVERYONE {
            return Ok(Arc::from(EVERYONE));
        }
        match app.policy.exceeded_by(name) {
            // A session's id is of our own making.
            Some(limit) if name.parse::<Address>().is_err() => {
                Err(CommandError::OverLimit { limit, name: shortened(name) })
            }
            _ if is_channel_name(name) => Ok(Arc::from(name.as_str())),
            _ => Err(CommandError::BadChannel(name.clone())),
        }
    };
    names.iter().map(check).collect()
}

fn nobody() -> Select {
    Select::Channels { to: Vec::new(), except: Vec::new() }
}

/// Enough of a name to recognise it.
fn shortened(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}
