//! Building a server whose apps are Rust code: namespaces and handlers instead of a configuration file.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use oyez_hub::app::App;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::forwarders::Forwarders;
use crate::server::{Server, app_id, default_shards};
use crate::settings::{
    AppLimits, Engine, Front, HANDSHAKES, OFFENCES, OUTBOX_BYTES, Origins, Patience, Settings, Shutdown,
};

/// Collects what an embedded server needs.
///
/// ```
/// # use std::time::Duration;
/// use oyez_server::Server;
/// use oyez_server::forwarders::{Field, Forwarders};
/// use oyez_server::settings::{AppLimits, Engine, Origins, Rate};
///
/// # #[tokio::main]
/// # async fn main() {
/// let server = Server::builder()
///     .namespace("/admin")
///     .origins(Origins::List(vec!["https://app.example.com".to_owned()]))
///     .forwarders(Forwarders {
///         trusted: vec!["10.0.0.0/8".parse().expect("a network")],
///         header: Some(Field::XForwardedFor),
///         proxy_protocol: false,
///     })
///     .limits(AppLimits { events: Some(Rate::new(20, 40)), connections: Some(10_000), ..AppLimits::default() })
///     .engine(Engine { connect_timeout: Duration::from_secs(5), deflate: true, ..Engine::default() })
///     .shards(2)
///     .build();
/// assert!(server.hub().namespace("/admin").is_ok());
/// assert!(server.hub().namespace("/other").is_err());
/// # }
/// ```
#[derive(Debug)]
pub struct ServerBuilder {
    namespaces: Vec<String>,
    bare: Option<(String, String)>,
    engine: Engine,
    origins: Origins,
    forwarders: Forwarders,
    limits: AppLimits,
    connections: Option<usize>,
    outbox_bytes: usize,
    patience: Patience,
    shards: usize,
    shutdown: Shutdown,
    offences: Option<u64>,
}

impl Server {
    /// A server with the defaults of Socket.IO 4 and the namespace `/`, one thread per core, pages of no foreign
    /// origin allowed, and the limits of a file that says nothing about them.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            namespaces: vec!["/".to_owned()],
            bare: None,
            engine: Engine::default(),
            origins: Origins::List(Vec::new()),
            forwarders: Forwarders::default(),
            limits: AppLimits::default(),
            connections: None,
            outbox_bytes: OUTBOX_BYTES,
            patience: Patience::default(),
            shards: default_shards(),
            shutdown: Shutdown::default(),
            offences: Some(OFFENCES),
        }
    }

    /// Serves on `address` until the process is interrupted (Ctrl-C); [`Server::serve`] leaves that to the caller.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn listen(self, address: &str) -> io::Result<()> {
        let stop = CancellationToken::new();
        let interrupted = stop.clone();
        let watch = tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            interrupted.cancel();
        });
        let served = self.serve(TcpListener::bind(address)?, stop).await;
        watch.abort();
        served
    }
}

impl ServerBuilder {
    /// Adds a namespace (its name begins with `/`), to be had from [`Hub::namespace`](oyez_hub::Hub::namespace).
    #[must_use]
    pub fn namespace(mut self, name: &str) -> Self {
        if !self.namespaces.iter().any(|known| known == name) {
            self.namespaces.push(name.to_owned());
        }
        self
    }

    /// Also serves Engine.IO without Socket.IO on `path` (`/.../`): its messages are the events `message` of the
    /// namespace `name`, and what is emitted there goes out as a message.
    #[must_use]
    pub fn engine_io(mut self, path: &str, name: &str) -> Self {
        self.bare = Some((path.to_owned(), name.to_owned()));
        self
    }

    /// Sets paths, heartbeats and limits.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Sets which pages may connect.
    #[must_use]
    pub fn origins(mut self, origins: Origins) -> Self {
        self.origins = origins;
        self
    }

    /// Sets who is believed about where clients come from: load balancers and reverse proxies in front.
    #[must_use]
    pub fn forwarders(mut self, forwarders: Forwarders) -> Self {
        self.forwarders = forwarders;
        self
    }

    /// Sets how much the clients of each namespace may ask for.
    #[must_use]
    pub fn limits(mut self, limits: AppLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets how many sessions may be open at once, in all namespaces; otherwise any number.
    #[must_use]
    pub fn connections(mut self, most: usize) -> Self {
        self.connections = Some(most);
        self
    }

    /// Sets how many bytes may wait for one client that reads too slowly.
    #[must_use]
    pub fn outbox_bytes(mut self, bytes: usize) -> Self {
        self.outbox_bytes = bytes;
        self
    }

    /// Sets how long connections may take to ask for something.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// Sets the number of threads for connections.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Sets how sessions leave when the server stops.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Sets how many connections of one address may end by their client's own fault before its handshakes have to wait;
    /// `None`: any number, as in a test that breaks the rules.
    #[must_use]
    pub fn offences(mut self, forgiven: Option<u64>) -> Self {
        self.offences = forgiven;
        self
    }

    /// The server; to be called within a tokio runtime, on which its handlers will run.
    #[must_use]
    pub fn build(self) -> Server {
        let limits = self.limits;
        let embedded = |id, name: &str, namespace: &str| App { limits, ..App::embedded(id, name, namespace) };
        let app = |(index, name): (usize, &String)| embedded(app_id(index), name, name);
        let mut apps: Vec<App> = self.namespaces.iter().enumerate().map(app).collect();
        let front = Front {
            hosts: Vec::new(),
            engine: self.engine,
            bare: false,
            native: None,
            origins: self.origins,
            apps: apps.iter().map(|app| app.id).collect(),
            outbox_bytes: self.outbox_bytes,
        };
        let mut fronts = vec![front.clone()];
        if let Some((path, name)) = self.bare {
            let app = embedded(app_id(apps.len()), &name, "");
            let engine = Engine { paths: vec![path], ..front.engine };
            fronts.push(Front { engine, bare: true, apps: vec![app.id], ..front });
            apps.push(app);
        }
        let settings = Settings {
            fronts: fronts.into_iter().map(Arc::new).collect(),
            connections: self.connections,
            tokens: Vec::new(),
            forwarders: self.forwarders,
            patience: self.patience,
            io_uring: true,
            shutdown: self.shutdown,
            handshakes: HANDSHAKES,
            offences: self.offences,
        };
        Server::new(apps, settings, self.shards, Handle::current())
    }
}
