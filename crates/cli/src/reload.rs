//! Reading the configuration again while the node runs: on SIGHUP, and when `oyez reload` asks for it.

use oyez_server::api::{ReloadAnswer, ReloadLane};
use oyez_server::config::Config;
use oyez_server::live::Live;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::compose;
use crate::failure::Failure;
use crate::keeping::Keeping;
use crate::signals::Hangup;

/// How the configuration is read, with what the command line adds to it.
pub(crate) type Reading = Box<dyn Fn() -> Result<Config, Failure> + Send + Sync>;

/// Who may wait for an answer at once.
const WAITING: usize = 8;

/// Reads the configuration when asked, one time after the other.
pub(crate) struct Reloads {
    live: Live,
    reading: Reading,
    keeping: Keeping,
    runtime: Handle,
    asked: mpsc::Receiver<oneshot::Sender<ReloadAnswer>>,
    current: watch::Sender<Config>,
    hangup: Hangup,
}

impl Reloads {
    /// For a node that runs with what `live` knows; the API asks by the lane that comes with it.
    pub(crate) fn new(live: Live, reading: Reading, keeping: Keeping, runtime: Handle) -> (Self, ReloadLane) {
        let (lane, asked) = mpsc::channel(WAITING);
        let current = watch::Sender::new(live.config().clone());
        let hangup = {
            let _runtime = runtime.enter();
            Hangup::new()
        };
        (Self { live, reading, keeping, runtime, asked, current, hangup }, lane)
    }

    /// The configuration that holds.
    pub(crate) fn current(&self) -> watch::Receiver<Config> {
        self.current.subscribe()
    }

    /// Does so until the node ends.
    pub(crate) async fn run(mut self) {
        loop {
            let answer = tokio::select! {
                Some(answer) = self.asked.recv() => Some(answer),
                () = self.hangup.next() => None,
            };
            let outcome = self.reload().await;
            match &outcome {
                Ok(restart) if restart.is_empty() => info!(event = "config_loaded"),
                Ok(restart) => {
                    warn!(event = "config_loaded", restart = restart.join(", "), "a restart is needed for some of it");
                }
                Err(problems) => error!(event = "config_refused", %problems, "the old configuration stays"),
            }
            if let Some(answer) = answer {
                let _ = answer.send(outcome);
            }
        }
    }

    async fn reload(&mut self) -> ReloadAnswer {
        let words = |failure: Failure| failure.to_string();
        // It reads files; but only these threads wait for it, which have nothing else to do that could not.
        let config = tokio::task::block_in_place(|| (self.reading)()).map_err(words)?;
        let fetch = compose::fetch(&config, &self.runtime).map_err(words)?;
        let restart = self.live.apply(config, fetch.as_ref()).await.map_err(|error| error.to_string())?;
        self.keeping.warn(self.live.config());
        self.current.send_replace(self.live.config().clone());
        Ok(restart)
    }
}
