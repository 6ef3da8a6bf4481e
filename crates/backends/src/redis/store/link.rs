//! One life of the connections to Redis: what is looked at before anything is asked, and what Redis can promise.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oyez_hub::store::StoreError;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, Value, cmd};
use tokio::time::timeout;
use tracing::warn;

use super::script::Script;
use super::{answer, fault};
use crate::redis::place::Place;

/// How long Redis may take to let us in, or to answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The arrangement of keys and records that this version knows.
const FORMAT: u32 = 1;

/// The hashes under which Redis has the scripts.
type Hashes = HashMap<Script, String>;

/// Connections that work: one for what changes something, in order, and one for questions.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) writer: MultiplexedConnection,
    pub(super) reader: MultiplexedConnection,
    pub(super) hashes: Arc<Hashes>,
    /// It has WAITAOF.
    pub(super) waits: bool,
    pub(super) place: Arc<str>,
    /// Which run of Redis it is.
    pub(super) run: Arc<str>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link to {}", self.place)
    }
}

impl Link {
    /// Connects, and looks whether this Redis can keep a store.
    pub(super) async fn open(place: &Place, prefix: &str) -> Result<Self, StoreError> {
        let client = place.client(prefix).await?;
        let place: Arc<str> = client.get_connection_info().addr().to_string().into();
        let config = || AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(None);
        let connect = || async {
            let connection = client.get_multiplexed_async_connection_with_config(&config()).await;
            connection.map_err(|error| fault::of(&error, &place))
        };
        let (mut writer, reader) = (connect().await?, connect().await?);
        let mut told = cmd("INFO");
        told.arg(&["server", "replication", "memory", "persistence"]);
        let info = Info::of(&answer::text(ask(&mut writer, &told, &place).await?)?);
        let waits = info.check(&place)?;
        check_format(&mut writer, prefix, &place).await?;
        let hashes = Arc::new(load(&mut writer, &place).await?);
        let run = info.get("run_id").into();
        Ok(Self { writer, reader, hashes, waits, place, run })
    }

    /// Has Redis know the scripts again.
    pub(super) async fn reload(&mut self) -> Result<(), StoreError> {
        self.hashes = Arc::new(load(&mut self.writer, &self.place).await?);
        Ok(())
    }

    /// Whether both connections answer.
    pub(super) async fn ping(&mut self) -> Result<(), StoreError> {
        ask(&mut self.writer, &cmd("PING"), &self.place).await?;
        ask(&mut self.reader, &cmd("PING"), &self.place).await.map(drop)
    }
}

/// Asks one command and waits so long for its answer.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
    place: &str,
) -> Result<Value, StoreError> {
    match timeout(PATIENCE, command.query_async(connection)).await {
        Ok(answered) => answered.map_err(|error: RedisError| fault::of(&error, place)),
        Err(_) => Err(fault::silent(place)),
    }
}

/// Asks many at once; each may fail for itself.
pub(super) async fn ask_all(
    connection: &mut MultiplexedConnection,
    pipeline: &Pipeline,
    place: &str,
) -> Result<Vec<Value>, StoreError> {
    match timeout(PATIENCE, connection.send_packed_commands(pipeline, 0, pipeline.len())).await {
        Ok(answered) => answered.map_err(|error| fault::of(&error, place)),
        Err(_) => Err(fault::silent(place)),
    }
}

async fn load(connection: &mut MultiplexedConnection, place: &str) -> Result<Hashes, StoreError> {
    let mut hashes = Hashes::new();
    for script in Script::ALL {
        let hash = ask(connection, cmd("SCRIPT").arg("LOAD").arg(script.source()), place).await?;
        hashes.insert(script, answer::text(hash)?);
    }
    Ok(hashes)
}

/// Refuses what a later version wrote.
async fn check_format(connection: &mut MultiplexedConnection, prefix: &str, place: &str) -> Result<(), StoreError> {
    let key = format!("{prefix}format");
    let known = ask(connection, cmd("GET").arg(&key), place).await?;
    if known == Value::Nil {
        return match ask(connection, cmd("SET").arg(&key).arg(FORMAT).arg("NX"), place).await {
            // That there is no room is said of each message.
            Err(StoreError::ServerFull { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
    }
    let found = answer::number(&known)?;
    if found > FORMAT.into() {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        return Err(StoreError::Newer { dir: format!("the store at {place}"), found, known: FORMAT });
    }
    Ok(())
}

/// What Redis says of itself.
struct Info(HashMap<String, String>);

impl Info {
    fn of(text: &str) -> Self {
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Self(fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Refuses what cannot keep a store, warns of what keeps it badly. Returns whether it has WAITAOF.
    fn check(&self, place: &str) -> Result<bool, StoreError> {
        let version = self.get("redis_version");
        let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
        if found < (7, 0) {
            return Err(fault::refused(place, "too_old", format!("it is version {version}"), "use Redis 7.0 or later"));
        }
        if self.get("loading") == "1" {
            let help = "it reads its data after a start: that ends by itself";
            return Err(fault::refused(place, "loading", "it is loading its data", help));
        }
        if self.get("role") == "slave" {
            let said = format!("it is a replica of {}:{}", self.get("master_host"), self.get("master_port"));
            return Err(fault::refused(place, "read_only", said, "name its master in --store"));
        }
        let policy = self.get("maxmemory_policy");
        if self.get("maxmemory") != "0" && policy != "noeviction" {
            warn!(
                event = "store_evicts",
                place, policy, "Redis may throw messages away: CONFIG SET maxmemory-policy noeviction"
            );
        }
        if self.get("aof_enabled") == "0" {
            warn!(
                event = "store_volatile",
                place,
                "Redis has no append-only file, so that its end forgets what came after its last snapshot: CONFIG SET appendonly yes"
            );
        }
        Ok(found >= (7, 2))
    }
}
