//! Messages from a stream of JetStream, read through a durable consumer and acknowledged once the hub has taken them.
//!
//! The servers of an app share the consumer. What one was given and has not acknowledged in time, another gets.

use std::collections::HashMap;
use std::future::pending;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use oyez_hub::source::{Intake, Taken, Trouble};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::consumer::{Consumer, EXPIRES, GIVEN};
use super::delivery::{Origin, arrival, json};
use super::fault::{Remedies, Wrong, fault};
use super::line::Line;
use super::servers::Servers;
use super::wire::{self, Message};
use crate::supervise::{Fault, supervise};

/// How often the server is asked whether it is there.
const PING: Duration = Duration::from_secs(5);

/// How often it is asked how many messages wait.
const LOOK: Duration = Duration::from_secs(5);

/// How soon messages are asked for again where that was refused.
const AGAIN: Duration = Duration::from_secs(1);

/// How long messages under way may take when the source ends; what is not done then another gets.
const GRACE: Duration = Duration::from_secs(5);

/// How often a message is given out before it goes to the dead letters: one that ends the process each time would otherwise
/// do so for ever.
const DELIVERIES: u64 = 20;

/// What is read, and where.
#[derive(Debug, Clone)]
pub struct Options {
    servers: Servers,
    pub(super) stream: String,
    pub(super) subjects: Vec<String>,
    /// The consumer's name.
    pub(super) group: String,
    /// A consumer that is made begins with the oldest message.
    pub(super) oldest: bool,
    most: usize,
    /// What is not acknowledged for so long, and of which nothing was heard, another gets.
    pub(super) idle: Duration,
}

impl Options {
    /// These subjects of a stream, through the consumer of this name, at this NATS.
    #[must_use]
    pub fn new(servers: Servers, stream: &str, subjects: &[String], group: &str) -> Self {
        let (stream, subjects, group) = (stream.to_owned(), subjects.to_vec(), group.to_owned());
        Self { servers, stream, subjects, group, oldest: true, most: 256, idle: Duration::from_secs(60) }
    }

    /// How many messages are under way at once, and after which silence of its server another gets one.
    #[must_use]
    pub fn with(self, most: u16, idle: Duration) -> Self {
        Self { most: most.into(), idle, ..self }
    }

    /// Whether a consumer that has to be made reads what is in the stream already.
    #[must_use]
    pub fn beginning(self, oldest: bool) -> Self {
        Self { oldest, ..self }
    }

    /// The subject of dead letters.
    pub(super) fn dead(&self) -> String {
        format!("{}.dead", self.group)
    }
}

impl Remedies for Options {
    fn place(&self) -> String {
        self.servers.to_string()
    }

    fn rights(&self) -> String {
        let Self { stream, group, .. } = self;
        let api = [
            format!("STREAM.INFO.{stream}"),
            "STREAM.NAMES".to_owned(),
            format!("STREAM.CREATE.{group}-dead"),
            format!("CONSUMER.INFO.{stream}.{group}"),
            format!("CONSUMER.DURABLE.CREATE.{stream}.{group}"),
            format!("CONSUMER.MSG.NEXT.{stream}.{group}"),
        ];
        let api: Vec<_> = api.iter().map(|subject| format!("\"$JS.API.{subject}\"")).collect();
        format!(
            "let the user subscribe to \"_INBOX.>\", and publish to \"$JS.ACK.{stream}.{group}.>\", \"{group}.dead\", {}",
            api.join(", ")
        )
    }

    fn lost(&self) -> &'static str {
        "what was under way is given out again"
    }
}

/// Reads until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    let (options, intake, stop) = (&options, &intake, &stop);
    supervise(intake, stop, || session(options, intake, stop)).await;
}

/// One connection; `Ok` when the source is stopped.
async fn session(options: &Options, intake: &Intake, stop: &CancellationToken) -> Result<(), Fault> {
    let wrong = |trouble| move |wrong: Wrong| fault(&wrong, options, trouble);
    let mut line = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        line = Line::open(&options.servers, intake.name(), PING) => line.map_err(wrong(Trouble::Unreachable))?,
    };
    let consumer = Consumer::new(options, line.lane.clone());
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        made = line.until(consumer.make(), |message| consumer.hear(message)) => made.map_err(wrong(Trouble::Lost))??,
    }
    info!(
        event = "source_connected",
        app = intake.app_name(),
        source = intake.name(),
        place = options.place(),
        stream = options.stream,
        consumer = options.group
    );
    intake.figures().works();
    let (under_way, requested) = Default::default();
    let mut reader = Reader { options, intake, consumer: &consumer, under_way, requested, since: Instant::now() };
    reader.read(&mut line, stop).await
}

/// What one connection reads.
struct Reader<'a> {
    options: &'a Options,
    intake: &'a Intake,
    consumer: &'a Consumer<'a>,
    /// Where those are acknowledged that are begun, and since when.
    under_way: HashMap<String, Instant>,
    /// Messages that were asked for and have not come.
    requested: usize,
    /// When they were asked for, or when that was refused.
    since: Instant,
}

impl Reader<'_> {
    /// Reads until the source is stopped.
    async fn read(&mut self, line: &mut Line, stop: &CancellationToken) -> Result<(), Fault> {
        let (options, intake, consumer) = (self.options, self.intake, self.consumer);
        let wrong = |wrong: Wrong| fault(&wrong, options, Trouble::Lost);
        let mut settling = FuturesUnordered::new();
        let mut lag: Option<BoxFuture<'_, _>> = None;
        let (mut look, mut again, mut keep) = (ticks(LOOK), ticks(AGAIN), ticks(options.idle / 3));
        self.request(options.most).await?;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                message = line.next() => if let Some(message) = self.sort(message.map_err(wrong)?)? {
                    self.under_way.insert(message.reply().unwrap_or_default().to_owned(), Instant::now());
                    settling.push(settle(intake, consumer, message));
                },
                Some(settled) = settling.next() => drop(self.under_way.remove(&settled?)),
                waiting = async { lag.as_mut().expect("it is there").await }, if lag.is_some() => {
                    lag = None;
                    intake.figures().lags(waiting?);
                }
                _ = look.tick() => if lag.is_none() { lag = Some(consumer.lag().boxed()) },
                _ = again.tick() => {
                    // A server that forgot what it was asked for is asked again.
                    if self.requested > 0 && self.since.elapsed() > EXPIRES + AGAIN {
                        self.requested = 0;
                    }
                    self.request(1).await?;
                }
                _ = keep.tick() => self.keep().await?,
            }
            self.request(options.most.div_ceil(4)).await?;
        }
        drop(lag);
        let rest = self.finish(line, settling);
        let _ = timeout(GRACE, rest).await;
        self.leave(line).await;
        Ok(())
    }

    /// Asks for as many messages as there is room for, if it is for so many at least and none are asked for.
    async fn request(&mut self, least: usize) -> Result<(), Fault> {
        let room = self.options.most.saturating_sub(self.under_way.len());
        if self.requested > 0 || room < least.max(1) {
            return Ok(());
        }
        (self.requested, self.since) = (room, Instant::now());
        self.consumer.request(room).await
    }

    /// A message of the stream; what else comes is seen to.
    fn sort(&mut self, message: Message) -> Result<Option<Message>, Fault> {
        if message.id != GIVEN {
            self.consumer.hear(message);
            return Ok(None);
        }
        // Who publishes may write what looks like a word of the server, which has no origin.
        if message.reply().and_then(Origin::of).is_some() {
            self.requested = self.requested.saturating_sub(1);
            return Ok(Some(message));
        }
        match message.headers().status {
            // At most a heartbeat.
            None | Some((100, _)) => {}
            Some((503, _)) => return Err(self.consumer.gone("nobody answers for it")),
            Some((409, said)) if said.eq_ignore_ascii_case("consumer deleted") => return Err(self.consumer.gone(said)),
            // What was asked for is over; where that came too soon, `since` has it asked for again later.
            Some((404 | 408, _)) => self.requested = 0,
            Some((_, said)) => {
                debug!(said, "the server gives no more messages");
                self.since = Instant::now().checked_sub(EXPIRES).unwrap_or_else(Instant::now);
            }
        }
        Ok(None)
    }

    /// Says of what takes long that somebody is at it.
    async fn keep(&self) -> Result<(), Fault> {
        let old = |since: &Instant| since.elapsed() > self.options.idle / 4;
        let old = self.under_way.iter().filter(|(_, since)| old(since)).map(|(reply, _)| reply.as_str());
        self.consumer.say("+WPI", old).await
    }

    /// No more come; who is under way may arrive.
    async fn finish(
        &mut self,
        line: &mut Line,
        mut settling: FuturesUnordered<impl Future<Output = Result<String, Fault>>>,
    ) -> Result<(), Wrong> {
        let consumer = self.consumer;
        let mut bytes = Vec::new();
        wire::unsubscribe(&mut bytes, GIVEN);
        let mut late = |message: Message| match message.reply().filter(|_| message.id == GIVEN) {
            Some(reply) => drop(self.under_way.insert(reply.to_owned(), Instant::now())),
            None => consumer.hear(message),
        };
        line.until(consumer.lane.confirm(bytes), &mut late).await??;
        let under_way = &mut self.under_way;
        let arrived = async {
            while let Some(settled) = settling.next().await {
                if let Ok(reply) = settled {
                    under_way.remove(&reply);
                }
            }
        };
        line.until(arrived, |message| consumer.hear(message)).await
    }

    /// Gives back what is not done, and has the server hear of all that is.
    async fn leave(&self, line: &mut Line) {
        let consumer = self.consumer;
        let leaving = async {
            let _ = consumer.say("-NAK", self.under_way.keys().map(String::as_str)).await;
            consumer.lane.confirm(Vec::new()).await
        };
        let _ = line.until(leaving, |message| consumer.hear(message)).await;
    }
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every.max(Duration::from_millis(50)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Sees one message through to its acknowledgement, and returns where that went; or it is given out again.
async fn settle(intake: &Intake, consumer: &Consumer<'_>, message: Message) -> Result<String, Fault> {
    let reply = message.reply().unwrap_or_default().to_owned();
    let Some(origin) = Origin::of(&reply) else { return Ok(reply) };
    let (headers, id) = (message.headers(), origin.id());
    let json = json(&headers);
    let arrival = arrival(&message, &headers, &json, Some(&id), Some(origin.sent));
    let taken = if message.subject() == consumer.options.dead() {
        // A stream of everything has the dead letters, too.
        Taken::Done
    } else if origin.deliveries > DELIVERIES {
        let often = format!("it was given out {} times, and never finished", origin.deliveries);
        intake.refuse(&arrival, "deliveries", often)
    } else {
        intake.take(&arrival).await
    };
    let word = match taken {
        Taken::Done => "+ACK",
        Taken::Dead(poison) => {
            consumer.bury(&message, &origin, &poison).await?;
            "+TERM"
        }
        Taken::Not => return pending().await,
    };
    consumer.say(word, [reply.as_str()].into_iter()).await?;
    Ok(reply)
}
