//! HTTP long-polling: a GET waits for packets, a POST brings some. Requests may arrive at any shard; the session's
//! own one answers.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use oyez_hub::address::Address;
use oyez_hub::handler::Happening;
use oyez_protocol::code::EngineError;
use oyez_protocol::engineio::packet::{Packet, PacketType, Version};
use oyez_protocol::engineio::payload::{self, Body};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::session::upgrade::Probe;
use crate::session::{Dialog, Fault, Link, Reason, Session};
use crate::shard::mailbox::Letter;
use crate::shard::{PER_MESSAGE, Shard};

/// While a websocket takes over, a GET is answered with a noop after this long (as Node does).
const NOOP_AFTER: Duration = Duration::from_millis(100);

/// Packets in one response; more wait for the next GET. `python-engineio` refuses longer payloads.
const PACKETS_PER_PAYLOAD: usize = 16;

/// A polling session's requests.
#[derive(Debug, Default)]
pub(crate) struct Polling {
    /// The GET that waits for packets.
    waiting: RefCell<Option<oneshot::Sender<()>>>,
    /// Whether a POST is being handled.
    posting: Cell<bool>,
    /// The client is told that the session is over: alone, when it has fetched all else. A stock client that reads an event
    /// beside that notes no position of it, and hears it again when it comes back.
    pub parting: Cell<bool>,
    /// The websocket that wants to take over.
    pub probe: RefCell<Option<Rc<Probe>>>,
    /// Cancelled when the client has gone without a word: its connections have nobody at their other end.
    pub gone: CancellationToken,
}

/// An answer, and what tells its connection that the client has gone.
#[derive(Debug)]
pub(crate) struct Polled {
    /// What to answer.
    pub answer: PollAnswer,
    /// Of a session that polls.
    pub gone: Option<CancellationToken>,
}

impl From<PollAnswer> for Polled {
    fn from(answer: PollAnswer) -> Self {
        Self { answer, gone: None }
    }
}

impl Polling {
    /// Has the waiting GET look at the outbox.
    pub(crate) fn wake(&self) {
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            let _ = waiting.send(());
        }
    }

    /// Whether a GET waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.borrow().is_some()
    }
}

/// A polling request, its HTTP taken off.
#[derive(Debug)]
pub(crate) enum PollRequest {
    /// Wants packets.
    Get,
    /// Brings packets; `octets` when the body is binary.
    Post {
        /// The body.
        body: Bytes,
        /// Its content type is `application/octet-stream`.
        octets: bool,
    },
}

/// What to answer.
#[derive(Debug)]
pub(crate) enum PollAnswer {
    /// Packets; whether they may be compressed.
    Packets(Body, bool),
    /// A POST was taken.
    Taken,
    /// Refused.
    Refused(EngineError),
    /// Neither GET nor POST can be meant (Node answers 500).
    Failed(StatusCode),
}

/// Closes the session when a GET is dropped before it was answered: its client has gone.
struct Waiting<'a> {
    shard: &'a Rc<Shard>,
    session: &'a Rc<Session>,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // A GET that the client has left for a websocket is no loss.
        if !self.answered && self.session.transport() == "polling" {
            self.shard.close(self.session, Fault::Broken.into());
        }
    }
}

impl Shard {
    /// Answers a polling request, here or by asking the shard that owns the session. Dropping the future tells the
    /// owner that the client gave up.
    pub(crate) async fn poll(self: &Rc<Self>, sid: &str, request: PollRequest) -> Polled {
        let unknown = || PollAnswer::Refused(EngineError::SessionUnknown).into();
        let Ok(address) = sid.parse::<Address>() else { return unknown() };
        if !self.hub.is_home(address.node) {
            return unknown();
        }
        if address.shard == self.id {
            return self.poll_here(address, request).await;
        }
        let Some(peer) = self.peers.get(usize::from(address.shard)) else { return unknown() };
        let (sender, receiver) = oneshot::channel();
        let _ = peer.send(Letter::Poll(address, request, sender));
        receiver.await.unwrap_or_else(|_| unknown())
    }

    /// Answers a polling request for a session of this shard.
    pub(crate) async fn poll_here(self: &Rc<Self>, address: Address, request: PollRequest) -> Polled {
        let Some(session) = self.session(address) else {
            return PollAnswer::Refused(EngineError::SessionUnknown).into();
        };
        self.look_if_due(&session);
        let gone = match &*session.link.borrow() {
            Link::Polling(polling) => Some(polling.gone.clone()),
            Link::WebSocket { .. } => None,
        };
        Polled { answer: self.poll_session(session, request).await, gone }
    }

    async fn poll_session(self: &Rc<Self>, session: Rc<Session>, request: PollRequest) -> PollAnswer {
        if session.closed.get().is_some() {
            return self.last_words(&session, &request);
        }
        let probe = match &*session.link.borrow() {
            Link::Polling(polling) => polling.probe.borrow().clone(),
            Link::WebSocket { .. } => return PollAnswer::Refused(EngineError::BadRequest),
        };
        if let Some(probe) = &probe {
            // The websocket may already hold the word that ends polling.
            self.pump(&session, probe);
            if session.transport() == "websocket" {
                return PollAnswer::Refused(EngineError::BadRequest);
            }
        }
        match request {
            PollRequest::Get => self.get(&session, probe.is_some_and(|probe| probe.is_probed())).await,
            PollRequest::Post { body, octets } => {
                // A task of its own: what was posted is done to the end, even if its client hangs up before.
                let shard = Rc::clone(self);
                let posted = tokio::task::spawn_local(async move { shard.post(&session, &body, octets).await });
                posted.await.unwrap_or(PollAnswer::Refused(EngineError::BadRequest))
            }
        }
    }

    /// What waits, as one payload. A session that is over gives its place away with the last one.
    fn fetch(&self, session: &Session) -> PollAnswer {
        let parts = is_parting(session) && session.outbox.borrow().is_empty();
        let goodbye = || payload_of(session, &[Packet::text(PacketType::Close, "")], false);
        let answer = if parts { goodbye() } else { drain(session) };
        let is_over = session.closed.get().is_some() && session.outbox.borrow().is_empty();
        if is_over && (parts || !is_parting(session)) {
            self.remove(session);
        }
        answer
    }

    /// What a session that is over has left to say. Nothing is heard any more; but whoever acknowledges what they have fetched,
    /// before they fetch the rest, does nothing wrong.
    fn last_words(&self, session: &Session, request: &PollRequest) -> PollAnswer {
        let wished = session.closed.get().is_some_and(Reason::is_a_wish);
        let is_more = wished && (is_parting(session) || !session.outbox.borrow().is_empty());
        match request {
            PollRequest::Get if is_more => self.fetch(session),
            PollRequest::Post { .. } if is_more => PollAnswer::Taken,
            PollRequest::Get | PollRequest::Post { .. } => PollAnswer::Refused(EngineError::SessionUnknown),
        }
    }

    async fn get(self: &Rc<Self>, session: &Rc<Session>, upgrading: bool) -> PollAnswer {
        if session.outbox.borrow().is_empty() {
            let woken = {
                let link = session.link.borrow();
                let Link::Polling(polling) = &*link else { return PollAnswer::Refused(EngineError::BadRequest) };
                if polling.is_waiting() {
                    drop(link);
                    self.close(session, Fault::State.into());
                    return PollAnswer::Refused(EngineError::BadRequest);
                }
                let (sender, receiver) = oneshot::channel();
                polling.waiting.replace(Some(sender));
                receiver
            };
            let mut waiting = Waiting { shard: self, session, answered: false };
            if upgrading {
                tokio::select! {
                    _ = woken => {}
                    () = tokio::time::sleep_until(Instant::now() + NOOP_AFTER) => {}
                }
            } else {
                let _ = woken.await;
            }
            waiting.answered = true;
            match &*session.link.borrow() {
                Link::Polling(polling) => drop(polling.waiting.replace(None)),
                Link::WebSocket { .. } => return noop(),
            }
        }
        self.fetch(session)
    }

    async fn post(self: &Rc<Self>, session: &Rc<Session>, body: &Bytes, octets: bool) -> PollAnswer {
        let overlaps = match &*session.link.borrow() {
            Link::Polling(polling) => polling.posting.replace(true),
            Link::WebSocket { .. } => false,
        };
        let result = if overlaps { Err(Fault::State) } else { self.take_payload(session, body, octets).await };
        if let Link::Polling(polling) = &*session.link.borrow() {
            // Before handlers start: who hears what came of a POST may post again, even if it has hung up on its answer.
            polling.posting.set(false);
        }
        if result.is_ok() {
            self.settle(session).await;
        }
        self.flush(session);
        match result {
            Ok(()) | Err(Fault::Closed) => {
                if let Err(fault) = result {
                    self.close(session, fault.into());
                }
                PollAnswer::Taken
            }
            Err(fault) => {
                self.close(session, fault.into());
                PollAnswer::Refused(EngineError::BadRequest)
            }
        }
    }

    /// Lets handlers start on what was posted, so that what they say at once is there for the next GET, all together.
    async fn settle(&self, session: &Session) {
        let lanes: Vec<_> = session.members.borrow().iter().filter_map(|member| member.lane.clone()).collect();
        for lane in lanes {
            let (sender, receiver) = oneshot::channel();
            if lane.send(Happening::Settled(sender)).await.is_ok() {
                let _ = receiver.await;
            }
        }
    }

    async fn take_payload(self: &Rc<Self>, session: &Rc<Session>, body: &Bytes, octets: bool) -> Result<(), Fault> {
        let version = session.dialog.version();
        if octets && version == Version::V4 {
            return Err(Fault::State);
        }
        let bad = |error: oyez_protocol::engineio::Error| Fault::Protocol(error.code());
        let packets = if octets {
            payload::decode_octets(body).map_err(bad)?
        } else {
            let text = std::str::from_utf8(body).map_err(|_| Fault::Protocol(oyez_protocol::code::Code::ParseError))?;
            payload::decode(text, version).map_err(bad)?
        };
        for packet in packets {
            self.give_way(PER_MESSAGE).await;
            self.on_packet(session, packet).await?;
            if session.closed.get().is_some() {
                break;
            }
        }
        Ok(())
    }
}

/// What releases a GET that is no longer needed.
fn noop() -> PollAnswer {
    PollAnswer::Packets(Body::Text(PacketType::Noop.digit().to_string()), false)
}

/// What waits, as one payload, oldest first; a noop when nothing does (an upgrade released the GET).
fn drain(session: &Session) -> PollAnswer {
    let parcels = session.outbox.borrow_mut().take_some(PACKETS_PER_PAYLOAD);
    session.tell_drained();
    let compress = parcels.iter().any(|parcel| parcel.compress());
    let mut packets = Vec::with_capacity(parcels.len());
    for parcel in &parcels {
        parcel.packets(&mut packets);
    }
    if packets.is_empty() {
        packets.push(Packet::text(PacketType::Noop, ""));
    }
    payload_of(session, &packets, compress)
}

fn payload_of(session: &Session, packets: &[Packet<'_>], compress: bool) -> PollAnswer {
    let octets = !matches!(session.dialog, Dialog::Engine { base64: true, .. });
    PollAnswer::Packets(payload::encode(packets, session.dialog.version(), octets), compress)
}

/// Whether a client is still to be told that its session is over.
fn is_parting(session: &Session) -> bool {
    matches!(&*session.link.borrow(), Link::Polling(polling) if polling.parting.get())
}
