//! Which other nodes this one belongs to: those that share its broker.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use oyez_backends::nats::{NatsBroker, Servers};
use oyez_backends::redis::neighbours::{self, Adapter};
use oyez_backends::redis::{Place, RedisBroker};
use oyez_hub::Hub;
use oyez_hub::broker::{Broker, Inlet};
use oyez_hub::cluster::Door;
use tokio::runtime::Handle;
use tracing::info;

use crate::failure::Failure;

/// What the names of channels and subjects of Oyez's own begin with.
const PREFIX: &str = "oyez";

/// What to write.
const HELP: &str = "write it as in --broker redis://127.0.0.1:6379 (nodes of another cluster name another Redis, or redis://127.0.0.1:6379?prefix=staging), or nats://127.0.0.1:4222";

/// What to write where other nodes are listened for.
const LISTEN_HELP: &str = "write an IP address of this machine that other nodes reach, and a port, as in --node-listen 10.0.0.11:7000; or 0.0.0.0:7000 for the address by which it reaches the broker";

/// How the port for other nodes stays the same.
const FIX_PORT: &str = "other nodes come to `door`, a port that is another one after each start; --node-listen 0.0.0.0:7000 (OYEZ_NODE_LISTEN) fixes it";

/// A broker, what it brings, and the door at which other nodes bring what is for clients of this one.
pub(crate) struct Joined {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) inlet: Inlet,
    pub(crate) listener: TcpListener,
    pub(crate) door: Door,
}

/// What the command line says about it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Company {
    /// Be one of the nodes that share this broker: redis://USER:PASSWORD@HOST:PORT, rediss:// with TLS,
    /// redis+sentinel://HOST:PORT,…/MASTER, redis+cluster://HOST:PORT,…, each with ?prefix=NAME for a cluster of its own; or nats://USER:PASSWORD@HOST:PORT,…, tls://
    /// with TLS
    #[arg(long, value_name = "URL", env = "OYEZ_BROKER", hide_env_values = true)]
    broker: Option<String>,
    /// How Socket.IO servers of Node on the same Redis speak: this node is a member of their cluster. Without it, classic
    #[arg(long, value_name = "ADAPTER", env = "OYEZ_CLUSTER", value_enum)]
    cluster: Option<Cluster>,
    /// Where other nodes of the broker reach this one; 0.0.0.0 is the address by which it reaches the broker. Without it,
    /// that one and any free port
    #[arg(long, value_name = "IP:PORT", env = "OYEZ_NODE_LISTEN")]
    node_listen: Option<String>,
}

/// The adapter that Socket.IO servers use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Cluster {
    /// createAdapter of @socket.io/redis-adapter, and @socket.io/redis-emitter
    #[default]
    Classic,
    /// createShardedAdapter of @socket.io/redis-adapter, in its dynamic mode
    Sharded,
    /// @socket.io/redis-streams-adapter
    Streams,
    /// There are none
    None,
}

impl Cluster {
    fn adapter(self) -> Option<Adapter> {
        match self {
            Self::Classic => Some(Adapter::Classic),
            Self::Sharded => Some(Adapter::Sharded),
            Self::Streams => Some(Adapter::Streams),
            Self::None => None,
        }
    }
}

impl Company {
    /// The broker, which is connected to in the background.
    pub(crate) fn broker(&self, runtime: &Handle) -> Result<Option<Joined>, Failure> {
        // A mistake is told also where it does no harm yet.
        let wanted = self.node_listen()?;
        let Some(engine) = self.engine()? else { return self.alone(wanted).map(|()| None) };
        let cannot = |error: io::Error| {
            let at = wanted.map_or_else(String::new, |wanted| format!("--node-listen: {wanted}: "));
            Failure::new(format!("{at}cannot listen for other nodes: {error}")).help(LISTEN_HELP)
        };
        let (listener, address) = door(engine.address().as_ref(), wanted).map_err(cannot)?;
        let kind = engine.kind();
        let place = engine.place();
        let (broker, inlet) = engine.connect(runtime);
        // Where a firewall stands between nodes, a port that changes with each start is of no use.
        let help = wanted.is_none_or(|wanted| wanted.port() == 0).then_some(FIX_PORT);
        info!(event = "broker", kind, place, door = %address, help);
        Ok(Some(Joined { broker, inlet, listener, door: Door { address, secret: rand::random() } }))
    }

    /// Who is without others wants nothing of them: a node that was to be one of several would not be missed by them.
    fn alone(&self, wanted: Option<SocketAddr>) -> Result<(), Failure> {
        let asked = match self.cluster {
            Some(Cluster::Classic | Cluster::Sharded | Cluster::Streams) => "--cluster (OYEZ_CLUSTER)",
            _ if wanted.is_some() => "--node-listen (OYEZ_NODE_LISTEN)",
            _ => return Ok(()),
        };
        let reason = format!("{asked} is about other nodes, and no --broker (OYEZ_BROKER) says how they are reached");
        Err(Failure::usage(reason).help(format!("{HELP}; or leave it out")))
    }

    /// Becomes a member of the cluster of Socket.IO servers on the broker's Redis.
    pub(crate) fn join_neighbours(&self, hub: &Hub, runtime: &Handle) -> Result<(), Failure> {
        let (Some(adapter), Some(Engine::Redis(place, _))) =
            (self.cluster.unwrap_or_default().adapter(), self.engine()?)
        else {
            return Ok(());
        };
        if adapter == Adapter::Sharded && place.is_cluster() {
            return Err(Failure::new("--cluster sharded speaks to one Redis, and --broker names a cluster of several")
                .help("write --cluster classic or streams, as Node's servers do, or none without any"));
        }
        neighbours::join(&place, adapter, hub, runtime);
        Ok(())
    }

    /// Where other nodes are to reach this one, if that is said.
    fn node_listen(&self) -> Result<Option<SocketAddr>, Failure> {
        let Some(text) = self.node_listen.as_ref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = || Failure::new(format!("--node-listen: {text:?} is no address of a machine")).help(LISTEN_HELP);
        // Sockets can be bound to addresses of many machines, but nobody can connect there.
        let one = |address: &SocketAddr| !address.ip().is_multicast() && address.ip() != Ipv4Addr::BROADCAST;
        text.parse().ok().filter(one).map(Some).ok_or_else(wrong)
    }

    fn engine(&self) -> Result<Option<Engine>, Failure> {
        let Some(url) = self.broker.as_ref().filter(|url| !url.is_empty()) else { return Ok(None) };
        Engine::new(url).map(Some).map_err(|error| Failure::new(format!("--broker: {error}")).help(HELP))
    }
}

/// What can carry the words of nodes.
enum Engine {
    Nats(Servers),
    /// With what the names of Oyez's own channels begin.
    Redis(Place, String),
}

impl Engine {
    fn new(url: &str) -> Result<Self, String> {
        if Servers::are_named_by(url) {
            return Servers::new(url, None).map(Self::Nats);
        }
        let (url, prefix) = url.split_once("?prefix=").unwrap_or((url, PREFIX));
        let place = Place::of(url)?;
        if place.database() != 0 {
            return Err("channels know no databases, so that nodes that name several hear each other".to_owned());
        }
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte)) {
            return Err("a prefix has letters, digits, and - _ . : as in ?prefix=staging".to_owned());
        }
        Ok(Self::Redis(place, prefix.to_owned()))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Nats(_) => "nats",
            Self::Redis(..) => "redis",
        }
    }

    /// Where it is, without who may use it.
    fn place(&self) -> String {
        match self {
            Self::Nats(servers) => servers.to_string(),
            Self::Redis(place, _) => place.name(),
        }
    }

    /// The host and port at which it is reached, if it is by the network.
    fn address(&self) -> Option<(String, u16)> {
        match self {
            Self::Nats(servers) => servers.address(),
            Self::Redis(place, _) => place.address(),
        }
    }

    fn connect(self, runtime: &Handle) -> (Arc<dyn Broker>, Inlet) {
        match self {
            Self::Nats(servers) => {
                let (broker, inlet) = NatsBroker::connect(servers, PREFIX, runtime);
                (broker, inlet)
            }
            Self::Redis(place, prefix) => {
                let (broker, inlet) = RedisBroker::connect(place, &prefix, runtime);
                (broker, inlet)
            }
        }
    }
}

/// Listens for other nodes, and says at which address they are told to come: where this one has its way to the broker, on
/// any free port, as far as nothing else is wanted.
fn door(broker: Option<&(String, u16)>, wanted: Option<SocketAddr>) -> io::Result<(TcpListener, SocketAddr)> {
    // Nothing is sent: the system says from which address it would be.
    let way = |broker: &(String, u16)| {
        let local = |bind: SocketAddr| {
            let socket = UdpSocket::bind(bind)?;
            socket.connect(broker)?;
            socket.local_addr()
        };
        local(([0; 4], 0).into()).or_else(|_| local(([0_u16; 8], 0).into()))
    };
    let here = || broker.and_then(|broker| way(broker).ok()).map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip());
    let listener = TcpListener::bind(wanted.unwrap_or_else(|| (here(), 0).into()))?;
    let mut address = listener.local_addr()?;
    if address.ip().is_unspecified() {
        address.set_ip(here());
    }
    Ok((listener, address))
}
