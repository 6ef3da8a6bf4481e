//! What a source needs at the broker: its own queue, bound to an exchange that others made, and its dead letters.

use lapin::options::{
    BasicQosOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use lapin::{Channel, Connection, Error, ExchangeKind};

use super::fault::{Step, fault, unfit};
use super::source::Options;
use crate::supervise::Fault;

/// How often a quorum queue gives a message out before it puts it with the dead letters itself: a message that ends the
/// process each time would otherwise do so for ever.
const DELIVERIES: i64 = 20;

/// The channels of one connection.
pub(super) struct Channels {
    /// Messages come by this one.
    pub(super) inward: Channel,
    /// Dead letters go by this one, with confirmations; how many wait is asked by it.
    pub(super) aside: Channel,
}

/// A name that the protocol can hold.
pub(super) fn short(name: &str) -> Result<ShortString, Fault> {
    ShortString::try_new(name).map_err(|error| unfit(error.to_string()))
}

/// The exchange of the dead letters, and their queue.
pub(super) fn dead(options: &Options) -> Result<ShortString, Fault> {
    short(&format!("{}.dead", options.queue))
}

/// Declares everything, idempotently.
pub(super) async fn declare(connection: &Connection, options: &Options) -> Result<Channels, Fault> {
    let at = |step| move |error: Error| fault(&error, step, options);
    let inward = connection.create_channel().await.map_err(at(Step::Connect))?;
    let aside = connection.create_channel().await.map_err(at(Step::Connect))?;
    let (exchange, queue, dead) = (short(&options.exchange)?, short(&options.queue)?, dead(options)?);
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let looked = inward.exchange_declare(exchange.clone(), ExchangeKind::Topic, passive, FieldTable::default());
    looked.await.map_err(at(Step::Exchange))?;

    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let made = aside.exchange_declare(dead.clone(), ExchangeKind::Topic, durable, FieldTable::default());
    made.await.map_err(at(Step::DeadExchange))?;
    queue_declare(&aside, dead.clone(), arguments(options, None)).await.map_err(at(Step::DeadLetters))?;
    bind(&aside, dead.clone(), dead.clone(), "#".into()).await.map_err(at(Step::DeadLetters))?;

    let arguments = arguments(options, Some(&dead));
    queue_declare(&inward, queue.clone(), arguments).await.map_err(at(Step::Queue))?;
    for key in &options.keys {
        bind(&inward, queue.clone(), exchange.clone(), short(key)?).await.map_err(at(Step::Exchange))?;
    }
    let qos = inward.basic_qos(options.prefetch, BasicQosOptions::default());
    qos.await.map_err(at(Step::Read))?;
    aside.confirm_select(ConfirmSelectOptions::default()).await.map_err(at(Step::Read))?;
    Ok(Channels { inward, aside })
}

async fn queue_declare(channel: &Channel, queue: ShortString, arguments: FieldTable) -> Result<(), Error> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue, durable, arguments).await.map(drop)
}

async fn bind(channel: &Channel, queue: ShortString, exchange: ShortString, key: ShortString) -> Result<(), Error> {
    channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default()).await
}

fn arguments(options: &Options, dead: Option<&ShortString>) -> FieldTable {
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    if options.quorum {
        arguments.insert("x-queue-type".into(), text("quorum"));
        if let Some(dead) = dead {
            arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERIES));
            arguments.insert("x-dead-letter-exchange".into(), text(dead.as_str()));
        }
    }
    arguments
}

/// How many messages wait in the queue.
pub(super) async fn waiting(channels: &Channels, queue: ShortString) -> Result<u64, Error> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channels.aside.queue_declare(queue, passive, FieldTable::default()).await?;
    Ok(queue.message_count().into())
}
