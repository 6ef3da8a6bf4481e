//! A client as embedding code holds it: a name and the means to talk to it from any thread.

use std::fmt;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use oyez_protocol::message::Args;
use tokio::sync::mpsc;

use crate::address::Address;
use crate::address::AppId;
use crate::command::{Command, CommandError, Control, Goodbye, Published, Select};
use crate::handler::Happening;
use crate::hub::Hub;
use crate::namespace::{Broadcast, Namespace};
use crate::policy::Identity;

/// Handlers of one client that run at once; further events wait, then the connection is read no further.
const RUNNING_MAX: usize = 1_024;

/// Events of one client that wait for their handler to start.
const LANE: usize = 64;

/// One connected client. Cloning is cheap; a handle outlives its connection and then does nothing.
#[derive(Clone)]
pub struct Socket {
    hub: Hub,
    app: AppId,
    address: Address,
    identity: Arc<Identity>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.address).finish()
    }
}

/// Answers one event of a client, once.
pub struct Ack {
    hub: Hub,
    socket: Address,
    id: u64,
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ack").field(&self.id).finish()
    }
}

impl Ack {
    /// The means to answer event `id` of a client.
    #[must_use]
    pub fn new(hub: Hub, socket: Address, id: u64) -> Self {
        Self { hub, socket, id }
    }

    /// Sends the answer; a client that is gone does not hear it.
    pub fn send(self, args: impl Into<Args>) {
        self.hub.control(self.socket.shard, Control::Answer(self.socket, self.id, args.into()));
    }
}

impl Socket {
    /// The handle of one session.
    #[must_use]
    pub fn new(hub: Hub, app: AppId, address: Address, identity: Arc<Identity>) -> Self {
        Self { hub, app, address, identity }
    }

    /// Its id, as the client knows it.
    #[must_use]
    pub fn id(&self) -> String {
        self.address.encode()
    }

    /// Who the client is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Sends an event to this client.
    ///
    /// # Errors
    /// When the event name is reserved, or the server is going down.
    pub async fn emit(&self, event: &str, args: impl Into<Args>) -> Result<Published, CommandError> {
        self.itself().emit(event, args).await
    }

    /// Sends an event and waits for the client's answer; `None` when it does not answer in time.
    ///
    /// # Errors
    /// As [`Socket::emit`].
    pub async fn emit_with_ack(
        &self,
        event: &str,
        args: impl Into<Args>,
        wait: Duration,
    ) -> Result<Option<Args>, CommandError> {
        let acked = self.itself().emit_with_ack(event, args, wait).await?;
        Ok(acked.answers.into_iter().next())
    }

    /// Everybody in `channel` but this client.
    #[must_use]
    pub fn to(&self, channel: &str) -> Broadcast {
        Broadcast::new(self.hub.clone(), self.app).to(channel).except(&self.id())
    }

    /// Everybody in the namespace but this client.
    #[must_use]
    pub fn broadcast(&self) -> Broadcast {
        Broadcast::new(self.hub.clone(), self.app).except(&self.id())
    }

    /// Puts the client into a channel; when this returns, it is there.
    ///
    /// # Errors
    /// When `channel` cannot be a channel's name.
    pub async fn join(&self, channel: &str) -> Result<(), CommandError> {
        self.command(Command::Join(Select::Socket(self.address), vec![channel.to_owned()])).await
    }

    /// Takes the client out of a channel; when this returns, it is no longer there.
    ///
    /// # Errors
    /// When `channel` cannot be a channel's name.
    pub async fn leave(&self, channel: &str) -> Result<(), CommandError> {
        self.command(Command::Leave(Select::Socket(self.address), vec![channel.to_owned()])).await
    }

    /// Ends the client's session: [`Goodbye::Namespace`] is Socket.IO's `disconnect()`, [`Goodbye::Transport`] its
    /// `disconnect(true)`.
    ///
    /// # Errors
    /// Never today; the signature leaves room for a node that has gone.
    pub async fn disconnect(&self, how: Goodbye) -> Result<(), CommandError> {
        self.command(Command::Disconnect(Select::Socket(self.address), how)).await
    }

    /// The namespace it is connected to.
    #[must_use]
    pub fn namespace(&self) -> Namespace {
        Namespace::new(self.hub.clone(), self.app)
    }

    fn itself(&self) -> Broadcast {
        Broadcast::new(self.hub.clone(), self.app).to(&self.id())
    }

    async fn command(&self, command: Command) -> Result<(), CommandError> {
        self.hub.execute(self.app, command).await.map(|_| ())
    }
}

/// Where a client's happenings go, one after the other.
pub type Lane = mpsc::Sender<Happening>;

/// Opens the lane of one client: its handlers start in the order in which the client caused them, run concurrently,
/// and end with the lane.
#[must_use]
pub fn open_lane(hub: &Hub, socket: Socket) -> Lane {
    let (sender, receiver) = mpsc::channel(LANE);
    hub.spawn(run_lane(hub.clone(), socket, receiver));
    sender
}

async fn run_lane(hub: Hub, socket: Socket, mut happenings: mpsc::Receiver<Happening>) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            // New happenings first, so that handlers start in order before any of them continues.
            biased;
            happening = happenings.recv(), if running.len() < RUNNING_MAX => {
                let Some(happening) = happening else { break };
                let handler = hub.app(socket.app).handlers.read().find(&socket, happening);
                if let Some(handler) = handler {
                    running.push(handler);
                    // Polls the new one now: its part before the first await runs before the next one starts.
                    while let Poll::Ready(Some(())) = futures_util::poll!(running.next()) {}
                }
            }
            Some(()) = running.next(), if !running.is_empty() => {}
        }
    }
    while running.next().await.is_some() {}
}
