//! What embedding code registers: functions that hear of connections and events.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use oyez_protocol::message::Args;
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

/// Decides who a client is, from its `auth` object; `Err` is the message of the connect error.
pub type Authenticator = Arc<dyn Fn(&Value) -> Result<Identity, String> + Send + Sync>;

/// The registered functions of one app.
#[derive(Default, Clone)]
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
    /// Whether anything is registered that needs to hear of `happening`.
    #[must_use]
    pub fn any(&self) -> bool {
        self.connect.is_some() || self.disconnect.is_some() || !self.events.is_empty()
    }

    /// Who the client is, where embedding code decides that.
    #[must_use]
    pub fn authenticate(&self, auth: &Value) -> Option<Result<Identity, String>> {
        self.authenticate.as_ref().map(|decide| decide(auth))
    }

    pub(crate) fn start(&self, socket: &Socket, happening: Happening) -> Option<Running> {
        let socket = socket.clone();
        match happening {
            Happening::Connected(auth) => self.connect.as_ref().map(|run| run(socket, auth)),
            Happening::Disconnected(reason) => self.disconnect.as_ref().map(|run| run(socket, reason)),
            Happening::Settled(reply) => {
                let _ = reply.send(());
                None
            }
            Happening::Event(event) => self.events.get(&event.name).map(|run| run(socket, event)),
        }
    }
}
