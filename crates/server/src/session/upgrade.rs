//! From polling to websocket: a probe, a word, and then everything that waited goes over the new connection.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;

use bytes::BytesMut;
use oyez_hub::address::Address;
use oyez_hub::policy::limits::Limit;
use oyez_protocol::engineio::packet::{Packet, PacketType};
use oyez_protocol::websocket::frame::{self, Opcode};
use oyez_protocol::websocket::reader::Limits;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::session::{Link, Reason, Session};
use crate::shard::Shard;
use crate::shard::mailbox::Letter;
use crate::transport::stream::{Detached, Stream};
use crate::transport::websocket::{self, Message, Socket};

/// A websocket on its way to the shard that owns its session.
#[derive(Debug)]
pub(crate) struct Moved {
    /// The session that it names.
    pub session: Address,
    /// The connection, registered nowhere.
    pub stream: Detached,
    /// What was already read from it.
    pub unread: BytesMut,
    /// Whether compression was negotiated.
    pub deflate: bool,
}

/// How far a probe is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was said.
    Fresh,
    /// The probe was answered; polling is released.
    Probed,
    /// The websocket is the session's transport.
    Upgraded,
    /// It said something else, or went away; the session stays on polling.
    Failed,
}

/// A websocket that wants to become a session's transport.
#[derive(Debug)]
pub(crate) struct Probe {
    socket: RefCell<Option<Socket>>,
    stream: Rc<Stream>,
    deflate: bool,
    stage: Cell<Stage>,
}

impl Probe {
    /// Whether the client is about to leave polling.
    pub(crate) fn is_probed(&self) -> bool {
        self.stage.get() == Stage::Probed
    }

    fn say(&self, text: &[u8]) {
        let mut bytes = Vec::new();
        frame::append(&mut bytes, Opcode::Text, false, text);
        // A fresh connection's buffer takes seven bytes; if not, the probe times out.
        let _ = self.stream.try_write(&bytes);
    }
}

impl Shard {
    /// Whether there is such a session, here or on another shard: only then is a websocket for it agreed to.
    pub(crate) async fn has_session(&self, address: Address) -> bool {
        if !self.hub.is_home(address.node) {
            return false;
        }
        if address.shard == self.id {
            return self.open_session_named(address).is_some();
        }
        let Some(peer) = self.peers.get(usize::from(address.shard)) else { return false };
        let (sender, answer) = oneshot::channel();
        let _ = peer.send(Letter::IsOpen(address, sender));
        answer.await.unwrap_or(false)
    }

    /// Takes in a websocket for one of this shard's polling sessions and serves it from then on.
    pub(crate) async fn adopt(self: Rc<Self>, moved: Moved) {
        let Ok(stream) = moved.stream.attach() else { return };
        let stream = Rc::new(stream);
        // To a runtime that does not know it yet, a socket is not writable: the answer to a probe that came along
        // would be lost.
        if stream.writable().await.is_err() {
            return;
        }
        let Some(session) = self.open_session_named(moved.session) else { return };
        let front = &session.front;
        let limits = Limits { max_message: front.engine.max_payload, deflate: moved.deflate };
        let probe = Rc::new(Probe {
            socket: RefCell::new(Some(Socket::new(Rc::clone(&stream), limits))),
            stream: Rc::clone(&stream),
            deflate: moved.deflate,
            stage: Cell::new(Stage::Fresh),
        });
        match &*session.link.borrow() {
            Link::Polling(polling) if polling.probe.borrow().is_none() => {
                polling.probe.replace(Some(Rc::clone(&probe)));
            }
            // Already upgraded, or being upgraded by another connection: this one is closed.
            _ => return,
        }
        let mut unread = moved.unread;
        self.hear(&session, &probe, &mut unread);
        let probing = async {
            while matches!(probe.stage.get(), Stage::Fresh | Stage::Probed) && session.closed.get().is_none() {
                if stream.readable().await.is_err() {
                    probe.stage.set(Stage::Failed);
                }
                self.pump(&session, &probe);
                // Whoever floods a probe waits for the others, and the timeout can end it.
                yield_now().await;
            }
        };
        let _ = timeout(front.engine.upgrade_timeout, probing).await;
        if probe.stage.get() == Stage::Upgraded {
            let socket = probe.socket.borrow_mut().take();
            drop((probe, stream));
            if let Some(socket) = socket {
                websocket::serve(self, session, socket);
            }
        } else if let Link::Polling(polling) = &*session.link.borrow() {
            polling.probe.replace(None);
        }
    }

    /// Reads what the probing websocket has to say now, without waiting. What ends polling comes in its first bytes, so
    /// one read is enough.
    pub(crate) fn pump(self: &Rc<Self>, session: &Rc<Session>, probe: &Probe) {
        if !matches!(probe.stage.get(), Stage::Fresh | Stage::Probed) {
            return;
        }
        let mut scratch = self.scratch();
        match probe.stream.try_read(&mut scratch) {
            Ok(0) => probe.stage.set(Stage::Failed),
            Ok(count) => self.hear(session, probe, &mut scratch[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => probe.stage.set(Stage::Failed),
        }
    }

    fn hear(self: &Rc<Self>, session: &Rc<Session>, probe: &Probe, bytes: &mut [u8]) {
        let mut slot = probe.socket.borrow_mut();
        let Some(socket) = slot.as_mut() else { return };
        socket.take(bytes, |pong| drop(probe.stream.try_write(&pong)));
        while !matches!(probe.stage.get(), Stage::Upgraded | Stage::Failed) {
            let Some(message) = socket.inbox.pop_front() else { break };
            probe.stage.set(self.step(session, probe, &message));
        }
        if let Some(end) = socket.end.filter(|_| probe.stage.get() != Stage::Upgraded) {
            if Reason::from(end).code.is_offence() {
                self.blame(session);
            }
            probe.stage.set(Stage::Failed);
            // The session stays, so this is not the end of it, which would be counted.
            if let Some(limit) = Limit::behind(Reason::from(end).code) {
                self.metrics.limited(limit);
            }
        }
    }

    fn step(self: &Rc<Self>, session: &Rc<Session>, probe: &Probe, message: &Message) -> Stage {
        let version = session.dialog.version();
        let Message::Text(text) = message else { return Stage::Failed };
        match (probe.stage.get(), Packet::decode_text(text, version)) {
            (Stage::Fresh, Ok(packet)) if packet == Packet::text(PacketType::Ping, "probe") => {
                probe.say(b"3probe");
                // The waiting GET is released; the client leaves polling after it.
                if let Link::Polling(polling) = &*session.link.borrow() {
                    polling.wake();
                }
                Stage::Probed
            }
            (Stage::Probed, Ok(packet)) if packet.kind == PacketType::Upgrade => {
                let link = Link::WebSocket { stream: Rc::clone(&probe.stream), deflate: probe.deflate };
                if let Link::Polling(polling) = session.link.replace(link) {
                    polling.wake();
                }
                self.attach(session);
                self.flush(session);
                Stage::Upgraded
            }
            _ => Stage::Failed,
        }
    }
}
