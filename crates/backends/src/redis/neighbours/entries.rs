//! The entries of a stream, read on a connection of their own: who waits there hears nothing else.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_hub::broker::Said;
use oyez_hub::source::Trouble;
use oyez_protocol::adapter::{Error, Received};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisError};
use tokio::sync::mpsc;
use tracing::warn;

use super::format::{ENTRIES, Format};
use super::{PATIENCE, Place};
use crate::redis::fault::{fault, nowhere};
use crate::supervise::Fault;

/// How long some entries may be on their way, and large: that the server is there is seen on the other connection.
const READING: Duration = Duration::from_secs(30);

/// What is read of an entry: who said it, and its fields.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;
type Entries = Vec<(String, Vec<(String, Fields)>)>;

/// Something that was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// On a channel.
    Said(Said),
    /// In a stream, with its id.
    Entry(String, Result<Option<Received>, Error>),
}

impl Place {
    /// Reads what is added to the stream, from where it was left; returns what ended that. Where there is no stream, never.
    pub(super) async fn read(&self, heard: mpsc::Sender<Heard>) -> Option<Fault> {
        let Some(stream) = self.format.stream() else { return std::future::pending().await };
        let client = match self.at.client(stream).await {
            Ok(client) => client,
            Err(why) => return Some(nowhere(why, self)),
        };
        self.read_on(&client, stream, &heard).await.err().map(|error| fault(&error, self, Trouble::Lost))
    }

    async fn read_on(&self, client: &Client, stream: &str, heard: &mpsc::Sender<Heard>) -> Result<(), RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(READING));
        let mut lane = client.get_multiplexed_async_connection_with_config(&config).await?;
        let left = self.last.lock().clone();
        let mut last = match left {
            Some(last) => last,
            None => newest(&mut lane, stream).await?,
        };
        *self.last.lock() = Some(last.clone());
        // Whether there may be more than was read at once.
        let mut behind = true;
        loop {
            if behind && place(&last) > Some((0, 0)) && place(&oldest(&mut lane, stream).await?) > place(&last) {
                self.has_missed();
            }
            let more: Option<Entries> = Format::next_entries(stream, &last).query_async(&mut lane).await?;
            let more: Vec<_> = more.into_iter().flatten().flat_map(|(_, entries)| entries).collect();
            behind = more.len() >= ENTRIES;
            for (id, fields) in more {
                last.clone_from(&id);
                if heard.send(Heard::Entry(id, self.format.read_entry(&fields))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    /// The stream has let go of entries that this node, too far behind, has not read.
    fn has_missed(&self) {
        let nsp = &self.nsp;
        warn!(
            event = "neighbours_trimmed",
            nsp, "the stream keeps too few entries for what is said: raise maxLen of Node's servers, or read faster"
        );
        self.standing.figures.lost.fetch_add(1, Relaxed);
        if let Some(hub) = self.hub.upgrade() {
            hub.has_missed_neighbours(self.app);
        }
    }
}

/// The id of the newest entry.
async fn newest(lane: &mut MultiplexedConnection, stream: &str) -> Result<String, RedisError> {
    end(lane, redis::cmd("XREVRANGE").arg(stream).arg("+").arg("-")).await
}

/// The id of the oldest entry that is kept.
async fn oldest(lane: &mut MultiplexedConnection, stream: &str) -> Result<String, RedisError> {
    end(lane, redis::cmd("XRANGE").arg(stream).arg("-").arg("+")).await
}

async fn end(lane: &mut MultiplexedConnection, range: &mut Cmd) -> Result<String, RedisError> {
    let found: Vec<(String, Fields)> = range.arg("COUNT").arg(1).query_async(lane).await?;
    Ok(found.into_iter().next().map_or_else(|| "0-0".to_owned(), |(id, _)| id))
}

/// The place of an entry: its time, and its number in that millisecond.
fn place(id: &str) -> Option<(u64, u64)> {
    let (time, number) = id.split_once('-')?;
    Some((time.parse().ok()?, number.parse().ok()?))
}
