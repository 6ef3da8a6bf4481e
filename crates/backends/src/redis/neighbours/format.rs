//! How neighbours speak: which channels there are, what is written to them and read from them.

use std::sync::Arc;

use oyez_hub::broker::Said;
use oyez_protocol::adapter::classic::{Classic, Place, Sender};
use oyez_protocol::adapter::sharded::{Mode, Sharded};
use oyez_protocol::adapter::streams::{Entry, Streams, Written};
use oyez_protocol::adapter::{DEFAULT_PREFIX, Error, Limits, Message, Publication, Received, Response};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisResult};

use super::ALPHABET;

/// The adapter that the servers of a cluster have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adapter {
    /// `createAdapter` of `@socket.io/redis-adapter`, and `@socket.io/redis-emitter`.
    Classic,
    /// `createShardedAdapter` of `@socket.io/redis-adapter`, in its dynamic mode.
    Sharded,
    /// `@socket.io/redis-streams-adapter`.
    Streams,
}

/// How the classic broadcasts of all nodes of this make begin, which need not be read: a list of three, and an id.
const OWN_BROADCAST: &[u8] = b"\x93\xaboyez-";

/// Entries that a stream keeps, about.
const KEPT: usize = 10_000;

/// Entries that are read at once.
pub(super) const ENTRIES: usize = 100;

/// How many milliseconds one is waited for.
const WAIT: usize = 1_000;

/// Channels in one command.
const TOGETHER: usize = 1_000;

/// One namespace, in the words of an adapter.
#[derive(Debug)]
pub(super) struct Format {
    kind: Kind,
    /// The channel to which all nodes of this make are subscribed, beside that to which all servers are.
    marker: String,
}

#[derive(Debug)]
enum Kind {
    Classic(Classic),
    Sharded(Sharded),
    Streams(Streams),
}

impl Format {
    pub(super) fn new(adapter: Adapter, nsp: &str) -> Self {
        let kind = match adapter {
            Adapter::Classic => Kind::Classic(Classic::new(DEFAULT_PREFIX, nsp)),
            Adapter::Sharded => Kind::Sharded(Sharded::new(DEFAULT_PREFIX, nsp, Mode::Dynamic)),
            Adapter::Streams => Kind::Streams(Streams::new(DEFAULT_PREFIX.to_owned(), DEFAULT_PREFIX, nsp)),
        };
        let marker = format!("oyez#@{}", kind.all());
        Self { kind, marker }
    }

    /// Listens as a server does that has this id and somebody in these rooms, and, in the same moment, as a node of this make.
    pub(super) async fn listen<'a>(
        &self,
        lane: &mut MultiplexedConnection,
        uid: &str,
        rooms: impl Iterator<Item = &'a Arc<str>>,
    ) -> RedisResult<()> {
        match &self.kind {
            Kind::Classic(classic) => {
                lane.psubscribe(classic.pattern()).await?;
                let (all, own) = (classic.response_channel(None), classic.response_channel(Some(uid)));
                lane.subscribe(&[classic.request_channel(), &all, &own, &self.marker]).await
            }
            Kind::Sharded(sharded) => {
                self.listen_to(lane, rooms).await?;
                let channels = [sharded.channel(), &sharded.response_channel(uid), &self.marker];
                redis::cmd("SSUBSCRIBE").arg(&channels).exec_async(lane).await
            }
            Kind::Streams(streams) => {
                lane.subscribe(&[streams.channel(), &streams.response_channel(uid), &self.marker]).await
            }
        }
    }

    /// What decides which node of a Redis Cluster is spoken to.
    pub(super) fn key(&self) -> &str {
        self.stream().unwrap_or(&self.marker)
    }

    /// Whether single rooms are listened to.
    pub(super) fn is_by_room(adapter: Adapter) -> bool {
        adapter == Adapter::Sharded
    }

    /// Listens to these rooms, too.
    pub(super) async fn listen_to<'a>(
        &self,
        lane: &mut MultiplexedConnection,
        rooms: impl Iterator<Item = &'a Arc<str>>,
    ) -> RedisResult<()> {
        self.change("SSUBSCRIBE", lane, rooms).await
    }

    /// Listens to these rooms no more.
    pub(super) async fn ignore<'a>(
        &self,
        lane: &mut MultiplexedConnection,
        rooms: impl Iterator<Item = &'a Arc<str>>,
    ) -> RedisResult<()> {
        self.change("SUNSUBSCRIBE", lane, rooms).await
    }

    async fn change<'a>(
        &self,
        command: &str,
        lane: &mut MultiplexedConnection,
        rooms: impl Iterator<Item = &'a Arc<str>>,
    ) -> RedisResult<()> {
        let Kind::Sharded(sharded) = &self.kind else { return Ok(()) };
        let channels: Vec<String> = rooms.filter_map(|room| sharded.room_channel(room)).collect();
        for some in channels.chunks(TOGETHER) {
            redis::cmd(command).arg(some).exec_async(lane).await?;
        }
        Ok(())
    }

    /// Asks how many servers there are, and how many of them are of this make.
    pub(super) fn count(&self) -> Cmd {
        let mut count = redis::cmd("PUBSUB");
        let which = if let Kind::Sharded(_) = self.kind { "SHARDNUMSUB" } else { "NUMSUB" };
        count.arg(which).arg(self.kind.all()).arg(&self.marker);
        count
    }

    /// Who listens to answers: the ids of all servers, those of this make too.
    pub(super) async fn servers(&self, lane: &mut MultiplexedConnection) -> RedisResult<Vec<String>> {
        let (which, prefix) = match &self.kind {
            Kind::Classic(classic) => ("CHANNELS", classic.response_channel(None)),
            Kind::Sharded(sharded) => ("SHARDCHANNELS", sharded.channel().to_owned()),
            Kind::Streams(streams) => ("CHANNELS", streams.channel().to_owned()),
        };
        let channels: Vec<String> =
            redis::cmd("PUBSUB").arg(which).arg(format!("{prefix}?*#")).query_async(lane).await?;
        let uid = |channel: &String| channel.strip_prefix(&prefix)?.strip_suffix('#').map(str::to_owned);
        // Rooms have channels of that form, too, but hardly such names.
        let is_id = |uid: &String| uid.len() <= 16 && uid.bytes().all(|byte| ALPHABET.contains(&byte));
        Ok(channels.iter().filter_map(uid).filter(is_id).collect())
    }

    /// Says a message; none if the format has no such message.
    pub(super) fn message(&self, uid: &str, message: &Message) -> Option<Cmd> {
        Some(match &self.kind {
            Kind::Classic(classic) => publish("PUBLISH", &classic.write(Sender::Server(uid), message)),
            Kind::Sharded(sharded) => publish("SPUBLISH", &sharded.write(uid, message)?),
            Kind::Streams(streams) => match streams.write(uid, message)? {
                Written::Publication(publication) => publish("PUBLISH", &publication),
                Written::Entry(entry) => {
                    let mut add = redis::cmd("XADD");
                    add.arg(streams.stream()).arg("MAXLEN").arg("~").arg(KEPT).arg("*").arg(&entry.fields());
                    add
                }
            },
        })
    }

    /// Answers the server `to`; in the classic format, as in Node, where all servers listen. None if the format has no
    /// such answer.
    pub(super) fn response(&self, to: Option<&str>, uid: &str, response: &Response) -> Option<Cmd> {
        Some(match &self.kind {
            Kind::Classic(classic) => publish("PUBLISH", &classic.write_response(None, response)),
            Kind::Sharded(sharded) => publish("SPUBLISH", &sharded.write_response(to?, uid, response)?),
            Kind::Streams(streams) => publish("PUBLISH", &streams.write_response(to?, uid, response)?),
        })
    }

    /// Reads what was said; none when it concerns nobody here. `concerns` says that of a room.
    ///
    /// # Errors
    /// When it is not of this format.
    pub(super) fn read(&self, said: &Said, concerns: impl Fn(&str) -> bool) -> Result<Option<Received>, Error> {
        match &self.kind {
            Kind::Classic(classic) => match classic.place(said.topic.as_bytes()) {
                None => Ok(None),
                Some(Place::Broadcast { room: Some(room) }) if !concerns(room) => Ok(None),
                Some(Place::Broadcast { .. }) if said.payload.starts_with(OWN_BROADCAST) => Ok(None),
                Some(place) => classic.read(place, &said.payload, &Limits::default()),
            },
            Kind::Sharded(sharded) => sharded.read(&said.payload, &Limits::default()),
            Kind::Streams(streams) => streams.read(&said.payload, &Limits::default()),
        }
    }

    /// Where entries are read, if there are any.
    pub(super) fn stream(&self) -> Option<&str> {
        match &self.kind {
            Kind::Streams(streams) => Some(streams.stream()),
            Kind::Classic(_) | Kind::Sharded(_) => None,
        }
    }

    /// Waits for entries after that one.
    pub(super) fn next_entries(stream: &str, last: &str) -> Cmd {
        let mut read = redis::cmd("XREAD");
        read.arg("COUNT").arg(ENTRIES).arg("BLOCK").arg(WAIT).arg("STREAMS").arg(stream).arg(last);
        read
    }

    /// Reads an entry; none when it is of another namespace.
    ///
    /// # Errors
    /// When it is not of this format.
    pub(super) fn read_entry(&self, fields: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<Received>, Error> {
        let Kind::Streams(streams) = &self.kind else { return Ok(None) };
        let fields = fields.iter().map(|(key, value)| (&key[..], &value[..]));
        streams.read_entry(&Entry::from_fields(fields), &Limits::default())
    }
}

impl Kind {
    /// The channel to which all servers are subscribed.
    fn all(&self) -> &str {
        match self {
            Self::Classic(classic) => classic.request_channel(),
            Self::Sharded(sharded) => sharded.channel(),
            Self::Streams(streams) => streams.channel(),
        }
    }
}

fn publish(command: &str, Publication { channel, payload }: &Publication) -> Cmd {
    let mut publish = redis::cmd(command);
    publish.arg(channel).arg(&payload[..]);
    publish
}
