//! A durable consumer of a stream: what is asked of JetStream about it, and what that answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use oyez_hub::source::{Poison, Trouble};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::delivery::{Origin, dead_letter};
use super::fault::{Remedies as _, Wrong, fault};
use super::jetstream::Options;
use super::line::{Lane, PATIENCE};
use super::wire::{self, Message};
use crate::supervise::Fault;

/// Our subscription by which answers come.
const ANSWERS: u64 = 1;

/// Our subscription by which the stream's messages come.
pub(super) const GIVEN: u64 = 2;

/// How long one request for messages lasts.
pub(super) const EXPIRES: Duration = Duration::from_secs(10);

/// A header may not make a dead letter too large to be one.
const TRUNCATED: &str = "x-oyez-truncated";

/// What JetStream answers with when it does not do something.
#[derive(Debug, Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

/// What was to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Stream,
    DeadLetters,
    Consumer,
}

/// One consumer, on one connection.
pub(super) struct Consumer<'a> {
    pub(super) options: &'a Options,
    pub(super) lane: Lane,
    inbox: String,
    asked: Mutex<HashMap<u64, oneshot::Sender<Message>>>,
    count: AtomicU64,
}

impl<'a> Consumer<'a> {
    pub(super) fn new(options: &'a Options, lane: Lane) -> Self {
        let inbox = format!("_INBOX.{:032x}", rand::random::<u128>());
        let (asked, count) = Default::default();
        Self { options, lane, inbox, asked, count }
    }

    /// Makes the consumer where it is not there, and the stream of its dead letters.
    pub(super) async fn make(&self) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        wire::subscribe(&mut bytes, &format!("{}.answer.*", self.inbox), None, ANSWERS);
        wire::subscribe(&mut bytes, &format!("{}.given", self.inbox), None, GIVEN);
        self.tell(bytes).await?;
        let Options { stream, group, subjects, .. } = self.options;
        if subjects.len() > 1 && !self.lane.info.is_at_least(2, 10) {
            // It would give us everything.
            let (said, help) = ("several subjects in `from` need NATS 2.10", "name one, or `>` for all");
            return Err(Fault { trouble: Trouble::Conflict, said: said.to_owned(), help: help.to_owned() });
        }
        let read = &self.ask(&format!("STREAM.INFO.{stream}"), &json!({}), Step::Stream).await?["config"];
        if let Some(stray) = stray(subjects, read) {
            let said = format!("the stream {stream} takes no {stray}");
            return Err(Fault { trouble: Trouble::Conflict, said, help: self.others() });
        }
        self.make_dead(read).await?;
        let info = self.answer(&format!("CONSUMER.INFO.{stream}.{group}"), &json!({})).await?;
        let there = match refusal(&info) {
            Some(Refusal { err_code: 10_014, .. }) => None,
            Some(refusal) => return Err(self.refused(&refusal, Step::Consumer)),
            None => info["config"].as_object().cloned(),
        };
        let wanted = self.wanted(there.clone().unwrap_or_else(|| self.fresh()));
        if there.as_ref().is_some_and(|there| there.contains_key("deliver_subject")) {
            let said = format!("the consumer {group} pushes, and cannot be asked");
            return Err(Fault { trouble: Trouble::Conflict, said, help: self.another() });
        }
        if there.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let create = json!({"stream_name": stream, "config": wanted});
        self.ask(&format!("CONSUMER.DURABLE.CREATE.{stream}.{group}"), &create, Step::Consumer).await.map(drop)
    }

    /// What a consumer has that is not there yet.
    fn fresh(&self) -> Map<String, Value> {
        let begin = if self.options.oldest { "all" } else { "new" };
        let fresh = json!({
            "durable_name": self.options.group, "deliver_policy": begin, "replay_policy": "instant",
            // How much may be under way is what is asked for.
            "max_ack_pending": -1,
        });
        fresh.as_object().cloned().unwrap_or_default()
    }

    /// The same, as it has to be: a message comes again until it is acknowledged, or put with the dead letters by us.
    fn wanted(&self, mut config: Map<String, Value>) -> Map<String, Value> {
        config.insert("ack_policy".to_owned(), "explicit".into());
        config.insert("ack_wait".to_owned(), nanos(self.options.idle).into());
        config.insert("max_deliver".to_owned(), (-1).into());
        for old in ["filter_subject", "filter_subjects"] {
            config.shift_remove(old);
        }
        match &self.options.subjects[..] {
            [all] if all == ">" => {}
            [one] => drop(config.insert("filter_subject".to_owned(), one.as_str().into())),
            several => drop(config.insert("filter_subjects".to_owned(), several.into())),
        }
        config
    }

    /// Has a stream keep the dead letters, unless one does.
    async fn make_dead(&self, like: &Value) -> Result<(), Fault> {
        let (name, subject) = (format!("{}-dead", self.options.group), self.options.dead());
        let names = self.ask("STREAM.NAMES", &json!({"subject": subject}), Step::DeadLetters).await?;
        if names["streams"].as_array().is_some_and(|streams| !streams.is_empty()) {
            return Ok(());
        }
        let (replicas, storage) = (&like["num_replicas"], &like["storage"]);
        let create = json!({
            "name": name, "subjects": [subject], "retention": "limits", "storage": storage, "num_replicas": replicas,
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        });
        self.ask(&format!("STREAM.CREATE.{name}"), &create, Step::DeadLetters).await.map(drop)
    }

    /// Asks for so many messages; they come as [`GIVEN`].
    pub(super) async fn request(&self, most: usize) -> Result<(), Fault> {
        let Options { stream, group, .. } = self.options;
        let body = json!({"batch": most, "expires": nanos(EXPIRES)}).to_string();
        let (subject, inbox) = (format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{group}"), format!("{}.given", self.inbox));
        let mut bytes = Vec::new();
        wire::publish(&mut bytes, &subject, Some(&inbox), body.as_bytes());
        self.tell(bytes).await
    }

    /// How many messages are not acknowledged.
    pub(super) async fn lag(&self) -> Result<u64, Fault> {
        let Options { stream, group, .. } = self.options;
        let info = self.ask(&format!("CONSUMER.INFO.{stream}.{group}"), &json!({}), Step::Consumer).await?;
        let number = |name: &str| info[name].as_u64().unwrap_or_default();
        Ok(number("num_pending") + number("num_ack_pending"))
    }

    /// Says what becomes of a message that was given to us.
    pub(super) async fn say(&self, word: &str, replies: impl Iterator<Item = &str>) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        replies.for_each(|reply| wire::publish(&mut bytes, reply, None, word.as_bytes()));
        self.tell(bytes).await
    }

    /// Puts a message with the dead letters, with all that it had; returns when the server has it there.
    pub(super) async fn bury(&self, message: &Message, origin: &Origin<'_>, poison: &Poison) -> Result<(), Fault> {
        let mut fields = dead_letter(message, origin, poison);
        let size = |(name, value): &(String, String)| name.len() + value.len() + 4;
        let mut body = &message.payload[..];
        if body.len() + fields.iter().map(size).sum::<usize>() + 64 > self.lane.info.max_payload {
            // It would be the end of the connection. It lies in its stream as long as that keeps it.
            fields.push((TRUNCATED.to_owned(), body.len().to_string()));
            body = b"";
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let subject = self.options.dead();
        let answer = self.exchange(|bytes, reply| wire::publish_with(bytes, &subject, reply, &fields, body)).await?;
        match refusal(&answer) {
            None => Ok(()),
            Some(refusal) => Err(self.refused(&refusal, Step::DeadLetters)),
        }
    }

    /// Takes an answer in.
    pub(super) fn hear(&self, message: Message) {
        let number = message.subject().rsplit_once('.').and_then(|(_, number)| number.parse().ok());
        if let Some(asked) = number.and_then(|number: u64| self.asked.lock().remove(&number)) {
            let _ = asked.send(message);
        }
    }

    async fn tell(&self, bytes: Vec<u8>) -> Result<(), Fault> {
        self.lane.tell(bytes).await.map_err(|wrong| fault(&wrong, self.options, Trouble::Lost))
    }

    /// What the API answers, unless it refuses.
    async fn ask(&self, what: &str, body: &Value, step: Step) -> Result<Value, Fault> {
        let answer = self.answer(what, body).await?;
        match refusal(&answer) {
            None => Ok(answer),
            Some(refusal) => Err(self.refused(&refusal, step)),
        }
    }

    async fn answer(&self, what: &str, body: &Value) -> Result<Value, Fault> {
        let (subject, body) = (format!("$JS.API.{what}"), body.to_string());
        self.exchange(|bytes, reply| wire::publish(bytes, &subject, Some(reply), body.as_bytes())).await
    }

    /// Says something, and waits for the answer.
    async fn exchange(&self, write: impl FnOnce(&mut Vec<u8>, &str)) -> Result<Value, Fault> {
        let number = self.count.fetch_add(1, Relaxed);
        let (asked, answer) = oneshot::channel();
        self.asked.lock().insert(number, asked);
        let mut bytes = Vec::new();
        write(&mut bytes, &format!("{}.answer.{number}", self.inbox));
        self.tell(bytes).await?;
        let answer = timeout(PATIENCE, answer).await;
        self.asked.lock().remove(&number);
        let Ok(Ok(answer)) = answer else { return Err(fault(&Wrong::Silent, self.options, Trouble::Lost)) };
        if answer.headers().status.is_some() {
            let said = "nobody answers for JetStream".to_owned();
            return Err(Fault { trouble: Trouble::Missing, said, help: ON.to_owned() });
        }
        serde_json::from_slice(&answer.payload).map_err(|error| Fault {
            trouble: Trouble::Other,
            said: format!("JetStream answers with what is not JSON: {error}"),
            help: format!("is it NATS at {}?", self.options.place()),
        })
    }

    /// The consumer, or its stream, is there no more.
    pub(super) fn gone(&self, said: &str) -> Fault {
        let Options { stream, group, .. } = self.options;
        let said = format!("the consumer {group} of {stream} is gone: {said}");
        Fault { trouble: Trouble::Missing, said, help: "it is made again".to_owned() }
    }

    fn others(&self) -> String {
        format!("name subjects of the stream {} in `from`: nats stream info {0}", self.options.stream)
    }

    fn another(&self) -> String {
        let Options { stream, group, .. } = self.options;
        format!("give `group` another name, or, once all is read: nats consumer rm {stream} {group}")
    }

    fn refused(&self, refusal: &Refusal, step: Step) -> Fault {
        let Options { stream, group, .. } = self.options;
        let (trouble, help) = match (refusal.err_code, step) {
            (10_039 | 10_076, _) => (Trouble::Missing, ON.to_owned()),
            (10_059, _) => {
                let help =
                    format!("make the stream: nats stream add {stream}; or correct `stream`. It is not made here");
                (Trouble::Missing, help)
            }
            (10_014, _) => (Trouble::Missing, "it is made again".to_owned()),
            (_, Step::DeadLetters) => {
                let help = format!("the dead letters need a stream with room that takes the subject \"{group}.dead\"");
                (Trouble::Conflict, help)
            }
            (10_093, _) => (Trouble::Conflict, self.others()),
            (_, _) if refusal.code == 503 => {
                (Trouble::Unreachable, "JetStream is not ready; it is asked again".to_owned())
            }
            (_, Step::Consumer) => (Trouble::Conflict, self.another()),
            (_, Step::Stream) => (Trouble::Other, format!("see what {} said, and its log", self.options.place())),
        };
        Fault { trouble, said: refusal.description.clone(), help }
    }
}

/// What to do where there is no JetStream.
const ON: &str = "start nats-server with JetStream (-js), and let the user's account have it";

fn refusal(answer: &Value) -> Option<Refusal> {
    answer.get("error").and_then(|error| Refusal::deserialize(error).ok())
}

/// The first of these subjects that a stream, as it is set, never has. What it has from other streams, it does not say.
fn stray<'a>(subjects: &'a [String], stream: &Value) -> Option<&'a String> {
    let has = |name: &str| stream.get(name).is_some_and(|value| !value.is_null());
    if has("mirror") || has("sources") {
        return None;
    }
    let taken: Vec<&str> = stream["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    subjects.iter().find(|subject| !taken.iter().any(|taken| meet(taken, subject)))
}

/// Whether there are subjects that fit both patterns.
fn meet(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('.'), other.split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(one), Some(other)) if one == other || one == "*" || other == "*" => {}
            _ => return false,
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_that_a_stream_never_has_are_found() {
        let check = |subjects: &[&str], stream: Value, expect: Option<&str>| {
            let subjects: Vec<String> = subjects.iter().map(|subject| (*subject).to_owned()).collect();
            assert_eq!(stray(&subjects, &stream).map(String::as_str), expect, "{subjects:?} of {stream}");
        };
        let orders = || json!({"subjects": ["orders.*", "returns.eu.>"]});
        check(&["orders.placed", ">", "*.placed", "returns.>", "returns.*.a.b"], orders(), None);
        check(&["orders.placed", "orders"], orders(), Some("orders"));
        check(&["orders.a.b"], orders(), Some("orders.a.b"));
        check(&["returns.eu"], orders(), Some("returns.eu"));
        check(&["returns.us.>"], orders(), Some("returns.us.>"));
        check(&["any"], json!({"mirror": {"name": "ORDERS"}}), None);
        check(&["any"], json!({}), Some("any"));
    }
}
