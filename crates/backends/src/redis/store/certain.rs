//! How certain is what Redis has: on its disk only if its append-only file is written before it answers, or waited for.

use oyez_hub::command::Level;
use redis::{Cmd, Value, cmd};
use tracing::{info, warn};

use super::answer;

/// How long a sync may take, in milliseconds. Redis syncs each second unless it is told otherwise.
const SYNC: u64 = 3_000;

/// What was found out last about what Redis can promise.
#[derive(Debug, Default)]
pub(super) struct Certainty {
    /// Why it was not `synced`, and that this has been said.
    short: Option<String>,
}

/// What helps where Redis does not sync what it answers, or may not be asked whether it does.
const SET: &str = "CONFIG SET appendonly yes, and appendfsync always, or Redis 7.2 or later, which can be waited for";
const ASK: &str = "let the user ask: ACL SETUSER NAME +config|get, from Redis 7.2 on also +waitaof";

impl Certainty {
    /// What a group ends with in which somebody wants to be sure. A write of its own comes first, since a message may have
    /// been there already, from another node: what is on the disk up to this write is all that came before.
    pub(super) fn questions(prefix: &str, waits: bool) -> [Cmd; 2] {
        let mark = cmd("INCR").arg(format!("{prefix}synced")).clone();
        if waits {
            return [mark, cmd("WAITAOF").arg(1).arg(0).arg(SYNC).clone()];
        }
        // What comes before its answer is on the disk, if that is how it is set now.
        [mark, cmd("CONFIG").arg("GET").arg("appendonly").arg("appendfsync").clone()]
    }

    /// How certain everything in front of the questions is.
    pub(super) fn reached(&mut self, marked: &Value, answer: Value, place: &str) -> Level {
        let answer = if let Value::Int(_) = marked { answer } else { marked.clone() };
        match why_not(answer) {
            None => {
                if self.short.take().is_some() {
                    info!(event = "store_syncs", place, "Redis has on its disk what it answers");
                }
                Level::Synced
            }
            Some(why) => {
                if self.short.as_ref() != Some(&why) {
                    let help = if why.contains("permission") { ASK } else { SET };
                    warn!(
                        event = "store_not_synced",
                        place,
                        reason = why,
                        "`synced` is not reached, and publishers are answered `stored`: {help}"
                    );
                    self.short = Some(why);
                }
                Level::Stored
            }
        }
    }
}

/// Why it is not on the disk.
fn why_not(answer: Value) -> Option<String> {
    match answer {
        Value::ServerError(error) => Some(error.to_string()),
        Value::Array(values) => match values.as_slice() {
            [Value::Int(local), _] if *local >= 1 => None,
            [Value::Int(_), _] => Some("the disk of Redis has not answered in time".to_owned()),
            _ => settings(Value::Array(values)),
        },
        // A newer protocol answers settings as a map.
        Value::Map(pairs) => {
            settings(Value::Array(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()))
        }
        _ => Some("an answer that says nothing".to_owned()),
    }
}

fn settings(value: Value) -> Option<String> {
    let names = answer::names(value).unwrap_or_default();
    let of = |wanted: &str| names.chunks_exact(2).find(|pair| &*pair[0] == wanted).map_or("", |pair| &*pair[1]);
    let (keeps, syncs) = (of("appendonly"), of("appendfsync"));
    (keeps != "yes" || syncs != "always").then(|| format!("appendonly is {keeps}, appendfsync is {syncs}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(words: &[&str]) -> Value {
        Value::Array(words.iter().map(|word| Value::BulkString(word.as_bytes().to_vec())).collect())
    }

    #[test]
    fn synced_is_what_the_disk_has() {
        let mut certainty = Certainty::default();
        let mut reached = |answer| certainty.reached(&Value::Int(1), answer, "here");
        assert_eq!(reached(said(&["appendonly", "yes", "appendfsync", "always"])), Level::Synced);
        assert_eq!(reached(said(&["appendfsync", "always", "appendonly", "no"])), Level::Stored);
        assert_eq!(reached(said(&["appendonly", "yes", "appendfsync", "everysec"])), Level::Stored);
        assert_eq!(reached(said(&[])), Level::Stored);
        assert_eq!(reached(Value::Array(vec![Value::Int(1), Value::Int(0)])), Level::Synced);
        assert_eq!(reached(Value::Array(vec![Value::Int(0), Value::Int(0)])), Level::Stored);
        assert_eq!(reached(Value::Nil), Level::Stored);
        let waited = Value::Array(vec![Value::Int(1), Value::Int(0)]);
        assert_eq!(certainty.reached(&Value::Nil, waited, "here"), Level::Stored);
    }
}
