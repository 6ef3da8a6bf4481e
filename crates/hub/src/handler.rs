//! What embedding code registers: functions that hear of connections and events.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use oyez_protocol::message::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::policy::Identity;
use crate::socket::{Ack, Socket};

/// A boxed future of a handler.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

type Callback<T> = Arc<dyn Fn(Socket, T) -> Running + Send + Sync>;

/// An event of a client.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: Arc<str>,
    /// Its arguments.
    pub args: Args,
    /// Present when the client waits for an answer.
    pub ack: Option<Ack>,
}

impl Event {
    /// Its first argument; an event without arguments carries `null`.
    ///
    /// # Errors
    /// When it is not a `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.args.get(0)
    }

    /// Answers the client, if it waits for an answer and has none yet.
    pub fn answer(&mut self, args: impl Into<Args>) {
        if let Some(ack) = self.ack.take() {
            ack.send(args);
        }
    }
}

/// What a client showed when it connected.
#[derive(Debug, Clone, Default)]
pub struct Handshake {
    /// Its `auth` object; of a Socket.IO 2 client, the queries of the request and of the namespace.
    pub auth: Value,
    /// The query of the request.
    pub query: Vec<(String, String)>,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// `Cookie`. Browsers send it whichever page asks; of a page whose origin you do not list, it is left out.
    pub cookie: Option<String>,
    /// `Origin`, of a browser.
    pub origin: Option<String>,
    /// The address of the connection's other end.
    pub peer: Option<IpAddr>,
}

/// Why a client may not connect, as it hears it (`connect_error`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// The error's message.
    pub message: String,
    /// Details (`error.data`), where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl ConnectError {
    /// A message without details.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// With details.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(data);
        self
    }
}

impl From<&str> for ConnectError {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

/// What a lane runs, in the order in which the client caused it.
#[derive(Debug)]
pub enum Happening {
    /// The client has joined the namespace; `auth` is what it sent along.
    Connected(Value),
    /// The client sent an event.
    Event(Event),
    /// The client is gone; the reason is Socket.IO's.
    Disconnected(&'static str),
    /// Not the client's: answered when the handlers of all earlier happenings have started.
    Settled(oneshot::Sender<()>),
}

/// The word on who a client is, once it is known.
pub type Deciding = Pin<Box<dyn Future<Output = Result<Identity, ConnectError>> + Send>>;

/// Decides who a client is.
pub type Authenticator = Arc<dyn Fn(Handshake) -> Deciding + Send + Sync>;

/// The registered functions of one app.
#[derive(Default)]
pub struct Handlers {
    pub(crate) authenticate: Option<Authenticator>,
    pub(crate) connect: Option<Callback<Value>>,
    pub(crate) disconnect: Option<Callback<&'static str>>,
    pub(crate) events: HashMap<Arc<str>, Callback<Event>>,
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handlers").field("events", &self.events.keys()).finish_non_exhaustive()
    }
}

impl Handlers {
    /// Whether anything is registered that needs to hear of what a client does.
    #[must_use]
    pub fn any(&self) -> bool {
        self.connect.is_some() || self.disconnect.is_some() || !self.events.is_empty()
    }

    /// What decides who a client is, where embedding code does.
    #[must_use]
    pub fn authenticator(&self) -> Option<Authenticator> {
        self.authenticate.clone()
    }

    /// The handler of `happening`, ready to run.
    pub(crate) fn find(&self, socket: &Socket, happening: Happening) -> Option<Running> {
        match happening {
            Happening::Connected(auth) => ready(self.connect.as_ref(), socket, auth),
            Happening::Disconnected(reason) => ready(self.disconnect.as_ref(), socket, reason),
            Happening::Settled(reply) => {
                let _ = reply.send(());
                None
            }
            Happening::Event(event) => ready(self.events.get(&event.name), socket, event),
        }
    }
}

/// Nothing of the handler runs before the first poll, so it may be made under a lock. What a handler breaks when it
/// panics is its own.
fn ready<T: Send + 'static>(handler: Option<&Callback<T>>, socket: &Socket, with: T) -> Option<Running> {
    let (handler, socket) = (Arc::clone(handler?), socket.clone());
    let run = async move { handler(socket, with).await };
    Some(Box::pin(AssertUnwindSafe(run).catch_unwind().map(drop)))
}
