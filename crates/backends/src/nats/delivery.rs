//! A message of NATS as the hub sees it, and as a dead letter.

use oyez_hub::source::{Arrival, Poison};
use serde_json::{Map, Value};

use super::wire::{Headers, Message};

/// The header in which publishers give a message an id.
const ID: &str = "Nats-Msg-Id";

/// What headers begin with that mean something to the server.
const SERVERS: &str = "nats-";

/// Where a message lies in a stream, and how often it was given out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    pub(super) stream: &'a str,
    pub(super) sequence: u64,
    pub(super) deliveries: u64,
    /// In Unix milliseconds.
    pub(super) sent: u64,
}

impl<'a> Origin<'a> {
    /// What the subject says to which a delivery is acknowledged: `$JS.ACK.STREAM.CONSUMER.DELIVERIES.SEQUENCE.….NANOSECONDS.…`,
    /// in newer servers with a domain and an account before the stream.
    pub(super) fn of(reply: &'a str) -> Option<Self> {
        let words: Vec<&str> = reply.split('.').collect();
        let words = match words.len() {
            9 => &words[2..],
            11.. => &words[4..],
            _ => return None,
        };
        let number = |at: usize| words[at].parse::<u64>().ok();
        let [deliveries, sequence, sent] = [number(2)?, number(3)?, number(5)? / 1_000_000];
        Some(Self { stream: words[0], sequence, deliveries, sent })
    }

    /// What tells it from every other message, also of a stream that was deleted and made again.
    pub(super) fn id(&self) -> String {
        format!("{}/{}-{}", self.stream, self.sequence, self.sent)
    }
}

/// Headers as a JSON object; of several of one name, the first.
pub(super) fn json(headers: &Headers<'_>) -> String {
    let mut object = Map::new();
    for (name, value) in &headers.fields {
        object.entry(*name).or_insert_with(|| Value::from(*value));
    }
    Value::Object(object).to_string()
}

/// The message as it came by its subject; its author's id goes before the one given here.
pub(super) fn arrival<'a>(
    message: &'a Message,
    headers: &'a Headers<'_>,
    json: &'a str,
    id: Option<&'a str>,
    sent: Option<u64>,
) -> Arrival<'a> {
    let id = headers.get(ID).filter(|id| !id.is_empty()).or(id);
    Arrival { headers: json, id, sent, ..Arrival::new(message.subject(), &message.payload) }
}

/// The headers of a dead letter: its own, without what the server would obey, and why it is one.
pub(super) fn dead_letter(message: &Message, origin: &Origin<'_>, poison: &Poison) -> Vec<(String, String)> {
    let headers = message.headers();
    let own = headers.fields.iter().filter(|(name, _)| !name.to_ascii_lowercase().starts_with(SERVERS));
    let mut fields: Vec<_> = own.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let reasons = [
        // One that is buried twice lies there once.
        (ID, origin.id()),
        ("x-oyez-reason", poison.word.to_owned()),
        ("x-oyez-detail", poison.reason.replace(['\r', '\n'], " ")),
        ("x-oyez-attempts", poison.attempts.to_string()),
        ("x-oyez-stream", origin.stream.to_owned()),
        ("x-oyez-sequence", origin.sequence.to_string()),
        ("x-oyez-subject", message.subject().to_owned()),
    ];
    fields.extend(reasons.map(|(name, value)| (name.to_owned(), value)));
    fields
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::super::wire::{self, Word};
    use super::*;

    fn message(headers: &str) -> Message {
        let text = format!("HMSG orders.new 2 r {} {}\r\n{headers}{{}}\r\n", headers.len(), headers.len() + 2);
        match wire::read(&mut BytesMut::from(text.as_bytes())) {
            Ok(Some(Word::Message(message))) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn where_a_message_lies_is_read() {
        let expect = Origin { stream: "ORDERS", sequence: 17, deliveries: 3, sent: 1_700_000_000_123 };
        let old = "$JS.ACK.ORDERS.desk.3.17.9.1700000000123456789.4";
        assert_eq!(Origin::of(old).as_ref(), Some(&expect));
        let new = "$JS.ACK._.Xh3.ORDERS.desk.3.17.9.1700000000123456789.4.r4nd0m";
        assert_eq!(Origin::of(new).as_ref(), Some(&expect));
        assert_eq!(expect.id(), "ORDERS/17-1700000000123");
        for none in ["", "_INBOX.x", "$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK.ORDERS.desk.3.17.9.1700000000123456789"] {
            assert_eq!(Origin::of(none), None, "{none}");
        }
    }

    #[test]
    fn headers_are_an_object_and_give_the_id() {
        let message = message("NATS/1.0\r\nby: shop \"1\"\r\nby: b\r\nnats-msg-id: m1\r\n\r\n");
        let headers = message.headers();
        let json = json(&headers);
        assert_eq!(json, r#"{"by":"shop \"1\"","nats-msg-id":"m1"}"#);
        let arrival = arrival(&message, &headers, &json, Some("ORDERS/17"), None);
        assert_eq!((arrival.address, arrival.body, arrival.id), ("orders.new", &b"{}"[..], Some("m1")));
    }

    #[test]
    fn a_dead_letter_tells_the_server_nothing() {
        let message = message("NATS/1.0\r\nNats-Rollup: all\r\nby: b\r\n\r\n");
        let origin = Origin { stream: "ORDERS", sequence: 17, deliveries: 1, sent: 0 };
        let poison = Poison { word: "data", reason: "line\nbreak".to_owned(), attempts: 2 };
        let fields = dead_letter(&message, &origin, &poison);
        let field = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!((field("Nats-Rollup"), field("by"), field(ID)), (None, Some("b"), Some("ORDERS/17-0")));
        assert_eq!((field("x-oyez-reason"), field("x-oyez-detail")), (Some("data"), Some("line break")));
        assert_eq!((field("x-oyez-attempts"), field("x-oyez-subject")), (Some("2"), Some("orders.new")));
    }
}
