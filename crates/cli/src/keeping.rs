//! Where durable messages are kept: in a data directory, or in memory.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use oyez_backends::embedded::{Embedded, Options as Engine};
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
    /// Where durable messages are kept: embedded needs --data-dir, memory forgets them at the end of the process
    #[arg(long, value_name = "KIND", value_enum)]
    store: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Embedded,
    Memory,
}

impl Keeping {
    /// Opens the store. `runtime` answers its questions.
    pub(crate) fn open(&self, config: &Config, runtime: &Handle) -> Result<Arc<dyn Store>, Failure> {
        let settings = Settings { keep_acknowledged: Some(KEEP_ACKNOWLEDGED), ..Settings::default() };
        match (&self.data_dir, self.store) {
            (Some(dir), None | Some(Kind::Embedded)) => {
                let store = Embedded::store(dir, Engine::default(), settings, runtime.clone());
                let store = store.map_err(|error| refused(&error, dir))?;
                info!(event = "store", kind = "embedded", dir = %dir.display());
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
        match (&self.data_dir, self.store) {
            (None, Some(Kind::Embedded)) => Err(Failure::usage("--store embedded needs a directory")
                .help("add --data-dir, as in --data-dir /var/lib/oyez")),
            (Some(_), Some(Kind::Memory)) => {
                Err(Failure::usage("--data-dir and --store memory contradict each other").help("leave one of them out"))
            }
            _ => Ok(()),
        }
    }

    /// The same, and in memory where nothing else is said: for trying things.
    pub(crate) fn or_memory(&self) -> Self {
        let kind = if self.data_dir.is_some() { Kind::Embedded } else { Kind::Memory };
        Self { store: Some(self.store.unwrap_or(kind)), ..self.clone() }
    }

    /// Says that a restart forgets durable messages, where a configuration has them and nobody has said that this is meant.
    pub(crate) fn warn(&self, config: &Config) {
        let asked = self.data_dir.is_some() || self.store.is_some();
        if !asked && config.apps.iter().any(|app| app.inbox.is_some()) {
            warn!(
                event = "store",
                kind = "memory",
                "durable messages are kept in memory, and lost when this process ends: give it --data-dir DIR, or say --store memory if that is meant"
            );
        }
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
