//! The history of channels that nodes share, in streams of Redis.
//!
//! Redis may forget what it was told last when it ends, or when a replica takes its place. Nobody could tell what, so another
//! run of it is another life of the history: whoever shows a place of an earlier one hears of a gap.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use oyez_hub::recovery::{History, Mark};
use oyez_hub::store::{Chronicle, Recalled, Saying, StoreError, check_name};
use redis::Value;

use super::script::{Call, Script};
use super::{RedisStore, answer};

/// Bits of a place that count within a millisecond; before them comes its time.
const WITHIN: u32 = 20;

/// The longest that a channel is kept.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl RedisStore {
    /// A question to a history, or something for it; with which run of Redis it is that hears it, as far as that is known, and
    /// the life that begins if it is another one.
    fn of_history(&self, script: Script, app: &str, now: u64) -> Call {
        let run = self.shared.link.borrow().as_ref().map(|link| Arc::clone(&link.run)).unwrap_or_default();
        Call::new(script, app).number(now).number(rand::random::<u32>().into()).arg(run.as_bytes())
    }
}

#[async_trait]
impl Chronicle for RedisStore {
    async fn remember(&self, app: &str, said: &[Saying], now: u64) -> Result<Mark, StoreError> {
        said.iter().try_for_each(|said| check_name("the channel's name", &said.channel))?;
        let call = said.iter().fold(self.of_history(Script::Remember, app, now), |call, said| {
            keeping(call, &said.channel, said.history).arg(said.said.as_deref().unwrap_or_default())
        });
        let [life, ms, n] = answer::some(self.change(call).await?)?;
        Ok(Mark { epoch: epoch(&life)?, position: place(&ms, &n)? })
    }

    fn time_of(&self, place: Mark) -> u64 {
        place.position >> WITHIN
    }

    async fn recall(
        &self,
        app: &str,
        (channel, history): (&str, History),
        since: Option<Mark>,
        limit: usize,
        now: u64,
    ) -> Result<Recalled, StoreError> {
        let call = keeping(self.of_history(Script::Recall, app, now), channel, history).number(limit as u64);
        let call = match since {
            None => call.arg("").number(0).number(0),
            Some(Mark { epoch, position }) => {
                call.number(epoch.into()).number(position >> WITHIN).number(position & ((1 << WITHIN) - 1))
            }
        };
        recalled(self.ask(call).await?)
    }
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
