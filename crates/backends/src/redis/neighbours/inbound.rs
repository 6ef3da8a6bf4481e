//! What neighbours say: done here, one after the other, as they said it. What is answered is answered beside that.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use oyez_hub::Hub;
use oyez_hub::channel::is_own;
use oyez_hub::cluster::Question;
use oyez_hub::command::{Goodbye, Select, SocketInfo};
use oyez_hub::delivery::{AckReport, AckRequest};
use oyez_protocol::adapter::{Content, Event, Message, Received, Response, Rooms, Target};
use oyez_protocol::message::Args;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tracing::warn;

use super::entries::Heard;
use super::{OWN, Place, wording};

/// Who asks.
#[derive(Debug, Clone)]
struct Asker {
    /// Where answers are said.
    lane: MultiplexedConnection,
    /// Its id, if it says so.
    uid: Option<String>,
}

impl Place {
    /// Hears what is said, until the connection ends or there is no hub any more.
    pub(super) async fn hear(self: &Arc<Self>, lane: MultiplexedConnection, mut heard: mpsc::Receiver<Heard>) {
        while let Some(heard) = heard.recv().await {
            let Some(hub) = self.hub.upgrade() else { return };
            let (entry, read) = match heard {
                Heard::Said(said) => (None, self.format.read(&said, |room| hub.concerns(self.app, room))),
                Heard::Entry(id, read) => (Some(id), read),
            };
            match read {
                Ok(Some(received)) => self.take(&hub, &lane, received).await,
                Ok(None) => {}
                Err(why) => self.cannot(&why),
            }
            if entry.is_some() {
                *self.last.lock() = entry;
            }
        }
    }

    async fn take(self: &Arc<Self>, hub: &Hub, lane: &MultiplexedConnection, Received { uid, content }: Received) {
        if uid.as_ref().is_some_and(|uid| uid.starts_with(OWN)) {
            return;
        }
        match content {
            Content::Message(message) => self.obey(hub, Asker { lane: lane.clone(), uid }, message).await,
            Content::Response(response) => self.awaited.hear(uid, response),
        }
    }

    /// Something that is not understood, or cannot be done.
    fn cannot(&self, why: &dyn std::error::Error) {
        // The first, and then ever fewer.
        if self.standing.figures.unread.fetch_add(1, Relaxed).wrapping_add(1).is_power_of_two() {
            let nsp = &self.nsp;
            warn!(event = "neighbours_unread", nsp, %why, "a message of another Socket.IO server is passed over");
        }
    }

    async fn obey(self: &Arc<Self>, hub: &Hub, asker: Asker, message: Message) {
        self.standing.figures.heard.fetch_add(1, Relaxed);
        let to = |to: &Target| wording::select(to);
        let (question, request) = match message {
            Message::Broadcast { event, to, request: None } => {
                if let Err(refused) = hub.hear_neighbour(self.app, wording::publish(event, to), None).await {
                    self.cannot(&refused);
                }
                return;
            }
            Message::Broadcast { event, to, request: Some(request) } => {
                return self.broadcast_with_ack(hub, asker, event, to, request).await;
            }
            Message::Join { to: whom, rooms, request } => (Question::Join(to(&whom), rooms.to_vec()), request),
            Message::Leave { to: whom, rooms, request } => (Question::Leave(to(&whom), rooms.to_vec()), request),
            Message::Disconnect { to: whom, close, request } => {
                let how = if close { Goodbye::Transport } else { Goodbye::Namespace };
                (Question::Disconnect(to(&whom), how), request)
            }
            asked => return self.answer(hub, asker, asked).await,
        };
        // Servers of old ask whoever has the one session to say so.
        let is_here = match &request {
            Some(_) => !describe(hub, self, question.select().clone()).await.is_empty(),
            None => false,
        };
        if let Err(refused) = hub.obey_neighbour(self.app, question).await {
            self.cannot(&refused);
        }
        if let Some(request) = request.filter(|_| is_here) {
            self.respond(asker, &Response::Done { request }).await;
        }
    }

    /// Answers what only asks, beside all else.
    async fn answer(self: &Arc<Self>, hub: &Hub, asker: Asker, asked: Message) {
        let Ok(permit) = Arc::clone(&self.answers).acquire_owned().await else { return };
        let (place, hub) = (Arc::clone(self), hub.clone());
        hub.clone().spawn(async move {
            let _permit = permit;
            let response = match asked {
                Message::Fetch { to, request } => {
                    let found = describe(&hub, &place, wording::select(&to)).await;
                    Response::Sockets { request, sockets: found.into_iter().map(wording::socket).collect() }
                }
                Message::Ids { rooms, request } => {
                    let to = Target { rooms, ..Target::default() };
                    let found = describe(&hub, &place, wording::select(&to)).await;
                    Response::Ids { request, ids: found.into_iter().map(|info| info.id).collect() }
                }
                Message::Rooms { request } => {
                    let found = describe(&hub, &place, Select::Everyone).await;
                    let names = |info: SocketInfo| {
                        let visible = info.channels.into_iter().filter(|name| !is_own(name));
                        std::iter::once(info.id).chain(visible.map(|name| name.to_string()))
                    };
                    Response::Rooms { request, rooms: found.into_iter().flat_map(names).collect::<Rooms>() }
                }
                // Nobody here hears it, and whoever asks waits for an answer of each.
                Message::ServerSideEmit { request: Some(request), .. } => {
                    Response::ServerSideEmit { request, answer: Args::none() }
                }
                _ => return,
            };
            place.respond(asker, &response).await;
        });
    }

    async fn broadcast_with_ack(self: &Arc<Self>, hub: &Hub, asker: Asker, event: Event, to: Target, request: String) {
        let (timeout, (answers, reports)) = (wording::patience(to.flags), mpsc::unbounded_channel());
        let permit = Arc::clone(&self.gatherings).try_acquire_owned();
        let heard = match &permit {
            Ok(_) => {
                let ack = AckRequest { answers, timeout };
                hub.hear_neighbour(self.app, wording::publish(event, to), Some(ack)).await
            }
            Err(_) => Ok(0),
        };
        let shards = heard.unwrap_or_else(|refused| {
            self.cannot(&refused);
            0
        });
        let place = Arc::clone(self);
        hub.spawn(async move {
            let _permit = permit;
            place.gather(asker, request, shards, reports, timeout).await;
        });
    }

    /// Says how many clients were reached, and then what each of them acknowledges.
    async fn gather(
        &self,
        asker: Asker,
        request: String,
        mut shards: usize,
        mut reports: mpsc::UnboundedReceiver<AckReport>,
        patience: Duration,
    ) {
        let over = tokio::time::Instant::now() + patience;
        let (mut count, mut early) = (0, Vec::new());
        while shards > 0 {
            match reports.recv().await {
                Some(AckReport::Reached(reached)) => {
                    count += reached;
                    shards -= 1;
                }
                Some(other) => early.push(other),
                None => break,
            }
        }
        self.respond(asker.clone(), &Response::ClientCount { request: request.clone(), count: count as u64 }).await;
        let mut early = early.into_iter();
        for _ in 0..count {
            let report = match early.next() {
                Some(report) => Some(report),
                None => tokio::time::timeout_at(over, reports.recv()).await.ok().flatten(),
            };
            match report {
                Some(AckReport::Answer(answer)) => {
                    self.respond(asker.clone(), &Response::Ack { request: request.clone(), answer }).await;
                }
                Some(AckReport::Gone | AckReport::Reached(_)) => {}
                None => return,
            }
        }
    }

    async fn respond(&self, Asker { mut lane, uid }: Asker, response: &Response) {
        let Some(command) = self.format.response(uid.as_deref(), &self.uid, response) else { return };
        if command.exec_async(&mut lane).await.is_err() {
            self.standing.figures.unsaid.fetch_add(1, Relaxed);
        }
    }
}

/// The sessions of this node that are meant.
async fn describe(hub: &Hub, place: &Place, select: Select) -> Vec<SocketInfo> {
    hub.obey_neighbour(place.app, Question::Describe(select)).await.unwrap_or_default()
}
