//! The one queue through which durable publications go into the store. It has them stored in the order in which they
//! came, many at once, and delivers each when it is its turn: devices hear messages in the store's order.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::unconstrained;
use tracing::warn;

use super::Inboxes;
use crate::Hub;
use crate::address::AppId;
use crate::app::App;
use crate::channel::{devices_of, roster_of, ruled_by};
use crate::clock::span;
use crate::cluster::Question;
use crate::command::{Control, Select};
use crate::delivery::{Audience as Admitted, Heard, Publication, Target as Audience, WhenSlow};
use crate::dialect;
use crate::hub::Inner;
use crate::policy::grants::Audience as Wanted;
use crate::store::{Message, Outcome, Put, Released, Seq, Store, StoreError, Stored, Target};

/// Publications that wait to be stored; whoever comes then waits, in order of arrival.
pub(super) const QUEUE: usize = 1_024;

/// Publications that the store has under way at once.
const UNDER_WAY: usize = 1_024;

/// Scheduled messages that are released at once.
const RELEASED: usize = 64;

/// The longest time for which the clock on the wall is not looked at: it may be put forward.
const NAP: Duration = Duration::from_secs(5);

/// What is to be done in the order in which it came.
pub(super) enum Job {
    Put(Box<Publishing>),
    Roster(Roster),
}

/// A durable publication on its way into the store.
pub(super) struct Publishing {
    put: Put,
    compress: bool,
    asked: Instant,
    reply: oneshot::Sender<Result<Stored, StoreError>>,
}

/// Users who come onto a channel's roster, or off it.
pub(super) struct Roster {
    pub(super) app: AppId,
    pub(super) channel: Arc<str>,
    pub(super) users: Vec<Arc<str>>,
    pub(super) on: bool,
    pub(super) reply: oneshot::Sender<Result<usize, StoreError>>,
}

/// What the store has answered.
enum Done {
    Put(Box<Answered>),
    Roster(Roster, Result<usize, StoreError>),
    Released(Result<Vec<Released>, StoreError>),
}

/// A publication when the store has answered.
struct Answered {
    app: Arc<str>,
    message: Message,
    deliver_at: Option<u64>,
    compress: bool,
    asked: Instant,
    reply: oneshot::Sender<Result<Stored, StoreError>>,
    outcome: Result<Stored, StoreError>,
}

/// Takes jobs in until the hub is gone. `others` tells when something is due that another node has scheduled.
pub(super) async fn run(
    hub: Weak<Inner>,
    store: Arc<dyn Store>,
    mut jobs: mpsc::Receiver<Job>,
    mut others: watch::Receiver<Option<u64>>,
) {
    let mut under_way = FuturesOrdered::new();
    let mut due = next_due(&store).await;
    let (mut open, mut releasing) = (true, false);
    while open || !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(done) = under_way.next() => {
                let Some(hub) = Hub::upgrade(&hub) else { return };
                match done {
                    Done::Put(answered) => due = [due, settle(&hub, *answered).await].into_iter().flatten().min(),
                    Done::Roster(roster, changed) => settle_roster(&hub, roster, changed).await,
                    Done::Released(released) => {
                        due = deliver_due(&hub, &store, released).await;
                        releasing = false;
                    }
                }
            }
            job = jobs.recv(), if open && under_way.len() < UNDER_WAY => match job {
                Some(Job::Put(publishing)) => under_way.push_back(put(Arc::clone(&store), *publishing).boxed()),
                Some(Job::Roster(roster)) => {
                    let Some(app) = Hub::upgrade(&hub).map(|hub| hub.app(roster.app)) else { return };
                    under_way.push_back(change_roster(Arc::clone(&store), app, roster).boxed());
                }
                None => open = false,
            },
            Ok(()) = others.changed() => due = [due, *others.borrow_and_update()].into_iter().flatten().min(),
            () = until(due), if !releasing => {
                // In the queue with the others, so that its turn to be delivered comes when it was stored.
                under_way.push_back(release(Arc::clone(&store)).boxed());
                releasing = true;
            }
        }
    }
}

async fn put(store: Arc<dyn Store>, publishing: Publishing) -> Done {
    let Publishing { put, compress, asked, reply } = publishing;
    let (app, message, deliver_at) = (Arc::clone(&put.app), put.message.clone(), put.deliver_at);
    let outcome = store.put(put, span().earliest).await;
    Done::Put(Box::new(Answered { app, message, deliver_at, compress, asked, reply, outcome }))
}

async fn change_roster(store: Arc<dyn Store>, app: Arc<App>, roster: Roster) -> Done {
    let users = roster.users.clone();
    let changed = match roster.on {
        true => store.enroll(&app.name, &roster.channel, users).await,
        false => store.dismiss(&app.name, &roster.channel, users).await,
    };
    Done::Roster(roster, changed)
}

async fn release(store: Arc<dyn Store>) -> Done {
    Done::Released(store.release(RELEASED, span().earliest).await)
}

/// Answers the publisher and delivers what was stored; returns when it is due, if it is not yet.
async fn settle(hub: &Hub, answered: Answered) -> Option<u64> {
    let inboxes = hub.inboxes()?;
    let Answered { app, message, deliver_at, compress, asked, reply, outcome } = answered;
    inboxes.note(&outcome);
    let stored = outcome.as_ref().ok().cloned();
    // A publisher that has gone wants no answer.
    let _ = reply.send(outcome);
    let stored = stored?;
    match stored.outcome {
        Outcome::Duplicate => {
            inboxes.figures.duplicates.fetch_add(1, Relaxed);
            None
        }
        Outcome::Scheduled => deliver_at,
        Outcome::Stored => {
            inboxes.untroubled();
            inboxes.count(stored.places.len(), stored.refused.len(), stored.dropped.len());
            if let Ok(app) = hub.find_app(&app) {
                hub.hand_over(&app, &message, &stored.places, compress, asked).await;
            }
            None
        }
    }
}

/// Has the devices of users hear a roster, or no more: what was stored before has been delivered, what was stored later
/// comes later.
async fn settle_roster(hub: &Hub, roster: Roster, changed: Result<usize, StoreError>) {
    let Some(inboxes) = hub.inboxes() else { return };
    inboxes.note(&changed);
    let Roster { app, channel, users, on, reply } = roster;
    let Ok(count) = changed else {
        let _ = reply.send(changed);
        return;
    };
    let select = hub.seat(app, &channel, &users, on);
    if !on && count > 0 {
        let app = hub.app(app);
        users.iter().for_each(|user| hub.unread_changed_everywhere(&app, &Target::User(Arc::clone(user))));
    }
    let elsewhere = hub.cluster().map(|others| others.ask(&hub.app(app), Question::Seat(channel, users, on)));
    if on && count > 0 {
        // Until they hear it, nothing is pushed to them.
        hub.settled(app, &select).await;
    }
    let Some(elsewhere) = elsewhere else {
        let _ = reply.send(Ok(count));
        return;
    };
    let reach = hub.clone();
    hub.spawn(async move {
        // Nor by other nodes, to whoever waits for the answer. (All others are not kept waiting.)
        elsewhere.await;
        reach.reach().await;
        let _ = reply.send(Ok(count));
    });
}

/// Delivers what has become due; returns when more will be.
async fn deliver_due(hub: &Hub, store: &Arc<dyn Store>, released: Result<Vec<Released>, StoreError>) -> Option<u64> {
    let inboxes = hub.inboxes()?;
    inboxes.note(&released);
    let Ok(released) = released.inspect_err(|error| warn!(event = "store", %error, "scheduled messages wait")) else {
        return Some(after_a_nap());
    };
    for due in released {
        inboxes.count(due.places.len(), due.refused.len(), due.dropped.len());
        if !due.refused.is_empty() {
            let (app, id, full) = (&*due.app, &*due.message.id, due.refused.len());
            warn!(event = "scheduled_refused", app, id, full, "inboxes have no room for what was scheduled for them");
        }
        // An app that is not in the file any more has nobody who is connected.
        if let Ok(app) = hub.find_app(&due.app) {
            hub.hand_over(&app, &due.message, &due.places, true, Instant::now()).await;
        }
    }
    next_due(store).await
}

/// When the first of what waits is due; if the store cannot say it, it is asked again.
async fn next_due(store: &Arc<dyn Store>) -> Option<u64> {
    store.next_due().await.unwrap_or_else(|_| Some(after_a_nap()))
}

fn after_a_nap() -> u64 {
    span().earliest + u64::try_from(NAP.as_millis()).unwrap_or_default()
}

/// Waits until a moment of the clock on the wall.
async fn until(due: Option<u64>) {
    let Some(due) = due else { return std::future::pending().await };
    loop {
        let left = due.saturating_sub(span().earliest);
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(left).min(NAP)).await;
    }
}

/// The devices of these users.
pub(crate) fn seated(users: &[Arc<str>]) -> Select {
    Select::Channels { to: users.iter().map(|user| devices_of(user)).collect(), except: Vec::new() }
}

impl Hub {
    /// Has the devices of users on this node hear a roster, or no more; returns which those are.
    pub(crate) fn seat(&self, app: AppId, channel: &str, users: &[Arc<str>], on: bool) -> Select {
        let select = seated(users);
        let channels = vec![roster_of(channel)];
        self.control_all(app, &select, |select| match on {
            true => Control::Join(app, select, channels.clone()),
            false => Control::Leave(app, select, channels.clone()),
        });
        select
    }
}

impl Inboxes {
    fn count(&self, stored: usize, refused: usize, dropped: usize) {
        let add = |figure: &std::sync::atomic::AtomicU64, count: usize| figure.fetch_add(count as u64, Relaxed);
        add(&self.figures.stored, stored);
        add(&self.figures.refused, refused);
        add(&self.figures.dropped, dropped);
    }

    /// Has a message stored, behind all that came before.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn take_in(&self, put: Put, compress: bool, asked: Instant) -> Result<Stored, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(Job::Put(Box::new(Publishing { put, compress, asked, reply })), answer).await
    }

    /// Has users put on a roster, or taken off, behind all that came before.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn change_roster(
        &self,
        app: AppId,
        channel: &str,
        users: Vec<Arc<str>>,
        on: bool,
    ) -> Result<usize, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(Job::Roster(Roster { app, channel: channel.into(), users, on, reply }), answer).await
    }

    async fn queue<T>(&self, job: Job, answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        // A turn of the runtime's that is over must not put it behind others: those are woken the last one first.
        unconstrained(self.jobs.send(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Where those are in whose inbox, or log, something lies.
pub(crate) fn heard_in(target: &Target) -> Arc<str> {
    match target {
        Target::User(user) => devices_of(user),
        Target::Channel(channel) => roster_of(channel),
    }
}

/// In whose inbox, or log, lies what is heard in one of the hub's own channels; `None`: in nobody's.
pub(crate) fn owner_of(channel: &str) -> Option<Target> {
    match (channel.strip_prefix("*@"), ruled_by(channel)) {
        (Some(user), _) => Some(Target::User(user.into())),
        (None, Some(of)) if of != channel => Some(Target::Channel(of.into())),
        (None, _) => None,
    }
}

impl Hub {
    /// Delivers what was stored to the devices of those in whose inboxes it lies. When the node goes down, they get it
    /// when they come back.
    pub(super) async fn hand_over(
        &self,
        app: &App,
        message: &Message,
        places: &[(Target, Seq)],
        compress: bool,
        asked: Instant,
    ) {
        let Some(stored) = places.iter().map(|(_, seq)| *seq).min() else { return };
        // Who comes later finds it in the store. (Which others there are, a node that has just begun does not know.)
        let is_here = |target| self.channels().members(app.id, &heard_in(target)) > 0;
        if self.has_no_others() && !places.iter().any(|(target, _)| is_here(target)) {
            return;
        }
        let publication = Publication { stored: Some(stored), compress, ..self.publication_of(app, message, places) };
        let _ = self.admit(app, publication, None, asked, None).await;
        for (target, _) in places {
            self.unread_changed(app, target);
        }
    }

    /// A stored message as it is published to those in whose inboxes it lies.
    #[must_use]
    pub fn publication_of(&self, app: &App, message: &Message, places: &[(Target, Seq)]) -> Publication {
        let audience = |channel: &Arc<str>| Admitted::new(&app.policy, [Wanted::MayHear(channel.to_string())]);
        let heard = |(target, _): &(Target, Seq)| Heard {
            channel: heard_in(target),
            audience: message.audience.of(target).map(audience),
        };
        let native = app.dialect.as_ref().filter(|_| app.native).map(|dialect| {
            let event = message.event.to_string();
            let words = dialect::Message { event, args: message.args.clone(), whole: message.whole };
            dialect.native(&words, &message.id, message.created)
        });
        Publication {
            app: app.id,
            id: Arc::clone(&message.id),
            to: Audience::Channels(places.iter().map(heard).collect()),
            except: Default::default(),
            event: Arc::clone(&message.event),
            args: message.args.clone(),
            native,
            priority: message.priority,
            volatile: false,
            // Who reads too slowly is disconnected, and gets it when they come back.
            when_slow: WhenSlow::Disconnect,
            rule: None,
            compress: true,
            stored: None,
            recorded: None,
        }
    }
}
