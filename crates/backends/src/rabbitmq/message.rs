//! A message of RabbitMQ as the hub sees it, and as a dead letter.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, LongString};
use oyez_hub::delivery::Priority;
use oyez_hub::source::{Arrival, Poison};
use serde_json::{Map, Value};

/// The message survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Timestamps above this are milliseconds, whatever the protocol says: as seconds it is the year 5138.
const SECONDS_MAX: u64 = 100_000_000_000;

/// The headers of a message as JSON; most have none.
pub(super) fn headers(delivery: &Delivery) -> String {
    match delivery.properties.headers() {
        Some(table) if !table.inner().is_empty() => Value::Object(object(table)).to_string(),
        _ => "{}".to_owned(),
    }
}

pub(super) fn arrival<'a>(delivery: &'a Delivery, headers: &'a str) -> Arrival<'a> {
    let properties = &delivery.properties;
    let sent = |sent: u64| if sent > SECONDS_MAX { sent } else { sent * 1_000 };
    Arrival {
        address: delivery.routing_key.as_str(),
        body: &delivery.data,
        headers,
        id: properties.message_id().as_ref().map(lapin::types::ShortString::as_str),
        sent: properties.timestamp().map(sent),
        priority: properties.priority().and_then(priority),
    }
}

/// Publishers count from 0, which is also what they say who say nothing.
fn priority(priority: u8) -> Option<Priority> {
    match priority {
        9.. => Some(Priority::Urgent),
        6..=8 => Some(Priority::High),
        _ => None,
    }
}

/// What a dead letter says beside what the message said.
pub(super) fn dead_letter(delivery: &Delivery, poison: &Poison) -> BasicProperties {
    let mut headers = delivery.properties.headers().clone().unwrap_or_default();
    let text = |text: &str| AMQPValue::LongString(LongString::from(text));
    headers.insert("x-oyez-reason".into(), text(poison.word));
    headers.insert("x-oyez-detail".into(), text(&poison.reason));
    headers.insert("x-oyez-attempts".into(), AMQPValue::LongLongInt(poison.attempts.into()));
    headers.insert("x-oyez-exchange".into(), text(delivery.exchange.as_str()));
    delivery.properties.clone().with_headers(headers).with_delivery_mode(PERSISTENT)
}

fn object(table: &FieldTable) -> Map<String, Value> {
    table.inner().iter().map(|(name, value)| (name.to_string(), json(value))).collect()
}

fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(truth) => (*truth).into(),
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortShortUInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::ShortUInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongUInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::Timestamp(number) => (*number).into(),
        AMQPValue::Float(number) => (*number).into(),
        AMQPValue::Double(number) => (*number).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => text.to_string().into(),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(json).collect(),
        AMQPValue::FieldTable(table) => Value::Object(object(table)),
        AMQPValue::DecimalValue(_) | AMQPValue::ByteArray(_) | AMQPValue::Void => Value::Null,
    }
}
