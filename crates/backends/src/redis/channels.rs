//! Messages from the channels of a Redis. Redis keeps none of them: what is said while nobody is connected is lost.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use oyez_hub::source::{Arrival, Intake, Trouble};
use redis::aio::{PubSubSink, PubSubStream};
use redis::{Client, Msg, RedisError};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::fault::{Remedies, fault, lost, silence};
use super::server::Server;
use crate::supervise::{Fault, supervise};

/// How long the server may take to let us in, or to answer a ping.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked whether it is there.
const PING: Duration = Duration::from_secs(10);

/// How long messages under way may take when the source ends.
const GRACE: Duration = Duration::from_secs(5);

/// What is listened to, and where.
#[derive(Debug, Clone)]
pub struct Options {
    client: Client,
    channels: Vec<String>,
    patterns: Vec<String>,
    most: usize,
}

impl Options {
    /// These channels, or patterns of them, at this Redis; so many messages are under way at once.
    #[must_use]
    pub fn new(Server(client): Server, from: &[String], most: u16) -> Self {
        let (patterns, channels) = from.iter().cloned().partition(|name| name.contains(['*', '?', '[', '\\']));
        Self { client, channels, patterns, most: most.into() }
    }
}

impl Remedies for Options {
    fn place(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    fn rights(&self) -> String {
        "let the user listen: ACL SETUSER … &* +subscribe +psubscribe +ping".to_owned()
    }

    fn lost(&self) -> &'static str {
        "what was said meanwhile is lost"
    }
}

/// Listens until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    let (options, intake, stop) = (&options, &intake, &stop);
    supervise(intake, stop, || session(options, intake, stop)).await;
}

/// One connection; `Ok` when the source is stopped.
async fn session(options: &Options, intake: &Intake, stop: &CancellationToken) -> Result<(), Fault> {
    let (sink, stream) = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = timeout(PATIENCE, open(options)) => match opened {
            Ok(opened) => opened.map_err(|error| fault(&error, options, Trouble::Unreachable))?,
            Err(_) => return Err(silence(options, Trouble::Unreachable)),
        },
    };
    info!(event = "source_connected", app = intake.app_name(), source = intake.name(), place = options.place());
    intake.figures().works();
    listen(options, intake, sink, stream, stop).await
}

async fn open(options: &Options) -> Result<(PubSubSink, PubSubStream), RedisError> {
    let (mut sink, stream) = options.client.get_async_pubsub().await?.split();
    if !options.channels.is_empty() {
        sink.subscribe(&options.channels).await?;
    }
    if !options.patterns.is_empty() {
        sink.psubscribe(&options.patterns).await?;
    }
    Ok((sink, stream))
}

async fn listen(
    options: &Options,
    intake: &Intake,
    mut sink: PubSubSink,
    mut stream: PubSubStream,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let mut under_way = FuturesUnordered::new();
    let mut ping = interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            message = stream.next(), if under_way.len() < options.most => match message {
                Some(message) => under_way.push(settle(intake, message)),
                None => return Err(lost(options)),
            },
            Some(()) = under_way.next() => {}
            _ = ping.tick() => match timeout(PATIENCE, sink.ping::<redis::Value>()).await {
                Ok(answer) => drop(answer.map_err(|error| fault(&error, options, Trouble::Lost))?),
                Err(_) => return Err(silence(options, Trouble::Lost)),
            },
        }
    }
    let _ = timeout(GRACE, async { while under_way.next().await.is_some() {} }).await;
    Ok(())
}

/// Publishes one message. Redis wants no acknowledgement and has no dead letters: the log has the reason.
async fn settle(intake: &Intake, message: Msg) {
    let _ = intake.take(&Arrival::new(message.get_channel_name(), message.get_payload_bytes())).await;
}
