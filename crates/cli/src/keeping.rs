//! Where durable messages are kept: in a data directory, in a Redis, or in memory.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use oyez_backends::embedded::{Embedded, Options as Engine};
use oyez_backends::redis::store::{Options as Redis, RedisStore};
use oyez_hub::store::{MemoryStore, Settings, Store, StoreError};
use oyez_server::config::Config;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::failure::Failure;

/// For how long what is acknowledged stays in an inbox, for lists: thirty days.
const KEEP_ACKNOWLEDGED: u64 = 30 * 24 * 60 * 60 * 1_000;

/// What the command line says about it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Keeping {
    /// Keep durable messages in this directory, which is made if it is not there; without it, in memory
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where durable messages are kept, revocations, and what webhooks have told: embedded needs --data-dir, memory forgets them at the end of the process, the URL of
    /// a Redis (redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// with TLS, redis+sentinel://HOST:PORT,…/MASTER, redis+cluster://HOST:PORT,…)
    /// keeps them for all nodes that name it, and the history of channels, too
    #[arg(long, value_name = "embedded|memory|URL", env = "OYEZ_STORE", hide_env_values = true)]
    store: Option<Kind>,
}

/// What keeps them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Embedded,
    Memory,
    Redis(String),
}

impl fmt::Debug for Kind {
    /// A URL may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "Embedded",
            Self::Memory => "Memory",
            Self::Redis(_) => "Redis",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "embedded" => Ok(Self::Embedded),
            "memory" => Ok(Self::Memory),
            url if url.starts_with("redis") && url.contains("://") => Ok(Self::Redis(url.to_owned())),
            _ => Err("say embedded, memory, or redis://HOST:PORT".to_owned()),
        }
    }
}

impl Keeping {
    /// Opens the store. `runtime` answers its questions.
    pub(crate) fn open(&self, config: &Config, runtime: &Handle) -> Result<Arc<dyn Store>, Failure> {
        let settings = Settings { keep_acknowledged: Some(KEEP_ACKNOWLEDGED), ..Settings::default() };
        match (&self.data_dir, &self.store) {
            (Some(dir), None | Some(Kind::Embedded)) => {
                let store = Embedded::store(dir, Engine::default(), settings, runtime.clone());
                let store = store.map_err(|error| refused(&error, dir))?;
                info!(event = "store", kind = "embedded", dir = %dir.display());
                Ok(Arc::new(store))
            }
            (None, Some(Kind::Redis(url))) => {
                let store = redis(url, settings, runtime)?;
                info!(event = "store", kind = "redis");
                Ok(Arc::new(store))
            }
            _ => {
                self.check()?;
                self.warn(config);
                Ok(Arc::new(MemoryStore::new(Default::default(), settings)))
            }
        }
    }

    /// Whether the two go together.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        match (&self.data_dir, &self.store) {
            (None, Some(Kind::Embedded)) => Err(Failure::usage("--store embedded needs a directory")
                .help("add --data-dir, as in --data-dir /var/lib/oyez")),
            (Some(_), Some(Kind::Memory)) => {
                Err(Failure::usage("--data-dir and --store memory contradict each other").help("leave one of them out"))
            }
            (Some(_), Some(Kind::Redis(_))) => {
                Err(Failure::usage("--data-dir and --store redis:// contradict each other")
                    .help("leave one of them out"))
            }
            _ => Ok(()),
        }
    }

    /// The same, and in memory where nothing else is said: for trying things.
    pub(crate) fn or_memory(&self) -> Self {
        let kind = if self.data_dir.is_some() { Kind::Embedded } else { Kind::Memory };
        Self { store: Some(self.store.clone().unwrap_or(kind)), ..self.clone() }
    }

    /// Says that a restart forgets durable messages, where a configuration has them and nobody has said that this is meant.
    pub(crate) fn warn(&self, config: &Config) {
        let asked = self.data_dir.is_some() || self.store.is_some();
        if !asked && config.apps.iter().any(|app| app.webhook.is_some()) {
            warn!(
                event = "store",
                kind = "memory",
                "who was told to be online is kept in memory: after a restart nobody is told to be offline; give it --data-dir DIR, or say --store memory if that is meant"
            );
        }
        if !asked && config.apps.iter().any(|app| app.inbox.is_some()) {
            warn!(
                event = "store",
                kind = "memory",
                "durable messages are kept in memory, and lost when this process ends: give it --data-dir DIR, or say --store memory if that is meant"
            );
        }
    }
}

/// Connects to the store in a Redis. One that is not there is waited for; one that refuses is an error.
pub(crate) fn redis(url: &str, settings: Settings, runtime: &Handle) -> Result<RedisStore, Failure> {
    let options = Redis::new(url).map_err(|error| {
        Failure::new(format!("--store: {error}")).help("as in --store redis://user:password@host:6379/0")
    })?;
    let store = RedisStore::start(options, settings, runtime);
    match runtime.block_on(store.begun()) {
        Err(error @ StoreError::Server { word: "unreachable" | "silent" | "loading", .. }) => {
            warn!(event = "store", kind = "redis", %error, "nothing durable is stored until it is there");
            Ok(store)
        }
        begun => begun.map(|()| store).map_err(|error| Failure::new(error.to_string())),
    }
}

fn refused(error: &StoreError, dir: &std::path::Path) -> Failure {
    let failure = Failure::new(error.to_string());
    match error {
        StoreError::Damaged { .. } => {
            failure.help(format!("oyez store verify --data-dir {} says what is damaged", dir.display()))
        }
        _ => failure,
    }
}
