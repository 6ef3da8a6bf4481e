//! One client as a shard knows it: its transport, its outbox, its heartbeat, and its membership of namespaces.

pub(crate) mod chatter;
pub(crate) mod codec;
pub(crate) mod comeback;
pub(crate) mod driver;
pub(crate) mod fault;
mod forward;
mod gap;
pub(crate) mod handshake;
pub(crate) mod heartbeat;
pub(crate) mod inbox;
pub(crate) mod lifetime;
pub(crate) mod member;
pub(crate) mod presence;
pub(crate) mod reform;
pub(crate) mod rules;
pub(crate) mod seam;
pub(crate) mod token;
pub(crate) mod trail;
pub(crate) mod upgrade;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use oyez_hub::address::Address;
use oyez_protocol::engineio::packet::Version;
use oyez_protocol::socketio::text::Decoder;
use smallvec::SmallVec;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::seats::Seat;
use crate::settings::Front;
use crate::shard::outbox::Outbox;
use crate::transport::polling::Polling;
use crate::transport::stream::Stream;
pub(crate) use chatter::Chatter;
pub(crate) use fault::{Fault, Reason};
pub(crate) use handshake::{Request, Shown};
pub(crate) use heartbeat::Pulse;
pub(crate) use member::Member;

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dialog {
    /// Engine.IO of that version, with Socket.IO on it; `base64` where the client cannot take binary.
    Engine {
        /// Protocol version.
        version: Version,
        /// `b64=1` was asked for.
        base64: bool,
    },
    /// Raw JSON messages.
    Native,
}

/// What every message of bare Engine.IO is called.
pub(crate) const MESSAGE: &str = "message";

impl Dialog {
    /// The Engine.IO version; raw messages are framed as version 4 does.
    pub(crate) fn version(self) -> Version {
        match self {
            Self::Engine { version, .. } => version,
            Self::Native => Version::V4,
        }
    }
}

/// Which Socket.IO parser a client uses; known from its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Parser {
    /// The default one.
    Text,
    /// `socket.io-msgpack-parser`.
    MsgPack,
    /// None: bare Engine.IO.
    Bare,
}

/// How bytes come and go at the moment.
#[derive(Debug)]
pub(crate) enum Link {
    /// A websocket; `deflate` where compression was negotiated.
    WebSocket {
        /// The connection.
        stream: Rc<Stream>,
        /// Whether frames may be compressed.
        deflate: bool,
    },
    /// HTTP requests.
    Polling(Polling),
}

/// One client.
#[derive(Debug)]
pub(crate) struct Session {
    /// Its name, and where it lives.
    pub address: Address,
    /// The way by which it came: settings.
    pub front: Arc<Front>,
    /// What it speaks.
    pub dialog: Dialog,
    /// The Socket.IO parser in use.
    pub parser: Cell<Parser>,
    /// The request that opened it.
    pub request: Request,
    /// The transport.
    pub link: RefCell<Link>,
    /// What waits to be sent.
    pub outbox: RefCell<Outbox>,
    /// Assembles packets from messages.
    pub decoder: RefCell<Decoder>,
    /// Packets that said nothing.
    pub chatter: Chatter,
    /// Heartbeat deadlines.
    pub pulse: Cell<Pulse>,
    /// The number of the last heartbeat that was sent.
    pub beats: Cell<u32>,
    /// A namespace must be joined by then; `None` once one was.
    pub connect_by: Cell<Option<Instant>>,
    /// Its client must have asked for something by then, or that is held against it; `None` once it has.
    pub ask_by: Cell<Option<Instant>>,
    /// When the shard will look at this session next.
    pub scheduled: Cell<Option<Instant>>,
    /// Memberships, one per namespace.
    pub members: RefCell<SmallVec<[Rc<Member>; 1]>>,
    /// Wakes the connection's task.
    pub waker: RefCell<Option<Waker>>,
    /// Who waits until its client has taken all that must not be lost.
    pub drained: RefCell<Vec<oneshot::Sender<()>>>,
    /// Why it ended, once it has.
    pub closed: Cell<Option<Reason>>,
    /// Its share of what the node has room for.
    #[expect(dead_code, reason = "it is given back when the session is gone")]
    pub seat: Seat,
}

impl Session {
    /// `websocket` or `polling`.
    pub(crate) fn transport(&self) -> &'static str {
        match *self.link.borrow() {
            Link::WebSocket { .. } => "websocket",
            Link::Polling(_) => "polling",
        }
    }

    /// Its client has taken something: tells those who wait for the end of what must not be lost.
    pub(crate) fn tell_drained(&self) {
        if self.drained.borrow().is_empty() || self.outbox.borrow().holds_promises() {
            return;
        }
        for waiting in self.drained.take() {
            let _ = waiting.send(());
        }
    }

    /// Whether what it hears is encrypted for it alone, so that all of it goes through the outbox.
    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(&*self.link.borrow(), Link::WebSocket { stream, .. } if stream.plain().is_none())
    }

    /// Has the connection's task look again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// The membership in a namespace.
    pub(crate) fn member(&self, namespace: &str) -> Option<Rc<Member>> {
        self.members.borrow().iter().find(|member| &*member.namespace == namespace).cloned()
    }
}
