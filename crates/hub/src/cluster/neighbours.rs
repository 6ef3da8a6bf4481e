//! Servers of another make that serve clients of the same apps, as far as the hub knows of them.
//!
//! What is said here is told to whoever carries it to them, in the order of the channels and only while there are some.
//! What they say reaches each node by itself: it is for the sessions of this node alone, and told to nobody else.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::interest::{Interest, Interests, Wanted};
use super::{Figures, Question};
use crate::Hub;
use crate::address::{Address, AppId};
use crate::app::App;
use crate::channel::{EVERYONE, is_own};
use crate::command::{CommandError, Publish, Select, SocketInfo, is_channel_name, is_event_name};
use crate::delivery::{AckRequest, Delivery, Publication, Target};
use crate::hub::{Inner, Saying, Whence, composed, rules, written};

/// Something that neighbours are told.
#[derive(Debug)]
pub enum Told {
    /// A publication, as [`Publication::outward`] says to whom. One with a wish for acknowledgements gets one
    /// [`Reached`](crate::delivery::AckReport::Reached) from its carrier, whatever happens. It keeps its permit until it is
    /// dropped, so whoever waits for neighbours does so without it.
    Publication(Arc<Delivery>),
    /// A question, and where the sessions go that it finds; dropped when it is asked, or answered.
    Question(Question, oneshot::Sender<Vec<SocketInfo>>),
    /// Nothing: dropped when all has been said that came before.
    Last(oneshot::Sender<Vec<SocketInfo>>),
}

/// What is known of the neighbours in one namespace of an app.
#[derive(Debug, Default)]
pub struct Standing {
    /// How many there are now.
    pub present: AtomicUsize,
    /// Whether there have ever been any.
    pub met: AtomicBool,
    /// Whether the way to them is open.
    pub reached: AtomicBool,
    /// There were some when the way to them was lost, and nobody knows yet who is there now.
    pub cut_off: AtomicBool,
    /// What has happened between them and this node.
    pub figures: Figures,
}

/// The hub's end of the way to the neighbours in one namespace.
#[derive(Debug)]
pub(crate) struct Lane {
    app: AppId,
    standing: Arc<Standing>,
    /// Bounded as the queue to the broker is.
    queue: mpsc::UnboundedSender<Told>,
    /// Where the carrier listens to single channels.
    interests: Option<Interests>,
}

impl Lane {
    /// Whether there are neighbours, or were until the way to them was lost.
    fn leads_anywhere(&self) -> bool {
        self.standing.present.load(Relaxed) > 0 || self.standing.cut_off.load(Relaxed)
    }

    /// Has them told; false: they cannot be.
    fn tell(&self, told: Told) -> bool {
        let is_told = self.standing.present.load(Relaxed) > 0 && self.queue.send(told).is_ok();
        if !is_told {
            self.standing.figures.unsaid.fetch_add(1, Relaxed);
        }
        is_told
    }
}

impl Standing {
    /// The way is lost: nobody is told anything until it is known again who is there.
    pub fn lose(&self) {
        let were_there = self.present.swap(0, Relaxed) > 0;
        self.cut_off.fetch_or(were_there, Relaxed);
        if self.reached.swap(false, Relaxed) {
            self.figures.lost.fetch_add(1, Relaxed);
        }
    }

    /// So many are there now; returns how many were before.
    pub fn count(&self, present: usize) -> usize {
        self.met.fetch_or(present > 0, Relaxed);
        let before = self.present.swap(present, Relaxed);
        self.cut_off.store(false, Relaxed);
        before
    }
}

/// The carrier's end.
#[derive(Debug)]
pub struct Line {
    /// In which app.
    pub app: AppId,
    /// To be kept up to date.
    pub standing: Arc<Standing>,
    /// What is to be carried.
    pub queue: mpsc::UnboundedReceiver<Told>,
    /// Where what they say goes.
    pub hub: WeakHub,
    /// Which channels have members here, if that was asked for.
    pub interest: Option<Wanted>,
}

/// A hub without a hold on it.
#[derive(Clone)]
pub struct WeakHub(Weak<Inner>);

impl fmt::Debug for WeakHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakHub")
    }
}

impl WeakHub {
    /// The hub, while it is there.
    #[must_use]
    pub fn upgrade(&self) -> Option<Hub> {
        Hub::upgrade(&self.0)
    }
}

/// Whom among the neighbours' clients a publication is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outward {
    /// Those in any of these channels; `None`: all of the app.
    pub to: Option<Vec<Arc<str>>>,
    /// But those in none of these.
    pub except: Vec<Arc<str>>,
}

impl Publication {
    /// Whom it is for where the rules of this app are not known: nobody who would have to be somebody in particular to hear
    /// it, nor whom only the hub's own channels name.
    #[must_use]
    pub fn outward(&self) -> Option<Outward> {
        if self.except.iter().any(|name| **name == *EVERYONE) {
            return None;
        }
        let except = self.except.iter().filter(|name| !is_own(name)).cloned().collect();
        let heard = match &self.to {
            Target::Socket(address) => return Some(Outward { to: Some(vec![address.encode().into()]), except }),
            Target::Channels(heard) => heard,
        };
        let mut open = heard.iter().filter(|heard| heard.audience.is_none()).map(|heard| &heard.channel).peekable();
        open.peek()?;
        let names: Vec<Arc<str>> = open.cloned().collect();
        if names.iter().any(|name| **name == *EVERYONE) {
            return Some(Outward { to: None, except });
        }
        let names: Vec<_> = names.into_iter().filter(|name| !is_own(name)).collect();
        (!names.is_empty()).then_some(Outward { to: Some(names), except })
    }
}

impl Select {
    /// Whom it means where users are not known; `None`: nobody.
    #[must_use]
    pub fn outward(&self) -> Option<Outward> {
        let visible = |names: &[Arc<str>]| names.iter().filter(|name| !is_own(name)).cloned().collect::<Vec<_>>();
        let is_all = |names: &[Arc<str>]| names.iter().any(|name| **name == *EVERYONE);
        match self {
            Self::Everyone => Some(Outward { to: None, except: Vec::new() }),
            Self::Socket(address) => Some(Outward { to: Some(vec![address.encode().into()]), except: Vec::new() }),
            Self::User(_) => None,
            Self::Channels { except, .. } if is_all(except) => None,
            Self::Channels { to, except } if is_all(to) => Some(Outward { to: None, except: visible(except) }),
            Self::Channels { to, except } => {
                let names = visible(to);
                (!names.is_empty()).then(|| Outward { to: Some(names), except: visible(except) })
            }
        }
    }
}

impl Hub {
    /// Opens a line for each of these apps (one for each of its namespaces, say); once, before anybody connects. `by_channel`:
    /// its carrier listens to single channels, and who joins one waits for that.
    #[must_use]
    pub fn open_lines(&self, apps: &[AppId], by_channel: bool) -> Vec<Line> {
        let (lanes, lines): (Vec<_>, Vec<_>) = apps.iter().map(|app| self.open_line(*app, by_channel)).unzip();
        if self.inner.neighbours.set(lanes).is_err() { Vec::new() } else { lines }
    }

    fn open_line(&self, app: AppId, by_channel: bool) -> (Lane, Line) {
        let (sender, queue) = mpsc::unbounded_channel();
        let standing = Arc::<Standing>::default();
        let (interests, interest) = by_channel.then(Interests::new).unzip();
        if let Some(interests) = interests.clone() {
            self.channels().watch(Box::new(move |of, channel, before, now| {
                if of == app && !is_own(channel) && (before == 0) != (now == 0) {
                    interests.note(Interest { app, channel: Arc::clone(channel), wanted: now > 0 });
                }
            }));
        }
        let line = Line { app, standing: Arc::clone(&standing), queue, hub: WeakHub(self.downgrade()), interest };
        (Lane { app, standing, queue: sender, interests }, line)
    }

    /// Waits until what neighbours say in channels that have been joined here reaches this node.
    pub(super) async fn reach_neighbours(&self) {
        for interests in self.lanes().iter().filter_map(|lane| lane.interests.as_ref()) {
            interests.settled().await;
        }
    }

    fn lanes(&self) -> &[Lane] {
        self.inner.neighbours.get().map_or(&[], |lanes| lanes)
    }

    /// What is known of its neighbours: of each namespace.
    pub fn neighbours(&self) -> impl Iterator<Item = &Standing> {
        self.lanes().iter().map(|lane| &*lane.standing)
    }

    /// Those of an app that lead to somebody.
    fn lanes_of(&self, app: AppId) -> impl Iterator<Item = &Lane> {
        self.lanes().iter().filter(move |lane| lane.app == app && lane.leads_anywhere())
    }

    pub(crate) fn has_neighbours(&self) -> bool {
        self.neighbours().any(|standing| standing.present.load(Relaxed) > 0)
    }

    /// Has neighbours told of a delivery of this node; returns how many carriers will report whom it reached, where that is
    /// asked. Never blocks.
    pub(crate) fn tell_neighbours(&self, delivery: &Arc<Delivery>) -> usize {
        let mut lanes = self.lanes_of(delivery.app).peekable();
        if lanes.peek().is_none() || delivery.outward().is_none() {
            return 0;
        }
        lanes.filter(|lane| lane.tell(Told::Publication(Arc::clone(delivery)))).count()
    }

    /// Returns when neighbours have been told all that they were to be told when this was called.
    pub(super) fn tell_neighbours_all(&self) -> impl Future<Output = ()> + use<> {
        let last = |lane: &Lane| {
            let (said, is_said) = oneshot::channel();
            let _ = lane.queue.send(Told::Last(said));
            is_said
        };
        let said: Vec<_> = self.lanes().iter().map(last).collect();
        async {
            for said in said {
                let _ = said.await;
            }
        }
    }

    /// Asks the neighbours; returns the sessions that they name.
    pub(super) async fn ask_neighbours(&self, app: AppId, question: &Question) -> Vec<SocketInfo> {
        if question.select().outward().is_none() {
            return Vec::new();
        }
        let ask = |lane: &Lane| {
            let (reply, answer) = oneshot::channel();
            lane.tell(Told::Question(question.clone(), reply)).then_some(answer)
        };
        let answers: Vec<_> = self.lanes_of(app).filter_map(ask).collect();
        let mut found = Vec::new();
        for answer in answers {
            found.extend(answer.await.unwrap_or_default());
        }
        found
    }

    /// Something that a neighbour may have said was not heard here: who is in a channel of the app that remembers is told of
    /// a gap, and who comes back to one. Where there have never been any, nobody has said anything.
    pub fn has_missed_neighbours(&self, app: AppId) {
        if self.lanes().iter().any(|lane| lane.app == app && lane.standing.met.load(Relaxed)) {
            self.has_missed(&self.app(app), None);
        }
    }

    /// Whether a neighbour's word in this channel, or to this session, concerns anybody here.
    #[must_use]
    pub fn concerns(&self, app: AppId, name: &str) -> bool {
        self.is_heard(&self.app(app), name)
    }

    fn is_heard(&self, app: &App, name: &str) -> bool {
        let remembers = || app.recovery.is_some() && app.policy.history(name).is_some();
        let echoes = || !app.policy.echo(name).is_empty();
        !is_own(name)
            && (self.channels().members(app.id, name) > 0
                || self.own_session(app, name).is_some()
                || is_channel_name(name) && (remembers() || echoes()))
    }

    /// The session of this node that has this id.
    fn own_session(&self, app: &App, name: &str) -> Option<Address> {
        let address: Address = name.parse().ok()?;
        let came_back = || app.recovery.as_ref().is_some_and(|recovery| recovery.home(address).is_some());
        (address.node == self.node() || came_back()).then_some(address)
    }

    /// Tells the sessions of this node what a neighbour says, unshaped; without any name in `to`, all of the app. Returns
    /// from how many shards a report comes.
    ///
    /// # Errors
    /// [`CommandError`]: it cannot be told.
    pub async fn hear_neighbour(
        &self,
        app: AppId,
        mut publish: Publish,
        ack: Option<AckRequest>,
    ) -> Result<usize, CommandError> {
        let app = self.app(app);
        if !is_event_name(&publish.event) {
            return Err(CommandError::BadEvent(publish.event));
        }
        publish.shape = false;
        let names = std::mem::take(&mut publish.to);
        let (mut sessions, mut channels) = (BTreeSet::new(), Vec::new());
        if names.is_empty() {
            channels.push(EVERYONE.to_owned());
        }
        for name in names {
            match self.own_session(&app, &name) {
                Some(address) => drop(sessions.insert(address)),
                None if self.is_heard(&app, &name) => channels.push(name),
                None => {}
            }
        }
        publish.except.retain(|name| !is_own(name));
        let mut shards = 0;
        if !channels.is_empty() {
            let except = publish.except.iter().cloned().chain(sessions.iter().map(Address::encode)).collect();
            let publish = Publish { to: channels, except, ..publish.clone() };
            let to = self.heard(&app, &publish, publish.to.iter().map(|name| name.as_str().into()).collect());
            shards += self.say_here(&app, &publish, to, ack.clone()).await?;
        }
        for session in sessions {
            let publish = Publish { to: vec![session.encode()], ..publish.clone() };
            shards += self.say_here(&app, &publish, Target::Socket(session), ack.clone()).await?;
        }
        Ok(shards)
    }

    /// What a neighbour says is never stored: all nodes hear it, and each would.
    async fn say_here(
        &self,
        app: &App,
        publish: &Publish,
        to: Target,
        ack: Option<AckRequest>,
    ) -> Result<usize, CommandError> {
        let id: Arc<str> = Uuid::now_v7().to_string().into();
        let (rules, asked) = (rules(app, publish, &to), Instant::now());
        let except = publish.except.iter().map(|name| name.as_str().into()).collect();
        let written = written(app, publish, &id);
        let saying = Saying { publish, id, fresh: true, written, to, rules, except, asked };
        let (publication, remembered) = composed(app, saying);
        self.enter(app, publication, ack, asked, remembered, Whence::EachNode).await
    }

    /// Does on this node what a neighbour asks of all servers; names that no channel can have are passed over.
    ///
    /// # Errors
    /// [`CommandError`]: it cannot be done.
    pub async fn obey_neighbour(&self, app: AppId, mut question: Question) -> Result<Vec<SocketInfo>, CommandError> {
        let app = self.app(app);
        if let Question::Join(_, channels) | Question::Leave(_, channels) = &mut question {
            channels.retain(|name| is_channel_name(name) && app.policy.exceeded_by(name).is_none());
        }
        self.here(&app, &question).await
    }
}
