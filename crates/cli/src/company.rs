//! Which other nodes this one belongs to: those that share its broker.

use std::sync::Arc;

use clap::Args;
use oyez_backends::redis::{RedisBroker, Server};
use oyez_hub::broker::{Broker, Inlet};
use tokio::runtime::Handle;
use tracing::info;

use crate::failure::Failure;

/// What the channels of Oyez's own begin with.
const PREFIX: &str = "oyez";

/// A broker, and what it brings.
pub(crate) type Joined = (Arc<dyn Broker>, Inlet);

/// What the command line says about it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Company {
    /// Be one of the nodes that share this broker: redis://[USER:PASSWORD@]HOST[:PORT], rediss:// with TLS
    #[arg(long, value_name = "URL", env = "OYEZ_BROKER", hide_env_values = true)]
    broker: Option<String>,
}

impl Company {
    /// The broker, which is connected to in the background.
    pub(crate) fn broker(&self, runtime: &Handle) -> Result<Option<Joined>, Failure> {
        let Some(url) = &self.broker else { return Ok(None) };
        let help = "write it as in --broker redis://127.0.0.1:6379";
        let server = Server::new(url, None).map_err(|error| Failure::new(format!("--broker: {error}")).help(help))?;
        let (broker, inlet) = RedisBroker::connect(server, PREFIX, runtime);
        info!(event = "broker", kind = "redis", ?broker);
        Ok(Some((broker, inlet)))
    }
}
