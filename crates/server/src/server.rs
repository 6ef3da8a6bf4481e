//! A node: shards, an acceptor, and the runtime beside them. The caller brings the listener and says when to stop.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use oyez_hub::Hub;
use oyez_hub::address::AppId;
use oyez_hub::app::App;
use oyez_hub::policy::limits::offences::Offences;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{Barrier, mpsc};
use tokio_util::sync::CancellationToken;

use crate::acceptor::{Acceptor, Lane};
use crate::config::Config;
use crate::http::api::Access;
use crate::live::Live;
use crate::observe::metrics::Metrics;
use crate::observe::process::Process;
use crate::observe::report::report;
use crate::seats::Seats;
use crate::settings::Settings;
use crate::shard::mailbox::{Entrance, Letter, Peer};
use crate::shard::{Inlet, Parts, Shard};
use crate::tls::Tls;

/// Between two lines of figures in the log, unless it is said otherwise.
const REPORT: Duration = Duration::from_secs(60);

/// A server that is built but does not serve yet.
///
/// ```
/// use oyez_server::{CancellationToken, Event, Server, Socket};
///
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::builder().build();
/// server.hub().on("greet", async |socket: Socket, mut event: Event| {
///     let Ok(name) = event.data::<String>() else { return };
///     event.answer(format!("Hello, {name}"));
///     let _ = socket.broadcast().emit("greeted", name).await;
/// });
///
/// let stop = CancellationToken::new();
/// # stop.cancel();
/// server.serve(std::net::TcpListener::bind("127.0.0.1:0")?, stop).await
/// # }
/// ```
///
/// In somebody's axum app, the server stands in front of its router, and handlers of the router tell clients what
/// happened:
///
/// ```
/// use axum::{Router, extract::State, routing::post};
/// use oyez_server::{CancellationToken, Hub, Server};
///
/// async fn order(State(hub): State<Hub>, body: String) -> &'static str {
///     let _ = hub.to("kitchen").emit("order", body).await;
///     "on its way"
/// }
///
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let server = Server::builder().build();
/// let router = Router::new().route("/orders", post(order)).with_state(server.hub().clone());
/// # let stop = CancellationToken::new();
/// # stop.cancel();
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// server.with_router(router).serve(listener, stop).await
/// # }
/// ```
pub struct Server {
    hub: Hub,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    report: Duration,
    router: Router,
    inlets: Vec<Inlet>,
    peers: Vec<mpsc::UnboundedSender<Letter>>,
    tls: Option<Tls>,
    /// Where other nodes come in.
    door: Option<TcpListener>,
    release: fn(),
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("shards", &self.inlets.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server for `apps` (whose ids are their indices) behind `settings`, with `shards` threads for connections;
    /// handlers and remote calls run on `background`.
    #[must_use]
    pub fn new(apps: Vec<App>, settings: Settings, shards: usize, background: Handle) -> Self {
        let shards = shards.clamp(1, usize::from(u8::MAX));
        let names: Vec<String> = apps.iter().map(|app| app.name.clone()).collect();
        let (mailboxes, mails): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        let (peers, letters): (Vec<_>, Vec<_>) = (0..shards).map(|_| mpsc::unbounded_channel()).unzip();
        let inlets = mails.into_iter().zip(letters).map(|(mail, letters)| Inlet { mail, letters }).collect();
        let hub = Hub::new(apps, mailboxes, background);
        let door = hub.clone();
        let metrics = Metrics::new(names.iter().map(String::as_str), shards, move || door.traffic());
        metrics.read_inboxes_of(hub.clone());
        Self {
            hub,
            settings: Arc::new(settings),
            metrics: Arc::new(metrics),
            report: REPORT,
            router: Router::new(),
            inlets,
            peers,
            tls: None,
            door: None,
            release: || {},
        }
    }

    /// The hub, to publish and to register handlers.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Requests that are not realtime connections go to `router`.
    #[must_use]
    pub fn with_router(mut self, router: Router) -> Self {
        self.router = router;
        self
    }

    /// Every connection is encrypted with this certificate; keep a clone to replace it.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Other nodes come in by this listener, with the requests of clients whose sessions live here; see
    /// [`Hub::join_cluster`].
    #[must_use]
    pub fn with_door(mut self, door: TcpListener) -> Self {
        self.door = Some(door);
        self
    }

    /// Every so often the log gets a line of figures; without this, once a minute.
    #[must_use]
    pub fn with_report(mut self, every: Duration) -> Self {
        self.report = every;
        self
    }

    /// Metrics and the line of figures also show what `read` says of the process; the first one counts.
    #[must_use]
    pub fn with_process(self, read: fn() -> Process) -> Self {
        self.metrics.read_process_by(read);
        self
    }

    /// When most clients of a thread have gone and do not come back, that thread calls `release`: an allocator may have
    /// to be told to give memory back to the system.
    #[must_use]
    pub fn with_release(mut self, release: fn()) -> Self {
        self.release = release;
        self
    }

    /// What changes the configuration while this server runs; to be asked for before it serves.
    #[must_use]
    pub fn live(&self, config: Config, access: Access) -> Live {
        Live::new(self.hub.clone(), self.peers.clone(), access, config)
    }

    /// Serves connections of `listener` until `stop` is cancelled; then it says goodbye to its clients, lets them hear
    /// what was published before, and returns, after [`Shutdown::deadline`](crate::settings::Shutdown) at the latest.
    ///
    /// # Errors
    /// When the listener or a thread cannot be used.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        self.serve_all(vec![listener], stop).await
    }

    /// As [`Server::serve`], for several listeners at once.
    ///
    /// # Errors
    /// When a listener or a thread cannot be used; the others are then closed, too.
    pub async fn serve_all(self, listeners: Vec<TcpListener>, stop: CancellationToken) -> io::Result<()> {
        let loads: Vec<Arc<AtomicUsize>> = self.inlets.iter().map(|_| Arc::default()).collect();
        let lane = |(peer, load): (&Peer, &Arc<_>)| Lane { peer: peer.clone(), load: Arc::clone(load) };
        let lanes = self.peers.iter().zip(&loads).map(lane).collect();
        // Connections are accepted as long as polling clients may come for what is left for them.
        let (leaving, heard_out) = (stop.child_token(), CancellationToken::new());
        // However this ends: when a thread cannot be started, or when the caller gives the server up.
        let _ended = (leaving.clone().drop_guard(), heard_out.clone().drop_guard());
        let reporting = report(Arc::clone(&self.metrics), self.report);
        let until = heard_out.clone();
        self.hub.spawn(async move {
            until.run_until_cancelled(reporting).await;
        });
        let public = listeners.into_iter().map(|listener| (listener, Entrance::Public));
        let listeners = public.chain(self.door.map(|door| (door, Entrance::Nodes))).collect();
        let mut acceptor = Some(Acceptor::new(listeners, lanes, heard_out.clone())?);
        let mut threads = Vec::new();
        let seats = Seats::new(self.settings.connections);
        let offences = Arc::<Offences>::default();
        let barrier = Arc::new(Barrier::new(self.inlets.len()));
        let (failing, mut failed) = mpsc::channel(1);
        for (index, inlet) in self.inlets.into_iter().enumerate() {
            let parts = Parts {
                id: u8::try_from(index).unwrap_or(u8::MAX),
                hub: self.hub.clone(),
                settings: Arc::clone(&self.settings),
                peers: self.peers.clone(),
                router: self.router.clone(),
                metrics: Arc::clone(&self.metrics),
                load: Arc::clone(&loads[index]),
                stop: leaving.clone(),
                heard_out: heard_out.clone(),
                threads: Arc::clone(&barrier),
                tls: self.tls.clone(),
                seats: seats.clone(),
                offences: Arc::clone(&offences),
                release: self.release,
            };
            threads.push(start_shard(parts, inlet, acceptor.take(), failing.clone())?);
        }
        let served = tokio::select! {
            Some(error) = failed.recv() => {
                // The thread that failed will meet the others nowhere.
                heard_out.cancel();
                Err(error)
            }
            () = stop.cancelled() => Ok(()),
        };
        stop.cancel();
        for thread in threads {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        served
    }
}

fn start_shard(
    parts: Parts,
    inlet: Inlet,
    acceptor: Option<Acceptor>,
    failing: mpsc::Sender<io::Error>,
) -> io::Result<JoinHandle<()>> {
    let name = format!("shard-{}", parts.id);
    let serve = async || {
        let shard = Shard::new(parts);
        if let Some(acceptor) = acceptor {
            acceptor.start(&shard)?;
        }
        // Not a task of its own: what `block_on` is given gets its turn after at most 61 tasks, however many are ready.
        shard.run(inlet).await;
        Ok(())
    };
    thread::Builder::new().name(name).spawn(move || {
        let built = Builder::new_current_thread().enable_all().build_local(Default::default());
        if let Err(error) = built.and_then(|runtime| runtime.block_on(serve())) {
            let _ = failing.try_send(error);
        }
    })
}

/// How many shards to run: one per core that this process may use.
#[must_use]
pub fn default_shards() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The id of the app at `index`; ids are indices.
#[must_use]
pub fn app_id(index: usize) -> AppId {
    AppId(u16::try_from(index).unwrap_or(u16::MAX))
}
