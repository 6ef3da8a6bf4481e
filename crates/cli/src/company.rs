//! Which other nodes this one belongs to: those that share its broker.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use clap::Args;
use oyez_backends::redis::{RedisBroker, Server};
use oyez_hub::broker::{Broker, Inlet};
use oyez_hub::cluster::Door;
use tokio::runtime::Handle;
use tracing::info;

use crate::failure::Failure;

/// What the channels of Oyez's own begin with.
const PREFIX: &str = "oyez";

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
    /// Be one of the nodes that share this broker: redis://USER:PASSWORD@HOST:PORT, rediss:// with TLS
    #[arg(long, value_name = "URL", env = "OYEZ_BROKER", hide_env_values = true)]
    broker: Option<String>,
}

impl Company {
    /// The broker, which is connected to in the background.
    pub(crate) fn broker(&self, runtime: &Handle) -> Result<Option<Joined>, Failure> {
        let Some(url) = &self.broker else { return Ok(None) };
        let help = "write it as in --broker redis://127.0.0.1:6379";
        let server = Server::new(url, None).map_err(|error| Failure::new(format!("--broker: {error}")).help(help))?;
        let listener =
            door(server.address()).map_err(|error| Failure::new(format!("cannot listen for other nodes: {error}")))?;
        let address = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?;
        let (broker, inlet) = RedisBroker::connect(server, PREFIX, runtime);
        info!(event = "broker", kind = "redis", ?broker, door = %address);
        Ok(Some(Joined { broker, inlet, listener, door: Door { address, secret: rand::random() } }))
    }
}

/// Listens for other nodes where this one has its way to the broker: they come by the same network. Any free port; they are
/// told.
fn door(broker: Option<(String, u16)>) -> io::Result<TcpListener> {
    // Nothing is sent: the system says from which address it would be.
    let way = |broker: (String, u16)| {
        let local = |bind: SocketAddr| {
            let socket = UdpSocket::bind(bind)?;
            socket.connect(&broker)?;
            socket.local_addr()
        };
        local(([0; 4], 0).into()).or_else(|_| local(([0_u16; 8], 0).into()))
    };
    let here = broker.and_then(|broker| way(broker).ok()).map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip());
    TcpListener::bind((here, 0))
}
