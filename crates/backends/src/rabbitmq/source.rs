//! Messages from a queue of this app's own, acknowledged once the hub has taken them.
//!
//! The connection is supervised here, not by the client library: whatever ends it, everything is declared anew on the next
//! one, and the broker gives out again what was not acknowledged.

use std::collections::BTreeSet;
use std::future::pending;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::AMQPUri;
use lapin::{Confirmation, Connection, ConnectionBuilder, ConnectionProperties, Consumer, Error};
use oyez_hub::source::{Intake, Poison, Taken};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::fault::{Step, cancelled, fault, place, silence};
use super::message::{arrival, dead_letter, headers};
use super::topology::{Channels, dead, declare, short, waiting};
use crate::supervise::{Fault, supervise};

/// How long the broker may take to let us in and to make what is needed.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often it is asked how many messages wait.
const LOOK: Duration = Duration::from_secs(5);

/// How long to wait before a dead letter is sent again that the broker refused.
const NACKED: Duration = Duration::from_secs(1);

/// How long messages under way may take when the source ends; what is not done then comes again.
const GRACE: Duration = Duration::from_secs(5);

/// A connection that is silent for twice this many seconds is lost, unless the URL says otherwise.
const HEARTBEAT: u16 = 10;

/// AMQP's word for a good end.
const GOODBYE: u16 = 200;

/// What is read, and where.
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) uri: AMQPUri,
    pub(super) exchange: String,
    pub(super) keys: Vec<String>,
    pub(super) queue: String,
    pub(super) quorum: bool,
    pub(super) prefetch: u16,
    ca: Option<String>,
}

impl Options {
    /// A durable queue, bound to an exchange by these keys, at the broker of this URL.
    ///
    /// # Errors
    /// What is wrong with the URL, without showing it.
    pub fn new(url: &str, exchange: &str, keys: &[String], queue: &str) -> Result<Self, String> {
        // What would be taken for the host then is shown in errors.
        let place = url.split('?').next().unwrap_or_default();
        if place.matches('@').count() > 1 {
            return Err(
                "it has more than one `@`: write those of the user and the password as %40, and a slash as %2F"
                    .to_owned(),
            );
        }
        let mut uri: AMQPUri =
            url.parse().map_err(|wrong| format!("{wrong}; write amqp://USER:PASSWORD@HOST:5672/VHOST, or amqps://"))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT);
        let (exchange, keys, queue) = (exchange.to_owned(), keys.to_vec(), queue.to_owned());
        Ok(Self { uri, exchange, keys, queue, quorum: true, prefetch: 256, ca: None })
    }

    /// Whether the queue is replicated, and how many messages are under way at once.
    #[must_use]
    pub fn with(self, quorum: bool, prefetch: u16) -> Self {
        Self { quorum, prefetch, ..self }
    }

    /// With `amqps://`, the authorities in `ca`, in PEM, are believed, too.
    #[must_use]
    pub fn believing(self, ca: Option<&str>) -> Self {
        Self { ca: ca.map(str::to_owned), ..self }
    }
}

/// Reads until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    let (options, intake, stop) = (&options, &intake, &stop);
    supervise(intake, stop, || session(options, intake, stop)).await;
}

/// One connection; `Ok` when the source is stopped.
async fn session(options: &Options, intake: &Intake, stop: &CancellationToken) -> Result<(), Fault> {
    let (connection, channels, consumer) = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = open(options, intake.name()) => opened?,
    };
    let (app, source) = (intake.app_name(), intake.name());
    info!(event = "source_connected", app, source, place = place(&options.uri), queue = options.queue);
    intake.figures().works();
    let ended = read(options, intake, &channels, consumer, stop).await;
    // A connection that is lost cannot be closed.
    let _ = timeout(GRACE, connection.close(GOODBYE, "bye".into())).await;
    ended
}

/// Connects, declares and begins to consume.
async fn open(options: &Options, source: &str) -> Result<(Connection, Channels, Consumer), Fault> {
    let name = format!("oyez {source}");
    let properties = ConnectionProperties::default().with_connection_name(name.as_str().into());
    let tls = OwnedTLSConfig { identity: None, cert_chain: options.ca.clone() };
    let builder = ConnectionBuilder::new().map_err(|error| fault(&error, Step::Connect, options))?;
    let builder = builder.with_uri(options.uri.clone()).with_properties(properties).with_tls_config(tls);
    let connection = match timeout(PATIENCE, builder.connect()).await {
        Ok(connected) => connected.map_err(|error| fault(&error, Step::Connect, options))?,
        Err(_) => return Err(silence(Step::Connect, options)),
    };
    let declaring = async {
        let channels = declare(&connection, options).await?;
        let consuming = channels.inward.basic_consume(
            short(&options.queue)?,
            ShortString::default(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let consumer = consuming.await.map_err(|error| fault(&error, Step::Queue, options))?;
        Ok((channels, consumer))
    };
    match timeout(PATIENCE, declaring).await {
        Ok(declared) => declared.map(|(channels, consumer)| (connection, channels, consumer)),
        Err(_) => Err(silence(Step::Read, options)),
    }
}

/// Reads until the source is stopped, or something is wrong.
async fn read(
    options: &Options,
    intake: &Intake,
    channels: &Channels,
    mut consumer: Consumer,
    stop: &CancellationToken,
) -> Result<(), Fault> {
    let (queue, dead) = (short(&options.queue)?, dead(options)?);
    let wrong = |error: Error| fault(&error, Step::Read, options);
    let mut under_way = FuturesUnordered::new();
    let mut open = BTreeSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            delivery = consumer.next() => match delivery {
                Some(Ok(delivery)) => {
                    open.insert(delivery.delivery_tag);
                    under_way.push(settle(options, intake, channels, &dead, delivery));
                }
                Some(Err(error)) => return Err(wrong(error)),
                None => return Err(cancelled(options)),
            },
            Some(settled) = under_way.next() => {
                let mut done = vec![settled?];
                while let Some(Some(settled)) = under_way.next().now_or_never() {
                    done.push(settled?);
                }
                acknowledge(channels, &mut open, done).await.map_err(wrong)?;
            }
            _ = look.tick() => {
                intake.figures().lags(waiting(channels, queue.clone()).await.map_err(wrong)?);
            }
        }
    }
    // Who is under way may arrive. What comes meanwhile is not looked at and goes back when the connection ends, in its order:
    // a quorum queue whose consumer is cancelled gives it out of order.
    let rest = async {
        while let Some(settled) = under_way.next().await {
            let Ok(done) = settled else { continue };
            let _ = acknowledge(channels, &mut open, vec![done]).await;
        }
    };
    let _ = timeout(GRACE, rest).await;
    Ok(())
}

/// Acknowledges what is done: with one word all up to which everything is, which is the most of it, and the rest one by one.
async fn acknowledge(channels: &Channels, open: &mut BTreeSet<u64>, done: Vec<u64>) -> Result<(), Error> {
    for tag in &done {
        open.remove(tag);
    }
    let all_before = |tag: u64| open.first().is_none_or(|first| tag < *first);
    let (together, alone): (Vec<_>, Vec<_>) = done.into_iter().partition(|tag| all_before(*tag));
    if let Some(last) = together.into_iter().max() {
        channels.inward.basic_ack(last, BasicAckOptions { multiple: true }).await?;
    }
    for tag in alone {
        channels.inward.basic_ack(tag, BasicAckOptions::default()).await?;
    }
    Ok(())
}

/// Sees one message through until it may be acknowledged, by its tag; or it stays the broker's.
async fn settle(
    options: &Options,
    intake: &Intake,
    channels: &Channels,
    dead: &ShortString,
    delivery: Delivery,
) -> Result<u64, Fault> {
    let wrong = |error: Error| fault(&error, Step::Read, options);
    let headers = headers(&delivery);
    match intake.take(&arrival(&delivery, &headers)).await {
        Taken::Done => {}
        Taken::Dead(poison) => {
            // A broker that has just begun may forget to answer.
            let buried = timeout(PATIENCE, bury(channels, dead, &delivery, &poison)).await;
            buried.map_err(|_| silence(Step::DeadLetters, options))?.map_err(wrong)?;
        }
        Taken::Not => return pending().await,
    }
    Ok(delivery.delivery_tag)
}

/// Puts a message with the dead letters; returns when the broker has it there.
async fn bury(channels: &Channels, dead: &ShortString, delivery: &Delivery, poison: &Poison) -> Result<(), Error> {
    let (key, properties) = (delivery.routing_key.clone(), dead_letter(delivery, poison));
    loop {
        let (dead, key, properties) = (dead.clone(), key.clone(), properties.clone());
        let options = BasicPublishOptions::default();
        let published = channels.aside.basic_publish(dead, key, options, &delivery.data, properties).await?;
        match published.await? {
            Confirmation::Ack(_) | Confirmation::NotRequested => return Ok(()),
            // The broker has no room for it now.
            Confirmation::Nack(_) => tokio::time::sleep(NACKED).await,
        }
    }
}
