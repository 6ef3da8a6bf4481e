//! Puts a node together and runs it: the only place where the server and the vendors behind it meet.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use oyez_backends::http::{HttpFetch, HttpOptions};
use oyez_hub::policy::fetch::Fetch;
use oyez_server::api::{self, ApiState, AppFacts, Demo};
use oyez_server::config::Config;
use oyez_server::{Server, assemble, default_shards};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::certificate::Certificate;
use crate::failure::Failure;
use crate::process;

/// Threads beside the shards: they only wait for others.
const BACKGROUND_THREADS: usize = 2;

/// A node that is ready to serve.
pub(crate) struct Node {
    server: Server,
    runtime: Runtime,
    stop: CancellationToken,
    shutdown: Duration,
    certificate: Option<Certificate>,
}

impl Node {
    /// Builds everything that a configuration asks for, and the demo page if it has something to show; nothing listens
    /// yet.
    pub(crate) fn new(config: &Config, demo: Option<Demo>) -> Result<Self, Failure> {
        let cannot = |what: &str, error: &dyn std::fmt::Display| Failure::new(format!("{what}: {error}"));
        let runtime = Builder::new_multi_thread()
            .worker_threads(BACKGROUND_THREADS)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(|error| cannot("cannot start threads", &error))?;
        let fetch = fetch(config, runtime.handle())?;
        let (apps, settings) =
            assemble::apps(config, fetch.as_ref()).map_err(|error| Failure::new(error.to_string()))?;
        let shards = config.server.shards.unwrap_or_else(default_shards);
        info!(event = "start", version = env!("CARGO_PKG_VERSION"), shards, apps = apps.len());
        let server = Server::new(apps, settings, shards, runtime.handle().clone());
        let stop = CancellationToken::new();
        let state = ApiState {
            hub: server.hub().clone(),
            metrics: Arc::clone(server.metrics()),
            keys: config.keys.clone(),
            apps: config.apps.iter().map(AppFacts::from).collect(),
            demo,
            stop: stop.clone(),
        };
        let server =
            server.with_router(api::router(state)).with_report(config.server.report).with_process(process::read);
        Ok(Self { server, runtime, stop, shutdown: config.server.shutdown, certificate: None })
    }

    /// Every connection is encrypted.
    pub(crate) fn with_certificate(mut self, certificate: Certificate) -> Self {
        self.server = self.server.with_tls(certificate.tls.clone());
        self.certificate = Some(certificate);
        self
    }

    /// Serves until the process is asked to end, then lets sessions leave for as long as the configuration says.
    pub(crate) fn run(self, listeners: Vec<TcpListener>, ready: impl FnOnce()) -> Result<(), Failure> {
        let Self { server, runtime, stop, shutdown, certificate } = self;
        raise_file_limit();
        if let Some(certificate) = certificate {
            runtime.spawn(certificate.keep_fresh());
        }
        let outcome = runtime.block_on(async move {
            let mut asked =
                asked_to_end().map_err(|error| Failure::new(format!("cannot wait for signals: {error}")))?;
            let serving = server.serve_all(listeners, stop.clone());
            tokio::pin!(serving);
            ready();
            let ended = tokio::select! {
                ended = &mut serving => ended,
                () = &mut asked => {
                    info!(event = "stop");
                    stop.cancel();
                    match tokio::time::timeout(shutdown, serving).await {
                        Ok(ended) => ended,
                        Err(_) => {
                            warn!(event = "stop_late", after = ?shutdown, "some sessions had not left");
                            Ok(())
                        }
                    }
                }
            };
            ended.map_err(|error| Failure::new(format!("cannot serve: {error}")))
        });
        // What still runs on the side must not hold up the end.
        runtime.shutdown_background();
        outcome
    }
}

/// A client for key sets and backends, where the configuration asks any.
fn fetch(config: &Config, runtime: &Handle) -> Result<Option<Arc<dyn Fetch>>, Failure> {
    if !assemble::needs_fetch(config) {
        return Ok(None);
    }
    let fetch = HttpFetch::new(runtime.clone(), &HttpOptions::default())
        .map_err(|error| Failure::new(format!("cannot make HTTP requests: {error}")))?;
    Ok(Some(Arc::new(fetch)))
}

/// Ready at the first SIGTERM or SIGINT (elsewhere than on Unix, Ctrl-C).
fn asked_to_end() -> std::io::Result<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        let mut interrupt = signal::unix::signal(signal::unix::SignalKind::interrupt())?;
        Ok(Box::pin(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }))
    }
    #[cfg(not(unix))]
    Ok(Box::pin(async {
        let _ = signal::ctrl_c().await;
    }))
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
