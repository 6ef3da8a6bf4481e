//! Writing.

use super::{Classic, kind};
use crate::adapter::document::{Document, Msgpack, field};
use crate::adapter::message::{Event, Message, Response, Target};
use crate::adapter::{EMITTER, Publication, cluster};

/// As whom a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender<'s> {
    /// As a server with this id: 6 of the characters of base64url in Node.
    Server(&'s str),
    /// As `@socket.io/redis-emitter`, which orders options differently and does not say who makes a request.
    Emitter,
}

impl<'s> Sender<'s> {
    const fn uid(self) -> &'s str {
        match self {
            Self::Server(uid) => uid,
            Self::Emitter => EMITTER,
        }
    }
}

impl Classic {
    /// Writes a message for all servers.
    #[must_use]
    pub fn write(&self, from: Sender<'_>, message: &Message) -> Publication {
        let (channel, payload) = match message {
            Message::Broadcast { event, to, request: None } => {
                let broadcast = vec![Document::Text(from.uid()), self.packet(event), options(from, to)];
                let channel = self.broadcast_channel(cluster::sole_room(message));
                (channel, Document::List(broadcast).msgpack(Msgpack::Notepack).into())
            }
            Message::Broadcast { .. } => {
                (self.request.clone(), self.request(from, message).msgpack(Msgpack::Notepack).into())
            }
            _ => (self.request.clone(), self.request(from, message).json().into()),
        };
        Publication { channel, payload }
    }

    fn packet<'a>(&'a self, event: &'a Event) -> Document<'a> {
        Document::Map(vec![
            field("type", Document::Number(cluster::EVENT)),
            field("data", Document::Event(event)),
            field("nsp", Document::Text(&self.nsp)),
        ])
    }

    /// A request, to which all belong but broadcasts without acknowledgements.
    fn request<'a>(&'a self, from: Sender<'a>, message: &'a Message) -> Document<'a> {
        let uid = || field("uid", Document::Text(from.uid()));
        let server = || uid().filter(|_| from != Sender::Emitter);
        let id = |request: &'a str| field("requestId", Document::Text(request));
        let kind = |kind| field("type", Document::Number(kind));
        let rooms = |rooms| field("rooms", Document::Rooms(rooms));
        Document::Map(match message {
            Message::Join { to, rooms: names, .. } => vec![server(), kind(kind::JOIN), which(to), rooms(names)],
            Message::Leave { to, rooms: names, .. } => vec![server(), kind(kind::LEAVE), which(to), rooms(names)],
            Message::Disconnect { to, close, .. } => {
                vec![server(), kind(kind::DISCONNECT), which(to), field("close", Document::Bool(*close))]
            }
            Message::Fetch { to, request } => vec![uid(), id(request), kind(kind::FETCH), which(to)],
            Message::ServerSideEmit { event, request } => vec![
                uid(),
                request.as_deref().and_then(id),
                kind(kind::SERVER_SIDE_EMIT),
                field("data", Document::Event(event)),
            ],
            Message::Rooms { request } => vec![uid(), id(request), kind(kind::ROOMS)],
            Message::Ids { rooms: names, request } => vec![uid(), id(request), kind(kind::IDS), rooms(names)],
            Message::Broadcast { event, to, request } => vec![
                uid(),
                request.as_deref().and_then(id),
                kind(kind::BROADCAST),
                field("packet", self.packet(event)),
                field("opts", options(from, to)),
            ],
        })
    }

    /// Writes an answer: for all to hear, or for the server `to` alone (Node's `publishOnSpecificResponseChannel`). What
    /// answers an event for servers is always for all to hear.
    #[must_use]
    pub fn write_response(&self, to: Option<&str>, response: &Response) -> Publication {
        let id = field("requestId", Document::Text(response.request()));
        let kind = |kind| field("type", Document::Number(kind));
        let document = Document::Map(match response {
            Response::ClientCount { count, .. } => {
                vec![kind(kind::CLIENT_COUNT), id, field("clientCount", Document::Number(*count))]
            }
            Response::Ack { answer, .. } => vec![kind(kind::ACK), id, field("packet", Document::Value(answer))],
            Response::Sockets { sockets, .. } => vec![id, field("sockets", cluster::sockets(sockets))],
            Response::ServerSideEmit { answer, .. } => {
                vec![kind(kind::SERVER_SIDE_EMIT), id, field("data", Document::Value(answer))]
            }
            Response::Rooms { rooms, .. } => vec![id, field("rooms", Document::Rooms(rooms))],
            Response::Ids { ids, .. } => vec![id, field("sockets", Document::Rooms(ids))],
            Response::Done { .. } => vec![id],
        });
        let payload = match response {
            Response::Ack { .. } => document.msgpack(Msgpack::Notepack).into(),
            _ => document.json().into(),
        };
        let to = to.filter(|_| !matches!(response, Response::ServerSideEmit { .. }));
        Publication { channel: self.response_channel(to), payload }
    }
}

/// The options of a broadcast.
fn options<'a>(from: Sender<'_>, to: &'a Target) -> Document<'a> {
    let rooms = field("rooms", Document::Rooms(&to.rooms));
    let except = field("except", Document::Rooms(&to.except));
    let flags = field("flags", cluster::flags(to.flags));
    Document::Map(match from {
        Sender::Server(_) => vec![rooms, except, flags],
        Sender::Emitter => vec![rooms, flags, except],
    })
}

/// The options of a request: whom it is about.
fn which(to: &Target) -> Option<(&'static str, Document<'_>)> {
    let rooms = field("rooms", Document::Rooms(&to.rooms));
    field("opts", Document::Map(vec![rooms, field("except", Document::Rooms(&to.except))]))
}
