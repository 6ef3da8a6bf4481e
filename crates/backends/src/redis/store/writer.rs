//! The task that writes. A group is what waited while the one before it was with Redis; one pipeline is under way at a
//! time, so that Redis has all in the order in which it came. When the connection ends it is made again by itself, and what
//! can be repeated is.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::command::Level;
use oyez_hub::store::StoreError;
use redis::{RedisError, Value, cmd, pipe};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use super::certain::Certainty;
use super::fault;
use super::link::{Link, ask_all};
use super::script::{Call, Script};
use crate::redis::place::Place;
use crate::supervise::Backoff;

/// Operations that wait for the writer; whoever comes then waits until there is room, in order of arrival.
pub(super) const QUEUE: usize = 1_024;

/// The most operations of one group, and their bytes, about: an answer waits for the whole group.
const GROUP: usize = 512;
const BYTES: usize = 8 << 20;

/// The most messages that one script stores, and their bytes, about: nobody else is answered by Redis meanwhile.
const RUN: usize = 128;
const RUN_BYTES: usize = 256 << 10;

/// How long an operation waits for a connection; then it is refused.
pub(super) const HOLD: Duration = Duration::from_secs(2);

/// How often it is looked whether the connections still answer.
const PING: Duration = Duration::from_millis(500);

/// The longest wait before Redis is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) type Answer = Result<(Value, Level), StoreError>;

/// An operation that waits for its turn.
pub(super) struct Job {
    pub(super) call: Call,
    pub(super) level: Level,
    pub(super) reply: oneshot::Sender<Answer>,
    pub(super) until: Instant,
}

/// What the writer shares with those who ask.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) place: Place,
    pub(super) name: Arc<str>,
    pub(super) prefix: String,
    /// The connections, while they work.
    pub(super) link: watch::Sender<Option<Link>>,
    /// Why nothing can be stored now.
    pub(super) health: watch::Sender<Option<StoreError>>,
    /// How the first connect went.
    pub(super) began: watch::Sender<bool>,
    /// Somebody's question found that the connection is broken.
    pub(super) broken: Notify,
}

/// The writer of one store.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: mpsc::Receiver<Job>,
    held: VecDeque<Job>,
    closed: bool,
    /// Apps that are on Redis's list of them.
    apps: HashSet<Arc<str>>,
    certainty: Certainty,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>) -> Self {
        Self {
            shared,
            jobs,
            held: VecDeque::new(),
            closed: false,
            apps: HashSet::new(),
            certainty: Certainty::default(),
        }
    }

    /// Writes until nobody can ask any more and everything is answered.
    pub(super) async fn run(mut self) {
        while let Some(link) = self.connect().await {
            info!(event = "store_connected", place = %link.place);
            self.apps.clear();
            self.shared.link.send_replace(Some(link.clone()));
            self.shared.health.send_replace(None);
            self.shared.began.send_replace(true);
            let trouble = self.work(link).await;
            self.shared.link.send_replace(None);
            let Some(trouble) = trouble else { return };
            warn!(event = "store_failed", error = %trouble);
            self.shared.health.send_replace(Some(trouble));
        }
    }

    /// Tries until it is connected; nothing when nobody asks any more.
    async fn connect(&mut self) -> Option<Link> {
        let shared = Arc::clone(&self.shared);
        let mut backoff = Backoff::up_to(RETRY);
        let since = Instant::now();
        loop {
            let opening = Link::open(&shared.place, &shared.prefix);
            tokio::pin!(opening);
            let trouble = loop {
                tokio::select! {
                    opened = &mut opening => match opened {
                        Ok(link) => return Some(link),
                        Err(trouble) => break trouble,
                    },
                    () = self.hold(since) => if self.closed { return None },
                }
            };
            let before = shared.health.send_replace(Some(trouble.clone()));
            if before.is_none_or(|before| before.word() != trouble.word()) {
                warn!(event = "store_failed", error = %trouble);
            }
            shared.began.send_replace(true);
            let again = Instant::now() + backoff.wait();
            loop {
                tokio::select! {
                    () = sleep_until(again) => break,
                    () = self.hold(since) => if self.closed { return None },
                }
            }
        }
    }

    /// Takes in what comes while there is no connection, and refuses what has waited too long, or comes when it has been
    /// away for long.
    async fn hold(&mut self, since: Instant) {
        let first = self.held.iter().map(|job| job.until).min();
        let overdue = async {
            match first {
                Some(first) => sleep_until(first).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            job = self.jobs.recv(), if self.held.len() < GROUP => match job {
                Some(job) if since.elapsed() > HOLD => self.refuse(job),
                Some(job) => self.held.push_back(job),
                None => self.closed = true,
            },
            () = overdue => {
                let now = Instant::now();
                let (late, rest) = self.held.drain(..).partition(|job| job.until <= now);
                self.held = rest;
                let late: VecDeque<Job> = late;
                late.into_iter().for_each(|job| self.refuse(job));
            }
        }
    }

    fn refuse(&self, job: Job) {
        let trouble = self.shared.health.borrow().clone();
        let trouble = trouble.unwrap_or_else(|| fault::unreachable(&self.shared.name, "not connected"));
        let _ = job.reply.send(Err(trouble));
    }

    /// Writes over one connection until it ends: why, or nothing when nobody asks any more.
    async fn work(&mut self, mut link: Link) -> Option<StoreError> {
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = Arc::clone(&self.shared);
        let mut came = Vec::with_capacity(GROUP);
        loop {
            while !self.held.is_empty() {
                if let Err(trouble) = self.write(&mut link).await {
                    return Some(trouble);
                }
            }
            if self.closed {
                return None;
            }
            tokio::select! {
                count = self.jobs.recv_many(&mut came, GROUP) => match count {
                    0 => self.closed = true,
                    _ => self.held.extend(came.drain(..)),
                },
                () = shared.broken.notified() => {}
                _ = ping.tick() => {}
            }
            if self.held.is_empty()
                && let Err(trouble) = link.ping().await
            {
                return Some(trouble);
            }
        }
    }

    /// The next group of what is held.
    fn group(&mut self) -> Vec<Job> {
        let (mut group, mut bytes) = (Vec::new(), 0);
        while let Some(job) = self.held.front() {
            bytes += job.call.size();
            if !group.is_empty() && (group.len() >= GROUP || bytes > BYTES) {
                break;
            }
            group.extend(self.held.pop_front());
        }
        group
    }

    /// Has Redis do a group; an error: the connection is of no use any more.
    async fn write(&mut self, link: &mut Link) -> Result<(), StoreError> {
        let group = self.group();
        let mut pipeline = pipe();
        let mut new: Vec<Arc<str>> = group.iter().map(|job| Arc::clone(&job.call.app)).collect();
        new.sort_unstable();
        new.dedup();
        new.retain(|app| !app.is_empty() && !self.apps.contains(app));
        for app in &new {
            pipeline.add_command(cmd("SADD").arg(format!("{}apps", self.shared.prefix)).arg(&**app).clone());
        }
        let runs = runs(group);
        for run in &runs {
            let Some(first) = run.first() else { continue };
            let hash = link.hashes.get(&first.call.script).map_or("", String::as_str);
            let mut command = first.call.command(&self.shared.prefix, hash);
            run.iter().skip(1).for_each(|job| job.call.add_to(&mut command));
            pipeline.add_command(command);
        }
        let synced = runs.iter().flatten().any(|job| job.level == Level::Synced);
        if synced {
            for question in Certainty::questions(&self.shared.prefix, link.waits) {
                pipeline.add_command(question);
            }
        }
        let mut answers = match ask_all(&mut link.writer, &pipeline, &link.place).await {
            Ok(answers) => answers,
            Err(trouble) => {
                self.lose(runs.into_iter().flatten());
                return Err(trouble);
            }
        };
        let level = match synced.then(|| (answers.pop(), answers.pop())) {
            Some((Some(answer), Some(marked))) => self.certainty.reached(&marked, answer, &link.place),
            _ => Level::Stored,
        };
        self.apps.extend(
            new.iter()
                .zip(answers.drain(..new.len()))
                .filter_map(|(app, answer)| matches!(answer, Value::Int(_)).then(|| Arc::clone(app))),
        );
        self.settle(link, runs, answers, level).await
    }

    /// Answers a group. What Redis did not do because it knew no script is done after it has been told them.
    async fn settle(
        &mut self,
        link: &mut Link,
        runs: Vec<Vec<Job>>,
        answers: Vec<Value>,
        level: Level,
    ) -> Result<(), StoreError> {
        let (mut again, mut ends) = (Vec::new(), None);
        for (run, answer) in runs.into_iter().zip(answers) {
            let Value::ServerError(error) = answer else {
                tell(run, answer, level);
                continue;
            };
            if error.code() == "NOSCRIPT" {
                again.extend(run);
                continue;
            }
            let trouble = fault::of(&RedisError::from(error), &link.place);
            if fault::ends_connection(&trouble) {
                ends = Some(trouble);
                again.extend(run);
            } else {
                for job in run {
                    let _ = job.reply.send(Err(trouble.clone()));
                }
            }
        }
        let unknown = !again.is_empty() && ends.is_none();
        again.into_iter().rev().for_each(|job| self.held.push_front(job));
        if unknown {
            link.reload().await?;
            self.shared.link.send_replace(Some(link.clone()));
        }
        ends.map_or(Ok(()), Err)
    }

    /// The connection ended with a group under way: what can be repeated is.
    fn lose(&mut self, group: impl DoubleEndedIterator<Item = Job>) {
        for job in group.rev() {
            if !job.call.script.repeats() {
                let _ = job.reply.send(Err(fault::lost(&self.shared.name)));
                continue;
            }
            self.held.push_front(job);
        }
    }
}

/// A group, cut into what one command does.
fn runs(group: Vec<Job>) -> Vec<Vec<Job>> {
    let mut runs: Vec<Vec<Job>> = Vec::new();
    let mut bytes = 0;
    for job in group {
        bytes += job.call.size();
        match runs.last_mut() {
            Some(run) if run.len() < RUN && bytes <= RUN_BYTES && run[0].call.joins(&job.call) => run.push(job),
            _ => {
                bytes = job.call.size();
                runs.push(vec![job]);
            }
        }
    }
    runs
}

/// Answers what one command did.
fn tell(run: Vec<Job>, answer: Value, level: Level) {
    let answers = match answer {
        Value::Array(answers) if run.iter().all(|job| job.call.script == Script::Put) => answers,
        answer => vec![answer],
    };
    for (job, answer) in run.into_iter().zip(answers) {
        // Whoever asked may have gone.
        let _ = job.reply.send(Ok((answer, level)));
    }
}
