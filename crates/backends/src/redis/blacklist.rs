//! Tokens that others have put on a blacklist in a Redis: one key for each, which ends when the token would.
//!
//! All keys are read on each connection. After that Redis tells of new ones where its `notify-keyspace-events` says so;
//! where not, they are read again from time to time. Whoever comes with a token has it looked up besides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use oyez_hub::policy::token::Register;
use oyez_hub::source::{Intake, Trouble, until};
use redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use redis::{AsyncConnectionConfig, Client, RedisError, cmd, pipe};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::fault::{Remedies, fault, lost, silence};
use super::server::Server;
use crate::supervise::{Fault, supervise};

/// How long the server may take to let us in, or to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long somebody who comes may have to wait for a look-up; when it takes longer they are let in.
const LOOK_UP: Duration = Duration::from_millis(500);

/// How often all keys are read where Redis does not tell of new ones.
const AGAIN: Duration = Duration::from_secs(30);

/// How often where it does. Its messages are not kept for who is slow.
const AGAIN_TOLD: Duration = Duration::from_secs(600);

/// Keys that are looked at, and messages that are taken, at once.
const BATCH: usize = 1_000;

/// What is read, and where.
#[derive(Debug, Clone)]
pub struct Options {
    client: Client,
    prefixes: Vec<String>,
}

impl Options {
    /// The keys of this Redis that begin with one of these, each followed by a token.
    #[must_use]
    pub fn new(Server(client): Server, prefixes: &[String]) -> Self {
        Self { client, prefixes: prefixes.to_vec() }
    }

    fn tokens(&self, keys: &[String]) -> Vec<String> {
        let token = |key: &String| {
            let mut tokens = self.prefixes.iter().filter_map(|prefix| key.strip_prefix(prefix.as_str()));
            tokens.next().unwrap_or_default().to_owned()
        };
        keys.iter().map(token).collect()
    }
}

impl Remedies for Options {
    fn place(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    fn rights(&self) -> String {
        let keys: Vec<_> = self.prefixes.iter().map(|prefix| format!("~{prefix}*")).collect();
        format!(
            "let the user read: ACL SETUSER … {} &__keyspace@* +scan +pttl +psubscribe +ping +config|get",
            keys.join(" ")
        )
    }

    fn lost(&self) -> &'static str {
        "all keys are read again then"
    }
}

/// Follows the blacklist until it is stopped.
pub async fn run(options: Options, intake: Intake, stop: CancellationToken) {
    supervise(&intake, &stop, || session(&options, &intake, &stop)).await;
}

/// One connection; `Ok` when the source is stopped.
async fn session(options: &Options, intake: &Intake, stop: &CancellationToken) -> Result<(), Fault> {
    let opened = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        opened = timeout(PATIENCE * 2, open(options)) => match opened {
            Ok(opened) => opened.map_err(|error| fault(&error, options, Trouble::Unreachable))?,
            Err(_) => return Err(silence(options, Trouble::Unreachable)),
        },
    };
    let (app, source) = (intake.app_name(), intake.name());
    info!(event = "source_connected", app, source, place = options.place());
    if !opened.told {
        let help = "redis-cli CONFIG SET notify-keyspace-events Kg$, and notify-keyspace-events in redis.conf";
        warn!(event = "source_untold", app, source, again_every = ?AGAIN, help, "Redis does not tell of new keys: all are read again and again");
    }
    let lookup = Lookup { prefixes: options.prefixes.clone(), aside: opened.aside.clone() };
    intake.ask(Some(Arc::new(lookup)));
    intake.figures().works();
    let ended = follow(options, intake, opened, stop).await;
    intake.ask(None);
    ended
}

/// A connection.
struct Opened {
    sink: PubSubSink,
    stream: PubSubStream,
    aside: MultiplexedConnection,
    /// Redis tells of new keys.
    told: bool,
}

async fn open(options: &Options) -> Result<Opened, RedisError> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE));
    let config = config.set_response_timeout(Some(PATIENCE));
    let mut aside = options.client.get_multiplexed_async_connection_with_config(&config).await?;
    let (mut sink, stream) = options.client.get_async_pubsub().await?.split();
    let db = options.client.get_connection_info().redis_settings().db();
    for prefix in &options.prefixes {
        sink.psubscribe(format!("{}{}*", space(db), literal(prefix))).await?;
    }
    // Whoever may not ask is not told either, as far as is known here.
    let asked = cmd("CONFIG").arg("GET").arg("notify-keyspace-events").query_async(&mut aside).await;
    let told = asked.is_ok_and(|answer: Vec<String>| answer.get(1).is_some_and(|flags| tells(flags)));
    Ok(Opened { sink, stream, aside, told })
}

async fn follow(options: &Options, intake: &Intake, opened: Opened, stop: &CancellationToken) -> Result<(), Fault> {
    let wrong = |error: RedisError| fault(&error, options, Trouble::Lost);
    let Opened { mut sink, stream, mut aside, told } = opened;
    let prefix = space(options.client.get_connection_info().redis_settings().db());
    let mut news = stream.ready_chunks(BATCH);
    let mut again = interval(if told { AGAIN_TOLD } else { AGAIN });
    let mut ping = interval(PATIENCE);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            messages = news.next() => {
                let Some(messages) = messages else { return Err(lost(options)) };
                let key = |message: &redis::Msg| message.get_channel_name().strip_prefix(&prefix).map(str::to_owned);
                let keys: Vec<_> = messages.iter().filter_map(key).collect();
                take(options, intake, &mut aside, &keys).await.map_err(wrong)?;
            }
            _ = again.tick() => read_all(options, intake, &mut aside).await.map_err(wrong)?,
            _ = ping.tick() => match timeout(PATIENCE, sink.ping::<redis::Value>()).await {
                Ok(answer) => drop(answer.map_err(wrong)?),
                Err(_) => return Err(silence(options, Trouble::Lost)),
            },
        }
    }
}

/// Reads all keys there are.
async fn read_all(options: &Options, intake: &Intake, aside: &mut MultiplexedConnection) -> Result<(), RedisError> {
    for prefix in &options.prefixes {
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*", literal(prefix))).arg("COUNT").arg(BATCH);
            let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(aside).await?;
            // A key that is no text holds no token, and must not keep the others from being read.
            let keys: Vec<_> = keys.into_iter().filter_map(|key| String::from_utf8(key).ok()).collect();
            take(options, intake, aside, &keys).await?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Has those keys counted that are there.
async fn take(
    options: &Options,
    intake: &Intake,
    aside: &mut MultiplexedConnection,
    keys: &[String],
) -> Result<(), RedisError> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut ask = pipe();
    for key in keys {
        ask.cmd("PTTL").arg(key);
    }
    let left: Vec<i64> = ask.query_async(aside).await?;
    let there = options.tokens(keys).into_iter().zip(left).filter(|(token, left)| !token.is_empty() && *left != GONE);
    intake.revoke(there.map(|(token, left)| (token, u64::try_from(left).ok())).collect()).await;
    Ok(())
}

/// What Redis says instead of how long a key will be there; one that is there for ever has -1.
const GONE: i64 = -2;

/// Looks tokens up.
#[derive(Debug)]
struct Lookup {
    prefixes: Vec<String>,
    aside: MultiplexedConnection,
}

#[async_trait]
impl Register for Lookup {
    async fn until(&self, token: &str) -> Option<u64> {
        let mut ask = pipe();
        for prefix in &self.prefixes {
            ask.cmd("PTTL").arg(format!("{prefix}{token}"));
        }
        let mut aside = self.aside.clone();
        // What is wrong with the connection, the source finds out.
        let left: Vec<i64> = timeout(LOOK_UP, ask.query_async(&mut aside)).await.ok()?.ok()?;
        left.into_iter().filter(|left| *left != GONE).map(|left| until(u64::try_from(left).ok())).max()
    }
}

/// How the channels begin by which Redis tells of keys.
fn space(db: i64) -> String {
    format!("__keyspace@{db}__:")
}

/// Whether keys that are set are told by their names.
fn tells(flags: &str) -> bool {
    flags.contains('K') && flags.contains(['$', 'A'])
}

/// A pattern that stands for a text itself.
fn literal(text: &str) -> String {
    text.chars()
        .flat_map(|char| matches!(char, '*' | '?' | '[' | ']' | '\\').then_some('\\').into_iter().chain([char]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_stand_for_themselves() {
        assert_eq!(literal("token:[a]*?\\"), "token:\\[a\\]\\*\\?\\\\");
    }

    #[test]
    fn it_is_told_of_texts() {
        for (flags, told) in
            [("AK", true), ("K$", true), ("KEA", true), ("Kg$x", true), ("E$", false), ("Kg", false), ("", false)]
        {
            assert_eq!(tells(flags), told, "{flags}");
        }
    }
}
