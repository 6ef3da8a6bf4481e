//! What shards hand to each other: connections, and polling requests that arrived at the wrong one.

use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;

use oyez_hub::address::Address;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use crate::session::upgrade::Moved;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::transport::polling::{PollRequest, Polled};

/// Another shard, seen from this one. What waits there is bounded by the connections that caused it: each has at
/// most one letter under way.
pub(crate) type Peer = mpsc::UnboundedSender<Letter>;

/// By where a connection came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// By an address that clients know.
    Public,
    /// By the door for other nodes.
    Nodes,
}

/// What arrives from other threads.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A connection that nobody has read from yet.
    Connection(StdStream, SocketAddr, Entrance),
    /// A websocket that wants to take over a polling session of this shard.
    Probe(Box<Moved>),
    /// Asks whether a session of this shard is there and not over.
    IsOpen(Address, oneshot::Sender<bool>),
    /// A polling request for a session of this shard. Dropping the receiver means that the client gave up.
    Poll(Address, PollRequest, oneshot::Sender<Polled>),
    /// The configuration has changed. Sessions keep what they began with.
    Settings(Arc<Settings>),
}

impl Shard {
    /// Takes in one letter.
    pub(crate) fn open(self: &std::rc::Rc<Self>, letter: Letter) {
        let shard = std::rc::Rc::clone(self);
        match letter {
            Letter::Connection(stream, peer, entrance) => {
                let Ok(stream) = TcpStream::from_std(stream) else { return };
                self.spawn(crate::http::connection::serve(shard, stream, peer, entrance));
            }
            Letter::Probe(moved) => self.spawn(async move { shard.adopt(*moved).await }),
            Letter::IsOpen(address, reply) => {
                let _ = reply.send(shard.open_session_named(address).is_some());
            }
            Letter::Settings(settings) => drop(self.settings.replace(settings)),
            Letter::Poll(address, request, mut reply) => {
                tokio::task::spawn_local(async move {
                    tokio::select! {
                        // The request first, even if its client has already gone: the session has to notice.
                        biased;
                        answer = shard.poll_here(address, request) => {
                            let _ = reply.send(answer);
                        }
                        () = reply.closed() => {}
                    }
                });
            }
        }
    }
}
