//! Puts a node together and runs it: the only place where the server and the vendors behind it meet.

use std::cell::Cell;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use oyez_backends::http::{HttpFetch, HttpOptions};
use oyez_hub::policy::fetch::Fetch;
use oyez_server::api::{self, Access, ApiState, Demo};
use oyez_server::config::Config;
use oyez_server::{Server, assemble, default_shards};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::allocator;
use crate::certificate::Certificate;
use crate::company::{Company, Joined};
use crate::failure::Failure;
use crate::keeping::Keeping;
use crate::process;
use crate::reload::{Reading, Reloads};
use crate::signals::Signals;
use crate::sources::Sources;

/// The most threads beside the shards, of which there is one per core: these mostly wait for others.
const BACKGROUND_THREADS: usize = 4;

/// How long goodbye may take when nobody is waited for.
const MOMENT: Duration = Duration::from_millis(200);

/// A node that is ready to serve.
pub(crate) struct Node {
    server: Server,
    runtime: Runtime,
    /// Cancelled as soon as the node is asked to end.
    ending: CancellationToken,
    reloads: Reloads,
    certificate: Option<Certificate>,
}

impl Node {
    /// Builds everything that a configuration asks for, and the demo page if it has something to show; nothing listens
    /// yet. `reading` gives the configuration as it is later.
    pub(crate) fn new(
        config: Config,
        keeping: &Keeping,
        reading: Reading,
        demo: Option<Demo>,
    ) -> Result<Self, Failure> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("{what}: {error}"));
        let runtime = Builder::new_multi_thread()
            .worker_threads(background_threads())
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(|error| cannot("cannot start threads", &error))?;
        let fetch = fetch(&config, runtime.handle())?;
        let (apps, settings) =
            assemble::apps(&config, fetch.as_ref()).map_err(|error| Failure::new(error.to_string()))?;
        let shards = config.server.shards.unwrap_or_else(default_shards);
        info!(event = "start", version = env!("CARGO_PKG_VERSION"), shards, apps = apps.len());
        let server = Server::new(apps, settings, shards, runtime.handle().clone());
        server.hub().keep_in(keeping.open(&config, runtime.handle())?);
        let (ending, access) = (CancellationToken::new(), Access::of(&config));
        let report = config.server.report;
        let live = server.live(config, access.clone());
        let (reloads, lane) = Reloads::new(live, reading, keeping.clone(), runtime.handle().clone());
        let state = ApiState {
            hub: server.hub().clone(),
            metrics: Arc::clone(server.metrics()),
            access,
            demo,
            stop: ending.clone(),
            reload: Some(lane),
        };
        let server = server.with_router(api::router(state)).with_report(report).with_process(process::read);
        let server = server.with_release(allocator::release);
        Ok(Self { server, runtime, ending, reloads, certificate: None })
    }

    /// Joins the other nodes of the broker that the command line names.
    pub(crate) fn join(mut self, company: &Company) -> Result<Self, Failure> {
        if let Some(Joined { broker, inlet, listener, door }) = company.broker(self.runtime.handle())? {
            self.server.hub().join_cluster(&broker, inlet, Some(door));
            self.server = self.server.with_door(listener);
            company.join_neighbours(self.server.hub(), self.runtime.handle())?;
            self.warn_of_own_store();
        }
        Ok(self)
    }

    /// Nodes share what they say to each other, but not what each of them keeps.
    fn warn_of_own_store(&self) {
        let hub = self.server.hub();
        if hub.inboxes().is_none_or(|inboxes| inboxes.store().is_shared()) {
            return;
        }
        if hub.apps().any(|app| app.inbox.is_some()) {
            warn!(
                event = "store_alone",
                "inboxes are this node's alone: what is read here is new on other nodes; --store redis://HOST:PORT is one for all"
            );
        } else if hub.apps().any(|app| app.recovery.is_some()) {
            warn!(
                event = "store_alone",
                "GET …/history says what this node has heard, and its offsets count here alone; --store redis://HOST:PORT is one for all"
            );
        }
    }

    /// Every connection is encrypted.
    pub(crate) fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.server = self.server.with_tls(certificate.tls.clone());
        self.certificate = Some(certificate);
        self
    }

    /// Serves until the process is asked to end, and lets sessions leave then, as the configuration says.
    pub(crate) fn run(self, listeners: Vec<TcpListener>, ready: impl FnOnce()) -> Result<(), Failure> {
        let Self { server, runtime, ending, reloads, certificate } = self;
        raise_file_limit();
        if let Some(certificate) = certificate {
            runtime.spawn(certificate.keep_fresh());
        }
        let outcome = runtime.block_on(async move {
            let mut signals =
                Signals::new().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
            let current = reloads.current();
            tokio::spawn(reloads.run());
            let hub = server.hub().clone();
            hub.begin_lifecycle();
            let sources = Sources::new(hub.clone(), ending.clone());
            let stop = CancellationToken::new();
            let serving = server.serve_all(listeners, stop.clone());
            tokio::pin!(serving);
            if let Some(cluster) = hub.cluster() {
                cluster.settle().await;
            }
            ready();
            let mut sources = tokio::spawn(sources.run(current.clone()));
            // Until then others may take their time.
            let (ends_at, hurried) = (Cell::new(Instant::now()), Cell::new(false));
            let asked = async {
                signals.end().await;
                ending.cancel();
                let notice = current.borrow().server.shutdown.notice;
                info!(event = "stop", ?notice);
                tokio::select! {
                    () = tokio::time::sleep(notice) => {}
                    () = signals.end() => {}
                }
                // What they have read is delivered before anybody is sent away.
                tokio::select! {
                    _ = &mut sources => {}
                    () = signals.end() => {}
                }
                ends_at.set(Instant::now() + current.borrow().server.shutdown.deadline);
                stop.cancel();
                signals.end().await;
                hurried.set(true);
            };
            let served = async {
                let served = (&mut serving).await;
                hub.await_takeovers().await;
                served
            };
            let ended = tokio::select! {
                ended = served => ended.map_err(|error| Failure::new(format!("cannot serve: {error}"))),
                () = asked => {
                    warn!(event = "stop_now", "asked once more: nobody is waited for");
                    Ok(())
                }
            };
            tokio::select! {
                () = hub.leave(ends_at.get()) => {}
                () = signals.end() => warn!(event = "stop_now", "asked once more: others are not waited for"),
                // Whoever has asked twice already wants it to end; a goodbye that can be said takes no time.
                () = tokio::time::sleep(MOMENT), if hurried.get() => {}
            }
            ended
        });
        // What still runs on the side must not hold up the end.
        runtime.shutdown_background();
        outcome
    }
}

/// Threads beside the shards: more than the cores can run would only wake each other.
fn background_threads() -> usize {
    (default_shards() / 2).clamp(1, BACKGROUND_THREADS)
}

/// A client for key sets and backends, where the configuration asks any.
pub(crate) fn fetch(config: &Config, runtime: &Handle) -> Result<Option<Arc<dyn Fetch>>, Failure> {
    if !assemble::needs_fetch(config) {
        return Ok(None);
    }
    let fetch = HttpFetch::new(runtime.clone(), &HttpOptions::default())
        .map_err(|error| Failure::new(format!("cannot make HTTP requests: {error}")))?;
    Ok(Some(Arc::new(fetch)))
}

/// Each connection is an open file; use what the system allows this process anyway.
pub(crate) fn raise_file_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_err() {
            warn!(event = "file_limit", current = ?limit.current, "cannot have as many open files as the system allows");
        }
    }
}
