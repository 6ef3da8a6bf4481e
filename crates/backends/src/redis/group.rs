//! A consumer group as one of its consumers uses it: what it asks Redis, and what that answers.

use std::collections::HashMap;
use std::time::Duration;

use oyez_hub::source::Poison;
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue, RedisError, Value, cmd, from_redis_value};

use super::entry::{Entry, Fields, Place};
use super::streams::Options;

/// A consumer that has nothing and of which nothing was heard for so long is forgotten.
const FORGOTTEN: u64 = 60 * 60 * 1_000;

/// The first name of consumers that are of this program.
const OURS: &str = "oyez-";

/// Entries with their fields; none where an entry was deleted.
type Given = Vec<(String, Option<Fields>)>;

/// One consumer.
pub(super) struct Group<'a> {
    pub(super) options: &'a Options,
    pub(super) consumer: &'a str,
    /// Waits for what is new.
    pub(super) reading: MultiplexedConnection,
    /// Does everything else.
    pub(super) aside: MultiplexedConnection,
}

impl Group<'_> {
    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        command.query_async(&mut self.aside.clone()).await
    }

    /// Makes the group of each stream, and the stream, where they are not there.
    pub(super) async fn make(&self, oldest: bool) -> Result<(), RedisError> {
        for stream in &self.options.streams {
            // A stream that is not there has nothing old.
            let mut create = cmd("XGROUP");
            create
                .arg("CREATE")
                .arg(stream)
                .arg(&self.options.group)
                .arg(if oldest { "0" } else { "$" })
                .arg("MKSTREAM");
            match self.ask::<Value>(&create).await {
                Err(error) if error.code() == Some("BUSYGROUP") => {}
                made => drop(made?),
            }
        }
        Ok(())
    }

    /// Forgets consumers of this program that ended long ago, with nothing left.
    pub(super) async fn forget_the_dead(&self) -> Result<(), RedisError> {
        for stream in &self.options.streams {
            let consumers: Vec<HashMap<String, Value>> =
                self.ask(cmd("XINFO").arg("CONSUMERS").arg(stream).arg(&self.options.group)).await?;
            for consumer in consumers {
                let number = |name| consumer.get(name).and_then(|value| u64::from_redis_value_ref(value).ok());
                let name =
                    consumer.get("name").and_then(|value| String::from_redis_value_ref(value).ok()).unwrap_or_default();
                let gone = number("idle").is_some_and(|idle| idle > FORGOTTEN) && number("pending") == Some(0);
                if gone && name.starts_with(OURS) {
                    self.forget(stream, &name).await?;
                }
            }
        }
        Ok(())
    }

    /// Takes this consumer, which has nothing, out of the group.
    pub(super) async fn leave(&self) -> Result<(), RedisError> {
        for stream in &self.options.streams {
            self.forget(stream, self.consumer).await?;
        }
        Ok(())
    }

    async fn forget(&self, stream: &str, consumer: &str) -> Result<(), RedisError> {
        self.ask(cmd("XGROUP").arg("DELCONSUMER").arg(stream).arg(&self.options.group).arg(consumer)).await
    }

    /// What this consumer was given and has not acknowledged.
    pub(super) async fn mine(&self) -> Result<Vec<Entry>, RedisError> {
        let given = self.read("0", usize::MAX, None).query_async(&mut self.aside.clone()).await?;
        let mut mine = Vec::new();
        for (stream, given) in self.by_stream(given)? {
            mine.extend(self.again(stream, given).await?);
        }
        Ok(mine)
    }

    /// What is new, at most so much; nothing, when nothing comes in time.
    pub(super) async fn next(&self, most: usize, wait: Duration) -> Result<Vec<Entry>, RedisError> {
        let each = (most / self.options.streams.len()).max(1);
        let given = self.read(">", each, Some(wait)).query_async(&mut self.reading.clone()).await?;
        let entry = |stream, (id, fields): (String, Option<Fields>)| Entry {
            place: Place { stream, id },
            fields: fields.unwrap_or_default(),
            deliveries: 1,
        };
        let given = self.by_stream(given)?.into_iter();
        Ok(given.flat_map(|(stream, given)| given.into_iter().map(move |given| entry(stream, given))).collect())
    }

    fn read(&self, after: &str, each: usize, wait: Option<Duration>) -> Cmd {
        let mut read = cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.options.group).arg(self.consumer);
        if let Some(wait) = wait {
            read.arg("COUNT").arg(each).arg("BLOCK").arg(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        }
        read.arg("STREAMS").arg(&self.options.streams);
        for _ in &self.options.streams {
            read.arg(after);
        }
        read
    }

    fn by_stream(&self, given: Option<Vec<(String, Given)>>) -> Result<Vec<(usize, Given)>, RedisError> {
        let index = |name: &String| self.options.streams.iter().position(|stream| stream == name);
        Ok(given.into_iter().flatten().filter_map(|(name, given)| Some((index(&name)?, given))).collect())
    }

    /// What was left by consumers of which nothing was heard for a while, at most so much.
    pub(super) async fn claim(&self, most: usize) -> Result<Vec<Entry>, RedisError> {
        let idle = u64::try_from(self.options.idle.as_millis()).unwrap_or(u64::MAX);
        let mut claimed = Vec::new();
        for (stream, name) in self.options.streams.iter().enumerate() {
            let mut start = "0-0".to_owned();
            while claimed.len() < most {
                let mut claim = cmd("XAUTOCLAIM");
                claim.arg(name).arg(&self.options.group).arg(self.consumer).arg(idle).arg(&start);
                // What was deleted from the stream, the third of the answer, Redis has forgotten itself; 6.2 gives it as nil.
                let answer: Vec<Value> = self.ask(claim.arg("COUNT").arg(most - claimed.len())).await?;
                let mut answer = answer.into_iter();
                start = from_redis_value(answer.next().unwrap_or(Value::Nil))?;
                let given: Vec<Option<(String, Option<Fields>)>> =
                    from_redis_value(answer.next().unwrap_or(Value::Nil))?;
                claimed.extend(self.again(stream, given.into_iter().flatten().collect()).await?);
                if start == "0-0" {
                    break;
                }
            }
        }
        Ok(claimed)
    }

    /// Entries that were given out before, with how often. What was deleted from the stream is acknowledged.
    async fn again(&self, stream: usize, given: Given) -> Result<Vec<Entry>, RedisError> {
        let (Some((first, _)), Some((last, _))) = (given.first(), given.last()) else { return Ok(Vec::new()) };
        let name = &self.options.streams[stream];
        let mut ask = cmd("XPENDING");
        ask.arg(name).arg(&self.options.group).arg(first).arg(last).arg(i64::MAX).arg(self.consumer);
        let pending: Vec<(String, String, u64, u64)> = self.ask(&ask).await?;
        let counts: HashMap<_, _> = pending.into_iter().map(|(id, _, _, deliveries)| (id, deliveries)).collect();
        let mut entries = Vec::with_capacity(given.len());
        for (id, fields) in given {
            let deliveries = counts.get(&id).copied().unwrap_or(1);
            let place = Place { stream, id };
            match fields {
                Some(fields) => entries.push(Entry { place, fields, deliveries }),
                None => self.acknowledge(&place).await?,
            }
        }
        Ok(entries)
    }

    /// Says of entries that they are still being worked on.
    pub(super) async fn keep(&self, places: &[&Place]) -> Result<(), RedisError> {
        for (stream, name) in self.options.streams.iter().enumerate() {
            let ids: Vec<_> = places.iter().filter(|place| place.stream == stream).map(|place| &place.id).collect();
            if !ids.is_empty() {
                let mut claim = cmd("XCLAIM");
                claim.arg(name).arg(&self.options.group).arg(self.consumer).arg(0).arg(ids).arg("JUSTID");
                self.ask::<Value>(&claim).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn acknowledge(&self, place: &Place) -> Result<(), RedisError> {
        let name = &self.options.streams[place.stream];
        self.ask(cmd("XACK").arg(name).arg(&self.options.group).arg(&place.id)).await
    }

    /// Puts an entry with the dead letters, with all that it had.
    pub(super) async fn bury(&self, entry: &Entry, stream: &str, poison: &Poison) -> Result<(), RedisError> {
        let mut add = cmd("XADD");
        add.arg(format!("{}.dead", self.options.group)).arg("*");
        for (name, value) in &entry.fields {
            add.arg(&name[..]).arg(&value[..]);
        }
        add.arg("x-oyez-reason").arg(poison.word).arg("x-oyez-detail").arg(&poison.reason);
        add.arg("x-oyez-attempts").arg(poison.attempts).arg("x-oyez-stream").arg(stream);
        self.ask::<Value>(add.arg("x-oyez-id").arg(&entry.place.id)).await.map(drop)
    }

    /// How many entries of all streams are not acknowledged; none: Redis cannot tell.
    pub(super) async fn lag(&self) -> Result<Option<u64>, RedisError> {
        let mut sum = Some(0);
        for stream in &self.options.streams {
            let groups: Vec<HashMap<String, Value>> = self.ask(cmd("XINFO").arg("GROUPS").arg(stream)).await?;
            let number = |group: &HashMap<String, Value>, name| u64::from_redis_value_ref(group.get(name)?).ok();
            let ours = |group: &&HashMap<String, Value>| {
                group.get("name").and_then(|name| String::from_redis_value_ref(name).ok()).as_ref()
                    == Some(&self.options.group)
            };
            let lag =
                groups.iter().find(ours).and_then(|group| Some(number(group, "lag")? + number(group, "pending")?));
            sum = sum.zip(lag).map(|(sum, lag)| sum + lag);
        }
        Ok(sum)
    }
}
