//! Messages from the streams of a Redis, read as one of a consumer group and acknowledged once the hub has taken them.
//!
//! What a server was given stays its own until it acknowledges it: it reads that again on the next connection, and the
//! others claim it when nothing was heard of it for a while. Nothing is ever trimmed here.

use std::collections::{HashMap, VecDeque};
use std::future::pending;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use oyez_hub::source::{Intake, Taken, Trouble};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::entry::{Entry, Place};
use super::fault::{Remedies, fault, silence};
use super::group::Group;
use super::server::Server;
use crate::supervise::{Fault, supervise};

/// How long the server may take to let us in, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one look for new entries lasts, and so how long an end may have to wait for it.
const BLOCK: Duration = Duration::from_secs(1);

/// How often it is asked how many entries wait.
const LOOK: Duration = Duration::from_secs(5);

/// How long messages under way may take when the source ends; what is not done then is claimed by another.
const GRACE: Duration = Duration::from_secs(5);

/// How often an entry is given out before it goes to the dead letters: one that ends the process each time would
/// otherwise do so for ever.
const DELIVERIES: u64 = 20;

/// What is read, and where.
#[derive(Debug, Clone)]
pub struct Options {
    client: Client,
    pub(super) streams: Vec<String>,
    pub(super) group: String,
    /// The field that is the body.
    pub(super) field: Option<String>,
    /// A group that is made begins with the oldest entry.
    pub(super) oldest: bool,
    most: usize,
    /// Of whom nothing was heard for so long has left what it was given.
    pub(super) idle: Duration,
}

impl Options {
    /// These streams, as one of this group, at this Redis.
    #[must_use]
    pub fn new(Server(client): Server, streams: &[String], group: &str) -> Self {
        let (streams, group, idle) = (streams.to_vec(), group.to_owned(), Duration::from_secs(60));
        Self { client, streams, group, field: None, oldest: true, most: 256, idle }
    }

    /// The field of an entry that is the body, how many entries are under way at once, and after which silence of its
    /// server an entry is claimed.
    #[must_use]
    pub fn with(self, field: Option<String>, most: u16, idle: Duration) -> Self {
        Self { field, most: most.into(), idle, ..self }
    }

    /// Whether a group that has to be made reads what is in the stream already.
    #[must_use]
    pub fn beginning(self, oldest: bool) -> Self {
        Self { oldest, ..self }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
        let config = config.set_response_timeout(Some(PATIENCE + BLOCK));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }
}

impl Remedies for Options {
    fn place(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    fn rights(&self) -> String {
        let streams: Vec<_> = self.streams.iter().map(|stream| format!("~{stream}")).collect();
        format!("let the user read: ACL SETUSER … {} ~{}.dead +@stream", streams.join(" "), self.group)
    }

    fn lost(&self) -> &'static str {
        "what was under way is read again"
    }
}

/// Reads until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    // By this name it finds again what it was given on an earlier connection.
    let consumer = format!("oyez-{:016x}", rand::random::<u64>());
    // A group that was there once is made again from the beginning: what is in the stream then is new.
    let known = AtomicBool::new(false);
    supervise(&intake, &stop, || session(&options, &intake, &stop, &consumer, &known)).await;
}

/// One connection; `Ok` when the source is stopped.
async fn session(
    options: &Options,
    intake: &Intake,
    stop: &CancellationToken,
    consumer: &str,
    known: &AtomicBool,
) -> Result<(), Fault> {
    let wrong = |trouble| move |error: RedisError| fault(&error, options, trouble);
    let opening = async {
        let reading = options.connect().await.map_err(wrong(Trouble::Unreachable))?;
        let aside = options.connect().await.map_err(wrong(Trouble::Unreachable))?;
        let group = Group { options, consumer, reading, aside };
        group.make(options.oldest || known.load(Relaxed)).await.map_err(wrong(Trouble::Unreachable))?;
        group.forget_the_dead().await.map_err(wrong(Trouble::Unreachable))?;
        let mine = group.mine().await.map_err(wrong(Trouble::Unreachable))?;
        Ok((group, mine))
    };
    let (group, mine) = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = timeout(PATIENCE * 2, opening) => match opened {
            Ok(opened) => opened?,
            Err(_) => return Err(silence(options, Trouble::Unreachable)),
        },
    };
    known.store(true, Relaxed);
    info!(
        event = "source_connected",
        app = intake.app_name(),
        source = intake.name(),
        place = options.place(),
        group = options.group
    );
    intake.figures().works();
    let mut reader = Reader { options, intake, group: &group, waiting: mine.into(), under_way: HashMap::new() };
    let left = reader.read(stop).await.map_err(wrong(Trouble::Lost))?;
    if left == 0 {
        // Nobody needs the name any more. Where that fails it is forgotten later, by another.
        let _ = group.leave().await;
    }
    Ok(())
}

/// What one connection reads.
struct Reader<'a> {
    options: &'a Options,
    intake: &'a Intake,
    group: &'a Group<'a>,
    /// Given to this server, and not begun.
    waiting: VecDeque<Entry>,
    /// Begun, since when.
    under_way: HashMap<Place, Instant>,
}

impl Reader<'_> {
    /// Reads until the source is stopped; returns how many entries are left unacknowledged then.
    async fn read(&mut self, stop: &CancellationToken) -> Result<usize, RedisError> {
        let (intake, group) = (self.intake, self.group);
        let mut settling = FuturesUnordered::new();
        let mut news: Option<BoxFuture<'_, _>> = None;
        let mut look = ticks(LOOK);
        let mut claim = ticks(self.options.idle / 3);
        loop {
            while settling.len() < self.options.most
                && let Some(entry) = self.waiting.pop_front()
            {
                self.under_way.insert(entry.place.clone(), Instant::now());
                settling.push(settle(intake, group, entry));
            }
            let room = self.options.most - settling.len();
            if news.is_none() && room > 0 {
                news = Some(group.next(room, BLOCK).boxed());
            }
            tokio::select! {
                () = stop.cancelled() => break,
                read = async { news.as_mut().expect("it is there").await }, if news.is_some() => {
                    news = None;
                    self.waiting.extend(read?);
                }
                Some(settled) = settling.next() => drop(self.under_way.remove(&settled?)),
                _ = claim.tick() => self.claim().await?,
                _ = look.tick() => if let Some(lag) = group.lag().await? { intake.figures().lags(lag) },
            }
        }
        // What is being given out now would otherwise lie until another claims it.
        if let Some(news) = news {
            self.waiting.extend(news.await?);
        }
        settling.extend(self.waiting.drain(..).map(|entry| settle(intake, group, entry)));
        let _ = timeout(GRACE, async { while settling.next().await.is_some() {} }).await;
        Ok(settling.len())
    }

    /// Says of what takes long that somebody is at it, and takes over what others have left.
    async fn claim(&mut self) -> Result<(), RedisError> {
        let old = |since: &Instant| since.elapsed() > self.options.idle / 4;
        let old: Vec<_> = self.under_way.iter().filter(|(_, since)| old(since)).map(|(place, _)| place).collect();
        self.group.keep(&old).await?;
        let room = self.options.most.saturating_sub(self.under_way.len() + self.waiting.len());
        if room > 0 {
            let left = self.group.claim(room).await?;
            self.waiting.extend(left.into_iter().filter(|entry| !self.under_way.contains_key(&entry.place)));
        }
        Ok(())
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every.max(Duration::from_millis(50)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Sees one entry through to its acknowledgement; or it stays this server's.
async fn settle(intake: &Intake, group: &Group<'_>, entry: Entry) -> Result<Place, RedisError> {
    let headers = entry.headers(group.options.field.as_deref());
    let body = entry.body(group.options.field.as_deref());
    let stream = &group.options.streams[entry.place.stream];
    let id = format!("{stream}/{}", entry.place.id);
    let arrival = entry.arrival(stream, &id, body.as_deref().unwrap_or_default(), &headers);
    let taken = if entry.deliveries > DELIVERIES {
        let often = format!("it was given out {} times, and never finished", entry.deliveries);
        intake.refuse(&arrival, "deliveries", often)
    } else if body.is_none() {
        let field = group.options.field.as_deref().unwrap_or_default();
        intake.refuse(&arrival, "no_body", format!("the entry has no field `{field}`"))
    } else {
        intake.take(&arrival).await
    };
    match taken {
        Taken::Done => {}
        Taken::Dead(poison) => group.bury(&entry, stream, &poison).await?,
        Taken::Not => return pending().await,
    }
    group.acknowledge(&entry.place).await?;
    Ok(entry.place)
}
