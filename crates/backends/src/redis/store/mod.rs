//! The durable store in a Redis that all nodes share: the rules are Lua scripts, each of which Redis runs alone.
//!
//! What changes something goes through one queue and one connection per node, as pipelines that grow with what is under
//! way; questions have a connection of their own. Every key begins with a prefix and has the app's name as its hash tag;
//! which keys there are stands in `lua/base.lua`. The clock is the nodes', never Redis's.

mod answer;
mod certain;
mod chronicle;
mod fault;
mod link;
mod script;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use oyez_hub::command::Level;
use oyez_hub::store::{
    Chronicle, Damage, Deleted, Found, Item, Marked, Owner, Page, Put, Query, Released, Seq, Settings, State, Stats,
    Step, Store, StoreError, Stored, Trace, Upkeep, Which, check_name,
};
use redis::{Value, cmd};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use self::link::{Link, ask};
use self::script::{Call, Script};
use self::writer::{Answer, HOLD, Job, QUEUE, Shared, Writer};
use super::place::Place;

/// Questions that are answered at once; more wait.
const READERS: usize = 32;

/// What every key begins with, unless it is said otherwise.
const PREFIX: &str = "oyez:";

/// Where the store is.
#[derive(Debug, Clone)]
pub struct Options {
    place: Place,
    prefix: String,
}

impl Options {
    /// At the Redis of this URL (see [`Place::of`]). A cluster keeps all of it on the one master that has the prefix's slot.
    ///
    /// # Errors
    /// What is wrong with the URL, without showing it.
    pub fn new(url: &str) -> Result<Self, String> {
        let (url, prefix) = url.split_once("?prefix=").unwrap_or((url, PREFIX));
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            return Err("a prefix has at least one letter and no braces, as in ?prefix=oyez:".to_owned());
        }
        let place = Place::of(url)?;
        let prefix = match prefix.strip_suffix(':').unwrap_or(prefix) {
            tag if place.is_cluster() => format!("{{{tag}}}:"),
            _ => prefix.to_owned(),
        };
        Ok(Self { place, prefix })
    }

    /// With keys that begin like this.
    #[must_use]
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), ..self }
    }
}

/// A store in Redis.
#[derive(Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
    readers: Semaphore,
    settings: Settings,
    /// This node's name for itself, and the number of what it asked last: what came through is known by it.
    node: u64,
    asked: AtomicU64,
    /// One release at a time, since the next one says that the answer to the last one has come.
    releasing: tokio::sync::Mutex<u64>,
}

impl RedisStore {
    /// Begins to connect; it is connected again whenever the connection ends.
    #[must_use]
    pub fn start(options: Options, settings: Settings, runtime: &Handle) -> Self {
        let Options { place, prefix } = options;
        let shared = Arc::new(Shared {
            name: place.name().into(),
            place,
            prefix,
            link: watch::Sender::new(None),
            health: watch::Sender::new(None),
            began: watch::Sender::new(false),
            broken: Notify::new(),
        });
        let (queue, jobs) = mpsc::channel(QUEUE);
        runtime.spawn(Writer::new(Arc::clone(&shared), jobs).run());
        let readers = Semaphore::new(READERS);
        let (node, asked) = (rand::random(), AtomicU64::new(0));
        Self { shared, queue, readers, settings, node, asked, releasing: tokio::sync::Mutex::new(0) }
    }

    /// How the first attempt to connect went.
    ///
    /// # Errors
    /// Why it is not connected.
    pub async fn begun(&self) -> Result<(), StoreError> {
        // The writer is there for as long as this store.
        let _ = self.shared.began.subscribe().wait_for(|began| *began).await;
        self.shared.health.borrow().clone().map_or(Ok(()), Err)
    }

    /// The name of one operation of this node.
    fn operation(&self) -> Vec<u8> {
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        [self.node.to_be_bytes(), number.to_be_bytes()].concat()
    }

    /// Has something done, behind what was asked before.
    async fn write(&self, call: Call, level: Level) -> Answer {
        let (reply, answer) = oneshot::channel();
        let job = Job { call, level, reply, until: Instant::now() + HOLD };
        // A turn of the runtime's that is over must not put it behind others.
        unconstrained(self.queue.send(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn change(&self, call: Call) -> Result<Value, StoreError> {
        self.write(call, Level::Stored).await.map(|(value, _)| value)
    }

    /// Asks a question; once more, if the connection ended with it.
    async fn ask(&self, call: Call) -> Result<Value, StoreError> {
        self.question(|link| {
            let hash = link.hashes.get(&call.script).map_or("", String::as_str);
            call.command(&self.shared.prefix, hash)
        })
        .await
    }

    async fn question(&self, command: impl Fn(&Link) -> redis::Cmd) -> Result<Value, StoreError> {
        let _permit = self.readers.acquire().await.map_err(|_| StoreError::Closed)?;
        let mut again = true;
        loop {
            let mut links = self.shared.link.subscribe();
            let mut link = self.link().await?;
            let command = command(&link);
            match ask(&mut link.reader, &command, &link.place).await {
                // Redis is told the scripts again by the writer.
                Err(error) if again && fault::is_unknown(&error) => {
                    drop(self.change(Call::new(Script::Probe, "")).await);
                }
                Err(error) if again && fault::ends_connection(&error) => {
                    self.shared.broken.notify_one();
                    // If there is no other one in time, the next attempt says so.
                    let _ = timeout(HOLD, links.changed()).await;
                }
                answer => return answer,
            }
            again = false;
        }
    }

    /// The connections, when there are some; not for long.
    async fn link(&self) -> Result<Link, StoreError> {
        let mut links = self.shared.link.subscribe();
        let link = timeout(HOLD, links.wait_for(Option::is_some)).await;
        let trouble = || self.shared.health.borrow().clone();
        let unreachable = || fault::unreachable(&self.shared.name, "not connected");
        match link {
            Ok(Ok(link)) => link.clone().ok_or(StoreError::Closed),
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(trouble().unwrap_or_else(unreachable)),
        }
    }

    /// The apps that have anything here.
    async fn apps(&self) -> Result<Vec<Arc<str>>, StoreError> {
        let key = format!("{}apps", self.shared.prefix);
        let mut apps = answer::names(self.question(|_| cmd("SMEMBERS").arg(&key).clone()).await?)?;
        apps.sort_unstable();
        Ok(apps)
    }

    fn page(of: &Owner, query: &Query, now: u64) -> Call {
        let states: String = query.states.iter().map(|state| char::from(b'0' + *state as u8)).collect();
        let call = Call::new(Script::Page, Arc::clone(&of.app)).number(now).arg(of.user.as_bytes());
        call.flag(query.newest_first).number(query.after.unwrap_or(0)).number(query.limit.max(1) as u64).arg(states)
    }
}

fn call(script: Script, of: &Owner, now: u64) -> Call {
    Call::new(script, Arc::clone(&of.app)).number(now).arg(of.user.as_bytes())
}

#[async_trait]
impl Store for RedisStore {
    async fn put(&self, put: Put, now: u64) -> Result<Stored, StoreError> {
        put.check()?;
        // That an id was made for it says nothing here: what an ended connection had under way may come after it was repeated.
        let Put { app, message, mut to, deliver_at, bound, level, .. } = put;
        to.sort_unstable();
        to.dedup();
        let refuses = bound.when_full == oyez_hub::store::WhenFull::Refuse;
        let mut call = Call::new(Script::Put, app).number(now).arg(message.id.as_bytes());
        call = call.arg(self.operation()).number(message.expires_at.unwrap_or(0));
        call = call.arg(answer::wanted(message.receipt.as_ref())).number(deliver_at.unwrap_or(0));
        call = call.number(bound.most.max(1).into()).flag(refuses).number(self.settings.id_bytes);
        call = call.arg(message.to_bytes()).number(to.len() as u64);
        call.args.extend(to.iter().map(answer::written));
        let (value, level) = self.write(call, level).await?;
        answer::stored(value, &to, level)
    }

    async fn release(&self, limit: usize, now: u64) -> Result<Vec<Released>, StoreError> {
        let mut turn = self.releasing.lock().await;
        let mut due = Vec::new();
        for app in self.apps().await? {
            let first = self.ask(Call::new(Script::NextDue, Arc::clone(&app))).await?;
            if first != Value::Nil {
                due.push((answer::number(&first)?, app));
            }
        }
        due.sort_unstable();
        let mut released = Vec::new();
        for (_, app) in due.into_iter().filter(|(at, _)| *at <= now) {
            let left = limit.saturating_sub(released.len());
            let call = Call::new(Script::Release, Arc::clone(&app)).number(now).number(left as u64);
            match self.change(call.arg(self.node.to_string()).arg(turn.to_string())).await {
                Ok(value) => {
                    *turn += 1;
                    released.extend(answer::released(value, &app)?);
                }
                Err(error) if released.is_empty() => return Err(error),
                // What was released is to be delivered; the others are asked next time.
                Err(_) => break,
            }
        }
        Ok(released)
    }

    async fn next_due(&self) -> Result<Option<u64>, StoreError> {
        let mut next: Option<u64> = None;
        for app in self.apps().await? {
            let due = self.ask(Call::new(Script::NextDue, app)).await?;
            if due != Value::Nil {
                let due = answer::number(&due)?;
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        Ok(next)
    }

    async fn pending(&self, of: &Owner, after: Option<Seq>, limit: usize, now: u64) -> Result<Page, StoreError> {
        let query = Query { states: vec![State::Pending], newest_first: false, after, limit };
        answer::page(self.ask(Self::page(of, &query, now)).await?)
    }

    async fn list(&self, of: &Owner, query: Query, now: u64) -> Result<Page, StoreError> {
        answer::page(self.ask(Self::page(of, &query, now)).await?)
    }

    async fn find(&self, of: &Owner, ids: Vec<Arc<str>>, now: u64) -> Result<Vec<Found>, StoreError> {
        answer::found(self.ask(call(Script::Find, of, now).names(&ids)).await?)
    }

    async fn unread(&self, of: &Owner, now: u64) -> Result<u64, StoreError> {
        answer::number(&self.ask(call(Script::Unread, of, now)).await?)
    }

    async fn mark(&self, of: &Owner, which: Which, to: State, now: u64) -> Result<Marked, StoreError> {
        let call = call(Script::Mark, of, now).number(to as u64);
        let call = match &which {
            Which::Ids(ids) => call.arg("ids").names(ids),
            Which::UpTo(id) => call.arg("up_to").arg(id.as_bytes()),
            Which::All => call.arg("all"),
        };
        answer::marked(self.change(call).await?, to)
    }

    async fn delete(&self, of: &Owner, ids: Vec<Arc<str>>, now: u64) -> Result<Deleted, StoreError> {
        answer::deleted(self.change(call(Script::Delete, of, now).names(&ids)).await?)
    }

    async fn resend(&self, of: &Owner, id: &str, now: u64) -> Result<Option<Item>, StoreError> {
        answer::resent(self.change(call(Script::Resend, of, now).arg(id)).await?, &of.user)
    }

    async fn note(&self, of: &Owner, id: &str, step: Step, now: u64) -> Result<bool, StoreError> {
        let call = call(Script::Note, of, now).arg(id);
        let call = match step {
            Step::Sent => call,
            Step::Withheld(reason) => call.arg(reason),
        };
        Ok(answer::number(&self.change(call).await?)? > 0)
    }

    async fn trace(&self, of: &Owner, id: &str) -> Result<Option<Trace>, StoreError> {
        let call = Call::new(Script::Trace, Arc::clone(&of.app)).arg(of.user.as_bytes()).arg(id);
        answer::trace(self.ask(call).await?)
    }

    async fn enroll(&self, app: &str, channel: &str, users: Vec<Arc<str>>) -> Result<usize, StoreError> {
        check_name("the app's name", app)?;
        check_name("the channel's name", channel)?;
        users.iter().try_for_each(|user| check_name("the user's name", user))?;
        answer::count(&self.change(Call::new(Script::Roster, app).arg(channel).flag(true).names(&users)).await?)
    }

    async fn dismiss(&self, app: &str, channel: &str, users: Vec<Arc<str>>) -> Result<usize, StoreError> {
        answer::count(&self.change(Call::new(Script::Roster, app).arg(channel).flag(false).names(&users)).await?)
    }

    async fn members(
        &self,
        app: &str,
        channel: &str,
        after: Option<Arc<str>>,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let call = Call::new(Script::Members, app).arg(channel).number(limit as u64).names(after.as_ref());
        answer::names(self.ask(call).await?)
    }

    async fn channels(&self, of: &Owner) -> Result<Vec<Arc<str>>, StoreError> {
        let call = Call::new(Script::Channels, Arc::clone(&of.app)).arg(of.user.as_bytes());
        let mut channels = answer::names(self.ask(call).await?)?;
        channels.sort_unstable();
        Ok(channels)
    }

    async fn maintain(&self, now: u64) -> Result<Upkeep, StoreError> {
        let mut upkeep = Upkeep::default();
        // Refused where a message would be.
        match self.change(Call::new(Script::Probe, "")).await {
            Err(full @ StoreError::ServerFull { .. }) => upkeep.full = Some(full),
            probed => drop(probed?),
        }
        for app in self.apps().await? {
            let call = Call::new(Script::Maintain, Arc::clone(&app)).number(now).number(self.settings.id_bytes);
            let keep = self.settings.keep_acknowledged.map_or("-1".to_owned(), |keep| keep.to_string());
            let [expired, whose, trimmed, forgotten, more] = answer::some(self.change(call.arg(keep)).await?)?;
            upkeep.expired += answer::count(&expired)?;
            upkeep.expired_at.extend(answer::targets(whose)?.into_iter().map(|target| (Arc::clone(&app), target)));
            upkeep.trimmed += answer::count(&trimmed)?;
            upkeep.forgotten += answer::count(&forgotten)?;
            upkeep.more |= answer::number(&more)? > 0;
        }
        Ok(upkeep)
    }

    async fn stats(&self, now: u64) -> Result<Stats, StoreError> {
        const HOUR: u64 = 3_600_000;
        let mut stats = Stats { window: 24 * HOUR, ..Stats::default() };
        for app in self.apps().await? {
            let call = Call::new(Script::Stats, app).number(now).number(self.settings.id_bytes);
            let [records, from, id_bytes, last] = answer::some(self.change(call).await?)?;
            stats.records += answer::number(&records)?;
            stats.window = stats.window.min(now.saturating_sub(answer::number(&from)? * HOUR));
            stats.id_bytes += answer::number(&id_bytes)?;
            stats.last = stats.last.max(answer::number(&last)?);
        }
        let told = answer::text(self.question(|_| cmd("INFO").arg("memory").clone()).await?)?;
        let used = told.lines().find_map(|line| line.strip_prefix("used_memory:"));
        stats.bytes = used.and_then(|used| used.trim().parse().ok()).unwrap_or_default();
        Ok(stats)
    }

    async fn verify(&self) -> Result<Vec<Damage>, StoreError> {
        verify::all(self).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn chronicle(&self) -> Option<&dyn Chronicle> {
        Some(self)
    }

    fn health(&self) -> Option<watch::Receiver<Option<StoreError>>> {
        Some(self.shared.health.subscribe())
    }
}
