//! The history of channels that nodes share, in streams of Redis.
//!
//! Redis may forget what it was told last when it ends, or when a replica takes its place. Nobody could tell what, so another
//! run of it is another life of the history: whoever shows a place of an earlier one hears of a gap.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use oyez_hub::recovery::{History, Mark};
use oyez_hub::store::{Chronicle, Recalled, StoreError, check_name};
use redis::Value;

use super::link::Link;
use super::script::{Call, Script};
use super::{RedisStore, answer};

/// Bits of a place that count within a millisecond; before them comes its time.
const WITHIN: u32 = 20;

/// What is said in no channel, so that it can be heard whether anything is.
const BEGIN: &[u8] = b"begin";

/// The longest that a channel is kept.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl RedisStore {
    /// Which run of Redis it is that answers.
    fn run(&self) -> Arc<str> {
        self.shared.link.borrow().as_ref().map_or_else(|| "".into(), |Link { run, .. }| Arc::clone(run))
    }

    fn remembering(&self, app: &str, said: &[u8], now: u64) -> Call {
        let call = Call::new(Script::Remember, app).number(now).number(life().into());
        call.arg(self.run().as_bytes()).arg(said)
    }

    async fn look(
        &self,
        app: &str,
        (channel, history): (&str, History),
        since: Option<Mark>,
        limit: usize,
        now: u64,
    ) -> Result<Option<Recalled>, StoreError> {
        let call = keeping(Call::new(Script::Recall, app).number(now), channel, history).number(limit as u64);
        let call = match since {
            None => call.arg("").number(0).number(0),
            Some(Mark { epoch, position }) => {
                call.number(epoch.into()).number(position >> WITHIN).number(position & ((1 << WITHIN) - 1))
            }
        };
        match self.ask(call).await? {
            Value::Nil => Ok(None),
            value => recalled(value).map(Some),
        }
    }
}

#[async_trait]
impl Chronicle for RedisStore {
    async fn remember(
        &self,
        app: &str,
        channels: &[(Arc<str>, History)],
        said: Option<Bytes>,
        now: u64,
    ) -> Result<Mark, StoreError> {
        channels.iter().try_for_each(|(channel, _)| check_name("the channel's name", channel))?;
        let call = self.remembering(app, said.as_deref().unwrap_or_default(), now);
        let call = channels.iter().fold(call, |call, (channel, history)| keeping(call, channel, *history));
        let [life, ms, n] = answer::some(self.change(call).await?)?;
        Ok(Mark { epoch: epoch(&life)?, position: place(&ms, &n)? })
    }

    fn time_of(&self, place: Mark) -> u64 {
        place.position >> WITHIN
    }

    async fn recall(
        &self,
        app: &str,
        channel: (&str, History),
        since: Option<Mark>,
        limit: usize,
        now: u64,
    ) -> Result<Recalled, StoreError> {
        loop {
            if let Some(recalled) = self.look(app, channel, since, limit, now).await? {
                return Ok(recalled);
            }
            // Nothing was ever said in this app: its history begins.
            self.change(self.remembering(app, BEGIN, now)).await?;
        }
    }
}

/// A life that nobody has had.
pub(super) fn life() -> u32 {
    rand::random()
}

/// A channel with how much it keeps.
fn keeping(call: Call, channel: &str, History { last, time }: History) -> Call {
    let age = u64::try_from(time.min(LONGEST).as_millis()).unwrap_or(u64::MAX);
    call.arg(channel).number(last as u64).number(age)
}

fn epoch(value: &Value) -> Result<u32, StoreError> {
    let life = u32::try_from(answer::number(value)?);
    life.map_err(|_| StoreError::damaged("a life that is no number", "the history in Redis"))
}

fn place(ms: &Value, n: &Value) -> Result<u64, StoreError> {
    Ok(answer::number(ms)? << WITHIN | answer::number(n)?)
}

fn recalled(value: Value) -> Result<Recalled, StoreError> {
    let [life, ms, n, last_ms, last_n, gap, more, said] = answer::some(value)?;
    let mark = |position| Ok::<_, StoreError>(Mark { epoch: epoch(&life)?, position });
    let entry = |value| {
        let [ms, n, said] = answer::some(value)?;
        Ok((place(&ms, &n)?, answer::bytes(said)?.into()))
    };
    Ok(Recalled {
        said: answer::list(said)?.into_iter().map(entry).collect::<Result<_, StoreError>>()?,
        until: mark(place(&ms, &n)?)?,
        last: mark(place(&last_ms, &last_n)?)?,
        gap: answer::number(&gap)? > 0,
        more: answer::number(&more)? > 0,
    })
}
