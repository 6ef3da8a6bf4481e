//! The one entrance: takes commands from every door and hands the consequences to the shards.

use std::fmt;
use std::future::poll_fn;
use std::num::NonZeroU64;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::address::Address;
use crate::address::AppId;
use crate::admission::{Door, PERMITS, Traffic};
use crate::app::{App, Credentials};
use crate::channel::{Channels, EVERYONE};
use crate::command::{
    Acked, CHANNELS_PER_COMMAND, Command, CommandError, Control, Level, Mail, Outcome, Publish, Published, Select,
    SocketInfo, is_channel_name, is_event_name,
};
use crate::delivery::{AckReport, AckRequest, Audience, Delivery, Heard, Publication, Target, WhenSlow};
use crate::dialect::{Message, Push};
use crate::presence::Presence;
use crate::recovery::{Change, DIRECT, History, Pids, Recovery, direct};

#[cfg(test)]
mod tests;

/// The longest wait for acknowledgements.
const ACK_WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How much of a name that is too long is shown, in characters.
const SHOWN: usize = 40;

/// A shard's mailbox, seen from outside.
pub type Mailbox = mpsc::UnboundedSender<Mail>;

struct Inner {
    /// By id; a lock each, held only while the reference is taken or replaced.
    apps: Vec<RwLock<Arc<App>>>,
    node: u16,
    channels: Channels,
    presence: Presence,
    pids: Pids,
    door: Door,
    mailboxes: Vec<Mailbox>,
    background: Handle,
}

/// The hub of a node; clones share everything.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("node", &self.inner.node).finish_non_exhaustive()
    }
}

impl Hub {
    /// A hub for `apps` whose ids are their indices, with one mailbox per shard; handlers run on `background`.
    #[must_use]
    pub fn new(apps: Vec<App>, mailboxes: Vec<Mailbox>, background: Handle) -> Self {
        Self {
            inner: Arc::new(Inner {
                apps: apps.into_iter().map(|app| RwLock::new(Arc::new(app))).collect(),
                node: rand::random(),
                channels: Channels::default(),
                presence: Presence::default(),
                pids: Pids::new(&rand::random()),
                door: Door::default(),
                mailboxes,
                background,
            }),
        }
    }

    /// The number of this node in session ids.
    #[must_use]
    pub fn node(&self) -> u16 {
        self.inner.node
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
            Command::Join(select, channels) => {
                let known = self.app(app);
                let channels = names(&known, &channels)?;
                let _away = known.order(&select, |log| Change::Join(log.all_from_now(&channels)));
                self.control_all(app, &select, |select| Control::Join(app, select, channels.clone()));
                self.settled(app, &select).await;
                Ok(Outcome::Done)
            }
            Command::Leave(select, channels) => {
                let known = self.app(app);
                let channels = names(&known, &channels)?;
                let _away = known.order(&select, |_| Change::Leave(channels.clone()));
                self.control_all(app, &select, |select| Control::Leave(app, select, channels.clone()));
                self.settled(app, &select).await;
                Ok(Outcome::Done)
            }
            Command::Disconnect(select, how) => {
                let known = self.app(app);
                let _away = known.order(&select, |_| Change::Forget);
                self.control_all(app, &select, |select| Control::Disconnect(app, select, how));
                self.settled(app, &select).await;
                Ok(Outcome::Done)
            }
            Command::Describe(select) => Ok(Outcome::Sockets(self.describe(app, &select).await)),
            Command::Recheck => {
                self.control_all(app, &Select::Everyone, |_| Control::Recheck(app));
                Ok(Outcome::Done)
            }
            Command::Reform(rules) => {
                let old = self.reform(app, *rules);
                self.control_all(app, &Select::Everyone, |_| Control::Reform(Arc::clone(&old)));
                Ok(Outcome::Done)
            }
        }
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
    fn control_all(&self, app: AppId, select: &Select, make: impl Fn(Select) -> Control) {
        if let Select::Socket(address) = select {
            if address.node == self.inner.node {
                self.control(self.app(app).shard_of(*address), make(select.clone()));
            }
            return;
        }
        for shard in 0..self.inner.mailboxes.len() {
            self.control(u8::try_from(shard).unwrap_or(u8::MAX), make(select.clone()));
        }
    }

    /// Waits until the shards that `select` concerns have done all that they were asked before: a publication that
    /// follows a join reaches who joined. (A shard asked to describe nobody answers when its turn comes.)
    async fn settled(&self, app: AppId, select: &Select) {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let nobody = Select::Channels { to: Vec::new(), except: Vec::new() };
        self.control_all(app, select, |_| Control::Describe(app, nobody.clone(), sender.clone()));
        drop(sender);
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

    pub(crate) async fn publish_with_ack(
        &self,
        app: AppId,
        publish: Publish,
        wait: Duration,
    ) -> Result<Acked, CommandError> {
        // Whatever its author asks for, an answer is not waited for longer than a clock can count.
        let wait = wait.min(ACK_WAIT_MAX);
        let (sender, receiver) = mpsc::unbounded_channel();
        let request = AckRequest { answers: sender, timeout: wait };
        let (published, shards) = self.publish(app, publish, Some(request)).await?;
        Ok(collect(published.id, shards, receiver, wait).await)
    }

    /// Fixes the order of a publication and hands it to the shards; returns how many.
    pub(crate) async fn publish(
        &self,
        app: AppId,
        publish: Publish,
        ack: Option<AckRequest>,
    ) -> Result<(Published, usize), CommandError> {
        let asked = Instant::now();
        if !is_event_name(&publish.event) {
            return Err(CommandError::BadEvent(publish.event));
        }
        let app = self.app(app);
        let to = self.target(&app, &publish)?;
        let except = names(&app, &publish.except)?.into();
        let when_slow = when_slow(&app, &publish);
        let size = publish.args.text().len() + publish.args.attachments().iter().map(bytes::Bytes::len).sum::<usize>();
        let permit = self.inner.door.enter(size).await.ok_or(CommandError::ShuttingDown)?;
        let id: Arc<str> = publish.id.as_deref().map_or_else(|| Uuid::now_v7().to_string().into(), Arc::from);
        let (message, native) = written(&app, &publish, &id);
        let remembered = remembered(&app, &publish, &to);
        let publication = Arc::new(Publication {
            app: app.id,
            id: Arc::clone(&id),
            to,
            except,
            event: message.event.into(),
            args: message.args,
            native,
            volatile: publish.volatile,
            when_slow: if remembered.is_some() { kept(when_slow) } else { when_slow },
            compress: publish.compress,
        });
        let told = Arc::clone(&publication);
        let asks = ack.is_some();
        let push =
            |position| self.push(&app, Delivery { publication: told, position, ack, asked, permit: Some(permit) });
        let shards = match remembered {
            Some((recovery, channels)) => {
                recovery.log.append(&publication, asks, channels, asked, |at| push(NonZeroU64::new(at)))
            }
            None => push(None),
        };
        Ok((Published { id, level: Level::Accepted }, shards))
    }

    fn push(&self, app: &App, delivery: Delivery) -> usize {
        let delivery = Arc::new(delivery);
        let mut pushed = 0;
        let mut push = |shard: u8| {
            if let Some(mailbox) = self.inner.mailboxes.get(usize::from(shard)) {
                pushed += usize::from(mailbox.send(Mail::Deliver(Arc::clone(&delivery))).is_ok());
            }
        };
        match &delivery.to {
            Target::Socket(address) => {
                if address.node == self.inner.node {
                    push(app.shard_of(*address));
                }
            }
            Target::Channels(heard) => {
                self.inner.channels.publish(delivery.app, heard.iter().map(|heard| &heard.channel), push);
            }
        }
        pushed
    }

    /// Where a publication goes: a single session id is that session, everything else channels, each with its echoes
    /// and with its own word on who may hear it.
    fn target(&self, app: &App, publish: &Publish) -> Result<Target, CommandError> {
        if let [one] = &publish.to[..]
            && let Ok(address) = one.parse::<Address>()
            && address.node == self.inner.node
        {
            return Ok(Target::Socket(address));
        }
        if publish.to.is_empty() {
            return Err(CommandError::NoTarget);
        }
        let mut channels = names(app, &publish.to)?;
        for index in 0..channels.len() {
            for echo in app.policy.echo(&channels[index]) {
                if !channels.contains(echo) {
                    channels.push(Arc::clone(echo));
                }
            }
        }
        let data = publish.args.first().map_or("null", |first| first.get());
        let heard = |channel: Arc<str>| Heard { audience: audience(app, publish, &channel, data), channel };
        Ok(Target::Channels(channels.into_iter().map(heard).collect()))
    }
}

/// What its first channel wants for clients that read too slowly.
fn when_slow(app: &App, publish: &Publish) -> WhenSlow {
    let data = || publish.args.first().map_or("null", |first| first.get());
    publish.to.first().map_or_else(WhenSlow::default, |channel| app.policy.when_slow(&publish.event, channel, data))
}

/// Channels that remember a publication, with how much each keeps.
type Histories = SmallVec<[(Arc<str>, History); 2]>;

/// The channels that remember a publication, with how much they keep, and where. What may be missed is remembered
/// nowhere.
fn remembered<'a>(app: &'a App, publish: &Publish, to: &Target) -> Option<(&'a Recovery, Histories)> {
    let recovery = app.recovery.as_deref().filter(|_| !publish.volatile)?;
    let keeps = |heard: &Heard| Some((Arc::clone(&heard.channel), app.policy.history(&heard.channel)?));
    let channels: Histories = match to {
        Target::Socket(name) => [(direct(*name), DIRECT)].into_iter().collect(),
        Target::Channels(heard) => heard.iter().filter_map(keeps).collect(),
    };
    (!channels.is_empty()).then_some((recovery, channels))
}

/// What is remembered is not silently dropped for a slow client: it is disconnected, and gets all when it comes back.
fn kept(when_slow: WhenSlow) -> WhenSlow {
    if when_slow == WhenSlow::DropOldest { WhenSlow::Disconnect } else { when_slow }
}

/// Who may hear a publication in one channel: both the app's rule and the publisher's wish must admit them.
fn audience(app: &App, publish: &Publish, channel: &str, data: &str) -> Option<Audience> {
    let ruled = app.policy.audience(&publish.event, channel, data);
    let wished = publish.audience.clone();
    let policy = Arc::clone(&app.policy);
    match (ruled, wished) {
        (None, wished) => wished,
        (Some(ruled), None) => Some(Arc::new(move |rights| policy.admits(&ruled, rights))),
        (Some(ruled), Some(wished)) => Some(Arc::new(move |rights| wished(rights) && policy.admits(&ruled, rights))),
    }
}

/// The publication in the app's words, and as a frame for raw WebSockets where the app has them.
fn written(app: &App, publish: &Publish, id: &str) -> (Message, Option<String>) {
    let plain = || Message { event: publish.event.clone(), args: publish.args.clone(), whole: publish.whole };
    let Some(dialect) = &app.dialect else { return (plain(), None) };
    let now = unix_millis();
    let message = if publish.shape {
        dialect.shape(&Push { event: &publish.event, args: &publish.args, id, now })
    } else {
        plain()
    };
    let native = app.native.then(|| dialect.native(&message, id, now));
    (message, native)
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Checks names and makes them shareable.
fn names(app: &App, names: &[String]) -> Result<Vec<Arc<str>>, CommandError> {
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

/// Enough of a name to recognise it.
fn shortened(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// Waits until every shard has reported and every reached session has answered, or until the time is over.
async fn collect(
    id: Arc<str>,
    mut shards: usize,
    mut reports: mpsc::UnboundedReceiver<AckReport>,
    wait: Duration,
) -> Acked {
    let (mut reached, mut gone, mut answers) = (0, 0, Vec::new());
    let gather = async {
        while shards > 0 || answers.len() + gone < reached {
            match reports.recv().await {
                Some(AckReport::Reached(count)) => {
                    shards -= 1;
                    reached += count;
                }
                Some(AckReport::Answer(args)) => answers.push(args),
                Some(AckReport::Gone) => gone += 1,
                None => break,
            }
        }
    };
    // Partial answers are the answer when the time is over.
    let _ = tokio::time::timeout(wait, gather).await;
    Acked { id, reached, answers }
}
