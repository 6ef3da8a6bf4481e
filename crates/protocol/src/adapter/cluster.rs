//! The messages of socket.io-adapter's `ClusterAdapter`, which the sharded and the streams format carry:
//! `{type, data, uid, nsp}`; and the parts that they share with the classic format.

use super::cursor::Cursor;
use super::document::{Document, field};
use super::message::{Event, Flags, Message, Response, Rooms, Socket, Target};
use super::{Content, Error, Limits, Received};

/// The type of an event's packet; older emitters have another for events with binaries.
pub(super) const EVENT: u64 = 2;
const BINARY_EVENT: u64 = 5;

/// Types of messages.
pub(super) mod kind {
    pub(crate) const INITIAL_HEARTBEAT: u64 = 1;
    pub(crate) const HEARTBEAT: u64 = 2;
    pub(crate) const BROADCAST: u64 = 3;
    pub(crate) const JOIN: u64 = 4;
    pub(crate) const LEAVE: u64 = 5;
    pub(crate) const DISCONNECT: u64 = 6;
    pub(crate) const FETCH: u64 = 7;
    pub(crate) const SOCKETS: u64 = 8;
    pub(crate) const SERVER_SIDE_EMIT: u64 = 9;
    pub(crate) const SERVER_SIDE_ANSWER: u64 = 10;
    pub(crate) const CLIENT_COUNT: u64 = 11;
    pub(crate) const ACK: u64 = 12;
    pub(crate) const CLOSE: u64 = 13;
}

/// A message to write: its type and its data.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) kind: u64,
    pub(super) data: Document<'a>,
}

impl<'a> Draft<'a> {
    /// A message for all; none if there is no such message here.
    pub(super) fn message(message: &'a Message) -> Option<Self> {
        let id = |request: &'a str| field("requestId", Document::Text(request));
        let opts = |to: &'a Target| field("opts", options(to));
        let (kind, data) = match message {
            Message::Broadcast { event, to, request } => {
                (kind::BROADCAST, vec![field("packet", packet(event)), request.as_deref().and_then(id), opts(to)])
            }
            Message::Join { to, rooms, .. } => (kind::JOIN, vec![opts(to), field("rooms", Document::Rooms(rooms))]),
            Message::Leave { to, rooms, .. } => (kind::LEAVE, vec![opts(to), field("rooms", Document::Rooms(rooms))]),
            Message::Disconnect { to, close, .. } => {
                (kind::DISCONNECT, vec![opts(to), field("close", Document::Bool(*close))])
            }
            Message::Fetch { to, request } => (kind::FETCH, vec![opts(to), id(request)]),
            Message::ServerSideEmit { event, request } => {
                let packet = field("packet", Document::Event(event));
                (kind::SERVER_SIDE_EMIT, vec![request.as_deref().and_then(id), packet])
            }
            Message::Rooms { .. } | Message::Ids { .. } => return None,
        };
        Some(Self { kind, data: Document::Map(data) })
    }

    /// An answer; none if there is no such answer here.
    pub(super) fn response(response: &'a Response) -> Option<Self> {
        let (kind, key, value) = match response {
            Response::ClientCount { count, .. } => (kind::CLIENT_COUNT, "clientCount", Document::Number(*count)),
            Response::Ack { answer, .. } => (kind::ACK, "packet", Document::Value(answer)),
            Response::Sockets { sockets: list, .. } => (kind::SOCKETS, "sockets", sockets(list)),
            Response::ServerSideEmit { answer, .. } => (kind::SERVER_SIDE_ANSWER, "packet", Document::Value(answer)),
            Response::Rooms { .. } | Response::Ids { .. } | Response::Done { .. } => return None,
        };
        let id = field("requestId", Document::Text(response.request()));
        Some(Self { kind, data: Document::Map(vec![id, field(key, value)]) })
    }

    /// With its sender.
    pub(super) fn signed(self, uid: &'a str, nsp: &'a str) -> Document<'a> {
        Document::Map(vec![
            field("type", Document::Number(self.kind)),
            field("data", self.data),
            field("uid", Document::Text(uid)),
            field("nsp", Document::Text(nsp)),
        ])
    }
}

fn packet(event: &Event) -> Document<'_> {
    Document::Map(vec![field("type", Document::Number(EVENT)), field("data", Document::Event(event))])
}

fn options(to: &Target) -> Document<'_> {
    Document::Map(vec![
        field("rooms", Document::Rooms(&to.rooms)),
        field("except", Document::Rooms(&to.except)),
        field("flags", flags(to.flags)),
    ])
}

/// Flags, those that are set.
pub(super) fn flags(flags: Flags) -> Document<'static> {
    Document::Map(vec![
        flags.volatile.then_some(("volatile", Document::Bool(true))),
        flags.compress.map(|compress| ("compress", Document::Bool(compress))),
        flags.timeout.map(|timeout| ("timeout", Document::Number(timeout))),
        flags.single.then_some(("expectSingleResponse", Document::Bool(true))),
    ])
}

/// Descriptions of sockets.
pub(super) fn sockets(sockets: &[Socket]) -> Document<'_> {
    Document::List(sockets.iter().map(socket).collect())
}

fn socket(Socket { id, handshake, rooms, data }: &Socket) -> Document<'_> {
    Document::Map(vec![
        field("id", Document::Text(id)),
        field("handshake", Document::Value(handshake)),
        field("rooms", Document::Rooms(rooms)),
        field("data", Document::Value(data)),
    ])
}

/// Reads a whole message; none when it is for another namespace, or about servers that come and go (heartbeats, of which
/// the formats of today make no use).
pub(super) fn read(message: Cursor<'_>, nsp: &str, limits: &Limits) -> Result<Option<Received>, Error> {
    let [kind, data, uid, of] = message.fields("message", ["type", "data", "uid", "nsp"])?;
    if of.and_then(Cursor::text).as_deref() != Some(nsp) {
        return Ok(None);
    }
    let kind = kind.and_then(Cursor::count).ok_or(Error::Field("type"))?;
    let content = content(kind, data, limits)?;
    Ok(content.map(|content| Received { uid: uid.and_then(Cursor::id), content }))
}

/// Reads the data of a message of this type.
pub(super) fn content(kind: u64, data: Option<Cursor<'_>>, limits: &Limits) -> Result<Option<Content>, Error> {
    if matches!(kind, kind::INITIAL_HEARTBEAT | kind::HEARTBEAT | kind::CLOSE) {
        return Ok(None);
    }
    let data = data.ok_or(Error::Field("data"))?;
    match kind {
        kind::BROADCAST..=kind::FETCH | kind::SERVER_SIDE_EMIT => {
            message(kind, data, limits).map(Content::Message).map(Some)
        }
        kind::SOCKETS | kind::SERVER_SIDE_ANSWER..=kind::ACK => {
            response(kind, data, limits).map(Content::Response).map(Some)
        }
        unknown => Err(Error::UnknownType(unknown)),
    }
}

fn message(kind: u64, data: Cursor<'_>, limits: &Limits) -> Result<Message, Error> {
    let names = ["packet", "requestId", "opts", "rooms", "close"];
    let [packet, id, options, rooms, close] = data.fields("data", names)?;
    let request = request_id(id)?;
    let to = || target(options.ok_or(Error::Field("opts"))?, limits);
    let rooms = || Cursor::rooms("rooms", rooms, limits);
    Ok(match kind {
        kind::BROADCAST => {
            let [kind, data] = packet.ok_or(Error::Field("packet"))?.fields("packet", ["type", "data"])?;
            check_kind(kind)?;
            let event = data.ok_or(Error::Field("data"))?.client_event("data", limits)?;
            Message::Broadcast { event, to: to()?, request }
        }
        kind::JOIN => Message::Join { to: to()?, rooms: rooms()?, request: None },
        kind::LEAVE => Message::Leave { to: to()?, rooms: rooms()?, request: None },
        kind::DISCONNECT => Message::Disconnect { to: to()?, close: close.is_some_and(Cursor::truthy), request: None },
        kind::FETCH => Message::Fetch { to: to()?, request: request.ok_or(Error::Field("requestId"))? },
        _ => {
            let event = packet.ok_or(Error::Field("packet"))?.event("packet", limits)?;
            Message::ServerSideEmit { event, request }
        }
    })
}

fn response(kind: u64, data: Cursor<'_>, limits: &Limits) -> Result<Response, Error> {
    let [id, count, sockets, packet] = data.fields("data", ["requestId", "clientCount", "sockets", "packet"])?;
    let request = request_id(id)?.ok_or(Error::Field("requestId"))?;
    let answer = || Cursor::value(packet, limits);
    Ok(match kind {
        kind::CLIENT_COUNT => {
            Response::ClientCount { request, count: count.and_then(Cursor::count).ok_or(Error::Field("clientCount"))? }
        }
        kind::ACK => Response::Ack { request, answer: answer()? },
        kind::SOCKETS => {
            Response::Sockets { request, sockets: read_sockets(sockets.ok_or(Error::Field("sockets"))?, limits)? }
        }
        _ => Response::ServerSideEmit { request, answer: answer()? },
    })
}

/// Only events are broadcast.
pub(super) fn check_kind(kind: Option<Cursor<'_>>) -> Result<(), Error> {
    match kind.and_then(Cursor::count).ok_or(Error::Field("packet.type"))? {
        EVENT | BINARY_EVENT => Ok(()),
        unknown => Err(Error::UnknownType(unknown)),
    }
}

/// The id of a request, if there is one.
pub(super) fn request_id(id: Option<Cursor<'_>>) -> Result<Option<String>, Error> {
    id.filter(|id| !id.is_null()).map(|id| id.id().ok_or(Error::Field("requestId"))).transpose()
}

/// Reads options. What is missing is not set, and flags that are no object are none.
pub(super) fn target(options: Cursor<'_>, limits: &Limits) -> Result<Target, Error> {
    let [rooms, except, flags] = options.fields("opts", ["rooms", "except", "flags"])?;
    let names = ["volatile", "compress", "timeout", "expectSingleResponse"];
    let [volatile, compress, timeout, single] =
        flags.and_then(|flags| flags.fields("flags", names).ok()).unwrap_or_default();
    let flags = Flags {
        volatile: volatile.is_some_and(Cursor::truthy),
        compress: compress.filter(|compress| !compress.is_null()).map(Cursor::truthy),
        timeout: timeout.and_then(Cursor::count),
        single: single.is_some_and(Cursor::truthy),
    };
    Ok(Target {
        rooms: Cursor::rooms("opts.rooms", rooms, limits)?,
        except: Cursor::rooms("opts.except", except, limits)?,
        flags,
    })
}

/// Reads descriptions of sockets.
pub(super) fn read_sockets(sockets: Cursor<'_>, limits: &Limits) -> Result<Vec<Socket>, Error> {
    let read = |socket: Cursor<'_>| {
        let [id, handshake, rooms, data] = socket.fields("sockets", ["id", "handshake", "rooms", "data"])?;
        Ok(Socket {
            id: id.and_then(Cursor::id).ok_or(Error::Field("sockets.id"))?,
            handshake: Cursor::value(handshake, limits)?,
            rooms: Cursor::rooms("sockets.rooms", rooms, limits)?,
            data: Cursor::value(data, limits)?,
        })
    };
    sockets.items("sockets", limits.items)?.into_iter().map(read).collect()
}

/// The one room of a broadcast without acknowledgements, which may have a channel of its own.
pub(super) fn sole_room(message: &Message) -> Option<&str> {
    match message {
        Message::Broadcast { to: Target { rooms, .. }, request: None, .. } => sole(rooms),
        _ => None,
    }
}

fn sole(rooms: &Rooms) -> Option<&str> {
    if let [room] = &**rooms { Some(room) } else { None }
}
